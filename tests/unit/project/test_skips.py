"""What CI skips: counted by reason, and a reason that is not on the short list is a failure."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.skips import read

ALLOWED = ROOT / ".ci/allowed-skips"
SUITE = """
import pytest

@pytest.mark.skipif(True, reason="no KVM here")
def test_one(): pass

@pytest.mark.parametrize("n", range(2))
def test_two(n): pytest.skip("a file is missing")

@pytest.mark.xfail(strict=True)
def test_three(): assert False

def test_four(): pass
"""


def run(folder: Path, *words: str, suite: str = SUITE) -> subprocess.CompletedProcess[str]:
    """A suite of its own under the plugin."""
    (folder / "test_it.py").write_text(suite)
    (folder / "pytest.ini").write_text("[pytest]\n")
    argv = [sys.executable, "-m", "pytest", "-p", "tests.skips", f"--rootdir={folder}", *words]
    return subprocess.run(
        [*argv, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def allowed(folder: Path, *reasons: str) -> str:
    (folder / "allowed").write_text("# why\n\n" + "".join(f"{reason}\n" for reason in reasons))
    return f"--allowed-skips={folder / 'allowed'}"


@pytest.mark.slow
def test_skips_are_counted_by_reason(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "   2  a file is missing\n   1  no KVM here\n   3  in all\n" in done.stdout


@pytest.mark.slow
def test_a_reason_that_is_not_on_the_list_fails(tmp_path: Path) -> None:
    done = run(tmp_path, allowed(tmp_path, "no KVM here"))
    assert done.returncode == 1
    assert "   2  a file is missing  (NOT ALLOWED)\n   1  no KVM here\n" in done.stdout
    done = run(tmp_path, allowed(tmp_path, "no KVM here", "a file is missing"))
    assert done.returncode == 0
    assert "NOT ALLOWED" not in done.stdout


def test_a_whole_module_that_is_skipped_counts(tmp_path: Path) -> None:
    suite = 'import pytest\npytest.skip("another file is missing", allow_module_level=True)\n'
    suite_beside = tmp_path / "test_beside.py"
    suite_beside.write_text("def test_five(): pass\n")
    done = run(tmp_path, allowed(tmp_path, "no KVM here"), suite=suite)
    assert done.returncode == 1
    assert "   1  another file is missing  (NOT ALLOWED)\n" in done.stdout


@pytest.mark.slow
def test_a_failure_stays_one(tmp_path: Path) -> None:
    done = run(tmp_path, allowed(tmp_path), suite="def test_six(: pass\n")
    assert done.returncode == 2


def reasons(source: str) -> set[str]:
    """The literal reasons for which the tests in a source text skip."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".skip", ".skipif")):
            words = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            for word in words or node.args:
                if isinstance(word, ast.Constant) and isinstance(word.value, str):
                    found.add(word.value)
    return found


def test_the_list_has_every_reason_that_a_test_gives_and_no_other() -> None:
    given = set()
    for path in (ROOT / "tests").rglob("*.py"):
        if path != Path(__file__):
            given |= reasons(path.read_text())
    assert read(ALLOWED) == given


@pytest.mark.parametrize(
    "source", ['pytest.skip("a b")', 'mark = pytest.mark.skipif(x != 0, reason="a b")']
)
def test_reasons_are_found(source: str) -> None:
    assert reasons(source) == {"a b"}


def test_ci_holds_the_suite_against_the_list() -> None:
    assert "--allowed-skips=.ci/allowed-skips" in (ROOT / ".ci/run").read_text()
