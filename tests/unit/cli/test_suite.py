"""`test`: which tests run, and that they must reach enough of the package."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from lvslab.cli import main
from lvslab.cli import test as verb
from lvslab.core import programs
from tests.conftest import ROOT

# Three of its four lines are reached.
PACKAGE = "def reached():\n    return 1\n\n\ndef missed():\n    return 2\n"
SUITE = """
import small, pytest
def test_one(): assert small.reached() == 1
@pytest.mark.vm
def test_two(): print("in a machine")
"""
PROJECT = """
[tool.pytest.ini_options]
pythonpath = ["."]
markers = ["vm: none", "slow: none"]
[tool.coverage.run]
source_pkgs = ["small"]
[tool.coverage.report]
fail_under = {floor}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project in the place of this one, whose floor its tests just keep."""
    for name in [name for name in os.environ if name.startswith("COV")]:
        monkeypatch.delenv(name)  # this run's own measurement
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")  # it takes a second each time
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "1")
    monkeypatch.setattr(verb, "DATA", tmp_path)
    monkeypatch.setattr(programs, "ensure", lambda *_: None)
    (tmp_path / "small.py").write_text(PACKAGE)
    (tmp_path / "test_small.py").write_text(SUITE)
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(floor=75))
    return tmp_path


@pytest.mark.slow
def test_a_suite_that_keeps_the_floor_passes_and_one_below_it_fails(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["test"]) == 0
    shown = capfd.readouterr()
    assert "small.py" in shown.out and shown.out.count("1 passed") == 2
    (project / "pyproject.toml").write_text(PROJECT.format(floor=76))
    assert main.main(["test"]) == 1
    shown = capfd.readouterr()
    assert shown.out.count("1 passed") == 2, "the tests in machines run nevertheless"
    assert "the tests reach less of the package than pyproject.toml asks for" in shown.err


@pytest.mark.parametrize(
    ("words", "measured"),
    [
        ([], True),
        (["--", "--allowed-skips=file"], True),
        (["--fast"], False),
        (["--", "-k", "model"], False),
        (["--", "tests/unit/model"], False),
    ],
)
def test_only_a_whole_run_is_held_to_the_floor(
    monkeypatch: pytest.MonkeyPatch, words: list[str], measured: bool
) -> None:
    run: list[tuple[str, ...]] = []
    monkeypatch.setattr(programs, "ensure", lambda *_: None)

    def note(*argv: str, more: int = 0) -> int:
        run.append(argv)
        return 0

    monkeypatch.setattr(verb, "_module", note)
    assert main.main(["test", *words]) == 0
    assert (("coverage", "report") in run) is measured
    assert ("--cov" in run[0]) is measured
    assert not [argv for argv in run[1:] if "--cov" in argv]


def test_the_floor_of_this_project_is_ninety_or_more() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]
    assert settings["report"]["fail_under"] >= 90
    assert settings["run"]["branch"] is True
