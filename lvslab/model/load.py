"""lab.yaml and roles/<role>/role.yaml, read and checked; all mistakes are reported together.

A document is checked in three steps: the shape of each value (`explain`), the names that
point elsewhere (`names`), and what must hold between values (`rules`). If a step finds
something, what it concerns is left out and the next step looks at the rest.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from lvslab.core.places import COMMON, REFERENCE, ROLE_FOLDERS
from lvslab.model import rules
from lvslab.model.explain import shape_findings
from lvslab.model.lab import Lab, LabFile
from lvslab.model.names import dangling, name_findings
from lvslab.model.problems import BadInput, Place, Problem, Violation
from lvslab.model.role import Declared, Handled, Role, RoleFile, RoleSpec
from lvslab.model.shapes import Strict
from lvslab.model.source import YamlText, read_source, shown

__all__ = [
    "BadInput",
    "Problem",
    "load_all",
    "load_lab",
    "load_role",
    "load_roles",
    "load_shape",
    "warnings",
]

_T = TypeVar("_T")
_Shape = TypeVar("_Shape", bound=Strict)
Folders = Sequence[Path]
"""Folders of roles: of two roles with one name the first counts."""


@dataclass(frozen=True)
class Heads:
    """What each role of a folder of roles is, and what is wrong with those that cannot be read.

    A role that cannot be read counts as a host.
    """

    roles: dict[str, Role] = field(default_factory=dict)
    broken: dict[str, list[Problem]] = field(default_factory=dict)


def heads(roles_dirs: Folders) -> Heads:
    """The heads of all roles in some folders, by name."""
    found = Heads()
    names = {path.parent.name for folder in roles_dirs for path in folder.glob("*/role.yaml")}
    for name in sorted(names - {COMMON}):
        found.roles[name] = Role()
        try:
            found.roles[name] = _read_role(roles_dirs, name).head()
        except BadInput as error:
            found.broken[name] = list(error.problems)
    return found


def _folder(roles_dirs: Folders, name: str) -> Path:
    """The folder of a role; where the first of `roles_dirs` would have it if none has."""
    places = [folder / name for folder in roles_dirs]
    return next((place for place in places if (place / "role.yaml").is_file()), places[0])


def load_lab(path: Path, roles_dirs: Folders = ROLE_FOLDERS) -> Lab:
    """The lab of a lab.yaml; its nodes have roles of `roles_dirs`.

    Raises BadInput with everything that is wrong in it and in the roles that it names.
    """
    source, known = read_source(path), heads(roles_dirs)
    used = {name: found for name, found in known.broken.items() if name in _named(source.data)}
    findings = lab_findings(source.data, known.roles, source.lost, whole=not used)
    problems = [problem for found in used.values() for problem in found]
    if findings or source.problems or problems:
        raise BadInput([*source.problems, *_placed(source, findings), *problems])
    return _lab(source.data, known.roles)


def load_reference(lab: Lab) -> Lab:
    """The lab that images are baked from: the reference lab, with the disk and release of `lab`.

    A role has the same image in every lab; what a lab changes in it is in the seeds.
    """
    return load_lab(REFERENCE).model_copy(update={"disk": lab.disk, "debian": lab.debian})


def _named(data: Any) -> set[str]:
    """The roles that the nodes of a document name."""
    nodes = data.get("nodes") if isinstance(data, dict) else None
    entries = nodes.values() if isinstance(nodes, dict) else []
    return {str(entry.get("role")) for entry in entries if isinstance(entry, dict)}


def _lab(data: Any, roles: Mapping[str, Role]) -> Lab:
    """The lab of a document in which nothing is wrong but what `rules` may find."""
    return Lab.with_roles(LabFile.model_validate_json(json.dumps(data), strict=True), roles)


def load_shape(path: Path, model: type[_Shape]) -> _Shape:
    """A YAML file that one class of values describes. Raises BadInput with all mistakes in it."""
    source = read_source(path)
    findings = shape_findings(model, source.data)
    if findings or source.problems:
        raise BadInput([*source.problems, *_placed(source, findings)])
    return model.model_validate_json(json.dumps(source.data), strict=True)


def warnings(path: Path, roles_dirs: Folders = ROLE_FOLDERS) -> list[Problem]:
    """What `validate` warns of in a lab.yaml that loads. Raises BadInput if it does not."""
    found = rules.warning_findings(load_lab(path, roles_dirs))
    return sorted(_placed(read_source(path), found)) if found else []


def load_role(roles_dirs: Folders, name: str) -> RoleSpec:
    """A role of a folder of roles, with `common` (if there is one) merged in front.

    Lists are joined without repeating an entry, and of two values for one kernel setting
    the role's counts. Raises BadInput with everything that is wrong in either file.
    """
    return _whole_role(roles_dirs, name, lambda part: _read_role(roles_dirs, part))


def _whole_role(roles_dirs: Folders, name: str, read: Callable[[str], RoleSpec]) -> RoleSpec:
    parts: list[RoleSpec] = []
    problems: list[Problem] = []
    with_common = name != COMMON and _folder(roles_dirs, COMMON).is_dir()
    for part in [COMMON, name] if with_common else [name]:
        _gather(problems, parts, lambda part=part: read(part))
    if problems:
        raise BadInput(problems)
    merged = parts[-1] if len(parts) == 1 else _merged(*parts)
    if findings := list(_contradictions(merged)):
        file = shown(_folder(roles_dirs, name) / "role.yaml")
        raise BadInput(
            [Problem(file, 0, 0, f"{f.what} (with roles/{COMMON})", f.right) for f in findings]
        )
    return merged


def load_roles(lab: Lab, roles_dirs: Folders) -> dict[str, RoleSpec]:
    """The roles that the lab's nodes have. Raises BadInput with everything that is wrong."""
    return _specs(lab.roles, roles_dirs)


