"""`init`: a folder with a lab of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from lvslab.cli import init, main
from tests.conftest import ROOT

Captured = pytest.CaptureFixture[str]


def test_a_new_folder_has_the_default_lab_and_the_next_commands_work(
    tmp_path: Path, capsys: Captured
) -> None:
    folder = tmp_path / "my lab"
    assert main.main(["init", str(folder)]) == 0
    assert (folder / "lab.yaml").read_text() == (ROOT / "lab.yaml").read_text()
    validate, _ = (line for line in capsys.readouterr().out.splitlines() if line[0] == " ")
    assert main.main(shlex.split(validate.removeprefix("  python3 build.py"))) == 0


def test_an_example_is_copied_and_another_name_is_refused(tmp_path: Path, capsys: Captured) -> None:
    assert "dns" in init.examples()
    assert main.main(["init", "--example", "dns", "--no-color", str(tmp_path / "dns")]) == 0
    made = (tmp_path / "dns/lab.yaml").read_text()
    assert made == (ROOT / "examples/dns/lab.yaml").read_text()
    assert main.main(["init", "--example", "mail", str(tmp_path / "mail")]) == 2
    assert "there is no example mail" in capsys.readouterr().err
    assert not (tmp_path / "mail").exists()


def test_a_lab_that_is_there_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    (tmp_path / "lab.yaml").write_text("mine")
    assert main.main(["init", str(tmp_path)]) == 2
    assert "there is a lab already" in capsys.readouterr().err
    assert (tmp_path / "lab.yaml").read_text() == "mine"


def test_an_installed_program_is_run_in_the_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(init, "IN_CHECKOUT", False)
    assert main.main(["init", str(tmp_path / "a")]) == 0
    assert f"  cd {tmp_path}/a\n" in capsys.readouterr().out
