"""Boots and bakes are what takes the time: none comes without a line here that says so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lvslab.make import Options, Pipeline
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from tests.conftest import ROOT

STARTS = {
    "examples.py": 2,
    "vm/test_boot.py": 3,
    "vm/test_cluster.py": 5,
    "vm/test_direct_routing.py": 1,
    "vm/test_dual_stack.py": 1,
    "vm/test_images.py": 4,
    "vm/test_installed.py": 1,
    "vm/test_lessons.py": 1,
    "vm/test_reproducible.py": 2,
    "vm/test_two_hosts.py": 1,
    "vm/test_vmware.py": 1,
}
"""In how many places the tests start a lab, a bake, or a whole build of which some make nothing."""

CALLS = frozenset({"boot", "up", "rebuild", "images", "Bake"})
WORDS = frozenset({"up", "images"})
"""What starts them: a function of that name, or a verb among the words of a command."""


def starts(source: str) -> int:
    """The places in a Python source where a machine may be started."""
    found = 0
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            name = node.func.id if isinstance(node.func, ast.Name) else name
            found += name in CALLS
        words = node.args if isinstance(node, ast.Call) else getattr(node, "elts", [])
        values = [word.value for word in words if isinstance(word, ast.Constant)]
        found += any(isinstance(value, str) and value in WORDS for value in values)
    return found


def test_the_tests_start_no_more_machines_than_they_say() -> None:
    files = [ROOT / "tests/examples.py", *(ROOT / "tests/vm").glob("*.py")]
    found = {
        path.relative_to(ROOT / "tests").as_posix(): starts(path.read_text()) for path in files
    }
    assert {name: count for name, count in found.items() if count} == STARTS


@pytest.mark.parametrize(
    "line",
    [
        "cluster.boot(built, cache, settings)",
        "bringup.up(cluster, out, cache, Settings())",
        "Bake(role='director').run(work, silent, progress)",
        'subprocess.run([*words, "up", "--cold"])',
        'build_py("images", "--out", str(out))',
    ],
)
def test_one_more_start_is_seen(line: str) -> None:
    assert starts(f"def test() -> None:\n    {line}\n") == 1
    assert starts(f"def test() -> None:\n    '''{line.replace(chr(39), '')}'''\n") == 0


@pytest.mark.parametrize("per_node", [False, True])
def test_a_build_boots_once_for_each_role(
    lab: Lab, specs: dict[str, RoleSpec], tmp_path: Path, per_node: bool
) -> None:
    """Whatever nodes, zips and OVAs there are: only the stages of bakes start a machine."""
    options = Options(tmp_path / "cache", tmp_path, per_node=per_node)
    for roles in (specs, {"director": specs["director"]}):
        stages = Pipeline(lab, roles, options).needs()
        assert [name for name in stages if booting(name)] == [f"bake {role}" for role in roles]
    one_more = [*stages, "bake lvs1"]
    assert len([name for name in one_more if booting(name)]) > len(roles), "the control"


def booting(stage: str) -> bool:
    return stage.split()[0] == "bake"


def test_only_the_stage_of_a_bake_reaches_what_starts_a_machine() -> None:
    """Modules of `make` that name `build.bake`: the one that has that stage."""
    folder = ROOT / "lvslab/make"
    named = [path.name for path in sorted(folder.glob("*.py")) if "bake.Bake(" in path.read_text()]
    assert named == ["trees.py"]
    assert (folder / "trees.py").read_text().count("bake.Bake(") == 1