def every_role(roles_dirs: Folders = ROLE_FOLDERS) -> dict[str, RoleSpec]:
    """All roles that there are, by name. Raises BadInput with everything that is wrong."""
    return _specs(heads(roles_dirs).roles, roles_dirs)


def _specs(names: Collection[str], roles_dirs: Folders) -> dict[str, RoleSpec]:
    read = cache(lambda part: _read_role(roles_dirs, part))  # what is common is read once
    found: list[RoleSpec] = []
    problems: list[Problem] = []
    for name in names:
        _gather(problems, found, lambda name=name: _whole_role(roles_dirs, name, read))
    if problems:
        raise BadInput(problems)
    return dict(zip(names, found, strict=True))


def load_all(lab_path: Path, roles_dirs: Folders = ROLE_FOLDERS) -> tuple[Lab, dict[str, RoleSpec]]:
    """The lab and its roles; the mistakes of lab.yaml and of every role at once."""
    problems: list[Problem] = []
    labs: list[Lab] = []
    _gather(problems, labs, lambda: load_lab(lab_path, roles_dirs))
    if labs:
        return labs[0], load_roles(labs[0], roles_dirs)
    _gather(problems, [], lambda: every_role(roles_dirs))
    raise BadInput(problems)


def _gather(problems: list[Problem], results: list[_T], read: Any) -> None:
    """Adds the result of `read` to `results`, or its problems to `problems`."""
    try:
        results.append(read())
    except BadInput as error:
        problems += error.problems


def _placed(source: YamlText, findings: Iterable[Violation]) -> Iterator[Problem]:
    for finding in findings:
        line, column = source.position(finding.path, on_key=finding.on_key)
        yield Problem(source.file, line, column, finding.what, finding.right)


# --- the lab ------------------------------------------------------------------------------


def lab_findings(
    data: Any, roles: Mapping[str, Role], lost: Collection[Place] = (), *, whole: bool = True
) -> list[Violation]:
    """Everything that is wrong with the document of a lab.yaml, of which some may be lost.

    `roles`: all that there are, by name; not `whole` if one of them could not be read.
    """
    shape = [f for f in shape_findings(LabFile, data) if not _within(f.path, lost)]
    names = name_findings(data, roles, {str(path[0]) for path in lost if 0 < len(path) <= 2})
    named = {(finding.path, finding.on_key) for finding in names}
    found = [f for f in shape if (f.path, f.on_key) not in named] + names
    if not found and not lost:
        return rules.rule_findings(_lab(data, roles), whole=whole)
    part, nothing_lost = _sound_part(data, shape, lost, roles)
    if part is not None:
        found += rules.rule_findings(part, whole=whole and nothing_lost)
    return found


def _within(path: Place, places: Iterable[Place]) -> bool:
    return any(path[: len(place)] == place for place in places)


def _sound_part(
    data: Any, findings: list[Violation], lost: Collection[Place], roles: Mapping[str, Role]
) -> tuple[Lab | None, bool]:
    """What is left of a document without what is wrong, and whether nothing was left out.

    A key or a value that was clearly meant to be another is taken for that.
    """
    if not isinstance(data, dict):
        return None, False
    data = copy.deepcopy(data)
    whole = not lost
    for path in lost:
        if len(path) > 2:
            _drop(data, path[:2])
    findings = findings or shape_findings(LabFile, data)
    while findings or dangling(data, roles):
        for finding in findings:
            whole &= _corrected(data, finding)
        for reference, path, _ in reversed(dangling(data, roles)):
            whole = False
            _drop(data, path if reference.leaves_entry else path[:2])
        findings = shape_findings(LabFile, data)
    return _lab(data, roles), whole


def _corrected(data: dict[str, Any], finding: Violation) -> bool:
    """Takes the typo for what was meant (True), or leaves the entry out (False)."""
    *above, last = finding.path or ("",)
    holder = _at(data, tuple(above))
    if finding.unknown and isinstance(holder, dict) and last in holder:
        value = holder.pop(last)
        if finding.meant and finding.meant not in holder:
            holder[finding.meant] = value
        return True
    if finding.meant and isinstance(holder, dict | list):
        holder[cast(Any, last)] = finding.meant
        return True
    _drop(data, finding.path[:2])
    return False


