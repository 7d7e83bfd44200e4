"""All that decides a stage's bytes is in its id, or a changed program finds the old result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from lvslab.build.packer import PINNED
from lvslab.build.tree import Recipe
from lvslab.core.stages import Make, Stages
from lvslab.make import Options, Pipeline
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from tests.conftest import ROLES
from tests.small import Small
from tests.unit.test_quality import ROOT, imports

ALLOWED = {
    "lvslab.core": "files, programs, errors, the cache: no byte of a result is decided there",
    "lvslab.model": "values, which are inputs",
    "lvslab.render": "texts, which are inputs",
    "lvslab.build.lock": "packages, which are inputs by their sums",
    "lvslab.build.mirror": "where a package comes from; its sum decides",
    "lvslab.build.accel": "how fast a bake is",
    "lvslab.make": "says what the inputs are",
}
LIBRARIES = {
    "cyclonedx": "cyclonedx-python-lib",
    "deflate": "deflate",
    "dissect": "dissect.extfs",
    "packageurl": "packageurl-python",
    "pycdlib": "pycdlib",
}


@dataclass(frozen=True)
class Seen:
    """A stage as the pipeline asks for it."""

    inputs: dict[str, Any]
    make: Make
    code: tuple[str, ...]


class Recorder(Stages):
    """Notes what is asked for, and makes files that are there and no more."""

    seen: dict[str, Seen]

    def run(self, name: str, inputs: Any, make: Make, *, code: Sequence[str] = ()) -> Path:
        self.seen[name] = Seen(inputs, make, tuple(code))
        return super().run(name, inputs, self.pretend, code=code)

    def pretend(self, folder: Path, _progress: Callable[..., None]) -> None:
        (folder / "disk.json").write_text('{"capacity": 1, "populated": 1}')
        for name in ("changes.jsonl", *(f"{role}-disk1.vmdk" for role in ROLES)):
            (folder / name).touch()


@pytest.fixture(scope="module")
def seen(
    lab: Lab, specs: dict[str, RoleSpec], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Seen]:
    """Every stage of a whole build."""
    work = tmp_path_factory.mktemp("stages")
    pipeline = Pipeline(lab, specs, Options(work / "cache", work / "out", per_node=True))
    pipeline.stages = recorder = Recorder(work / "cache")
    recorder.seen = {}
    pipeline.all()
    return recorder.seen


def module_of(name: str) -> set[str]:
    """The modules that an import names; those of a package are what its `__init__` imports."""
    parts = name.split(".")
    for count in range(len(parts), 1, -1):
        path = ROOT.joinpath(*parts[:count])
        module = ".".join(parts[:count])
        if path.with_suffix(".py").is_file():
            return {module}
        if path.is_dir():
            inside = imports(path / "__init__.py", module)
            return {found for _, below in inside if below.startswith("lvslab.")
                    for found in module_of(below)}  # fmt: skip
    return set()


def names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def used_by(make: FunctionType) -> set[str]:
    """The modules of ours whose functions and values a function uses."""
    found: set[str] = set()
    names = set(names_in(make.__code__))
    values = [make.__globals__[name] for name in names if name in make.__globals__]
    for value in values:
        if isinstance(value, ModuleType):
            inside = [getattr(value, name, None) for name in names] if value.__spec__ else []
            found |= {value.__name__, *(getattr(part, "__module__", None) or "" for part in inside)}
        else:
            found.add(getattr(value, "__module__", ""))
    for cell in make.__closure__ or ():
        value = cell.cell_contents
        if isinstance(value, FunctionType):
            found |= used_by(value)
        found.add(type(value).__module__)
    ours = {name for name in found if name.startswith("lvslab.")}
    return {module for name in ours for module in module_of(name)}


def allowed(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in ALLOWED)


def reached(stage: Seen) -> set[str]:
    """What a stage's work and the modules that it names use, all the way down."""
    assert isinstance(stage.make, FunctionType)
    open_, found = [*used_by(stage.make), *stage.code], set[str]()
    while open_:
        module = open_.pop()
        if module in found or (allowed(module) and module not in stage.code):
            continue
        found.add(module)
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        for _, name in imports(path, module.rpartition(".")[0]):
            open_ += module_of(name) if name.startswith("lvslab.") else ()
    return found


def missing(stage: Seen) -> set[str]:
    """The modules and libraries that shape a stage and are not in its id."""
    modules = reached(stage)
    wanted = set()
    for module in modules:
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        tops = {name.partition(".")[0] for _, name in imports(path, "lvslab")}
        wanted |= {LIBRARIES[top] for top in tops - sys.stdlib_module_names - {"lvslab"}}
    return (modules - set(stage.code)) | (wanted - stage.inputs.keys())


def test_every_stage_s_code_and_libraries_are_in_its_id(seen: dict[str, Seen]) -> None:
    assert len(seen) > 20
    lacking = {name: sorted(missing(stage)) for name, stage in seen.items() if missing(stage)}
    assert lacking == {}


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("tree real-server", "lvslab.build.pool"),
        ("bake director", "lvslab.build.packer"),
        ("bake director", "lvslab.export.seed"),
        ("final tree director", "lvslab.build.changes"),
        ("disk director", "lvslab.build.tools"),
        ("ova lvs1", "lvslab.export.vmdk.layout"),
        ("vmware folders", "lvslab.export.sums"),
    ],
)
def test_a_module_that_is_left_out_is_found(seen: dict[str, Seen], name: str, module: str) -> None:
    stage = seen[name]
    fewer = replace(stage, code=tuple(other for other in stage.code if other != module))
    assert module in missing(fewer)


def test_a_library_that_is_left_out_is_found(seen: dict[str, Seen]) -> None:
    stage = seen["bake director"]
    assert "dissect.extfs" in missing(replace(stage, inputs={}))


def test_the_second_disk_of_a_node_s_ova_counts(seen: dict[str, Seen]) -> None:
    assert "lvs1-seed.vmdk" in seen["ova lvs1"].inputs["ovf"]


def test_the_mode_of_a_file_counts(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("#!/bin/sh\n")
    recipe = Recipe("trixie", 1, (), (), tmp_path, (), ())
    (tmp_path / "hook").chmod(0o644)
    before = recipe.inputs()
    (tmp_path / "hook").chmod(0o755)
    assert recipe.inputs() != before


def test_another_version_makes_another_bundle(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = small.bundle()
    monkeypatch.setattr("lvslab.make.pipeline.__version__", "9.9.9")
    after = small.bundle()
    assert after.name == "lvslab-9.9.9.zip"
    assert after.is_file()
    assert after.parent != before.parent


def test_what_is_still_to_fetch_belongs_to_stages_that_are_not_made(
    lab: Lab, specs: dict[str, RoleSpec], tmp_path: Path
) -> None:
    def missing() -> set[str]:
        pipeline = Pipeline(lab, specs, Options(tmp_path / "cache", tmp_path / "out"))
        return {item.path for item in pipeline.pool.ahead()}

    pipeline = Pipeline(lab, specs, Options(tmp_path / "cache", tmp_path / "out"))
    pipeline.stages = recorder = Recorder(tmp_path / "cache")
    recorder.seen = {}
    groups = {
        name: {package.path for package in pipeline.lock.groups[name]}
        for name in ("base", "tools", *specs)
    }
    everything = set().union(*groups.values()) | {PINNED.path}
    assert missing() == everything
    pipeline.packer()
    pipeline.base_tree("real-server")
    assert missing() == groups["tools"] | groups["director"]
    pipeline.tools()
    pipeline.base_tree("director")
    assert missing() == set()
