"""Every command in the docs is run by a test, or marked as one for a host with VMware."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest

from lvslab.cli import main
from lvslab.cli.common import Session
from lvslab.model.lab import Lab
from lvslab.render.handout import SHEET, answers, handout
from tests.documents import MARKS, Example, blocks, documents, examples, sheet_commands
from tests.sources import powershell_errors

ROOT = Path(__file__).resolve().parents[3]
BUILD = ["python3", "build.py"]


def test_there_is_something_of_each_kind() -> None:
    for mark in MARKS - {"text", "powershell vmware-host"}:
        assert examples(mark), mark


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_every_block_has_a_mark_that_says_who_runs_it(path: Path) -> None:
    for start, mark, lines in blocks(path.read_text()):
        assert mark in MARKS, f"{path.name}:{start}: {mark or 'no mark'}"
        if mark.startswith("console"):
            for line in lines:
                prompt = re.match(r"^ *([a-z0-9]*)\$ .", line)
                assert prompt, f"{path.name}: {line!r} is no command"
                assert bool(prompt[1]) == (mark == "console node"), line


def test_a_block_without_an_end_is_found() -> None:
    with pytest.raises(ValueError, match="line 2 has no end"):
        list(blocks("text\n```console\n$ ls\n"))
    assert list(blocks("```x\na\n```\n")) == [(1, "x", ["a"])]


OUTSIDE_BLOCKS = re.compile(
    r"^(?: {4,}|\t)(?:sudo|sh|powershell|curl|ip|python3|ssh-keygen|sha256sum) "
)


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_no_command_hides_outside_a_block(path: Path) -> None:
    text = path.read_text()
    inside = {line for _, _, lines in blocks(text) for line in lines}
    hidden = [line for line in text.splitlines() if OUTSIDE_BLOCKS.match(line)]
    assert [line for line in hidden if line not in inside] == []


@pytest.mark.parametrize("example", examples("console"), ids=str)
def test_quick_commands_run(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a cache of their own: how large the user's is does not matter here."""
    monkeypatch.setenv("LVSLAB_CACHE", str(tmp_path))
    monkeypatch.chdir(ROOT)
    words = example.words
    if words[:2] == BUILD:
        assert main.main(words[2:]) == 0
    else:
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


LINES = [
    example.words[example.words.index("build.py") + 1 :]
    for mark in sorted(MARKS - {"console"})
    for example in examples(mark)
    if BUILD[0] in example.words
]


def test_an_option_that_no_verb_has_is_noticed() -> None:
    with pytest.raises(click.UsageError, match="--nope"):
        test_commands_of_build_py_are_understood(["lab", "up", "--nope"])


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_commands_of_build_py_are_understood(words: list[str]) -> None:
    """Down to the last option, also those that only a VMware host, or nobody here, can run."""
    command: click.Command | None = main.app
    context = click.Context(main.app)
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(context, name)
        assert command is not None, name
    assert command is not None
    command.make_context(command.name, words, obj=Session())


ROOT_ONLY = {"ipvsadm", "sysctl", "tcpdump", "arping", "ethtool"}
"""Programs on the nodes that a user's PATH lacks, or that tell a user nothing."""


@pytest.mark.parametrize("example", [*sheet_commands(), *examples("console node")], ids=str)
def test_what_needs_root_on_a_node_is_typed_with_sudo(example: Example) -> None:
    if ROOT_ONLY & set(example.words):
        assert example.words[0] == "sudo"


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_files_and_links_that_are_named_exist(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\((?!https:)([^)#]+)\)", text):
        assert (path.parent / target).exists(), target
    named = re.findall(r"`((?:roles|cloud-init|packer|lvslab|tests|bench)/[^`*<> ]+)`", text)
    for target in named:
        assert (ROOT / target).exists(), target


def test_the_lines_for_powershell_are_powershell() -> None:
    lines = [
        line
        for path in documents()
        for _, mark, block in blocks(path.read_text())
        for line in block
        if mark.startswith("powershell")
    ]
    assert len(lines) >= 8
    for line in lines:
        assert powershell_errors(line.strip() + "\n") == [], line


def test_every_variable_of_the_environment_is_documented() -> None:
    read = set()
    for path in (ROOT / "lvslab").rglob("*.py"):
        read |= set(re.findall(r"\bLVSLAB_[A-Z]+\b", path.read_text()))
    read -= {"LVSLAB_TEXTS"}  # a line of a node's own file
    assert "LVSLAB_STATE" in read
    told = (ROOT / "docs/build.md").read_text()
    assert sorted(name for name in read if f"`{name}`" not in told) == []


def test_the_article_s_table_names_files() -> None:
    text = (ROOT / "docs/article.md").read_text()
    assert len(re.findall(r"`(?:roles|cloud-init|lvslab)/[^`]+`", text)) > 10


def test_fusion_s_lines_are_the_script_s(lab: Lab) -> None:
    text = (ROOT / "docs/import.md").read_text()
    [lines] = [lines for _, mark, lines in blocks(text) if mark == "text"]
    assert lines == [f"answer {key} {value}" for key, value in answers(lab).items()]


def test_the_student_sheet_is_the_one_in_the_zip(lab: Lab) -> None:
    assert (ROOT / "docs/student-sheet.txt").read_text() == handout(lab)[SHEET]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_no_import_is_claimed_to_be_seen(path: Path) -> None:
    claims = r"(?i)\b(we|was) (tested|tried|imported) (in|on|with) (VMware|Workstation|Fusion|ESXi)"
    assert not re.search(claims, path.read_text())
