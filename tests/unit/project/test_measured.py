"""What is measured of a run: not what tests of many inputs reach."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from coverage import CoverageData

from tests.conftest import ROOT

FUNCTIONS = ("quick", "random", "many", "child", "child_of_many", "after")
SUITE = """
import subprocess, sys
import pytest, small
from hypothesis import given, strategies as st

def child(name): subprocess.run([sys.executable, "-c", f"import small; small.{name}()"], check=True)

def test_quick(): small.quick()

@given(st.integers())
def test_random(number): small.random()

@pytest.mark.many
def test_many(): small.many(); child("child_of_many")

def test_after(): small.after(); child("child")
"""
PROJECT = """
[tool.pytest.ini_options]
markers = ["many: none"]
[tool.coverage.run]
branch = true
source_pkgs = ["small"]
patch = ["subprocess"]
"""


@pytest.mark.slow
def test_tests_of_many_inputs_are_not_measured(tmp_path: Path) -> None:
    assert reached(tmp_path, "-p", "tests.measured") == {"quick", "child", "after"}
    assert reached(tmp_path) == set(FUNCTIONS), "the control: without the plugin all are"


def reached(folder: Path, *words: str) -> set[str]:
    """The functions of a small package that its tests reach, as coverage counts it."""
    functions = "".join(f"def {name}():\n    return 1\n" for name in FUNCTIONS)
    (folder / "small.py").write_text(functions)
    (folder / "test_small.py").write_text(SUITE)
    (folder / "pyproject.toml").write_text(PROJECT)
    own = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    own["PYTHONPATH"] = f"{ROOT}:{folder}"
    argv = [sys.executable, "-m", "pytest", "-q", "--cov", "--cov-report=", *words]
    subprocess.run(argv, cwd=folder, env=own, check=True, timeout=120)
    data = CoverageData(str(folder / ".coverage"))
    data.read()
    lines = set(data.lines(str(folder / "small.py")) or ())
    return {name for place, name in enumerate(FUNCTIONS) if 2 * place + 2 in lines}