def _at(data: Any, path: Place) -> Any:
    """The value at a path, or None if something on the way is gone."""
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _drop(data: dict[str, Any], path: Place) -> None:
    """Takes an entry away; a section that the lab needs stays, empty."""
    *above, last = path
    holder = _at(data, tuple(above))
    if isinstance(holder, dict):
        holder.pop(last, None)
    elif isinstance(holder, list) and isinstance(last, int) and last < len(holder):
        del holder[last]
    for section, this in LabFile.model_fields.items():
        if this.is_required():
            data.setdefault(section, {})


# --- roles --------------------------------------------------------------------------------


def _read_role(roles_dirs: Folders, name: str) -> RoleSpec:
    folder = _folder(roles_dirs, name)
    source = read_source(folder / "role.yaml")
    findings = shape_findings(RoleFile, source.data)
    if not findings:
        file = RoleFile.model_validate_json(json.dumps(source.data), strict=True)
        role = RoleSpec.in_folder(file, folder)
        findings = list(_role_findings(role, name))
        if not findings and not source.problems:
            return role
    raise BadInput([*source.problems, *_placed(source, findings)])


def _role_findings(role: RoleSpec, folder: str) -> Iterator[Violation]:
    """What is wrong between the values of one role.yaml."""
    if role.name != folder:
        what = f"the role's name is {role.name}, but its folder is {folder}"
        yield Violation(("name",), what, f"write {folder}, or rename the folder")
    for key in ("packages", "enable", "mask", "modules"):
        entries = enumerate(getattr(role, key))
        yield from _repeated(key, (((key, index), entry) for index, entry in entries))
    for key in ("exclude", "include", "keep", "handle"):
        yield from _repeated(key, _paths(key, getattr(role, key)))
    for key in ("exclude", "include"):
        if folder != COMMON and getattr(role, key):
            what = f"{key} is about the tree that all roles share, not about {folder}'s own"
            yield Violation((key,), what, f"move it to roles/{COMMON}/role.yaml", on_key=True)
    for index, entry in enumerate(role.handle):
        yield from _pattern_findings(("handle", index), entry)
    yield from _contradictions(role)


def _pattern_findings(place: Place, entry: Handled) -> Iterator[Violation]:
    """What is wrong with the pattern of a rule `rewrite`, or with one of another rule."""
    if entry.rule != "rewrite":
        if entry.pattern or entry.replacement:
            what = f"{entry.paths[0]} has the rule {entry.rule}, which replaces nothing"
            yield Violation((*place, "rule"), what, "write `rule: rewrite`, or remove the pattern")
        return
    if not entry.pattern:
        what = f"{entry.paths[0]} is to be rewritten, but there is no pattern"
        yield Violation((*place, "rule"), what, "add `pattern` and `replacement`")
    try:
        re.sub(entry.pattern.encode(), entry.replacement.encode(), b"")
    except (re.error, IndexError) as error:  # IndexError: there is no group of that name
        what = f"{entry.pattern!r} and {entry.replacement!r}: {error}"
        yield Violation((*place, "pattern"), what, "write a regular expression of Python")


def _repeated(key: str, placed: Iterable[tuple[Place, str]]) -> Iterator[Violation]:
    """Entries that stand twice under `key`, with their places."""
    seen: set[str] = set()
    for place, entry in placed:
        if entry in seen:
            yield Violation(place, f"{entry} appears twice in {key}", "keep it once")
        seen.add(entry)


def _paths(key: str, entries: Iterable[Declared | Handled]) -> Iterator[tuple[Place, str]]:
    """Every path of the entries under `key`, and where it is."""
    for index, entry in enumerate(entries):
        for number, path in enumerate(entry.paths):
            yield (key, index, "paths", number), path


def _contradictions(role: RoleSpec) -> Iterator[Violation]:
    """What a role says twice, in contradiction."""
    for index, unit in enumerate(role.mask):
        if unit in role.enable:
            what = f"{unit} is masked and enabled"
            yield Violation(("mask", index), what, "remove it from one of the two lists")
    kept = {path for _, path in _paths("keep", role.keep)}
    for place, path in _paths("handle", role.handle):
        if path in kept:
            what = f"{path} is kept as it is and handled ({role.handle[int(place[1])].rule})"
            yield Violation(place, what, "remove it from `keep` or from `handle`")


def _merged(common: RoleSpec, role: RoleSpec) -> RoleSpec:
    """A role with the common one in front; of rules for one path the role's own comes first."""
    joined: dict[str, Any] = {"sysctl": {**common.sysctl, **role.sysctl}}
    for key in ("packages", "enable", "mask", "modules"):
        joined[key] = tuple(dict.fromkeys((*getattr(common, key), *getattr(role, key))))
    for key in ("exclude", "include", "keep", "handle"):
        joined[key] = (*getattr(role, key), *getattr(common, key))
    return role.model_copy(update=joined)
