"""VMware folders: a right .vmx passes, each broken one is refused by its rule."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvslab.core.errors import InputError
from lvslab.formats import vmdk, vmx
from lvslab.model.lab import Lab, Node
from lvslab.render.vmware_machine import vmx as rendered
from lvslab.verify import RULES, Finding, Outcome, verify
from lvslab.verify.machine import VMX, VmxFile
from lvslab.vmware.patch import patch
from tests.appliance import make_disk
from tests.strategies import examples, labs
from tests.unit.verify.conftest import Pinned

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


CD_ROM = GOOD[GOOD.index("ide1:0.present") : GOOD.index("ethernet0.present")]
CASES: list[tuple[str, str, str, set[str]]] = [
    ("comment", "config.version", "# the version\nconfig.version", {"vmx-plain"}),
    ("not quoted", 'memsize = "512"', "memsize = 512", {"vmx-plain"}),
    ("a comment, and more", "config.version", "#!/bin/sh\nconfig.version", {"vmx-plain"}),
    ("a line that is none", "config.version", "nonsense\nconfig.version", {"vmx-form"}),
    ("a quote too few", 'memsize = "512"', 'memsize = "512', {"vmx-form", "vmx-memory"}),
    ("two values", 'memsize = "512"', "memsize = 512 MB", {"vmx-form", "vmx-memory"}),
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
    ("old hardware", 'HW.version = "14"', 'HW.version = "6"', {"vmx-hardware-version"}),
    ("oldest hardware", 'HW.version = "14"', 'HW.version = "7"', set()),
    ("newest hardware", 'HW.version = "14"', 'HW.version = "18"', set()),
    ("newer hardware", 'HW.version = "14"', 'HW.version = "19"', {"vmx-hardware-version"}),
    ("hardware of no number", 'HW.version = "14"', 'HW.version = "x"', {"vmx-hardware-version"}),
    ("CD-ROM on SCSI", CD_ROM, CD_ROM.replace("ide1:0", "scsi0:1"), {"vmx-cdrom"}),
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
    ("absolute path", '"rs1.iso"', '"/home/teacher/rs1.iso"', {"vmx-cdrom"}),
    ("path of Windows", '"rs1.iso"', '"C:\\\\lab\\\\rs1.iso"', {"vmx-cdrom"}),
    ("no such image", '"rs1.iso"', '"rs2.iso"', {"vmx-cdrom"}),
    ("absolute path of a disk", '"rs1.vmdk"', '"/home/teacher/rs1.vmdk"', {"vmx-files"}),
    ("disk on a drive of Windows", '"rs1.vmdk"', '"C:\\\\lab\\\\rs1.vmdk"', {"vmx-files"}),
    ("a name that no file has", '"rs1.vmdk"', '"rs1|00.vmdk"', {"vmx-files"}),
    ("a name that is too long", '"rs1.vmdk"', f'"{"r" * 300}.vmdk"', {"vmx-files"}),
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
def test_a_broken_machine_is_refused(
    folder: Path, old: str, new: str, expected: set[str], pinned: Pinned
) -> None:
    assert old in GOOD
    assert failing(folder, GOOD.replace(old, new, 1)) == expected
    pinned(verify(folder / "rs1.vmx"))


OWN = ("vmx-form", "vmx-memory", "vmx-mac", "vmx-lab", "vmx-slots", "vmx-network")


@examples(25)
@given(labs(max_real_servers=5), st.sampled_from([(256, 1), (260, 3), (65536, 16)]))
def test_what_a_lab_may_say_is_a_machine_that_passes(lab: Lab, size: tuple[int, int]) -> None:
    """What `validate` takes, and what comes of it: no rule of a .vmx's own refuses it."""
    with tempfile.TemporaryDirectory() as folder:
        for name, node in lab.nodes.items():
            values = node.model_dump() | {"memory_mib": size[0], "cpus": size[1]}
            this = lab.model_copy(update={"nodes": {**lab.nodes, name: Node(**values)}})
            path = Path(folder) / f"{name}.vmx"
            path.write_text(rendered(this, name))
            found = {f.rule.id: f for f in VMX.run(VmxFile(path, this), name)}
            assert [found[rule] for rule in OWN if found[rule].outcome is not Outcome.PASS] == []
            path.write_text(rendered(this, name).replace(f'"{size[0]}"', f'"{size[0] - 2}"'))
            assert "vmx-memory" in failed(VMX.run(VmxFile(path, this), name))


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
    "another network": ('"VMnet13"', '"VMnet1"'),
    "wires swapped": ('"VMnet12"', '"VMnet13"'),
    "a card less": ('ethernet2.present = "TRUE"', 'ethernet2.present = "FALSE"'),
    "another node's address": ("00:50:56:01:03:01", "00:50:56:01:04:01"),
    "more memory": ('memsize = "512"', 'memsize = "1024"'),
    "more processors": ('numvcpus = "1"', 'numvcpus = "2"'),
}


