"""VMware folders: a right .vmx passes, each broken one is refused by its rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvslab.check.verify import RULES, Finding, Outcome, verify
from lvslab.export import vmdk
from lvslab.model.lab import Lab
from tests.appliance import make_disk

GOOD = """.encoding = "UTF-8"
config.version = "8"
virtualHW.version = "14"
displayName = "rs1"
guestOS = "debian10-64"
memsize = "512"
numvcpus = "1"
uuid.action = "create"
tools.syncTime = "FALSE"
time.synchronize.continue = "FALSE"
time.synchronize.restore = "FALSE"
time.synchronize.resume.disk = "FALSE"
time.synchronize.resume.host = "FALSE"
time.synchronize.shrink = "FALSE"
time.synchronize.tools.startup = "FALSE"
pciBridge0.present = "TRUE"
floppy0.present = "FALSE"
sound.present = "FALSE"
usb.present = "FALSE"
scsi0.present = "TRUE"
scsi0.virtualDev = "lsilogic"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "rs1.vmdk"
ide1:0.present = "TRUE"
ide1:0.deviceType = "cdrom-image"
ide1:0.fileName = "rs1.iso"
ethernet0.present = "TRUE"
ethernet0.connectionType = "nat"
ethernet0.virtualDev = "e1000"
ethernet0.addressType = "static"
ethernet0.address = "00:50:56:01:03:00"
ethernet0.pciSlotNumber = "32"
ethernet1.present = "TRUE"
ethernet1.connectionType = "custom"
ethernet1.vnet = "VMnet12"
ethernet1.virtualDev = "e1000"
ethernet1.addressType = "static"
ethernet1.address = "00:50:56:01:03:01"
ethernet1.pciSlotNumber = "33"
ethernet2.present = "TRUE"
ethernet2.connectionType = "custom"
ethernet2.vnet = "VMnet13"
ethernet2.virtualDev = "e1000"
ethernet2.addressType = "static"
ethernet2.address = "00:50:56:01:03:02"
ethernet2.pciSlotNumber = "34"
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("machine")
    (folder / "raw").write_bytes(make_disk(folder / "disk"))
    return folder / "raw"


@pytest.fixture
def folder(raw: Path, tmp_path: Path) -> Path:
    vmdk.write_monolithic_sparse(raw, tmp_path / "rs1.vmdk")
    (tmp_path / "rs1.iso").write_bytes(b"CD001")
    return tmp_path


def failed(findings: list[Finding]) -> set[str]:
    """What is refused or warned of."""
    return {f.rule.id for f in findings if f.outcome in (Outcome.FAIL, Outcome.WARN)}


def failing(folder: Path, text: str) -> set[str]:
    (folder / "rs1.vmx").write_text(text)
    return failed(verify(folder / "rs1.vmx"))


def test_a_right_machine_passes(lab: Lab, folder: Path) -> None:
    (folder / "rs1.vmx").write_text(GOOD)
    findings = verify(folder / "rs1.vmx", lab)
    assert [f for f in findings if f.outcome is not Outcome.PASS] == []
    assert {f.rule.id for f in findings} == {rule for rule in RULES if rule.startswith("vmx-")}


