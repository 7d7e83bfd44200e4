"""Seed ISOs: the same bytes always, and read by programs that others wrote."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lvslab.core.procs import program
from lvslab.formats.seed_iso import write_iso
from lvslab.model.lab import Lab
from lvslab.render import Seed, node_seed

EPOCH = 1_700_000_000
FILES = {"user-data": "user_data", "meta-data": "meta_data", "network-config": "network_config"}


def isoinfo(*words: object) -> str:
    argv = [program("isoinfo"), *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


@pytest.fixture
def seed(lab: Lab) -> Seed:
    return node_seed(lab, "rs1")


@pytest.fixture
def iso(seed: Seed, tmp_path: Path) -> Path:
    write_iso(seed, tmp_path / "rs1.iso", epoch=EPOCH)
    return tmp_path / "rs1.iso"


def test_label_joliet_and_rock_ridge(iso: Path) -> None:
    described = isoinfo("-d", "-i", iso)
    assert "Volume id: cidata\n" in described
    assert "Joliet with UCS level 3 found" in described
    assert "Rock Ridge signatures version 1 found" in described


@pytest.mark.parametrize("names", ["-R", "-J"])
def test_isoinfo_takes_the_files_out(iso: Path, seed: Seed, names: str) -> None:
    listed = isoinfo(names, "-f", "-i", iso).split()
    assert sorted(listed) == sorted(f"/{name}" for name in FILES)
    for name, attribute in FILES.items():
        assert isoinfo(names, "-x", f"/{name}", "-i", iso) == getattr(seed, attribute)


def test_7zip_takes_the_files_out(iso: Path, seed: Seed, tmp_path: Path) -> None:
    argv = [program("7z"), "x", f"-o{tmp_path / 'out'}", str(iso)]
    subprocess.run(argv, capture_output=True, check=True, timeout=60)
    for name, attribute in FILES.items():
        assert (tmp_path / "out" / name).read_text() == getattr(seed, attribute)


def test_blkid_sees_what_cloud_init_looks_for(iso: Path) -> None:
    argv = [program("blkid"), "-p", "-o", "export", str(iso)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert "LABEL=cidata\n" in done.stdout
    assert "TYPE=iso9660\n" in done.stdout


_WRITE = """
import sys
from pathlib import Path
from lvslab.formats.seed_iso import write_iso
from lvslab.render import Seed
seed = Seed("#cloud-config\\n", "instance-id: x\\n", "version: 2\\n")
write_iso(seed, Path(sys.argv[1]), epoch=1700000000)
"""


@pytest.mark.slow
def test_the_same_texts_give_the_same_bytes_at_any_time_and_place(tmp_path: Path) -> None:
    sums = set()
    for number, zone in enumerate(("UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Apia")):
        path = tmp_path / str(number) / "seed.iso"
        environment = {**os.environ, "TZ": zone, "LC_ALL": "C", "PYTHONHASHSEED": str(number)}
        subprocess.run(
            [sys.executable, "-c", _WRITE, path], env=environment, check=True, timeout=60
        )
        sums.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(sums) == 1


def test_the_epoch_is_the_only_time(seed: Seed, iso: Path, tmp_path: Path) -> None:
    write_iso(seed, tmp_path / "later.iso", epoch=EPOCH + 86400)
    assert (tmp_path / "later.iso").read_bytes() != iso.read_bytes()
    assert b"20231114221320" in iso.read_bytes()
    assert "Nov 14 2023" in isoinfo("-R", "-l", "-i", iso)


def test_the_clock_goes_on_afterwards(iso: Path) -> None:
    import time

    import pycdlib
    from pycdlib import dates, headervd

    for module in (pycdlib.pycdlib, dates, headervd):
        assert vars(module)["time"] is time


def test_an_error_leaves_the_old_seed(tmp_path: Path) -> None:
    (tmp_path / "rs1.iso").write_text("the old one")
    broken = Seed("\ud800", "", "")  # no text that can be written
    with pytest.raises(UnicodeEncodeError):
        write_iso(broken, tmp_path / "rs1.iso", epoch=EPOCH)
    assert (tmp_path / "rs1.iso").read_text() == "the old one"
    assert [p.name for p in tmp_path.iterdir()] == ["rs1.iso"]
