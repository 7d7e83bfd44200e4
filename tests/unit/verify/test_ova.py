"""Every way in which an OVA can be broken is found by the rule that is there for it."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import re
import struct
import subprocess
import tarfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from lvslab.core.errors import InputError
from lvslab.core.procs import program
from lvslab.formats.vmdk import Reader, write_child, write_monolithic_sparse
from lvslab.formats.vmdk.layout import GRAIN_SECTORS, TABLE_ENTRIES, ceiling
from lvslab.model.lab import Lab
from lvslab.model.load import load_lab
from lvslab.verify import RULES, Finding, Outcome, Rule, verify
from lvslab.verify.rules import Level, settled
from tests.appliance import BREAKS_SCHEMA, SECTOR, Appliance, appliance, make_disk
from tests.conftest import ROOT
from tests.foreign import STREAM
from tests.strategies import share
from tests.unit.verify.conftest import Pinned

LAB = load_lab(ROOT / "lab.yaml")
Break = Callable[[Appliance], Appliance]


@pytest.fixture(scope="module")
def good(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Appliance:
    folder = tmp_path_factory.mktemp("appliance")
    return appliance(lab, folder, make_disk(folder / "disk"))


def failing(path: Path) -> set[str]:
    """What fails in a file of this lab, where advice counts."""
    return {f.rule.id for f in verify(path, LAB) if f.outcome is Outcome.FAIL}


def test_a_right_ova_passes_every_rule(good: Appliance, tmp_path: Path) -> None:
    findings = verify(good.write(tmp_path / "director.ova"))
    assert [f for f in findings if f.outcome is not Outcome.PASS] == []
    prefixes = ("tar-", "manifest-", "ovf-", "vmdk-", "disk-", "tools-")
    expected = {rule for rule in RULES if rule.startswith(prefixes)}
    assert {f.rule.id for f in findings} == expected


# --- the descriptor -----------------------------------------------------------------------


def text(old: str, new: str, count: int = 1) -> Break:
    def change(this: Appliance) -> Appliance:
        assert old in this.ovf, old
        return dataclasses.replace(this, ovf=this.ovf.replace(old, new, count))

    return change


def move(start: str, end: str, before: str) -> Break:
    """Move the text from `start` to `end` in front of `before`."""

    def change(this: Appliance) -> Appliance:
        first = this.ovf.index(start)
        last = this.ovf.index(end, first) + len(end)
        part = this.ovf[first:last]
        rest = this.ovf[:first] + this.ovf[last:]
        place = rest.index(before)
        return dataclasses.replace(this, ovf=rest[:place] + part + rest[place:])

    return change


def copied(start: str, end: str) -> Break:
    """The text from `start` to `end` twice."""

    def change(this: Appliance) -> Appliance:
        first = this.ovf.index(start)
        last = this.ovf.index(end, first) + len(end)
        return dataclasses.replace(
            this, ovf=this.ovf[:last] + this.ovf[first:last] + this.ovf[last:]
        )

    return change


def cut(start: str, end: str) -> Break:
    """Without the text from `start` to `end`."""

    def change(this: Appliance) -> Appliance:
        first = this.ovf.index(start)
        last = this.ovf.index(end, first) + len(end)
        return dataclasses.replace(this, ovf=this.ovf[:first] + this.ovf[last:])

    return change


DISK_ITEM = "<rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>"
NIC_1 = "<rasd:ElementName>Ethernet 1</rasd:ElementName>"
FILE_1 = '<File ovf:href="director-disk1.vmdk" ovf:id="file1"'

PRODUCT = (
    "<ProductSection><Info>A product</Info><Product>x</Product>"
    '<Property ovf:key="{}" ovf:type="string"/></ProductSection>'
)
MACHINE = (
    '<vbox:Machine xmlns:vbox="http://www.virtualbox.org/ovf/machine" uuid="{1}"><Info/>'
    '<AttachedDevice type="HardDisk"><Image uuid="{2}"/></AttachedDevice></vbox:Machine>'
)

NOT_ONE_MACHINE = {"ovf-section-order", "ovf-hardware-version", "ovf-guest-os", "ovf-firmware"}
ENVELOPE_CASES: list[tuple[str, Break, set[str]]] = [
    ("not well-formed", text("</Envelope>", ""), {"ovf-xml"}),
    (
        "unknown section",
        text("<VirtualSystem ", "<ColourSection><Info/></ColourSection><VirtualSystem "),
        {"ovf-schema"},
    ),
    ("doctype", text("<Envelope", "<!DOCTYPE Envelope><Envelope"), {"ovf-xml"}),
    (
        "OVF 2.0",
        text("ovf/envelope/1", "ovf/envelope/2", 2),
        {"ovf-version"},
    ),
    (
        "networks before disks",
        move("<NetworkSection>", "</NetworkSection>", "<DiskSection>"),
        {"ovf-disks-first"},
    ),
    (
        "disks behind the machine",
        move("<VirtualSystem ", "</VirtualSystem>", "<DiskSection>"),
        {"ovf-section-order"},
    ),
    (
        "setting before devices",
        move('<vmw:Config ovf:required="false" vmw:key="firmware"', "/>", "<Item>"),
        {"ovf-hardware-order"},
    ),
    (
        "Connection after Description",
        move("<rasd:Connection>nat<", "/rasd:Connection>", NIC_1),
        {"ovf-child-order"},
    ),
    (
        "System out of order",
        move("<vssd:VirtualSystemType>", "</vssd:VirtualSystemType>", "<vssd:ElementName>"),
        {"ovf-child-order"},
    ),
    ("wrong file size", text('ovf:size="', 'ovf:size="1'), {"ovf-references"}),
    (
        "file that is not there",
        text(FILE_1, '<File ovf:href="absent.vmdk" ovf:id="file1"'),
        {"ovf-references", "tar-order", "ovf-capacity"},
    ),
    (
        "file that is not used",
        text(FILE_1, FILE_1.replace("file1", "file9") + ' ovf:size="0"/>' + FILE_1),
        {"ovf-references", "ovf-files-used", "tar-order"},
    ),
    (
        "undefined fileRef",
        text('fileRef="file1"', 'fileRef="file9"'),
        {"ovf-references", "ovf-files-used", "ovf-capacity"},
    ),
    (
        "undefined disk",
        text("ovf:/disk/vmdisk1", "ovf:/disk/vmdisk9"),
        {"ovf-disk-items", "ovf-disks-used"},
    ),
    ("hard disk without a Disk", text(DISK_ITEM, ""), {"ovf-disk-items", "ovf-disks-used"}),
    (
        "other capacity",
        text('ovf:capacity="12582912"', 'ovf:capacity="12582400"'),
        {"ovf-capacity"},
    ),
    (
        "capacity in another unit",
        text('Units="byte"', 'Units="byte * 2^20"'),
        {"ovf-capacity", "ovf-capacity-unit"},
    ),
    (
        "capacity in MiB",
        text(
            '"12582912" ovf:capacityAllocationUnits="byte"',
            '"12" ovf:capacityAllocationUnits="byte * 2^20"',
        ),
        {"ovf-capacity-unit"},
    ),
    (
        "capacity without a unit",
        text(' ovf:capacityAllocationUnits="byte"', ""),
        {"ovf-capacity-unit"},
    ),
    (
        "more populated than there is",
        text('populatedSize="', 'populatedSize="99'),
        {"ovf-capacity"},
    ),
    ("disk format", text("#streamOptimized", "#sparse"), {"ovf-disk-format"}),
    ("new hardware", text("vmx-14", "vmx-19"), {"ovf-hardware-version"}),
    ("VirtualBox's hardware", text("vmx-14", "virtualbox-2.2"), {"ovf-hardware-version"}),
    ("new guest", text("debian10_64Guest", "debian12_64Guest"), {"ovf-guest-os"}),
    ("other OS id", text('ovf:id="96"', 'ovf:id="100"'), {"ovf-guest-os"}),
    ("PVSCSI", text(">lsilogic<", ">VirtualSCSI<"), {"ovf-controller"}),
    (
        "disk on IDE, where the CD-ROM is",
        text("<rasd:Parent>3<", "<rasd:Parent>4<"),
        {"ovf-controller", "ovf-address-on-parent"},
    ),
    (
        "disk without address",
        text(
            "<rasd:AddressOnParent>0</rasd:AddressOnParent>\n        <rasd:ElementName>Hard",
            "<rasd:ElementName>Hard",
        ),
        {"ovf-address-on-parent"},
    ),
    (
        "disk at the controller's id",
        text(
            "<rasd:AddressOnParent>0</rasd:AddressOnParent>\n        <rasd:ElementName>Hard",
            "<rasd:AddressOnParent>7</rasd:AddressOnParent>\n        <rasd:ElementName>Hard",
        ),
        {"ovf-address-on-parent"},
    ),
    (
        "same InstanceID",
        text("<rasd:InstanceID>2<", "<rasd:InstanceID>1<"),
        {"ovf-instance-ids"},
    ),
    (
        "no such parent",
        text("<rasd:Parent>4<", "<rasd:Parent>44<"),
        {"ovf-instance-ids"},
    ),
    ("vmxnet3", text(">E1000<", ">VmxNet3<"), {"ovf-nic"}),
    (
        "undefined network",
        text("<rasd:Connection>hostonly<", "<rasd:Connection>VMnet12<"),
        {"ovf-connection"},
    ),
    ("unsafe network", text("hostonly", "VM Network", 9), {"ovf-safe-network"}),
    ("memory in MegaBytes", text("byte * 2^20<", "MegaBytes<"), {"ovf-memory-unit"}),
    ("memory in words", text("byte * 2^20<", "words<"), {"ovf-memory", "ovf-memory-unit"}),
    ("odd memory", text("Quantity>512<", "Quantity>511<"), {"ovf-memory"}),
    ("no CPU", text("Quantity>1<", "Quantity>0<"), {"ovf-cpus"}),
    (
        "CPUs not given",
        text("<rasd:ResourceType>3<", "<rasd:ResourceType>1<"),
        {"ovf-amounts-given"},
    ),
    (
        "device of no kind",
        text("<rasd:ResourceType>5<", "<rasd:ResourceType>9999<"),
        {"ovf-devices", "ovf-instance-ids"},
    ),
    (
        "device for a configuration that is not there",
        text("<Item>", '<Item ovf:configuration="large">'),
        {"ovf-configurations", "ovf-amounts-given"},
    ),
    (
        "property with a blank",
        text("<VirtualHardwareSection", PRODUCT.format("a b") + "<VirtualHardwareSection"),
        {"ovf-property-keys"},
    ),
    (
        "a disk of VirtualBox's that is no Disk",
        text("</VirtualSystem>", MACHINE + "</VirtualSystem>"),
        {"ovf-virtualbox"},
    ),
    (
        "no System",
        lambda this: dataclasses.replace(
            this, ovf=re.sub("<System>.*</System>", "", this.ovf, flags=re.DOTALL)
        ),
        {"ovf-system", "ovf-hardware-version"},
    ),
    (
        "a Disk that nothing uses",
        text(
            "</DiskSection>",
            '<Disk ovf:diskId="swap" ovf:capacity="1" ovf:capacityAllocation'
            f'Units="byte" ovf:format="{STREAM}"/></DiskSection>',
        ),
        {"ovf-disks-used"},
    ),
    (
        "two guests",
        copied("<OperatingSystemSection ", "</OperatingSystemSection>"),
        {"ovf-guest-os"},
    ),
    ("no machine", cut("<VirtualSystem ", "</VirtualSystem>"), NOT_ONE_MACHINE),
    ("two machines", copied("<VirtualSystem ", "</VirtualSystem>"), NOT_ONE_MACHINE),
    (
        "references last",
        move("<References>", "</References>", "</Envelope>"),
        {"ovf-section-order"},
    ),
    (
        "strings before the machine",
        text("<VirtualSystem ", "<Strings/><VirtualSystem "),
        {"ovf-section-order"},
    ),
    ("two Files of one id", copied("<File ", "/>"), {"ovf-references", "tar-order"}),
    ("two Disks of one id", copied("<Disk ", "/>"), {"ovf-disk-items"}),
    ("two Networks of one name", copied("<Network ", "</Network>"), {"ovf-connection"}),
    (
        "no hard disk",
        cut("<Item>\n        <rasd:AddressOnParent>0", "</Item>"),
        {"ovf-disk-items", "ovf-disks-used"},
    ),
    (
        "a setting before the name",
        text("<rasd:Address>1<", '<vmw:Config vmw:key="a" vmw:value="b"/><rasd:Address>1<'),
        {"ovf-child-order", "ovf-config-optional"},
    ),
    (
        "required setting",
        text('vmw:Config ovf:required="false"', 'vmw:Config ovf:required="true"'),
        {"ovf-config-optional"},
    ),
    (
        "setting required by default",
        text('vmw:Config ovf:required="false"', "vmw:Config"),
        {"ovf-config-optional"},
    ),
    ("no firmware", text('vmw:key="firmware"', 'vmw:key="firmwar"'), {"ovf-firmware"}),
    (
        "ExtraConfig",
        text(
            "    </VirtualHardware", '<vmw:ExtraConfig vmw:key="a" vmw:value="b"/></VirtualHardware'
        ),
        {"ovf-no-extra-config"},
    ),
    (
        "StartupSection",
        text("<VirtualSystem ", "<StartupSection><Info/></StartupSection><VirtualSystem "),
        {"ovf-no-startup"},
    ),
]


@pytest.mark.parametrize(("old", "new"), BREAKS_SCHEMA.values(), ids=BREAKS_SCHEMA)
def test_what_dmtfs_schema_refuses_is_refused(
    good: Appliance, tmp_path: Path, old: str, new: str
) -> None:
    broken = re.sub(old, new, good.ovf, count=1, flags=re.DOTALL)
    assert broken != good.ovf
    made = dataclasses.replace(good, ovf=broken).write(tmp_path / "director.ova")
    assert "ovf-schema" in failing(made)


# --- the tar ------------------------------------------------------------------------------


def with_(**changes: object) -> Break:
    return lambda this: dataclasses.replace(this, **changes)  # type: ignore[arg-type]


def member(name: str, value: object, only: str = "") -> Break:
    def change(info: tarfile.TarInfo) -> None:
        if info.name.endswith(only):
            setattr(info, name, value)

    return with_(member=change)


def pax(info: tarfile.TarInfo) -> None:
    info.pax_headers = {"comment": "made by hand"}


def sums(change: Callable[[str], str]) -> Break:
    return lambda this: dataclasses.replace(this, manifest=change(this.sums()))


ARCHIVE_CASES: list[tuple[str, Break, set[str]]] = [
    ("not a tar", with_(packed=lambda data: b"PK\3\4" * 999), {"tar-format"}),
    ("empty", with_(packed=lambda data: b""), {"tar-format"}),
    ("GNU headers", with_(tar_format=tarfile.GNU_FORMAT), {"tar-ustar"}),
    (
        "pax headers",
        with_(tar_format=tarfile.PAX_FORMAT, member=pax),
        {"tar-format", "tar-names", "tar-order", "tar-owner", "tar-manifest-place"}
        | {"tar-plain-names", "manifest-complete"},
    ),
    ("group name", member("gname", "staff"), {"tar-owner"}),
    ("a link", member("type", tarfile.SYMTYPE, ".mf"), {"tar-format"}),
    ("manifest last", with_(order=("ovf", "vmdk", "mf")), {"tar-manifest-place"}),
    ("disk first", with_(order=("vmdk", "ovf", "mf")), {"tar-order", "tar-manifest-place"}),
    (
        "no manifest",
        with_(order=("ovf", "vmdk")),
        {"manifest-there"},
    ),
    (
        "twice the same name",
        with_(order=("ovf", "mf", "vmdk", "mf")),
        {"tar-names", "tar-order"},
    ),
    ("user id", member("uid", 1000), {"tar-owner"}),
    ("user name", member("uname", "teacher"), {"tar-owner"}),
    ("mode", member("mode", 0o600, ".ovf"), {"tar-owner"}),
    ("times", member("mtime", 1, ".vmdk"), {"tar-owner"}),
    (
        "no end",
        with_(packed=lambda data: data.rstrip(b"\0") + bytes(-len(data.rstrip(b"\0")) % 512)),
        {"tar-end", "tar-two-blocks", "vmdk-end-of-stream", "manifest-digest"},
    ),
    (
        "something in the padding",
        with_(packed=lambda data: data.replace(b"\0director.mf", b"xdirector.mf", 1)),
        {"tar-end"},
    ),
    (
        "one zero block",
        with_(
            packed=lambda data: data.rstrip(b"\0") + bytes(-len(data.rstrip(b"\0")) % 512 + 1024)
        ),
        {"tar-two-blocks"},
    ),
    ("something behind the end", with_(packed=lambda data: data + b"x" * 512), {"tar-end"}),
    (
        "ISO inside",
        with_(extra=(("lvs1.iso", b"CD001"),)),
        {"tar-no-iso", "tar-order", "manifest-complete"},
    ),
    (
        "name with a blank",
        with_(extra=(("read me.txt", b"hello"),)),
        {"tar-plain-names", "tar-order", "manifest-complete"},
    ),
    (
        "name with a folder",
        with_(extra=(("docs/readme", b"hello"),)),
        {"tar-names", "tar-order", "manifest-complete"},
    ),
    ("space before the bracket", sums(lambda t: t.replace("6(", "6 (")), {"manifest-blank"}),
    ("blank line", sums(lambda t: t + "\n"), {"manifest-form"}),
    ("sha256sum's form", sums(lambda t: "0" * 64 + "  director.ovf\n"), {"manifest-form"}),
    ("disk not in the manifest", sums(lambda t: t.splitlines(True)[0]), {"manifest-complete"}),
    (
        "file that is not there in the manifest",
        sums(lambda t: t + t.splitlines(True)[0].replace("director.ovf", "absent.ovf")),
        {"manifest-complete"},
    ),
    (
        "wrong digest",
        sums(lambda t: t[:-3] + ("00\n" if t[-3:-1] != "00" else "11\n")),
        {"manifest-digest"},
    ),
    (
        "SHA1",
        lambda this: dataclasses.replace(
            this,
            manifest="".join(
                f"SHA1({name})= {hashlib.sha1(data).hexdigest()}\n"
                for name, data in (
                    ("director.ovf", this.ovf.encode()),
                    (this.vmdk_name, this.disk_vmdk),
                )
            ),
        ),
        {"manifest-algorithm"},
    ),
]


# --- the disk's format --------------------------------------------------------------------


def with_vmdk(this: Appliance, data: bytes) -> Appliance:
    """The appliance with other bytes of the VMDK, and their number in the OVF."""
    described = this.ovf.replace(f'ovf:size="{len(this.disk_vmdk)}"', f'ovf:size="{len(data)}"')
    return dataclasses.replace(this, disk_vmdk=data, ovf=described)


def vmdk(change: Callable[[bytearray], bytes | bytearray | None]) -> Break:
    def apply(this: Appliance) -> Appliance:
        data = bytearray(this.disk_vmdk)
        return with_vmdk(this, bytes(change(data) or data))

    return apply


def put(offset: int, form: str, value: int) -> Break:
    def change(data: bytearray) -> None:
        struct.pack_into(form, data, offset, value)

    return vmdk(change)


def describe(old: str, new: str) -> Break:
    """Change the descriptor, keep its length."""
    assert len(old) == len(new)

    def change(data: bytearray) -> bytes:
        assert old.encode() in data, old
        return bytes(data).replace(old.encode(), new.encode(), 1)

    return vmdk(change)


def change_cid(data: bytearray) -> None:
    start = data.index(b"CID=") + 4
    data[start : start + 8] = b"ffffffff"


class Grains:
    """Where things are in a VMDK with the directory in front."""

    def __init__(self, data: bytearray) -> None:
        self.data = data
        capacity = struct.unpack_from("<Q", data, 12)[0]
        (directory,) = struct.unpack_from("<Q", data, 56)
        tables = ceiling(ceiling(capacity, GRAIN_SECTORS), TABLE_ENTRIES)
        self.first_table = struct.unpack_from(f"<{tables}I", data, directory * SECTOR)[0] * SECTOR

    def sector(self, number: int) -> int:
        return int(struct.unpack_from("<I", self.data, self.first_table + 4 * number)[0])

    def set_sector(self, number: int, sector: int) -> None:
        struct.pack_into("<I", self.data, self.first_table + 4 * number, sector)

    def size(self, number: int) -> int:
        return int(struct.unpack_from("<Q I", self.data, self.sector(number) * SECTOR)[1])

    def noise(self) -> list[int]:
        """Neighbouring grains that do not compress: a file's content, no metadata."""
        found = [n for n in range(192) if self.sector(n) and self.size(n) > 65000]
        assert len(found) >= 3 and found[1] == found[0] + 1
        return found