@pytest.mark.parametrize(("old", "new"), LAB_CASES.values(), ids=LAB_CASES)
def test_a_machine_that_is_not_the_labs_is_refused_if_the_lab_is_known(
    lab: Lab, folder: Path, old: str, new: str, pinned: Pinned
) -> None:
    assert old in GOOD
    assert failing(folder, GOOD.replace(old, new, 1)) == set()
    findings = verify(folder / "rs1.vmx", lab)
    assert failed(findings) == {"vmx-lab"}
    pinned(findings)


def test_a_machine_that_the_lab_does_not_have_is_refused(lab: Lab, folder: Path) -> None:
    (folder / "rs9.vmx").write_text(GOOD)
    (found,) = (f for f in verify(folder / "rs9.vmx", lab) if f.outcome is Outcome.FAIL)
    assert (found.rule.id, found.sentence) == ("vmx-lab", "rs9 is not in the lab")


def test_the_line_that_starts_vmware_is_not_a_fault(folder: Path) -> None:
    """VMware on Linux writes it, and the rest counts after a bad line too."""
    assert failing(folder, "#!/usr/bin/vmware\n" + GOOD) == set()
    bad = "#!/usr/bin/vmware\nnonsense\n" + GOOD.replace('"e1000"', '"vmxnet3"', 1)
    assert failing(folder, bad) == {"vmx-form", "vmx-slots"}


SPLIT = """# Disk DescriptorFile
version=1
encoding="windows-1252"
CID=a752af9d
parentCID=ffffffff
createType="twoGbMaxExtentSparse"

RW 24576 SPARSE "rs1-s001.vmdk"
RW 128 ZERO
ddb.adapterType = "lsilogic"
"""


@pytest.fixture
def split(folder: Path) -> Path:
    """The folder with its disk as Workstation makes it: a descriptor and an extent."""
    sparse = (folder / "rs1.vmdk").read_bytes()
    extent = bytearray(sparse)
    extent[28:44] = bytes(16)  # no descriptor inside
    (folder / "rs1-s001.vmdk").write_bytes(extent)
    (folder / "rs1.vmdk").write_text(SPLIT)
    (folder / "rs1.iso").unlink()
    return folder


def test_a_machine_of_workstations_own_is_only_warned_of(split: Path) -> None:
    """Bridged, a disk of several files, another encoding: all that Workstation does by itself."""
    text = GOOD.replace('"UTF-8"', '"windows-1252"').replace('"nat"', '"bridged"')
    (split / "rs1.vmx").write_text("#!/usr/bin/vmware\n" + text)
    findings = verify(split / "rs1.vmx")
    assert [f for f in findings if f.outcome is Outcome.FAIL] == []
    assert failed(findings) == {"vmx-encoding", "vmx-network", "vmx-cdrom"}


def test_a_disk_of_several_files_says_its_kind(split: Path) -> None:
    """By its descriptor, by an extent and by its folder."""
    (split / "rs1.vmx").write_text(GOOD)
    for path in (split / "rs1.vmdk", split / "rs1-s001.vmdk", split):
        findings = verify(path)
        assert [f for f in findings if f.outcome is Outcome.FAIL] == []
        assert any("twoGbMaxExtentSparse" in f.sentence for f in findings)
    assert failed(verify(split / "rs1.vmdk")) == {"split-one-file"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"rs1-s001.vmdk"', '"rs1-s002.vmdk"', {"split-extents"}),
        ('"rs1-s001.vmdk"', '"../rs1-s001.vmdk"', {"split-extents"}),
        ("RW 24576 ", "RW 24577 ", {"split-extents"}),
        ("SPARSE", "FLAT", {"split-extents"}),
        ("CID=a752af9d\n", "", {"split-descriptor"}),
        ('createType="twoGbMaxExtentSparse"', "", {"split-descriptor"}),
        ("RW ", "XX ", {"split-descriptor", "split-extents"}),
    ],
)
def test_a_broken_disk_of_several_files_is_refused(
    split: Path, old: str, new: str, expected: set[str], pinned: Pinned
) -> None:
    assert old in SPLIT
    (split / "rs1.vmdk").write_text(SPLIT.replace(old, new))
    findings = verify(split / "rs1.vmdk")
    assert {f.rule.id for f in findings if f.outcome is Outcome.FAIL} == expected
    pinned(findings)
    (split / "rs1.vmx").write_text(GOOD)
    found = {f.rule.id for f in verify(split / "rs1.vmx") if f.outcome is Outcome.FAIL}
    assert found == ({"vmx-disk-kind"} if "split-extents" in expected else set())


