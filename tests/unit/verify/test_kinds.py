"""OVAs as appliances of others are made: what importers take passes, what they refuse does not.

Each kind is a small change of a right OVA; what is broken beside it is the negative control.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lvslab.formats import ova, seed_iso, vmdk
from lvslab.model.lab import Lab
from lvslab.render import node_seed
from lvslab.render.ovf import OvfDisk, ovf
from lvslab.verify import Finding, Outcome, verify
from lvslab.verify.ova.package import unit_of
from tests.appliance import Appliance, appliance, make_disk
from tests.unit.verify.conftest import Pinned

Change = Callable[[str], str]

ISO_DISK = (
    '<Disk ovf:capacity="65536" ovf:diskId="iso2" ovf:fileRef="file2" '
    'ovf:format="http://www.ecma-international.org/publications/standards/Ecma-119.htm"/>'
)
CONFIGURATIONS = (
    "<DeploymentOptionSection><Info>c</Info>"
    '<Configuration ovf:id="small"><Label>s</Label><Description>s</Description></Configuration>'
    '<Configuration ovf:id="large" ovf:default="true"><Label>l</Label><Description>l</Description>'
    "</Configuration></DeploymentOptionSection>"
)
MEMORY = re.compile(r"<Item>(?:(?!</Item>).)*<rasd:ResourceType>4</rasd.*?</Item>", re.DOTALL)
PROCESSOR = re.compile(r"<Item>(?:(?!</Item>).)*<rasd:ResourceType>3</rasd.*?</Item>", re.DOTALL)
SYSTEM = re.compile(r"<System>.*?</System>", re.DOTALL)


@pytest.fixture(scope="module")
def good(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Appliance:
    folder = tmp_path_factory.mktemp("kinds")
    return appliance(lab, folder, make_disk(folder / "disk"))


def outcomes(findings: list[Finding]) -> dict[Outcome, set[str]]:
    return {
        outcome: {f.rule.id for f in findings if f.outcome is outcome}
        for outcome in (Outcome.FAIL, Outcome.WARN, Outcome.DEFECT)
    }


def looked_at(this: Appliance, folder: Path) -> tuple[set[str], set[str]]:
    """What is refused and what is warned of in another's file."""
    found = outcomes(verify(this.write(folder / "input.ova")))
    assert found[Outcome.DEFECT] == set()
    return found[Outcome.FAIL], found[Outcome.WARN]


def put(old: str, new: str) -> Change:
    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, 1)

    return change


def instead(pattern: re.Pattern[str], *makers: Change) -> Change:
    """An element as several, each made from the one that is there."""

    def change(text: str) -> str:
        match = pattern.search(text)
        assert match
        new = "".join(make(match[0]) for make in makers)
        return text[: match.start()] + new + text[match.end() :]

    return change


def both(*changes: Change) -> Change:
    def change(text: str) -> str:
        for one in changes:
            text = one(text)
        return text

    return change


def marked(attribute: str, amount: str = "512") -> Change:
    return lambda item: item.replace("<Item>", f"<Item {attribute}>").replace(
        "Quantity>512<", f"Quantity>{amount}<"
    )


def same(item: str) -> str:
    return item


def product(*properties: str, attributes: str = "") -> Change:
    lines = "".join(f'<Property ovf:type="string" {words}/>' for words in properties)
    section = f"<ProductSection {attributes}><Info>p</Info><Product>x</Product>{lines}"
    return put("<VirtualHardwareSection", f"{section}</ProductSection><VirtualHardwareSection")


def machine(uuid: str, own: str = 'uuid="{1}"', kind: str = "HardDisk") -> Change:
    """A section of VirtualBox's whose disk is `uuid`; the OVF's Disk is {AAAA}."""
    return both(
        put("<Envelope ", '<Envelope xmlns:vbox="http://www.virtualbox.org/ovf/machine" '),
        put("<Disk ", '<Disk vbox:uuid="AAAA" '),
        put(
            "</VirtualSystem>",
            f"<vbox:Machine {own}><Info>m</Info><AttachedDevice type='{kind}'>"
            f"<Image uuid='{uuid}'/></AttachedDevice></vbox:Machine></VirtualSystem>",
        ),
    )


