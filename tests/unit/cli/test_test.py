"""`test`: which tests, and how many random inputs."""

from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import settings

from lvslab.cli import main
from tests.conftest import ROOT
from tests.strategies import WHOLE, examples


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The words of each pytest that `test` starts; all of them pass."""
    seen: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if "pytest" in command:  # else coverage shows what they reached
            seen.append(command[command.index("pytest") + 1 :])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("lvslab.cli.common.Session.ensure", lambda *_: None)
    monkeypatch.setattr("lvslab.cli.test.subprocess.run", run)
    return seen


@pytest.mark.parametrize(
    ("words", "machines"),
    [
        ([], "vm and not long"),
        (["--long"], "vm"),
        (["--", "tests/vm/test_dual_stack.py"], "vm"),  # what is named always runs
    ],
)
def test_the_whole_run_leaves_nothing_out_but_what_is_long(
    runs: list[list[str]], words: list[str], machines: str
) -> None:
    assert main.main(["test", *words]) == 0
    chosen = [words[words.index("-m") + 1] for words in runs]
    assert chosen == ["not vm", machines]
    assert not [w for words in runs for w in words if w.startswith(("--ignore", "--hypothesis"))]


def test_the_fast_run_is_one_with_fewer_inputs(runs: list[list[str]]) -> None:
    assert main.main(["test", "--fast", "--", "-k", "model"]) == 0
    (words,) = runs
    assert words[words.index("-m") + 1] == "not vm and not slow"
    assert "--hypothesis-profile=quick" in words
    assert words[-2:] == ["-k", "model"]


@pytest.mark.parametrize(("profile", "number"), [("default", 40), ("quick", 4)])
def test_the_profile_says_how_many_inputs(profile: str, number: int) -> None:
    before = settings.get_current_profile_name()
    settings.load_profile(profile)
    try:
        assert examples(40).max_examples == number
        assert examples(5).max_examples >= 1
    finally:
        settings.load_profile(before)
    assert settings.get_profile("default").max_examples == WHOLE


def test_no_test_has_a_number_of_its_own() -> None:
    """It would be the same in the quick run."""
    own = [
        path.name
        for path in (ROOT / "tests/unit").rglob("*.py")
        if re.search(r"max_examples=\d", path.read_text())
    ]
    assert own == ["test_programs.py"]  # marked slow as a whole
