"""What the host's programs are: asked once, and again when one of them is another."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lvslab.core.stages import Stages
from lvslab.make import host_programs


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The programs, which say version 1; this file has a line for each that was started."""
    folder, log = tmp_path / "bin", tmp_path / "asked"
    folder.mkdir()
    log.touch()
    for name in host_programs.PROGRAMS:
        program = folder / name
        program.write_text(f"#!/bin/sh\necho {name} >>{log}\necho {name} 1\necho more\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return log


def test_a_program_is_asked_again_when_it_is_another(asked: Path, tmp_path: Path) -> None:
    stages = Stages(tmp_path / "cache")
    wanted = {name: f"{name} 1" for name in host_programs.PROGRAMS}
    assert host_programs.versions(stages) == wanted
    assert host_programs.versions(Stages(tmp_path / "cache")) == wanted
    assert sorted(asked.read_text().split()) == sorted(wanted)
    tar = tmp_path / "bin/tar"
    tar.write_text(tar.read_text().replace("tar 1", "tar 2"))
    assert host_programs.versions(stages) == {**wanted, "tar": "tar 2"}
    assert asked.read_text().split()[-1] == "tar"
    assert len(asked.read_text().split()) == len(wanted) + 1


@pytest.mark.slow
def test_an_old_answer_and_a_lost_one_do_not_count(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages, number = Stages(tmp_path / "cache"), len(host_programs.PROGRAMS)
    host_programs.versions(stages)
    (tmp_path / "cache/notes/programs.json").write_text("no longer what was written")
    host_programs.versions(stages)
    assert len(asked.read_text().split()) == 2 * number
    now = time.time()
    monkeypatch.setattr("lvslab.core.digests.time.time", lambda: now + 8 * 86400)
    host_programs.versions(stages)
    assert len(asked.read_text().split()) == 3 * number
