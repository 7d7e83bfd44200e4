"""All that decides a stage's bytes is in its id, or a changed program finds the old result."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from lvslab.build.packer import PINNED
from lvslab.build.tree import Recipe
from lvslab.core import code as core_code
from lvslab.core.code import has_no_say, libraries, module_of, reached
from lvslab.core.stages import Make, Stages
from lvslab.make import Options, Pipeline
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from tests.conftest import ROLES
from tests.small import Small
from tests.unit.project.test_quality import ROOT, imports

PIPELINE = ("lvslab.make.pipeline", "lvslab.make.trees")
"""They say what the inputs of a stage are."""


@dataclass(frozen=True)
class Seen:
    """A stage as the pipeline asks for it."""

    inputs: dict[str, Any]
    make: Make
    code: tuple[str, ...]
    id: str = ""


class Recorder(Stages):
    """Notes what is asked for, and makes files that are there and no more."""

    seen: dict[str, Seen]

    def run(self, name: str, inputs: Any, make: Make, *, code: Sequence[str] = ()) -> Path:
        folder = super().run(name, inputs, self.pretend, code=code)
        self.seen[name] = Seen(inputs, make, tuple(code), folder.name)
        return folder

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
    return {module_of(name) for name in ours}


def missing(stage: Seen) -> set[str]:
    """The modules that a stage's work uses and that do not follow from those that it names."""
    assert isinstance(stage.make, FunctionType)
    used = {name for name in used_by(stage.make) if not (has_no_say(name) or name in PIPELINE)}
    return set(reached(used)) - set(reached(stage.code))


def test_every_stage_names_the_code_that_does_its_work(seen: dict[str, Seen]) -> None:
    assert len(seen) > 20
    lacking = {name: sorted(missing(stage)) for name, stage in seen.items() if missing(stage)}
    assert lacking == {}


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("tree real-server", "lvslab.build.headers"),
        ("bake director", "lvslab.build.changes"),
        ("bake director", "lvslab.formats.seed_iso"),
        ("final tree director", "lvslab.build.policy"),
        ("disk director", "lvslab.build.disk"),
        ("ova lvs1", "lvslab.formats.ova"),
        ("vmware folders", "lvslab.export.folders"),
    ],
)
def test_a_module_that_is_left_out_is_found(seen: dict[str, Seen], name: str, module: str) -> None:
    stage = seen[name]
    fewer = replace(stage, code=tuple(other for other in stage.code if other != module))
    assert module in missing(fewer)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("tree real-server", "lvslab.build.pool"),
        ("bake director", "lvslab.build.packer"),
        ("disk director", "lvslab.build.tools"),
        ("ova lvs1", "lvslab.formats.vmdk.layout"),
        ("vmware folders", "lvslab.formats.sums"),
    ],
)
def test_what_a_module_imports_counts_with_it(
    seen: dict[str, Seen], name: str, module: str
) -> None:
    assert module in reached(seen[name].code)


def test_a_changed_module_below_makes_another_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def identity() -> str:
        code = ["lvslab.build.tree"]
        return Stages(tmp_path).run("x", {}, lambda folder, progress: None, code=code).name

    before = identity()
    assert identity() == before
    changed = tmp_path / "pool.py"
    changed.write_text("")
    real = core_code.file_of
    monkeypatch.setattr(
        core_code,
        "file_of",
        lambda module: changed if module == "lvslab.build.pool" else real(module),
    )
    assert identity() != before


def test_the_libraries_of_a_stage_s_code_are_inputs(seen: dict[str, Seen]) -> None:
    assert {"deflate", "pycdlib"} <= libraries(reached(seen["ova lvs1"].code)).keys()
    assert "dissect.extfs" in libraries(reached(seen["bake director"].code))


def test_every_library_that_shapes_a_stage_is_known(seen: dict[str, Seen]) -> None:
    modules = {module for stage in seen.values() for module in reached(stage.code)}
    tops = {
        name.partition(".")[0]
        for module in modules
        for _, name in imports(core_code.file_of(module) or ROOT, "lvslab")
    }
    assert tops - sys.stdlib_module_names - {"lvslab"} <= core_code.LIBRARIES.keys()


@pytest.mark.slow
def test_imports_are_found_as_python_finds_them() -> None:
    for path in (ROOT / "lvslab").rglob("*.py"):
        wanted = {name for _, name in imports(path, "lvslab")}
        assert set(core_code.imported(path)) >= wanted, path


def test_the_second_disk_of_a_node_s_ova_counts(seen: dict[str, Seen]) -> None:
    assert "lvs1-seed.vmdk" in seen["ova lvs1"].inputs["ovf"]


UNSEEN = (("bake {}", "packer"), ("final tree {}", "bake {}"))
"""What a stage needs and does not have as an input: the sum of a file counts, not the stage."""


def all_of(needs: Mapping[str, Iterable[str]], name: str) -> set[str]:
    """The stages that one needs, and those that these need."""
    direct = set(needs.get(name, ()))
    return direct.union(*(all_of(needs, other) for other in direct))


def needs_in_inputs(seen: Mapping[str, Seen]) -> dict[str, set[str]]:
    """What each stage needs, as far as its inputs say so."""
    texts = {name: json.dumps(stage.inputs, default=str) for name, stage in seen.items()}
    found = {
        name: {other for other, stage in seen.items() if stage.id in text}
        for name, text in texts.items()
    }
    for role in ROLES:
        for one, other in UNSEEN:
            found[one.format(role)].add(other.format(role))
    return found


def wrong_needs(needs: Mapping[str, Iterable[str]], seen: Mapping[str, Seen]) -> set[str]:
    """The stages of which `Pipeline.needs` says too little or too much."""
    asked = needs_in_inputs(seen)
    return {name for name in {*needs, *asked} if all_of(needs, name) != all_of(asked, name)}


@pytest.fixture
def needs(
    lab: Lab, specs: dict[str, RoleSpec], seen: dict[str, Seen], tmp_path: Path
) -> dict[str, tuple[str, ...]]:
    return Pipeline(lab, specs, Options(tmp_path, tmp_path / "out", per_node=True)).needs()


def test_what_a_stage_needs_is_known_before_it_is_made(
    needs: dict[str, tuple[str, ...]], seen: dict[str, Seen]
) -> None:
    assert needs.keys() == seen.keys()
    assert wrong_needs(needs, seen) == set()
    for number, name in enumerate(needs):
        assert set(needs[name]) <= set(list(needs)[:number]), "what is needed comes before"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("final tree director", ("tree director",)),
        ("bundle", ("vmware folders",)),
        ("ova lvs1", ("vmdk director",)),
        ("seeds", ("common tree",)),
    ],
)
def test_wrong_needs_are_found(
    needs: dict[str, tuple[str, ...]], seen: dict[str, Seen], name: str, said: tuple[str, ...]
) -> None:
    assert name in wrong_needs(needs | {name: said}, seen)


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
