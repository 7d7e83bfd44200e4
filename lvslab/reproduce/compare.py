"""Two builds compared: every stage's result and every artifact, and which differed first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lvslab.core.errors import InputError
from lvslab.make.report import FORM
from lvslab.reproduce.place import first_difference
from lvslab.reproduce.show import shown

_BAKE = "bake "
"""A bake may differ in what does not ship; what ships is compared in the final tree."""
_OF_ALL_ROLES = ("vmware folders", "bundle")
"""Stages whose result is another one when there are fewer roles."""


@dataclass(frozen=True)
class Build:
    """A finished build: its build.json, and the folders that its files can be read from.

    `cache` and `out` are None for a published build of which only build.json is at hand;
    `partial` if only what belongs to some of its roles counts.
    """

    report: Mapping[str, Any]
    cache: Path | None = None
    out: Path | None = None
    partial: bool = False

    @classmethod
    def load(cls, report: Path, cache: Path | None = None) -> Build:
        """The build that wrote `report`; raises InputError if that is not a build.json of ours."""
        try:
            data = json.loads(report.read_text())
            for name in ("artifacts", "stages", "lab", "roles", "lock"):
                data[name]
            form, source = data.get("form", 1), data.get("source", {})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"this is not a build.json ({error!r})",
                where=str(report),
                hint="give the build.json of a build, for instance artifacts/build.json",
            ) from None
        if form != FORM:
            commit = source.get("commit") or "that wrote it"
            raise InputError(
                f"this build.json has form {form}, and this lvslab reads form {FORM}",
                where=str(report),
                hint=f"check out the commit {commit}, then try again",
            )
        return cls(data, cache, report.parent)

    @property
    def per_node(self) -> bool:
        """Whether it made an OVA of each node, too."""
        if "provenance" not in self.report:
            return False
        definition = self.report["provenance"]["predicate"]["buildDefinition"]
        return bool(definition["externalParameters"].get("perNode"))

    def only(self, roles: Iterable[str]) -> Build:
        """The same, narrowed to `roles`: what is made for several roles does not count.

        Raises InputError if it has no such role.
        """
        there, wanted = self.report["roles"], sorted(roles)
        if unknown := [role for role in wanted if role not in there]:
            raise InputError(f"this build has no role {', '.join(unknown)}")
        nodes = self.report["lab"].get("nodes", {})
        names = {*wanted, *(name for name, node in nodes.items() if node["role"] in wanted)}
        artifacts = {
            name: value
            for name, value in self.report["artifacts"].items()
            if name.startswith("seeds/") or Path(name).name.partition(".")[0] in names
        }
        narrowed = {
            "roles": {role: there[role] for role in wanted},
            "artifacts": artifacts,
            "stages": [r for r in self.report["stages"] if r["name"] not in _OF_ALL_ROLES],
        }
        report = {**self.report, **narrowed}
        return replace(self, report=report, partial=True)

    def stages(self) -> dict[str, Mapping[str, Any]]:
        """The stages' records by name, in the order in which they were finished."""
        return {record["name"]: record for record in self.report["stages"]}

    def folder(self, stage: str) -> Path | None:
        """Where a stage's result is, if it can be read."""
        if self.cache is None:
            return None
        folder = self.cache / "stages" / stage.replace(" ", "-") / self.stages()[stage]["id"]
        return folder if folder.is_dir() else None


@dataclass(frozen=True)
class Difference:
    """A file that differs: of which stage (or `artifacts`), its name there, and how."""

    stage: str
    file: str
    lines: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """What was compared and what differs; the first difference is the cause of the others.

    `size` in bytes; `notes` are inputs that were not the same, so that no difference surprises.
    """

    files: int
    size: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()


def compare(first: Build, second: Build) -> Comparison:
    """Compare stage results (as far as both can be read) and the artifacts of two builds."""
    pairs: list[tuple[str, str, Path | None, Path | None]] = []
    for stage in first.stages():
        if not stage.startswith(_BAKE) and stage in second.stages():
            pairs += _pairs(stage, first.folder(stage), second.folder(stage))
    with ThreadPoolExecutor(2) as executor:
        results = executor.map(_compare, pairs)
        differences = [result for result in results if result]
    differences += _artifacts(first, second)
    size = sum(path.stat().st_blocks << 9 for *_, path, _ in pairs if path and path.is_file())
    files = len(pairs) + len(first.report["artifacts"])
    return Comparison(files, size, tuple(differences), tuple(_notes(first, second)))


def _notes(first: Build, second: Build) -> Iterator[str]:
    """The inputs of the two builds that differ: the code, the lock, the roles, the tools."""
    one, two = first.report, second.report
    for what, key in (("source", "sha256"), ("lock", "sha256")):
        a, b = (report.get(what, {}).get(key, "unknown") for report in (one, two))
        if a != b:
            commit = one.get(what, {}).get("commit", "")
            yield f"{what} {a} -> {b}" + (f" (git checkout {commit})" if commit else "")
    for role in sorted(one["roles"].keys() & two["roles"].keys()):
        if one["roles"][role] != two["roles"][role]:
            yield f"role {role} {one['roles'][role]} -> {two['roles'][role]}"
    tools = [{**report.get("tools", {}), "lvslab": report.get("lvslab")} for report in (one, two)]
    for name in sorted({*tools[0], *tools[1]}):
        if tools[0].get(name) != tools[1].get(name):
            yield f"{name} {tools[0].get(name, 'absent')} -> {tools[1].get(name, 'absent')}"


def _pairs(
    stage: str, first: Path | None, second: Path | None
) -> list[tuple[str, str, Path | None, Path | None]]:
    """The files of a stage's folder by name; None where a build has none of that name."""
    if first is None or second is None:
        return []
    names = sorted(
        {
            path.relative_to(folder).as_posix()
            for folder in (first, second)
            for path in folder.rglob("*")
            if path.is_symlink() or path.is_file()
        }
    )
    return [(stage, name, _there(first / name), _there(second / name)) for name in names]


def _there(path: Path) -> Path | None:
    return path if path.is_symlink() or path.is_file() else None


def _compare(pair: tuple[str, str, Path | None, Path | None]) -> Difference | None:
    stage, name, first, second = pair
    if first is None or second is None:
        where = "second" if first is None else "first"
        return Difference(stage, name, (f"only in the {where} build",))
    links = [path.readlink() if path.is_symlink() else None for path in (first, second)]
    if links != [None, None]:
        same = links[0] == links[1]
        return None if same else Difference(stage, name, (f"link: {links[0]} -> {links[1]}",))
    if first_difference(first, second) is None:
        return None
    return Difference(stage, name, tuple(shown(first, second)))


def _artifacts(first: Build, second: Build) -> list[Difference]:
    """Artifacts by the sums in the reports; shown, where both files can be read."""
    one, two = first.report["artifacts"], second.report["artifacts"]
    found = []
    for name in sorted({*one, *two}):
        if name not in one or name not in two:
            where = "second" if name not in one else "first"
            found.append(Difference("artifacts", name, (f"only in the {where} build",)))
        elif one[name]["sha256"] != two[name]["sha256"]:
            sums = f"sha256: {one[name]['sha256']} -> {two[name]['sha256']}"
            lines = _shown(first, second, name)
            found.append(Difference("artifacts", name, (sums, *lines)))
    return found


def _shown(first: Build, second: Build, name: str) -> list[str]:
    files = [build.out / name for build in (first, second) if build.out]
    if len(files) == 2 and all(file.is_file() for file in files):
        return shown(*files)
    return []