def device(kind: str, attributes: str = "") -> Change:
    item = (
        f"<Item {attributes}><rasd:ElementName>thing</rasd:ElementName><rasd:InstanceID>77"
        f"</rasd:InstanceID><rasd:ResourceType>{kind}</rasd:ResourceType></Item>"
    )
    return put("<Item>", f"{item}<Item>")


def second_disk(name: str) -> Change:
    item = (
        "<Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:ElementName>more"
        f"</rasd:ElementName><rasd:HostResource>ovf:/disk/{name}</rasd:HostResource>"
        "<rasd:InstanceID>78</rasd:InstanceID><rasd:Parent>3</rasd:Parent>"
        "<rasd:ResourceType>17</rasd:ResourceType></Item>"
    )
    return put("<Item>", f"{item}<Item>")


SMALL, LARGE = 'ovf:configuration="small"', 'ovf:configuration="large"'
TWO_SIZES = both(
    put("<VirtualSystem ", f"{CONFIGURATIONS}<VirtualSystem "),
    instead(MEMORY, marked(SMALL), marked(LARGE, "8192")),
)
TAKEN: dict[str, tuple[Change, set[str]]] = {
    "as it is": (same, set()),
    "no number of CPUs": (instead(PROCESSOR), {"ovf-amounts-given"}),
    "no memory": (instead(MEMORY), {"ovf-amounts-given"}),
    "no System": (instead(SYSTEM), {"ovf-system", "ovf-hardware-version"}),
    "networks before disks": (
        lambda text: re.sub(
            r"(<DiskSection>.*</DiskSection>)(\s*)(<NetworkSection>.*</NetworkSection>)",
            r"\3\2\1",
            text,
            flags=re.DOTALL,
        ),
        {"ovf-disks-first"},
    ),
    "a Disk that nothing uses": (
        put(
            "</DiskSection>",
            '<Disk ovf:diskId="swap" ovf:capacity="10" ovf:capacityAllocationUnits="byte * 2^30"'
            "/></DiskSection>".replace(
                "/>",
                ' ovf:format="http://www.vmware.com/interfaces/'
                'specifications/vmdk.html#streamOptimized"/>',
            ),
        ),
        {"ovf-disks-used", "ovf-capacity-unit"},
    ),
    "a required setting": (
        put('vmw:Config ovf:required="false"', "vmw:Config"),
        {"ovf-config-optional"},
    ),
    "a unit without blanks": (put("byte * 2^20<", "byte*2^20<"), {"ovf-memory-unit"}),
    "a unit with a number": (put("byte * 2^20<", "byte * 1048576<"), {"ovf-memory-unit"}),
    "memory in GB": (
        both(put("byte * 2^20<", "GB<"), put("Quantity>512<", "Quantity>2<")),
        {"ovf-memory-unit"},
    ),
    "a capacity without blanks": (
        put(
            '"12582912" ovf:capacityAllocationUnits="byte"',
            '"12" ovf:capacityAllocationUnits="byte*2^20"',
        ),
        {"ovf-capacity-unit"},
    ),
    "two configurations": (TWO_SIZES, set()),
    "a configuration that differs from all": (
        both(
            put("<VirtualSystem ", f"{CONFIGURATIONS}<VirtualSystem "),
            instead(MEMORY, same, marked(LARGE, "8192")),
        ),
        set(),
    ),
    "bounds": (
        instead(
            MEMORY,
            same,
            marked('ovf:bound="min"', "256"),
            marked('ovf:bound="max"', "4096"),
        ),
        set(),
    ),
    "a device that need not be there": (device("9999", 'ovf:required="false"'), set()),
    "a device of VMware's": (device("24"), set()),
    "properties": (product('ovf:key="guestinfo.ip"', 'ovf:key="ip_2"'), set()),
    "one key in two classes": (
        both(
            product('ovf:key="ip"', attributes='ovf:class="a"'),
            product('ovf:key="ip"', attributes='ovf:class="b"'),
        ),
        set(),
    ),
    "VirtualBox's disk": (machine("{aaaa}"), set()),
    "VirtualBox's empty drive": (machine("{bbbb}", kind="DVD"), set()),
}
REFUSED: dict[str, tuple[Change, set[str]]] = {
    "no CPU": (put("Quantity>1<", "Quantity>0<"), {"ovf-cpus"}),
    "CPUs in no digits": (
        put("Quantity>1<", "Quantity>\N{SUPERSCRIPT TWO}<"),
        {"ovf-cpus", "ovf-schema"},
    ),
    "too many CPUs": (put("Quantity>1<", "Quantity>70000<"), {"ovf-cpus"}),
    "CPUs twice": (
        instead(PROCESSOR, same, lambda i: i.replace("InstanceID>1<", "InstanceID>55<")),
        {"ovf-cpus"},
    ),
    "memory twice": (
        instead(MEMORY, same, lambda i: i.replace("InstanceID>2<", "InstanceID>55<")),
        {"ovf-memory"},
    ),
    "no memory at all": (put("Quantity>512<", "Quantity>0<"), {"ovf-memory"}),
    "memory of a very long number": (put("Quantity>512<", f"Quantity>{'4' * 5000}<"),
                                     {"ovf-memory", "ovf-schema"}),
    "a unit of nothing": (put("byte * 2^20<", "byte * 2^^20<"), {"ovf-memory"}),
    "a key with a blank": (product('ovf:key="my key"'), {"ovf-property-keys"}),
    "a key with a tab": (product('ovf:key="my&#9;key"'), {"ovf-property-keys"}),
    "no key": (product('ovf:key=""'), {"ovf-property-keys"}),
    "a class with a blank": (
        product('ovf:key="ip"', attributes='ovf:class="my class"'),
        {"ovf-property-keys"},
    ),
    "a key twice": (product('ovf:key="ip"', 'ovf:key="ip"'), {"ovf-property-keys"}),
    "a key twice in two sections": (
        both(product('ovf:key="ip"'), product('ovf:key="ip"')),
        {"ovf-property-keys"},
    ),
    "one name by class and key": (
        both(product('ovf:key="a.ip"'), product('ovf:key="ip"', attributes='ovf:class="a"')),
        {"ovf-property-keys"},
    ),
    "a device of no kind": (device("9999"), {"ovf-devices"}),
    "a required device of no kind": (device("12345", 'ovf:required="true"'), {"ovf-devices"}),
    "a disk of VirtualBox's that is no Disk": (machine("{bbbb}"), {"ovf-virtualbox"}),
    "a machine of VirtualBox's without uuid": (machine("{aaaa}", own=""), {"ovf-virtualbox"}),
    "a configuration that is not there": (
        instead(MEMORY, same, marked('ovf:configuration="huge"')),
        {"ovf-configurations"},
    ),
    "a bound that is none": (
        instead(MEMORY, same, marked('ovf:bound="most"')),
        {"ovf-configurations"},
    ),
    "two defaults": (
        both(TWO_SIZES, put('ovf:id="small"', 'ovf:id="small" ovf:default="true"')),
        {"ovf-configurations"},
    ),
    "two configurations of one id": (
        both(TWO_SIZES, put('ovf:id="large"', 'ovf:id="small"')),
        {"ovf-configurations"},
    ),
    "a hard disk of VirtualBox's without image": (
        both(machine("{AAAA}"), put("<Image uuid='{AAAA}'/>", "")),
        {"ovf-virtualbox"},
    ),
    "a Disk for two hard disks": (
        second_disk("vmdisk1"),
        {"ovf-disk-items"},
    ),
    "odd memory in the other configuration": (
        both(TWO_SIZES, put("Quantity>512<", "Quantity>511<")),
        {"ovf-memory"},
    ),
    "an id twice in one configuration": (
        both(TWO_SIZES, put("InstanceID>1<", "InstanceID>2<")),
        {"ovf-instance-ids"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), TAKEN.values(), ids=TAKEN)
def test_what_importers_take_is_at_most_warned_of(
    good: Appliance, tmp_path: Path, change: Change, expected: set[str], pinned: Pinned
) -> None:
    this = dataclasses.replace(good, ovf=change(good.ovf))
    assert looked_at(this, tmp_path) == (set(), expected)
    pinned(verify(tmp_path / "input.ova"))


@pytest.mark.parametrize(("change", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_importers_refuse_is_refused(
    good: Appliance, tmp_path: Path, change: Change, expected: set[str], pinned: Pinned
) -> None:
    this = dataclasses.replace(good, ovf=change(good.ovf))
    assert looked_at(this, tmp_path)[0] == expected
    pinned(verify(tmp_path / "input.ova"))


def test_a_refusal_names_the_configuration(good: Appliance, tmp_path: Path) -> None:
    broken = both(TWO_SIZES, put("Quantity>512<", "Quantity>511<"))
    path = dataclasses.replace(good, ovf=broken(good.ovf)).write(tmp_path / "input.ova")
    (said,) = (f.sentence for f in verify(path) if f.outcome is Outcome.FAIL)
    assert said == "511 MiB is not a multiple of 4 (configuration small)"


def test_units_are_read_as_dsp0004_has_them() -> None:
    right = {"byte": 1, "byte*2^20": 1 << 20, " byte * 2 ^ 30 ": 1 << 30, "byte * 10^3": 1000}
    right |= {"bytes": 1, "byte * 2^10 * 4": 4096, "MegaBytes": 1 << 20, "KB": 1024}
    assert {text: unit_of(text) for text in right} == right
    for text in ("", "bit", "byte *", "byte 2^20", "byte ^ 2", "byte * 2^", "2^20"):
        assert unit_of(text) is None, text


# --- files in the archive -----------------------------------------------------------------


def chunked(this: Appliance, size: int) -> Appliance:
    """The disk in chunks of `size` bytes, as ovftool's --chunkSize writes them."""
    name, data = this.vmdk_name, this.disk_vmdk
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    files = [(f"{name}.{index:09d}", part) for index, part in enumerate(parts)]
    described = this.ovf.replace("<File ", f'<File ovf:chunkSize="{size}" ', 1)
    whole = dataclasses.replace(this, ovf=described)
    sums = whole.sums().splitlines(keepends=True)[:1]
    sums += [f"SHA256({n})= {ova_digest(d)}\n" for n, d in files]
    return dataclasses.replace(
        whole, order=("ovf", "mf"), extra=tuple(files), manifest="".join(sums)
    )


def ova_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [100_000, 65_536, 512, 1 << 30])
def test_a_disk_in_chunks_is_read_as_one(good: Appliance, tmp_path: Path, size: int) -> None:
    if len(good.disk_vmdk) // size > 900:
        size = len(good.disk_vmdk) // 900  # more members than an OVA may have
    this = chunked(good, size)
    findings = verify(this.write(tmp_path / "input.ova"))
    assert [f for f in findings if f.outcome is not Outcome.PASS] == []
    assert "disk-root" in {f.rule.id for f in findings}


@pytest.mark.parametrize("which", ["missing", "short", "swapped", "changed"])
def test_broken_chunks_are_refused(good: Appliance, tmp_path: Path, which: str) -> None:
    this = chunked(good, 100_000)
    files = list(this.extra)
    if which == "missing":
        del files[1]
    elif which == "short":
        files[1] = (files[1][0], files[1][1][:-512])
    elif which == "swapped":
        files[0], files[1] = files[1], files[0]
    else:
        files[1] = (files[1][0], bytes(100_000))
    refused = looked_at(dataclasses.replace(this, extra=tuple(files)), tmp_path)[0]
    expected = {"swapped": {"tar-order"}, "changed": {"manifest-digest"}}
    assert refused >= expected.get(which, {"ovf-references"})


def test_a_cd_rom_s_image_is_not_a_hard_disk(good: Appliance, tmp_path: Path) -> None:
    """VirtualBox writes a Disk for it, and a drive refers to that."""
    iso = b"\0" * 32769 + b"CD001" + bytes(4096)
    change = both(
        put("</References>", '<File ovf:href="a.iso" ovf:id="file2"/></References>'),
        put("</DiskSection>", f"{ISO_DISK}</DiskSection>"),
        device("15", 'ovf:required="true"'),
        put(
            "<rasd:ElementName>thing</rasd:ElementName>",
            "<rasd:AddressOnParent>1</rasd:AddressOnParent>"
            "<rasd:ElementName>thing</rasd:ElementName>"
            "<rasd:HostResource>/disk/iso2</rasd:HostResource>",
        ),
        put("<rasd:InstanceID>77</rasd:InstanceID>",
            "<rasd:InstanceID>77</rasd:InstanceID><rasd:Parent>4</rasd:Parent>"),
    )  # fmt: skip
    this = dataclasses.replace(good, ovf=change(good.ovf))
    manifest = this.sums() + f"SHA256(a.iso)= {ova_digest(iso)}\n"
    this = dataclasses.replace(this, extra=(("a.iso", iso),), manifest=manifest)
    assert looked_at(this, tmp_path) == (set(), {"tar-no-iso"})
    lost = dataclasses.replace(this, ovf=this.ovf.replace("/disk/iso2", "/disk/iso3"))
    lost = dataclasses.replace(lost, manifest=lost.sums() + f"SHA256(a.iso)= {ova_digest(iso)}\n")
    assert "ovf-disk-items" in looked_at(lost, tmp_path)[0]
    as_disk = this.ovf.replace("ovf:/disk/vmdisk1", "ovf:/disk/iso2")
    wrong = dataclasses.replace(this, ovf=as_disk)
    wrong = dataclasses.replace(
        wrong, manifest=wrong.sums() + f"SHA256(a.iso)= {ova_digest(iso)}\n"
    )
    assert {"ovf-capacity", "ovf-disk-format"} <= looked_at(wrong, tmp_path)[0]


def long_name(this: Appliance) -> Appliance:
    """A disk whose name is longer than a tar header holds, as GNU tar writes it."""
    name = "a-very-long-name-" * 8 + "disk1.vmdk"
    described = this.ovf.replace(this.vmdk_name, name)
    renamed = dataclasses.replace(this, ovf=described)
    manifest = renamed.sums().replace(this.vmdk_name, name)
    return dataclasses.replace(
        renamed,
        manifest=manifest,
        tar_format=tarfile.GNU_FORMAT,
        order=("ovf", "mf"),
        extra=((name, this.disk_vmdk),),
    )


def test_gnu_tars_own_headers_are_read(good: Appliance, tmp_path: Path) -> None:
    gnu = dataclasses.replace(good, tar_format=tarfile.GNU_FORMAT)
    assert looked_at(gnu, tmp_path) == (set(), {"tar-ustar"})
    assert looked_at(long_name(good), tmp_path) == (set(), {"tar-ustar"})
    pax = dataclasses.replace(long_name(good), tar_format=tarfile.PAX_FORMAT)
    assert "tar-format" in looked_at(pax, tmp_path)[0]


def ended(blocks: int) -> Callable[[bytes], bytes]:
    """The end of the archive as this number of zero blocks, behind the disk's own last one."""

    def change(data: bytes) -> bytes:
        bare = data.rstrip(b"\0")
        return bare + bytes(-len(bare) % 512 + 512 * (blocks + 1))

    return change


@pytest.mark.parametrize(
    ("blocks", "refused", "warned"),
    [
        (0, set(), {"tar-two-blocks"}),
        (1, set(), {"tar-two-blocks"}),
        (2, set(), set()),
        (20, set(), set()),
    ],
)
def test_an_archive_may_end_with_one_zero_block_or_none(
    good: Appliance, tmp_path: Path, blocks: int, refused: set[str], warned: set[str]
) -> None:
    this = dataclasses.replace(good, packed=ended(blocks))
    assert looked_at(this, tmp_path) == (refused, warned)


def generation_2(text: str) -> str:
    """An OVF as VirtualBox exports it with --ovf20."""
    cim = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_"
    text = text.replace("dmtf.org/ovf/envelope/1", "dmtf.org/ovf/envelope/2")
    spaces = "".join(
        f'xmlns:{short}="{cim}{name}AllocationSettingData.xsd" '
        for short, name in (("sasd", "Storage"), ("epasd", "EthernetPort"))
    )
    text = text.replace("<Envelope ", f'<Envelope ovf:version="2.0" {spaces}', 1)

    def renamed(match: re.Match[str]) -> str:
        kind = re.search(r"ResourceType>(\d+)<", match[0])
        tag, prefix = {"10": ("EthernetPortItem", "epasd"), "17": ("StorageItem", "sasd")}.get(
            kind[1] if kind else "", ("Item", "rasd")
        )
        item = match[0].replace("<Item", f"<{tag}").replace("</Item>", f"</{tag}>")
        return item.replace("rasd:", f"{prefix}:")

    return re.sub(r"<Item>.*?</Item>", renamed, text, flags=re.DOTALL)


def test_ovf_2_is_read(good: Appliance, tmp_path: Path) -> None:
    text = generation_2(good.ovf)
    assert "<EthernetPortItem>" in text and "<sasd:HostResource>" in text
    this = dataclasses.replace(good, ovf=text)
    assert looked_at(this, tmp_path) == (set(), {"ovf-version"})


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("<sasd:HostResource>ovf:/disk/vmdisk1<", "<sasd:HostResource>ovf:/disk/x<",
         "ovf-disk-items"),
        ("<epasd:Connection>nat<", "<epasd:Connection>x<", "ovf-connection"),
        ('ovf:capacity="12582912"', 'ovf:capacity="12582400"', "ovf-capacity"),
        ("Quantity>512<", "Quantity>511<", "ovf-memory"),
        ("ovf/envelope/2", "ovf/envelope/3", "ovf-xml"),
    ],
)  # fmt: skip
def test_a_broken_ovf_2_is_refused(
    good: Appliance, tmp_path: Path, old: str, new: str, rule: str
) -> None:
    text = generation_2(good.ovf)
    assert old in text
    this = dataclasses.replace(good, ovf=text.replace(old, new))
    assert rule in looked_at(this, tmp_path)[0]


