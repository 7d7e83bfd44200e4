"""Names in lab.yaml that point to something else in it, and whether that exists.

Works on the raw document, so that a name is checked even if the rest has mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lvslab.model.explain import did_you_mean
from lvslab.model.problems import Place, Violation, dotted, listed
from lvslab.model.role import Kind, Role

_ANY = "*"


@dataclass(frozen=True)
class Reference:
    """Where the names of a section's entries are; the section `roles` is not in the file.

    `of_keys`: they are the keys of a mapping, of nodes of `kind`. `leaves_entry`: the
    entry around the name makes sense without it.
    """

    where: tuple[str, ...]
    section: str
    noun: str
    of_keys: bool = False
    kind: Kind | None = None
    leaves_entry: bool = False


ROLES = "roles"
REFERENCES = (
    Reference(("nodes", _ANY, "role"), ROLES, "role"),
    Reference(("nodes", _ANY, "interfaces", _ANY), "networks", "network"),
    Reference(("vrrp_instances", _ANY, "network"), "networks", "network"),
    Reference(
        ("vrrp_instances", _ANY, "priorities", _ANY),
        "nodes",
        "director",
        of_keys=True,
        kind=Kind.DIRECTOR,
        leaves_entry=True,
    ),
    Reference(("sync_groups", _ANY, _ANY), "vrrp_instances", "VRRP instance", leaves_entry=True),
    Reference(("tables", _ANY, "network"), "networks", "network"),
    Reference(("tables", _ANY, "via"), "vrrp_instances", "VRRP instance"),
    Reference(("virtual_servers", _ANY, "instance"), "vrrp_instances", "VRRP instance"),
    Reference(("virtual_servers", _ANY, "table"), "tables", "table"),
    Reference(("virtual_servers", _ANY, "network"), "networks", "network"),
    Reference(("virtual_servers", _ANY, "sorry_server"), "nodes", "node"),
    Reference(
        ("virtual_servers", _ANY, "weights", _ANY),
        "nodes",
        "real server",
        of_keys=True,
        kind=Kind.SERVER,
        leaves_entry=True,
    ),
)


def dangling(data: Any, roles: Mapping[str, Role]) -> list[tuple[Reference, Place, str]]:
    """Every name that points to nothing: which reference, where it is, the name."""
    found = []
    for reference in REFERENCES:
        known = _section(data, reference.section, roles)
        if not isinstance(known, dict):
            continue
        for path, value in _matches(data, reference.where):
            name = path[-1] if reference.of_keys else value
            if isinstance(name, str) and name not in known:
                found.append((reference, path, name))
    return found


def _section(data: Any, name: str, roles: Mapping[str, Role]) -> Any:
    if name == ROLES:
        return dict(roles)
    without: Any = {} if name == "tables" else None  # a lab may do without tables
    return data.get(name, without) if isinstance(data, dict) else None


def name_findings(
    data: Any, roles: Mapping[str, Role], doubtful: Collection[str] = ()
) -> list[Violation]:
    """A finding for every name that points to nothing, except into sections with mistakes."""
    found = []
    for reference, path, name in dangling(data, roles):
        if reference.section in doubtful:
            continue
        section = _section(data, reference.section, roles)
        known = (
            list(section) if reference.kind is None else _of_kind(section, reference.kind, roles)
        )
        meant = did_you_mean(name, [other for other in known if _is_typo(name, other)])
        question = f"did you mean {meant}? " if meant else ""
        have = (
            f"{reference.noun}s are {listed(known)}" if known else f"there is no {reference.noun}"
        )
        place = dotted(path[:-1] if reference.of_keys else path)
        what = f"{place} names {name}, and there is no such {reference.noun}"
        found.append(Violation(path, what, f"{question}{have}", on_key=reference.of_keys))
    return found


def _is_typo(name: str, other: str) -> bool:
    """Names that only count differently (rs3, rs2) are different; VMnet21 may be VMnet12."""
    plain, plain_other = (re.sub(r"[0-9]", "", text) for text in (name, other))
    return plain != plain_other or sorted(name) == sorted(other)


def _of_kind(nodes: dict[str, Any], kind: Kind, roles: Mapping[str, Role]) -> list[str]:
    def has_kind(node: Any) -> bool:
        role = node.get("role") if isinstance(node, dict) else None
        return isinstance(role, str) and role in roles and roles[role].kind == kind

    return [name for name, node in nodes.items() if has_kind(node)]


def _matches(data: Any, where: tuple[str, ...], path: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Paths and values that a pattern matches; * is any key or index."""
    if not where:
        yield path, data
        return
    steps: list[str | int] = []
    if where[0] != _ANY:
        steps = [where[0]] if isinstance(data, dict) and where[0] in data else []
    elif isinstance(data, dict):
        steps = list(data)
    elif isinstance(data, list):
        steps = list(range(len(data)))
    for step in steps:
        yield from _matches(data[step], where[1:], (*path, step))