def swap_in_tables(data: bytearray) -> None:
    grains = Grains(data)
    a, b = grains.noise()[:2]
    first, second = grains.sector(a), grains.sector(b)
    grains.set_sector(a, second)
    grains.set_sector(b, first)


def swap_in_stream(data: bytearray) -> None:
    grains = Grains(data)
    a, b = grains.noise()[:2]
    length = ceiling(12 + grains.size(a), SECTOR) * SECTOR
    assert ceiling(12 + grains.size(b), SECTOR) * SECTOR == length
    at_a, at_b = grains.sector(a) * SECTOR, grains.sector(b) * SECTOR
    first, second = data[at_a : at_a + length], data[at_b : at_b + length]
    data[at_a : at_a + length], data[at_b : at_b + length] = second, first
    grains.set_sector(a, at_b // SECTOR)
    grains.set_sector(b, at_a // SECTOR)


def drop_from_tables(data: bytearray) -> None:
    grains = Grains(data)
    grains.set_sector(grains.noise()[0], 0)


def spoil_grain(data: bytearray) -> None:
    grains = Grains(data)
    data[grains.sector(grains.noise()[0]) * SECTOR + 30000] ^= 1


def shorten_grain(data: bytearray) -> None:
    grains = Grains(data)
    number = grains.noise()[0]
    start = grains.sector(number) * SECTOR
    packed = zlib.compress(b"short", 0)
    packed += bytes(grains.size(number) - len(packed))
    data[start + 12 : start + 12 + len(packed)] = packed


def beyond_capacity(data: bytearray) -> None:
    grains = Grains(data)
    grains.set_sector(500, grains.sector(grains.noise()[0]))


def marker_beyond_capacity(data: bytearray) -> bytes:
    grain = zlib.compress(bytes(65536))
    sector = struct.pack("<QI", 1 << 20, len(grain)) + grain
    return bytes(data[:-SECTOR]) + sector.ljust(SECTOR, b"\0") + bytes(SECTOR)


def tables_in_stream(data: bytearray) -> bytes:
    """A second directory in the stream, led by its marker, as in a disk with a footer."""
    marker = struct.pack("<QII", 1, 0, 2).ljust(SECTOR, b"\0")
    return bytes(data[:-SECTOR]) + marker + bytes(SECTOR) + bytes(SECTOR)


def second_extent(data: bytearray) -> bytes:
    """Another line of an extent, in the zeros behind the descriptor."""
    end = data.index(b"\0", data.index(b"# Disk DescriptorFile"))
    line = b'RW 24576 SPARSE "more.vmdk"\n'
    return bytes(data[:end]) + line + bytes(data[end + len(line) :])


def fill_end(data: bytearray) -> None:
    data[-1] = 1


def shift_grain(data: bytearray) -> None:
    """A marker that names the sector behind the grain's first."""
    grains = Grains(data)
    at = grains.sector(grains.noise()[0]) * SECTOR
    (lba,) = struct.unpack_from("<Q", data, at)
    struct.pack_into("<Q", data, at, lba + 1)


STREAM_CASES: list[tuple[str, Break, set[str]]] = [
    ("no VMDK at all", vmdk(lambda data: bytes(len(data))), {"vmdk-header", "ovf-capacity"}),
    ("header version 1", put(4, "<I", 1), {"vmdk-header"}),
    ("no markers flag", put(8, "<I", 0x10001), {"vmdk-header"}),
    ("text transfer", put(73, "<B", 0x0D), {"vmdk-header"}),
    ("other compression", put(77, "<H", 2), {"vmdk-header"}),
    ("unclean", put(72, "<B", 1), {"vmdk-header"}),
    ("impossible grain", put(20, "<Q", 1 << 40), {"vmdk-header", "ovf-capacity"}),
    ("directory outside", put(56, "<Q", 1 << 40), {"vmdk-grain-tables", "ovf-capacity"}),
    ("footer that is not there", put(56, "<Q", (1 << 64) - 1), {"vmdk-header", "ovf-capacity"}),
    ("no descriptor", put(28, "<Q", 0), {"vmdk-descriptor", "ovf-capacity"}),
    ("createType", describe("streamOptimized", "vmfsSparse12345"), {"vmdk-descriptor"}),
    ("with a parent", describe("parentCID=ffffffff", "parentCID=12345678"), {"vmdk-descriptor"}),
    ("IDE adapter", describe('= "lsilogic"', '= "ide"     '), {"vmdk-adapter"}),
    ("extent of other size", describe("RW 24576 ", "RW 24577 "), {"vmdk-descriptor"}),
    ("reserved CID", vmdk(change_cid), {"vmdk-descriptor"}),
    ("VMware's tools", describe('InstallType = "4"', 'InstallType = "1"'), {"vmdk-tools"}),
    ("another's tools", describe("2147483647", "2147483646"), {"vmdk-tools"}),
    ("smaller tables", put(44, "<I", 256), {"vmdk-header"}),
    ("two extents", vmdk(second_extent), {"vmdk-descriptor"}),
    ("a full last sector", vmdk(fill_end), {"vmdk-end-of-stream"}),
    ("grain that begins elsewhere", vmdk(shift_grain), {"vmdk-grain-order"}),
    ("zeros after the end", vmdk(lambda data: data + bytes(63 << 10)), {"vmdk-end-of-stream"}),
    ("no end-of-stream", vmdk(lambda data: data[:-SECTOR]), {"vmdk-end-of-stream"}),
    (
        "two ends",
        vmdk(lambda data: data + bytes(SECTOR)),
        {"vmdk-end-of-stream"},
    ),
    (
        "unknown marker",
        vmdk(lambda data: data[:-SECTOR] + struct.pack("<QII", 0, 0, 9).ljust(512, b"\0")),
        {"vmdk-end-of-stream"},
    ),
    ("tables that lie", vmdk(swap_in_tables), {"vmdk-grain-tables"}),
    ("grain not in the tables", vmdk(drop_from_tables), {"vmdk-grain-tables"}),
    ("grains out of order", vmdk(swap_in_stream), {"vmdk-grain-order"}),
    ("grain beyond the end", vmdk(beyond_capacity), {"vmdk-grain-tables", "ovf-capacity"}),
    (
        "marker beyond the end",
        vmdk(marker_beyond_capacity),
        {"vmdk-grain-order", "vmdk-grain-tables"},
    ),
    ("tables in the stream", vmdk(tables_in_stream), {"vmdk-front"}),
    ("flipped bit in a grain", vmdk(spoil_grain), {"vmdk-inflate"}),
    ("short grain", vmdk(shorten_grain), {"vmdk-inflate"}),
]


CASES = ENVELOPE_CASES + ARCHIVE_CASES + STREAM_CASES


@pytest.mark.parametrize(
    ("broken", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_broken_ova_is_refused_by_its_rule(
    good: Appliance, tmp_path: Path, broken: Break, expected: set[str], pinned: Pinned
) -> None:
    findings = verify(broken(good).write(tmp_path / "director.ova"), LAB)
    assert {f.rule.id for f in findings if f.outcome is Outcome.FAIL} == expected
    pinned(findings)


def test_a_disk_of_other_grains_is_refused(good: Appliance, tmp_path: Path) -> None:
    """What is on it cannot be read then, so more fails."""
    findings = verify(put(20, "<Q", 64)(good).write(tmp_path / "director.ova"), LAB)
    said = {f.rule.id: f.sentence for f in findings if f.outcome is Outcome.FAIL}
    assert said["vmdk-header"] == "a grain has 64 sectors"


def test_every_rule_of_an_ova_is_broken_by_a_case() -> None:
    broken = set().union(*(case[2] for case in CASES))
    rules = {rule for rule in RULES if rule.startswith(("tar-", "manifest-", "ovf-", "vmdk-"))}
    assert rules - broken == set()


@pytest.mark.parametrize("child", [False, True], ids=["monolithicSparse", "child"])
def test_a_disk_that_is_not_a_stream_is_refused_in_an_ova(
    good: Appliance, tmp_path: Path, child: bool
) -> None:
    """Each is a good disk in a folder of VMware's, and none that an importer takes."""
    (tmp_path / "good.vmdk").write_bytes(good.disk_vmdk)
    with Reader(tmp_path / "good.vmdk") as reader:
        reader.extract(tmp_path / "raw")
    write_monolithic_sparse(tmp_path / "raw", tmp_path / "sparse.vmdk")
    if child:
        write_child(tmp_path / "child.vmdk", tmp_path / "sparse.vmdk", "sparse.vmdk")
    data = (tmp_path / ("child.vmdk" if child else "sparse.vmdk")).read_bytes()
    found = failing(with_vmdk(good, data).write(tmp_path / "director.ova"))
    assert {"vmdk-header", "vmdk-descriptor"} <= found
    assert not any(rule.startswith("sparse-") for rule in found)


def encoded(this: Appliance, name: str, codec: str) -> Appliance:
    """The appliance with its OVF in another encoding, which it declares."""
    described = this.ovf.replace('encoding="UTF-8"', f'encoding="{name}"')
    described = described.replace("Virtual disks", "Disques virtuels né")
    return dataclasses.replace(this, ovf_bytes=described.encode(codec))


@pytest.mark.parametrize(
    ("name", "codec"), [("ISO-8859-1", "latin-1"), ("UTF-16", "utf-16"), ("UTF-8", "utf-8-sig")]
)
def test_the_encoding_that_an_ovf_declares_counts(
    good: Appliance, tmp_path: Path, name: str, codec: str
) -> None:
    right = encoded(good, name, codec)
    findings = verify(right.write(tmp_path / "director.ova"))
    assert [f for f in findings if f.outcome is not Outcome.PASS] == []
    broken = encoded(text("#streamOptimized", "#sparse")(good), name, codec)
    assert failing(broken.write(tmp_path / "director.ova")) == {"ovf-disk-format"}


NOT_XML = {
    "noise": bytes(range(256)) * 9,
    "empty": b"",
    "not in its own encoding": '<?xml version="1.0" encoding="UTF-8"?><é/>'.encode("latin-1"),
    "unknown encoding": b'<?xml version="1.0" encoding="klingon"?><a/>',
    "encoding of several bytes": b'<?xml version="1.0" encoding="Shift_JIS"?><a/>',
    "too long": b"<a>" + b" " * (5 << 20) + b"</a>",
    "DOCTYPE in UTF-16": '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("utf-16"),
}


@pytest.mark.parametrize("data", NOT_XML.values(), ids=NOT_XML)
def test_an_ovf_that_cannot_be_read_is_refused_and_its_disk_still_looked_at(
    good: Appliance, tmp_path: Path, data: bytes
) -> None:
    broken = dataclasses.replace(with_vmdk(good, good.disk_vmdk + bytes(512)), ovf_bytes=data)
    assert failing(broken.write(tmp_path / "director.ova")) == {"ovf-xml", "vmdk-end-of-stream"}


def test_what_nobody_could_look_at_is_a_failure() -> None:
    """And what need not be there is none."""
    rule = Rule("some-rule", "it can be read", "nobody")
    skipped = Finding(rule, "a", Outcome.SKIP, "not looked at", examined=False)
    absent = Finding(rule, "a", Outcome.SKIP, "there is none")
    failed = Finding(rule, "a", Outcome.FAIL, "it is broken")
    assert [f.outcome for f in settled([skipped, absent], strict=False)] == [
        Outcome.FAIL,
        Outcome.SKIP,
    ]
    assert settled([skipped, failed], strict=False) == [skipped, failed]
    advised = dataclasses.replace(skipped, rule=dataclasses.replace(rule, level=Level.ADVICE))
    assert [f.outcome for f in settled([advised], strict=False)] == [Outcome.WARN]
    assert [f.outcome for f in settled([advised], strict=True)] == [Outcome.FAIL]


def test_a_cut_download_is_refused(good: Appliance, tmp_path: Path) -> None:
    whole = good.write(tmp_path / "director.ova").read_bytes()
    (tmp_path / "cut.ova").write_bytes(whole[: len(whole) * 2 // 3])
    found = failing(tmp_path / "cut.ova")
    assert {"tar-end", "manifest-digest", "vmdk-inflate", "vmdk-end-of-stream"} <= found


def test_qemu_imgs_own_disk_is_refused_for_its_end(good: Appliance, tmp_path: Path) -> None:
    """The defect that this project's writer exists for."""
    (tmp_path / "good.vmdk").write_bytes(good.disk_vmdk)
    with Reader(tmp_path / "good.vmdk") as reader:
        reader.extract(tmp_path / "raw")
    subprocess.run(
        [program("qemu-img"), "convert", "-O", "vmdk", "-o", "subformat=streamOptimized",
         tmp_path / "raw", tmp_path / "qemu.vmdk"],
        check=True,
        timeout=120,
    )  # fmt: skip
    assert "vmdk-end-of-stream" in failing(tmp_path / "qemu.vmdk")


@pytest.mark.many
def test_random_damage_never_ends_in_a_traceback(good: Appliance, tmp_path: Path) -> None:
    whole = good.write(tmp_path / "director.ova").read_bytes()
    chance = random.Random(20)
    for round_ in range(share(60)):
        data = bytearray(whole)
        limit = len(data) if round_ % 2 else 20000
        for _ in range(chance.choice((1, 8, 64))):
            data[chance.randrange(limit)] = chance.randrange(256)
        (tmp_path / "damaged.ova").write_bytes(data)
        if bytes(data) != whole:
            found = {f.outcome for f in verify(tmp_path / "damaged.ova", LAB)}
            assert Outcome.FAIL in found and Outcome.DEFECT not in found, f"round {round_}"


@pytest.mark.slow
def test_a_tar_of_very_many_members_is_refused_at_once(tmp_path: Path) -> None:
    """Each name is compared with all others: that must not be a way to keep verify at work."""
    header = bytearray(tarfile.TarInfo("00000.vmdk").tobuf(tarfile.USTAR_FORMAT))
    with (tmp_path / "many.ova").open("wb") as tar:
        for number in range(40_000):
            header[:5] = b"%05d" % number
            set_sum(header, 0)
            tar.write(header)
        tar.write(bytes(1024))
    start = time.process_time()  # what others take of the host does not count
    (failed,) = (f for f in verify(tmp_path / "many.ova") if f.outcome is Outcome.FAIL)
    assert (failed.rule.id, failed.sentence) == ("tar-format", "it has more than 1000 members")
    assert time.process_time() - start < 5


def set_sum(data: bytearray, start: int) -> None:
    """Write the sum of a tar header into it."""
    data[start + 148 : start + 156] = b" " * 8
    data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])


def with_size(whole: bytes, start: int, size: int) -> bytes:
    """An OVA whose header at `start` gives a size in base-256, with a right sum."""
    data = bytearray(whole)
    data[start + 124 : start + 136] = (size % (1 << 96)).to_bytes(12, "big")
    data[start + 124] = 0xFF if size < 0 else 0x80
    set_sum(data, start)
    return bytes(data)


@pytest.mark.parametrize("size", [-512, -1024, -1, -(1 << 70), 1 << 33, 1 << 63, 1 << 70, 1 << 86])
@pytest.mark.parametrize("ending", [".ovf", ".mf", ".vmdk"])
def test_an_impossible_size_in_a_tar_header_is_reported(
    good: Appliance, tmp_path: Path, size: int, ending: str
) -> None:
    whole = good.write(tmp_path / "director.ova").read_bytes()
    with tarfile.open(tmp_path / "director.ova") as tar:
        (start,) = (m.offset for m in tar.getmembers() if m.name.endswith(ending))
    (tmp_path / "crafted.ova").write_bytes(with_size(whole, start, size))
    failed = [f for f in verify(tmp_path / "crafted.ova") if f.outcome is Outcome.FAIL]
    assert {f.rule.id for f in failed} >= {"tar-format" if size < 0 else "tar-end"}
    assert not [f for f in failed if "Error" in f.sentence]


def test_what_cannot_be_verified_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="not one of .ova, .vmdk, .iso, .vmx"):
        verify(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="there is no such file"):
        verify(tmp_path / "absent.ova")
    with pytest.raises(InputError, match="there is no .ova"):
        verify(tmp_path)


def test_every_rule_says_who_refuses() -> None:
    for rule in RULES.values():
        assert len(rule.what) > 10 and len(rule.refused_by) > 5, rule