def test_an_extent_that_is_not_a_disk_is_refused(split: Path) -> None:
    (split / "rs1-s001.vmdk").write_bytes(b"KDMX" + bytes(99_000))
    assert "split-extents" in failed(verify(split / "rs1.vmdk"))


def test_an_extent_without_its_descriptor_is_refused(split: Path) -> None:
    (split / "rs1.vmdk").unlink()
    (found,) = verify(split / "rs1-s001.vmdk")
    assert (found.rule.id, found.outcome) == ("vmdk-descriptor", Outcome.FAIL)


def test_a_line_ends_at_cr_and_lf_alone(folder: Path) -> None:
    """The letters \u00c5 and \u5171 have a byte 0x85 in UTF-8, which some take for an end."""
    more = (
        'annotation = "\u5171\u4eab"\nsharedFolder0.hostPath = "C:\\\\\u00c5sa\x0b\x0c\x1c\u2028"\n'
    )
    (folder / "rs1.vmx").write_bytes((GOOD + more).replace("\n", "\r\n").encode())
    assert failed(verify(folder / "rs1.vmx")) == set()
    assert failing(folder, GOOD + 'annotation = "one\rtwo"\n') == {"vmx-form"}


NAMES = {
    "UTF-8": "M\u00fcller.vmdk",
    "windows-1252": "M\u00fcller\u2026.vmdk",
    "windows-1251": "\u043a\u0443\u0440\u0441.vmdk",
    "GBK": "\u5171\u4eab.vmdk",
    "windows-932": "\u8868\u793a.vmdk",
    "ISO-8859-15": "\u0153uvre.vmdk",
}


@pytest.mark.parametrize(("encoding", "name"), NAMES.items())
def test_names_are_read_in_the_files_own_encoding(folder: Path, encoding: str, name: str) -> None:
    (folder / "rs1.vmdk").rename(folder / name)
    text = GOOD.replace("rs1.vmdk", name).replace('"UTF-8"', f'"{encoding}"')
    (folder / "rs1.vmx").write_bytes(text.encode(encoding.replace("windows-", "cp")))
    ours = encoding == "UTF-8"
    assert failed(verify(folder / "rs1.vmx")) == (set() if ours else {"vmx-encoding"})
    assert vmx.read(folder / "rs1.vmx").disks == (folder / name,)
    (folder / name).rename(folder / "elsewhere.vmdk")
    assert "vmx-files" in failed(verify(folder / "rs1.vmx"))


@pytest.mark.parametrize("named", ["", "klingon", "base64", "UTF-16", "unicode_escape", "GBK"])
def test_an_encoding_that_is_not_the_files_does_not_count(folder: Path, named: str) -> None:
    name = "M\u00fcller \\x41.vmdk"
    text = GOOD.replace("rs1.vmdk", name).replace('"UTF-8"', f'"{named}"')
    (folder / "rs1.vmx").write_text("\ufeff" + text)
    assert vmx.read(folder / "rs1.vmx").disks == (folder / name,)


def test_values_without_quotes_and_escapes_are_values(tmp_path: Path) -> None:
    text = (
        'a = TRUE\nB=1\n c = "x y" # why\n#d = 1\ne = two words\nf = "|22q|22 |7C"\n'
        'g = "open\nh =\n'
    )
    assert vmx.settings(text) == {"a": "TRUE", "b": "1", "c": "x y", "f": '"q" |', "h": ""}


ENCRYPTED = """.encoding = "UTF-8"
displayName = "win"
encryption.keySafe = "vmware:key/list/(pair/(phrase/AAAA))"
encryption.data = "AAAABBBBCCCC"
"""


def test_an_encrypted_machine_says_that_it_is_encrypted(lab: Lab, folder: Path) -> None:
    (folder / "rs1.vmx").write_text(ENCRYPTED)
    findings = verify(folder / "rs1.vmx")
    assert failed(findings) == {"vmx-encrypted"}
    assert {f.outcome for f in findings} == {Outcome.WARN, Outcome.SKIP, Outcome.PASS}
    strict = {f.rule.id for f in verify(folder / "rs1.vmx", lab) if f.outcome is Outcome.FAIL}
    assert strict == {"vmx-encrypted"}
    with pytest.raises(InputError, match="this machine is encrypted: only VMware can read"):
        vmx.read(folder / "rs1.vmx")
    with pytest.raises(InputError, match="this machine is encrypted: only VMware can read"):
        patch(folder / "rs1.vmx", lab, "linux")
    # Only its TPM is encrypted: the settings can be read.
    assert failing(folder, GOOD + ENCRYPTED.split("\n", 2)[2]) == set()


def test_every_rule_of_a_machine_is_broken_by_a_case() -> None:
    broken = set().union(*(case[3] for case in CASES)) | {
        "vmx-disk-kind",
        "vmx-lab",
        "vmx-encrypted",
    }
    assert {rule for rule in RULES if rule.startswith("vmx-")} == broken