CASES: list[tuple[str, str, str, set[str]]] = [
    ("comment", "config.version", "# the version\nconfig.version", {"vmx-form"}),
    ("a quote that is not closed", 'memsize = "512"', 'memsize = "512', {"vmx-form", "vmx-memory"}),
    ("a comment, and more", "config.version", "#!/bin/sh\nconfig.version", {"vmx-form"}),
    ("no memory", 'memsize = "512"\n', "", {"vmx-memory"}),
    ("memory in words", '"512"', '"half a gigabyte"', {"vmx-memory"}),
    ("odd memory", '"512"', '"511"', {"vmx-memory"}),
    ("no processor", 'numvcpus = "1"', 'numvcpus = "0"', {"vmx-memory"}),
    ("key twice", "memsize", 'MemSize = "256"\nmemsize', {"vmx-form"}),
    ("no encoding", '.encoding = "UTF-8"\n', "", {"vmx-encoding"}),
    ("version of the form", 'config.version = "8"', 'config.version = "9"', {"vmx-form"}),
    (
        "new hardware",
        'virtualHW.version = "14"',
        'virtualHW.version = "20"',
        {"vmx-hardware-version"},
    ),
    ("bridged", 'connectionType = "nat"', 'connectionType = "bridged"', {"vmx-network"}),
    ("bridged by default", 'ethernet0.connectionType = "nat"\n', "", {"vmx-network"}),
    ("no VMnet", 'ethernet1.vnet = "VMnet12"\n', "", {"vmx-network"}),
    ("VMnet0", '"VMnet12"', '"VMnet0"', {"vmx-network"}),
    ("VMnet0 of Linux", '"VMnet12"', '"/dev/vmnet0"', {"vmx-network"}),
    ("a LAN segment", '"VMnet12"', '"Office LAN"', {"vmx-network"}),
    ("no such VMnet", '"VMnet12"', '"VMnet999"', {"vmx-network"}),
    (
        "card not connected",
        "ethernet1.present",
        'ethernet1.startConnected = "FALSE"\nethernet1.present',
        {"vmx-network"},
    ),
    ("no PCI bridge", 'pciBridge0.present = "TRUE"\n', "", {"vmx-slots"}),
    ("time steps", 'continue = "FALSE"', 'continue = "TRUE"', {"vmx-time"}),
    ("time by default", 'time.synchronize.shrink = "FALSE"\n', "", {"vmx-time"}),
    ("MAC out of the range", "00:50:56:01:03:00", "00:50:56:41:03:00", {"vmx-mac"}),
    ("MAC twice", "00:50:56:01:03:00", "00:50:56:01:03:01", {"vmx-mac"}),
    ("generated MAC", 'Type = "static"', 'Type = "generated"', {"vmx-mac-static"}),
    ("slots swapped", 'Number = "32"', 'Number = "35"', {"vmx-slots"}),
    ("vmxnet3", '"e1000"', '"vmxnet3"', {"vmx-slots"}),
    ("no such disk", '"rs1.vmdk"', '"rs2.vmdk"', {"vmx-files"}),
    ("absolute path", '"rs1.iso"', '"/home/teacher/rs1.iso"', {"vmx-files"}),
    ("path of Windows", '"rs1.iso"', '"C:\\\\lab\\\\rs1.iso"', {"vmx-files"}),
    ("no CD-ROM", 'ide1:0.present = "TRUE"', 'ide1:0.present = "FALSE"', {"vmx-cdrom"}),
    ("host's CD-ROM", '"cdrom-image"', '"cdrom-raw"', {"vmx-cdrom"}),
    (
        "CD-ROM not connected",
        "ide1:0.present",
        'ide1:0.startConnected = "FALSE"\nide1:0.present',
        {"vmx-cdrom"},
    ),
    ("PVSCSI", '"lsilogic"', '"pvscsi"', {"vmx-controller"}),
    ("no controller", 'scsi0.present = "TRUE"', 'scsi0.present = "FALSE"', {"vmx-controller"}),
    ("asks whether it moved", 'uuid.action = "create"\n', "", {"vmx-questions"}),
    ("floppy", 'floppy0.present = "FALSE"\n', "", {"vmx-devices"}),
    ("sound", 'sound.present = "FALSE"', 'sound.present = "TRUE"', {"vmx-devices"}),
    ("time sync", 'syncTime = "FALSE"', 'syncTime = "TRUE"', {"vmx-time"}),
]


