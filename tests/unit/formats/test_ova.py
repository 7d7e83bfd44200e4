"""The OVA as a tar: what is in it, in which order, and that others can read it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from lvslab.core.errors import StageError
from lvslab.core.procs import program
from lvslab.formats import ova, vmdk
from lvslab.model.lab import Lab
from lvslab.render.ovf import OvfDisk, ovf
from lvslab.verify import Outcome, verify
from tests.appliance import make_disk

MTIME = 1_700_000_000
NAMES = ("director-disk1.vmdk", "director-disk2.vmdk")


@pytest.fixture(scope="module")
def parts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Path]]:
    """An OVF and its two disks."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "raw").write_bytes(make_disk(folder / "disk"))
    disks, files = [], [folder / name for name in NAMES]
    for file in files:
        written = vmdk.write_stream_optimized(folder / "raw", file)
        disks.append(OvfDisk(file.name, written.size, written.capacity, written.populated))
    return ovf(lab, "director", disks), files


@pytest.fixture
def made(parts: tuple[str, list[Path]], tmp_path: Path) -> Path:
    text, files = parts
    ova.write(tmp_path / "director.ova", "director.ovf", text, files, MTIME)
    return tmp_path / "director.ova"


def test_members(made: Path) -> None:
    with tarfile.open(made) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == ["director.ovf", "director.mf", *NAMES]
    for member in members:
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
        assert (member.mode, member.mtime, member.isreg()) == (0o644, MTIME, True)
    assert made.read_bytes()[257:265] == b"ustar\x0000"


def test_the_manifest_is_that_of_the_files_as_tar_takes_them_out(
    made: Path, tmp_path: Path
) -> None:
    subprocess.run([program("tar"), "xf", made, "-C", tmp_path], check=True, timeout=60)
    lines = (tmp_path / "director.mf").read_text().splitlines()
    expected = [
        f"SHA256({name})= {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}"
        for name in ("director.ovf", *NAMES)
    ]
    assert lines == expected


def test_the_same_parts_give_the_same_bytes(
    parts: tuple[str, list[Path]], made: Path, tmp_path: Path
) -> None:
    text, files = parts
    for file in files:
        os.utime(file, (1, 1))
        file.chmod(0o600)
    before = os.umask(0o077)
    try:
        ova.write(tmp_path / "again.ova", "director.ovf", text, files, MTIME)
    finally:
        os.umask(before)
    assert (tmp_path / "again.ova").read_bytes() == made.read_bytes()
    ova.write(tmp_path / "later.ova", "director.ovf", text, files, MTIME + 1)
    assert (tmp_path / "later.ova").read_bytes() != made.read_bytes()


def test_two_disks_pass_every_rule(made: Path) -> None:
    findings = verify(made)
    assert [f for f in findings if f.outcome is not Outcome.PASS] == []
    assert {f.artifact.partition("/")[2] for f in findings} == {"", "director.ovf", *NAMES}


def test_7zip_reads_the_ova_and_the_disk(made: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [program("7z"), "t", str(made)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout
    assert "Everything is Ok" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["512", "nonsense"])
def test_virt_v2v_reads_the_ova(parts: tuple[str, list[Path]], tmp_path: Path, memory: str) -> None:
    """libguestfs's own reader of OVF; the second case shows that it can refuse."""
    text, files = parts
    changed = text.replace("<rasd:VirtualQuantity>512<", f"<rasd:VirtualQuantity>{memory}<")
    ova.write(tmp_path / "director.ova", "director.ovf", changed, files, MTIME)
    done = subprocess.run(
        [program("virt-v2v"), "-i", "ova", str(tmp_path / "director.ova"), "--print-source"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "LIBGUESTFS_BACKEND": "direct"},
    )
    if memory == "nonsense":
        assert done.returncode != 0
        return
    assert done.returncode == 0, done.stdout + done.stderr
    assert "source name: director" in done.stdout
    assert "memory: 536870912 (bytes)" in done.stdout
    assert [line.split('"')[1] for line in done.stdout.splitlines() if "e1000" in line] == [
        "nat",
        *["hostonly"] * 3,
    ]
    assert done.stdout.count("[scsi]") == 2


def test_files_that_are_not_those_of_the_ovf_are_refused(
    parts: tuple[str, list[Path]], tmp_path: Path
) -> None:
    text, files = parts
    for wrong in ([], files[:1], files[::-1]):
        with pytest.raises(StageError, match="the OVF refers to"):
            ova.write(tmp_path / "director.ova", "director.ovf", text, wrong, MTIME)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_too_long_for_ustar_is_refused(lab: Lab, tmp_path: Path) -> None:
    large = tmp_path / "large.vmdk"
    with large.open("wb") as file:
        file.truncate(8 << 30)
    text = ovf(lab, "director", [OvfDisk(large.name, 8 << 30, 512, 0)])
    with pytest.raises(StageError, match="do not fit a ustar archive"):
        ova.write(tmp_path / "director.ova", "director.ovf", text, [large], MTIME)


def test_an_error_leaves_the_old_ova(parts: tuple[str, list[Path]], tmp_path: Path) -> None:
    text, files = parts
    target = tmp_path / "director.ova"
    target.write_text("the old one")
    with pytest.raises(FileNotFoundError):
        ova.write(target, "director.ovf", text, [files[0], tmp_path / NAMES[1]], MTIME)
    assert [p.name for p in tmp_path.iterdir()] == ["director.ova"]
    assert target.read_text() == "the old one"
