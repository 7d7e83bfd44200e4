"""What the host refuses is reported with its path and a way out; it is not a defect."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lvslab.cli import main
from lvslab.core.errors import InputError, StageError


@pytest.mark.parametrize("words", [["images", "--out"], ["render"], ["diagram", "--out"]])
def test_a_file_in_the_way_of_the_results(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LVSLAB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "file").touch()
    assert main.main([*words, f"{tmp_path}/file/in/it"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"error: {tmp_path}/file/in/it")
    assert said[0].endswith(": Not a directory")
    assert said[1] == "  to fix it: a part of this path is a file: choose another folder"


@pytest.mark.parametrize(
    ("number", "status", "hint"),
    [
        (errno.EACCES, 2, "choose a folder that you may write to"),
        (errno.EROFS, 2, "choose a folder that you may write to"),
        (errno.ENOSPC, 4, "free some disk space there, or choose another folder"),
        (errno.EEXIST, 2, "something else has that name: move it away, or choose another folder"),
        (errno.EISDIR, 2, "a folder has that name: move it away, or choose another folder"),
    ],
)
def test_what_the_host_says_of_a_path(number: int, status: int, hint: str) -> None:
    error = main.of_the_host(OSError(number, os.strerror(number), "/out/.lab.svg.7-8.part"))
    assert isinstance(error, InputError | StageError)
    assert error.status == status
    assert str(error) == f"/out: {os.strerror(number)}\n  to fix it: {hint}"


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "no path"), OSError(errno.EIO, "rot", "/out"), KeyError("x")]
)
def test_anything_else_is_a_defect(error: Exception) -> None:
    assert main.of_the_host(error) is None