# --- the OVA of a node --------------------------------------------------------------------


def node_ova(lab: Lab, good: Appliance, folder: Path, *, node: str = "lvs1") -> Path:
    """The OVA of lvs1, whose second disk is the seed of `node`."""
    folder.mkdir(exist_ok=True)
    seed_iso.write_iso(node_seed(lab, node), folder / "seed.iso", epoch=1)
    (folder / "lvs1-disk1.vmdk").write_bytes(good.disk_vmdk)
    second = seed_iso.write_disk(folder / "seed.iso", folder / "lvs1-seed.vmdk")
    with vmdk.Reader(folder / "lvs1-disk1.vmdk") as reader:
        first = OvfDisk("lvs1-disk1.vmdk", len(good.disk_vmdk), reader.capacity, 0)
    role = lab.nodes["lvs1"].role
    last = OvfDisk("lvs1-seed.vmdk", second.size, second.capacity, second.populated)
    text = ovf(lab, role, [first, last], name="lvs1")
    files = [folder / "lvs1-disk1.vmdk", folder / "lvs1-seed.vmdk"]
    ova.write(folder / "lvs1.ova", "lvs1.ovf", text, files, 1_700_000_000)
    return folder / "lvs1.ova"


@pytest.mark.parametrize("name", ["lvs1.ova", "lvs1 (1).ova", "kurs-2026.ova", "rs1.ova"])
def test_a_node_s_ova_under_another_name_is_none_the_worse(
    lab: Lab, good: Appliance, tmp_path: Path, name: str
) -> None:
    path = node_ova(lab, good, tmp_path / "made").rename(tmp_path / name)
    for known in (None, lab):
        findings = verify(path, known)
        assert [f for f in findings if f.outcome is not Outcome.PASS] == []
        assert "seed-node" in {f.rule.id for f in findings}


def test_a_node_s_ova_with_another_s_seed_is_found(
    lab: Lab, good: Appliance, tmp_path: Path
) -> None:
    path = node_ova(lab, good, tmp_path / "made", node="rs1")
    found = outcomes(verify(path))
    assert (found[Outcome.FAIL], found[Outcome.WARN]) == (set(), {"seed-node"})
    assert "seed-node" in outcomes(verify(path, lab))[Outcome.FAIL]
