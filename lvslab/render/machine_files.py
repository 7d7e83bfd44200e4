"""The files of a role: everything under roles/<role>/files maps to / in the image.

A file whose name ends in `.j2` is rendered (and loses that ending), any other is copied
as it is; an executable stays executable. `__interface__` in a path stands for each of
the role's interfaces on the cluster's networks. roles/common/files comes first, then the
files of the role's kind in roles/common/kinds; the role's own file of the same path wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lvslab.core.places import COMMON, ROLES
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.render import keepalived, node_facts
from lvslab.render.kinds import KINDS
from lvslab.render.kinds.shared import wired
from lvslab.render.texts import RenderedFile, render_text

GUARD = "ConditionPathExists=/etc/lvslab/node"
"""The line that keeps a service of the cluster from starting on a machine without a seed."""

_INTERFACE = "__interface__"


def cluster_interfaces(lab: Lab, role: str) -> dict[str, str]:
    """Interface to network for the role's interfaces on host-only networks."""
    # `rules`: all nodes of a role have the same
    return next((wired(lab, node) for node in lab.nodes_with(role)), {})


def kernel_settings(lab: Lab, spec: RoleSpec) -> dict[str, str]:
    """sysctl.d(5) keys and values; `__interface__` in a key stands for each cluster interface."""
    found = {}
    for key, value in spec.sysctl.items():
        for interface in cluster_interfaces(lab, spec.name):
            found[key.replace(_INTERFACE, interface)] = str(value)
    return found


def seed_names(lab: Lab, spec: RoleSpec) -> str:
    """The seeds that fit the role, as a phrase: `lvs1.iso or lvs2.iso`."""
    names = [f"{name}.iso" for name in lab.nodes_with(spec.name)]
    if len(names) > 4:
        return f"one of {names[0]} ... {names[-1]}"
    return " or ".join(names)


def _context(lab: Lab, spec: RoleSpec) -> dict[str, Any]:
    values = {
        "spec": spec,
        "sysctl": kernel_settings(lab, spec),
        "modules": KINDS[spec.kind].modules(lab, spec),
        "seeds": seed_names(lab, spec),
        "checklist": node_facts.text(lab),
        "served": lab.served(spec.name) if spec.name in lab.roles else {},
        "sync_interface": keepalived.sync_interface(lab),
    }
    return keepalived.context(lab) | values


def _sources(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield "/" + path.relative_to(folder).as_posix(), path


def role_files(lab: Lab, spec: RoleSpec) -> dict[str, RenderedFile]:
    """The files that the role puts into its image, by absolute path, sorted."""
    values = _context(lab, spec)
    interfaces = cluster_interfaces(lab, spec.name)
    found: dict[str, RenderedFile] = {}
    for folder in (ROLES / COMMON, ROLES / COMMON / "kinds" / spec.kind, spec.folder):
        for target, path in _sources(folder / "files"):
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            if not target.endswith(".j2"):
                found[target] = RenderedFile(path.read_text("utf-8"), mode)
                continue
            template = path.read_text("utf-8")
            target = target.removesuffix(".j2")
            if _INTERFACE not in target:
                found[target] = RenderedFile(render_text(template, values), mode)
                continue
            for interface, network in interfaces.items():
                own = values | {"interface": interface, "network": network}
                found[target.replace(_INTERFACE, interface)] = RenderedFile(
                    render_text(template, own), mode
                )
    for unwanted in KINDS[spec.kind].left_out(lab):
        found.pop(unwanted, None)
    return dict(sorted(found.items()))


def guarded_units(lab: Lab, spec: RoleSpec) -> list[str]:
    """The enabled units that a file of the role keeps from starting without a seed."""
    files = role_files(lab, spec)

    def is_guarded(unit: str) -> bool:
        places = (unit, f"{unit}.d/10-lvslab.conf")
        texts = [files.get(f"/etc/systemd/system/{place}") for place in places]
        return any(text is not None and GUARD in text.content for text in texts)

    return [unit for unit in KINDS[spec.kind].units(lab, spec) if is_guarded(unit)]