@pytest.mark.parametrize(
    ("old", "new", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_broken_machine_is_refused(folder: Path, old: str, new: str, expected: set[str]) -> None:
    assert old in GOOD
    assert failing(folder, GOOD.replace(old, new, 1)) == expected


def test_a_stream_optimized_disk_is_refused(raw: Path, folder: Path) -> None:
    vmdk.write_stream_optimized(raw, folder / "rs1.vmdk")
    assert failing(folder, GOOD) == {"vmx-disk-kind"}


def test_a_child_disk_needs_its_unchanged_parent(raw: Path, folder: Path) -> None:
    (folder / "base").mkdir()
    parent = folder / "base" / "real-server.vmdk"
    vmdk.write_monolithic_sparse(raw, parent)
    vmdk.write_child(folder / "rs1.vmdk", parent, "base/real-server.vmdk")
    assert failing(folder, GOOD) == set()
    assert failed(verify(folder / "rs1.vmdk")) == set()
    vmdk.write_child(folder / "rs1.vmdk", parent, "/srv/real-server.vmdk")
    assert failing(folder, GOOD) == {"vmx-disk-kind"}
    vmdk.write_child(folder / "rs1.vmdk", parent, "base/absent.vmdk")
    assert failing(folder, GOOD) == {"vmx-disk-kind"}
    vmdk.write_child(folder / "rs1.vmdk", parent, "base/real-server.vmdk")
    other = raw.with_name("other")
    other.write_bytes(raw.read_bytes()[:-512] + b"x" * 512)
    vmdk.write_monolithic_sparse(other, parent)
    assert failing(folder, GOOD) == {"vmx-disk-kind"}


LAB_CASES = {
    "another wire": ('"VMnet13"', '"VMnet1"'),
    "wires swapped": ('"VMnet12"', '"VMnet13"'),
    "a card less": ('ethernet2.present = "TRUE"', 'ethernet2.present = "FALSE"'),
    "another node's address": ("00:50:56:01:03:01", "00:50:56:01:04:01"),
    "more memory": ('memsize = "512"', 'memsize = "1024"'),
    "more processors": ('numvcpus = "1"', 'numvcpus = "2"'),
}


@pytest.mark.parametrize(("old", "new"), LAB_CASES.values(), ids=LAB_CASES)
def test_a_machine_that_is_not_the_labs_is_refused_if_the_lab_is_known(
    lab: Lab, folder: Path, old: str, new: str
) -> None:
    assert old in GOOD
    assert failing(folder, GOOD.replace(old, new, 1)) == set()
    assert failed(verify(folder / "rs1.vmx", lab)) == {"vmx-lab"}


def test_a_machine_that_the_lab_does_not_have_is_refused(lab: Lab, folder: Path) -> None:
    (folder / "rs9.vmx").write_text(GOOD)
    (found,) = (f for f in verify(folder / "rs9.vmx", lab) if f.outcome is Outcome.FAIL)
    assert (found.rule.id, found.sentence) == ("vmx-lab", "rs9 is not in the lab")


def test_the_line_that_starts_vmware_is_no_fault(folder: Path) -> None:
    """VMware on Linux writes it, and the rest counts after a bad line too."""
    assert failing(folder, "#!/usr/bin/vmware\n" + GOOD) == set()
    bad = "#!/usr/bin/vmware\nnonsense\n" + GOOD.replace('"e1000"', '"vmxnet3"', 1)
    assert failing(folder, bad) == {"vmx-form", "vmx-slots"}


def test_a_machine_of_workstations_own_is_only_warned_of(folder: Path) -> None:
    """Bridged, a disk of several files, another encoding: all that Workstation does by itself."""
    (folder / "rs1.vmdk").write_bytes(b"# Disk DescriptorFile\nversion=1\n")
    text = GOOD.replace('"UTF-8"', '"windows-1252"').replace('"nat"', '"bridged"')
    (folder / "rs1.vmx").write_text("#!/usr/bin/vmware\n" + text)
    findings = verify(folder / "rs1.vmx")
    assert [f for f in findings if f.outcome is Outcome.FAIL] == []
    assert failed(findings) == {"vmx-encoding", "vmx-network"}


def test_every_rule_of_a_machine_is_broken_by_a_case() -> None:
    broken = set().union(*(case[3] for case in CASES)) | {"vmx-disk-kind", "vmx-lab"}
    assert {rule for rule in RULES if rule.startswith("vmx-")} == broken
