"""Others' OVAs: what is only not this lab's style is a warning, what is wrong is refused."""

from __future__ import annotations

import dataclasses
import gzip
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from lvslab.cli import main
from lvslab.formats import seed_iso, vmdk
from lvslab.model.lab import Lab
from lvslab.render import node_seed
from lvslab.verify import RULES, Finding, Outcome, verify
from lvslab.verify.rules import Level
from tests.appliance import MIB, SECTOR, Appliance, appliance, make_disk, run, write_sums
from tests.conftest import ROOT
from tests.foreign import Foreign, data_disk, ovftool_like, virtualbox_like, vsphere_like
from tests.strategies import share

KEY = b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n"


@pytest.fixture(scope="module")
def ours(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Appliance:
    folder = tmp_path_factory.mktemp("foreign")
    return appliance(lab, folder, make_disk(folder / "disk"))


@pytest.fixture(scope="module")
def foreign(ours: Appliance, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Foreign]:
    data = data_disk(tmp_path_factory.mktemp("data"))
    return {
        "ovftool": ovftool_like(ours.disk_vmdk, ours.capacity, data),
        "vsphere": vsphere_like(ours.disk_vmdk, ours.capacity),
        "virtualbox": virtualbox_like(ours.disk_vmdk, ours.capacity),
    }


def with_outcome(findings: list[Finding], outcome: Outcome) -> set[str]:
    return {finding.rule.id for finding in findings if finding.outcome is outcome}


WARNED = {
    "ovftool": {"tar-plain-names", "tar-owner", "ovf-capacity-unit", "ovf-guest-os", "ovf-nic"}
    | {"ovf-hardware-version", "ovf-safe-network", "ovf-firmware", "ovf-no-extra-config"}
    | {"vmdk-front", "vmdk-adapter"},
    "vsphere": {"tar-owner", "ovf-capacity-unit", "ovf-guest-os", "ovf-nic", "ovf-firmware"}
    | {"ovf-hardware-version", "ovf-safe-network", "ovf-controller"}
    | {"vmdk-front", "vmdk-adapter"},
    "virtualbox": {"tar-plain-names", "tar-owner", "tar-manifest-place", "manifest-blank"}
    | {"manifest-algorithm", "ovf-capacity-unit", "ovf-guest-os", "ovf-hardware-version"}
    | {"ovf-safe-network", "ovf-firmware", "ovf-controller", "ovf-memory-unit", "vmdk-adapter"},
}


@pytest.mark.parametrize("program", WARNED)
def test_a_right_ova_of_another_program_is_not_refused(
    foreign: dict[str, Foreign], tmp_path: Path, program: str
) -> None:
    findings = verify(foreign[program].write(tmp_path / "other.ova"))
    assert [f for f in findings if f.outcome is Outcome.FAIL] == []
    assert with_outcome(findings, Outcome.WARN) == WARNED[program]
    assert all(RULES[rule].level is Level.ADVICE for rule in WARNED[program])


@pytest.mark.parametrize("program", WARNED)
def test_advice_must_hold_for_the_lab(
    foreign: dict[str, Foreign], lab: Lab, tmp_path: Path, program: str
) -> None:
    findings = verify(foreign[program].write(tmp_path / "other.ova"), lab)
    assert with_outcome(findings, Outcome.FAIL) == WARNED[program]


@pytest.mark.parametrize("name", ["build.json", "START-HERE.txt"])
def test_advice_must_hold_in_a_folder_that_a_build_made(
    foreign: dict[str, Foreign], tmp_path: Path, name: str
) -> None:
    (tmp_path / "ova").mkdir()
    made = foreign["vsphere"].write(tmp_path / "ova/other.ova")
    assert with_outcome(verify(tmp_path), Outcome.FAIL) == set()
    (tmp_path / name).write_text("{}\n")
    write_sums(tmp_path, [made, tmp_path / name])
    assert with_outcome(verify(tmp_path), Outcome.FAIL) == WARNED["vsphere"]
    assert with_outcome(verify(made), Outcome.FAIL) == WARNED["vsphere"]


def replaced(this: Foreign, ending: str, change: Callable[[bytes], bytes]) -> Foreign:
    members = [(n, change(d) if n.endswith(ending) else d) for n, d in this.members]
    assert members != list(this.members)
    return dataclasses.replace(this, members=members)


def put(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new, 1)


def swapped(this: Foreign, first: int, second: int) -> Foreign:
    members = list(this.members)
    members[first], members[second] = members[second], members[first]
    return dataclasses.replace(this, members=members)


Wreck = Callable[[Foreign], Foreign]
BROKEN: list[tuple[str, str, Wreck, set[str]]] = [
    ("disks in the wrong order", "ovftool", lambda f: swapped(f, 3, 4), {"tar-order"}),
    ("certificate among the disks", "ovftool", lambda f: swapped(f, 2, 4), {"tar-order"}),
    (
        "nvram that is not there",
        "ovftool",
        lambda f: replaced(f, ".ovf", put(b"ovf:/file/file3", b"ovf:/file/file9")),
        {"ovf-references"},
    ),
    (
        "capacity too small by a MiB",
        "ovftool",
        lambda f: replaced(f, ".ovf", put(b'ovf:capacity="12"', b'ovf:capacity="11"')),
        {"ovf-capacity"},
    ),
    (
        "footer gone",
        "vsphere",
        lambda f: replaced(f, ".vmdk", lambda d: d[:-1536] + bytes(1536)),
        {"vmdk-header", "ovf-capacity"},
    ),
    (
        "wrong digest",
        "virtualbox",
        lambda f: dataclasses.replace(f, line="{algorithm} ({name})= " + "0" * 40),
        {"manifest-digest"},
    ),
    (
        "disk at no controller",
        "virtualbox",
        lambda f: replaced(f, ".ovf", put(b"<rasd:Parent>4<", b"<rasd:Parent>9<")),
        {"ovf-instance-ids"},
    ),
]


@pytest.mark.parametrize(
    ("program", "wreck", "expected"), [case[1:] for case in BROKEN], ids=[c[0] for c in BROKEN]
)
def test_a_broken_ova_of_another_program_is_refused(
    foreign: dict[str, Foreign], tmp_path: Path, program: str, wreck: Wreck, expected: set[str]
) -> None:
    findings = verify(wreck(foreign[program]).write(tmp_path / "other.ova"))
    assert with_outcome(findings, Outcome.FAIL) == expected


def test_a_disk_in_gzip_is_named_so(foreign: dict[str, Foreign], tmp_path: Path) -> None:
    def pack(this: Foreign) -> Foreign:
        members = [
            (f"{n}.gz", gzip.compress(d, mtime=0)) if n.endswith(".vmdk") else (n, d)
            for n, d in this.members
        ]
        packed = members[-1][1]
        before = len(this.members[-1][1])
        described = members[0][1].replace(b'.vmdk"', b'.vmdk.gz" ovf:compression="gzip"')
        described = described.replace(b'size="%d"' % before, b'size="%d"' % len(packed))
        return dataclasses.replace(this, members=[(members[0][0], described), *members[1:]])

    findings = verify(pack(foreign["vsphere"]).write(tmp_path / "other.ova"))
    assert with_outcome(findings, Outcome.FAIL) == {"vmdk-header", "ovf-capacity"}
    (said,) = (f.sentence for f in findings if f.rule.id == "vmdk-header")
    assert said.startswith("it is compressed with gzip")


@pytest.mark.many
@pytest.mark.parametrize("program", WARNED)
def test_random_damage_never_ends_in_a_traceback(
    foreign: dict[str, Foreign], tmp_path: Path, program: str
) -> None:
    whole, chance = foreign[program].write(tmp_path / "other.ova").read_bytes(), random.Random(5)
    for round_ in range(share(45)):
        data = bytearray(whole)
        limit = (len(data), 8000, 40000)[round_ % 3]
        for _ in range(chance.choice((1, 8, 64))):
            data[chance.randrange(limit)] = chance.randrange(256)
        (tmp_path / "damaged.ova").write_bytes(data)
        findings = verify(tmp_path / "damaged.ova")
        assert findings
        assert with_outcome(findings, Outcome.DEFECT) == set(), f"round {round_}"


def test_a_seed_that_cannot_be_read_whole_is_refused(
    lab: Lab, ours: Appliance, tmp_path: Path
) -> None:
    """The ISO's mark is there, a later part of the disk is not."""
    seed_iso.write_iso(node_seed(lab, "rs1"), tmp_path / "rs1.iso", epoch=1)
    seed_iso.write_disk(tmp_path / "rs1.iso", tmp_path / "rs1.vmdk")
    data = bytearray((tmp_path / "rs1.vmdk").read_bytes())
    with vmdk.Reader(tmp_path / "rs1.vmdk") as reader:
        last = max(reader.entries.values())
    data[last * SECTOR + 14] ^= 0xFF
    (tmp_path / "rs1.vmdk").write_bytes(data)
    assert with_outcome(verify(tmp_path / "rs1.vmdk"), Outcome.FAIL) == {"vmdk-inflate"}


def test_a_key_on_a_data_disk_is_found(ours: Appliance, tmp_path: Path) -> None:
    data = data_disk(tmp_path, {"server.key": KEY})
    made = ovftool_like(ours.disk_vmdk, ours.capacity, data).write(tmp_path / "other.ova")
    found = {f.rule.id: f for f in verify(made)}
    assert found["data-no-key"].outcome is Outcome.WARN
    assert found["data-no-key"].sentence == "/server.key is a private key"


def test_a_disk_with_an_mbr_alone_is_looked_into(tmp_path: Path) -> None:
    """What an installer leaves on a host with a BIOS: one partition, no GPT."""
    top, part, raw = (tmp_path / name for name in ("tree", "part", "raw"))
    (top / "root/.ssh").mkdir(parents=True)
    (top / "root/.ssh/id_rsa").write_bytes(KEY)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", top, part, "4m")
    entry = struct.pack("<B3sB3sII", 0x80, b"", 0x83, b"", 2048, 4 * MIB // SECTOR)
    sector = (b"\xeb\x63".ljust(446, b"\0") + entry).ljust(510, b"\0") + b"\x55\xaa"
    raw.write_bytes(sector.ljust(2048 * SECTOR, b"\0") + part.read_bytes() + bytes(MIB))
    vmdk.write_stream_optimized(raw, tmp_path / "other.vmdk")
    found = {f.rule.id: f for f in verify(tmp_path / "other.vmdk")}
    assert found["disk-gpt"].outcome is Outcome.SKIP
    assert found["disk-no-host-key"].sentence == "/root/.ssh/id_rsa is a private key"
    assert not [f for f in found.values() if f.outcome is Outcome.FAIL]


def test_warnings_do_not_end_in_status_1(
    foreign: dict[str, Foreign], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = foreign["virtualbox"].write(tmp_path / "other.ova")
    assert main.main(["verify", str(made)]) == 0
    shown = capsys.readouterr().out
    assert "! other.ova: manifest-algorithm: the digest of Debian (64).ovf is sha1" in shown
    assert "vSphere 8: 'Invalid OVF checksum algorithm: SHA1'" in shown
    assert main.main(["verify", "--lab", str(ROOT / "lab.yaml"), str(made)]) == 1
