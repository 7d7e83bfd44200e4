"""The benches that look at other hosts and importers: their judgement, and what they leave."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lvslab.core.files import mounts_below
from lvslab.core.waiting import until
from lvslab.formats import vmdk
from lvslab.model.lab import Lab
from lvslab.render.ovf import OvfDisk, ovf

ROOT = Path(__file__).resolve().parents[3]
SUM = "0" * 64


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the benches, where Python looks for their modules."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    return ROOT / "bench"


@pytest.fixture
def hosts(bench: Path) -> ModuleType:
    return importlib.import_module("hosts")


@pytest.fixture
def virtualbox(bench: Path) -> ModuleType:
    return importlib.import_module("virtualbox")


def artifacts(folder: Path, *, seconds: int = 1, source: str = "a", **sums: str) -> Path:
    folder.mkdir()
    report = {
        "source": {"sha256": source},
        "lab": {"name": "lvslab"},
        "lock": {"sha256": SUM},
        "seconds": seconds,
    }
    (folder / "build.json").write_text(json.dumps(report))
    times = dict.fromkeys(("build.json", "profile.svg"), f"{seconds:064}")
    rows = {**times, **{f"ova/{name}.ova": s for name, s in sums.items()}}
    (folder / "SHA256SUMS").write_text("".join(f"{s}  {name}\n" for name, s in rows.items()))
    return folder


def test_the_report_may_differ_and_nothing_else(hosts: ModuleType, tmp_path: Path) -> None:
    here = artifacts(tmp_path / "here", director=SUM)
    there = artifacts(tmp_path / "there", seconds=2, director=SUM)
    assert hosts.difference(there, here) == ""
    other = artifacts(tmp_path / "other", director="1" * 64)
    assert hosts.difference(other, here) == "1 artifacts differ: ova/director.ova"
    more = artifacts(tmp_path / "more", director=SUM, lvs1=SUM)
    assert hosts.difference(more, here) == "1 artifacts differ: ova/lvs1.ova"


def test_artifacts_of_other_sources_are_no_comparison(hosts: ModuleType, tmp_path: Path) -> None:
    here = artifacts(tmp_path / "here", director=SUM)
    there = artifacts(tmp_path / "there", source="b", director=SUM)
    assert "not comparable" in hosts.difference(there, here)


def test_what_pytest_says_at_its_end(hosts: ModuleType) -> None:
    log = "tests/unit/test_a.py ..\n==== 5 failed, 7 passed, 1 skipped in 2.00s ====\n"
    assert hosts.tested(log) == "5 failed, 7 passed, 1 skipped in 2.00s"
    assert hosts.tested("error: no network\n") == "no result"


SHOWN = """=== lvs1 imported
name="lvs1"
nic1="nat"
nictype1="82545EM"
nic2="hostonly"
nictype2="82540EM"
nic3="none"
"SCSI-0-0"="/root/VirtualBox VMs/lvs1/lvs1-disk1.vmdk"
"SCSI-ImageUUID-0-0"="3dd1"
"SCSI-nonrotational-0-0"="off"
"SCSI-10-0"="/root/VirtualBox VMs/lvs1/c.vmdk"
"SCSI-2-0"="/root/VirtualBox VMs/lvs1/b.vmdk"
"SCSI-1-0"="none"
"IDE-1-0"="emptydrive"
=== lvs1 wired
nic1="intnet"
intnet1="vmnet12"
"""


def test_what_virtualbox_shows_is_read(virtualbox: ModuleType) -> None:
    seen = virtualbox.machines("7.2.22r1\n0%...100%\n" + SHOWN)
    assert seen["lvs1 imported"].cards() == [("nat", "82545EM"), ("hostonly", "82540EM")]
    names = [Path(path).name for path in seen["lvs1 imported"].disks()]
    assert names == ["lvs1-disk1.vmdk", "b.vmdk", "c.vmdk"]
    assert seen["lvs1 wired"].settings["intnet1"] == "vmnet12"


def test_the_networks_of_an_ovf(virtualbox: ModuleType, lab: Lab) -> None:
    text = ovf(lab, "director", [OvfDisk("a.vmdk", 1, 1, 1)], version="1").encode()
    assert virtualbox.networks(text) == ["nat", "hostonly", "hostonly", "hostonly"]


def test_one_sector_that_differs_is_seen(virtualbox: ModuleType, tmp_path: Path) -> None:
    content = os.urandom(1 << 20)

    def disk(name: str, data: bytes) -> Path:
        (tmp_path / "raw").write_bytes(data)
        vmdk.write_stream_optimized(tmp_path / "raw", tmp_path / name)
        return tmp_path / name

    ours = disk("ours.vmdk", content)
    assert virtualbox.differs(ours, disk("same.vmdk", content)) == ""
    changed = content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
    assert "mismatch" in virtualbox.differs(ours, disk("changed.vmdk", changed))
    longer = disk("longer.vmdk", content + bytes(1 << 16))
    assert virtualbox.differs(ours, longer) == "1114112 bytes, ours has 1048576"


SLEEPER = """
import sys
from pathlib import Path
import chroot
root = Path(sys.argv[1])
chroot.run(root, ["sh", "-c", "echo entered; sleep 600"], log=root.parent / "log", share=["/usr"])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make the chroots")
def test_a_bench_that_is_killed_leaves_neither_mounts_nor_processes(
    bench: Path, tmp_path: Path
) -> None:
    root, log = tmp_path / "root", tmp_path / "log"
    for name in ("dev", "sys", "proc", "root", "etc", "tmp"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    started = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, str(root)], env={**os.environ, "PYTHONPATH": str(bench)}
    )
    with started:
        assert until(lambda: log.is_file() and "entered" in log.read_text(), 60), started.poll()
        inside = members(root)
        assert inside
        started.send_signal(signal.SIGKILL)
    assert until(lambda: not any(Path("/proc", number).exists() for number in inside), 10)
    assert mounts_below(root) == []


def members(root: Path) -> list[str]:
    """The processes whose root is the folder: in it, /root is where they were started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "root").samefile(root):
                found.append(process.name)
        except OSError:  # it has ended meanwhile
            continue
    return found
