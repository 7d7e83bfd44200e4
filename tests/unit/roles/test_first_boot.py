"""first-boot: what cloud-init did counts once it is on the disk, and only then."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROGRAM = ROOT / "roles/common/files/usr/local/lib/lvslab/first-boot"


def first_boot(*words: str | Path) -> str:
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    """/var/lib/cloud as a first boot leaves it: one instance, whose steps are marked as done."""
    instance = tmp_path / "instances/lvs1"
    (instance / "sem").mkdir(parents=True)
    (instance / "sem/config_write_files").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/instance-id").write_text("lvs1\n")
    (tmp_path / "sem").mkdir()
    (tmp_path / "instance").symlink_to(instance)
    return tmp_path


def test_a_first_boot_that_was_cut_short_begins_again(cloud: Path) -> None:
    assert "was cut short" in first_boot("begin", cloud)
    assert [path.name for path in cloud.iterdir()] == ["instances"]
    assert list((cloud / "instances").iterdir()) == []


def test_a_first_boot_that_came_to_its_end_is_kept(cloud: Path) -> None:
    first_boot("end", cloud)
    before = sorted(cloud.rglob("*"))
    assert first_boot("begin", cloud) == ""
    assert sorted(cloud.rglob("*")) == before


def test_the_end_of_a_later_boot_writes_nothing(cloud: Path) -> None:
    first_boot("end", cloud)
    (mark,) = cloud.glob("instances/*/lvslab-written")
    before = mark.stat().st_mtime_ns
    first_boot("end", cloud)
    assert mark.stat().st_mtime_ns == before


def test_another_seed_cut_short_after_a_whole_one_begins_again(cloud: Path) -> None:
    """A machine that first had no seed keeps that boot, and repeats the one with the seed."""
    first_boot("end", cloud)
    (cloud / "instances/lvs2").mkdir()
    first_boot("begin", cloud)
    assert [path.name for path in (cloud / "instances").iterdir()] == ["lvs1"]
    assert not (cloud / "data").exists()  # cloud-init must take the seed for a new one


def test_a_machine_that_never_booted_is_left_alone(tmp_path: Path) -> None:
    assert first_boot("begin", tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_word_that_it_does_not_know_is_refused() -> None:
    done = subprocess.run([PROGRAM, "middle"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, "usage: first-boot begin|end\n")
