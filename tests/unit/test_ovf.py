"""The OVF text: DMTF's schema, golden files, and what other programs read in it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from dissect.hypervisor.descriptor.ovf import OVF
from lxml import etree

from lvslab.core.procs import program
from lvslab.model.lab import Lab, Node, Role
from lvslab.render.ovf import OvfDisk, ovf
from tests.conftest import ROOT, Golden

SCHEMAS = Path(os.environ.get("LVSLAB_OVF_SCHEMA") or ROOT.parent / "shared" / "ovf-schema")
SCHEMA = SCHEMAS / "dsp8023_1.1.1.xsd"
DISK = OvfDisk("director-disk1.vmdk", 161_061_273, 4096 << 20, 600 << 20)
SEED = OvfDisk("director-disk2.vmdk", 70_000, 376_832, 65_536)
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"

needs_schema = pytest.mark.skipif(
    not SCHEMA.is_file(),
    reason="DMTF's schemas are not here (LVSLAB_OVF_SCHEMA names their folder)",
)


def texts(lab: Lab) -> dict[str, str]:
    return {
        "director.ovf": ovf(lab, Role.DIRECTOR, [DISK], version="1.2"),
        "real-server.ovf": ovf(lab, Role.REAL_SERVER, [DISK]),
        "lvs1.ovf": ovf(lab, Role.DIRECTOR, [DISK, SEED], name="lvs1"),
    }


def xmllint(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "x.ovf").write_text(text)
    argv = [program("xmllint"), "--noout", "--nonet", "--schema", SCHEMA, folder / "x.ovf"]
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(SCHEMA, etree.XMLParser(no_network=True)))


def test_golden(lab: Lab, wide_lab: Lab, golden: Golden) -> None:
    golden("default/ovf", texts(lab))
    golden("wide/ovf", texts(wide_lab))


@needs_schema
@pytest.mark.parametrize("name", ["director.ovf", "real-server.ovf", "lvs1.ovf"])
def test_dmtfs_schema(
    lab: Lab, wide_lab: Lab, tmp_path: Path, schema: etree.XMLSchema, name: str
) -> None:
    for which in (lab, wide_lab):
        text = texts(which)[name]
        done = xmllint(tmp_path, text)
        assert done.returncode == 0, done.stderr
        schema.assertValid(etree.fromstring(text.encode()))


@needs_schema
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<DiskSection>", "<DiskSektion>"),
        ("<rasd:ResourceType>10<", "<rasd:ResourceType>ten<"),
        ('ovf:diskId="vmdisk1"', ""),
        ("<Info>Virtual disks</Info>", ""),
        ("<rasd:InstanceID>1<", "<rasd:Zebra>1</rasd:Zebra><rasd:InstanceID>1<"),
    ],
)
def test_dmtfs_schema_can_refuse(
    lab: Lab, tmp_path: Path, schema: etree.XMLSchema, old: str, new: str
) -> None:
    text = texts(lab)["director.ovf"]
    assert old in text
    broken = text.replace(old, new, 1).replace(
        "</DiskSection>", "</DiskSektion>" if "Sektion" in new else "</DiskSection>"
    )
    assert xmllint(tmp_path, broken).returncode != 0
    assert not schema.validate(etree.fromstring(broken.encode()))


def test_dissect_reads_it(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "x.ovf").write_text(texts(lab)["lvs1.ovf"])
    with (tmp_path / "x.ovf").open() as file:
        assert list(OVF(file).disks()) == ["director-disk1.vmdk", "director-disk2.vmdk"]


def items(text: str, kind: int) -> list[dict[str, str]]:
    found = []
    for element in etree.fromstring(text.encode()).iter():
        if element.tag.endswith("}Item"):
            values = {child.tag.removeprefix(RASD): child.text or "" for child in element}
            if values["ResourceType"] == str(kind):
                found.append(values)
    return found


def test_network_cards_are_those_of_the_node_in_order(lab: Lab) -> None:
    cards = items(texts(lab)["director.ovf"], 10)
    assert [card["Connection"] for card in cards] == ["nat", "hostonly", "hostonly", "hostonly"]
    assert [card["AddressOnParent"] for card in cards] == ["7", "8", "9", "10"]
    assert {card["ResourceSubType"] for card in cards} == {"E1000"}
    assert len(items(texts(lab)["real-server.ovf"], 10)) == 3


def test_no_network_of_the_lab_is_named_as_one(lab: Lab) -> None:
    """An importer that does not know VMnet12 would bridge it."""
    for text in texts(lab).values():
        names = re.findall(r'<Network ovf:name="([^"]*)"', text)
        assert names == ["hostonly", "nat"]
        assert not re.search(r"<rasd:Connection>VMnet", text)


def test_memory_and_cpus_are_the_most_that_a_node_of_the_role_has(lab: Lab) -> None:
    nodes = dict(lab.nodes)
    nodes["lvs2"] = Node.model_validate(
        {**nodes["lvs2"].model_dump(), "memory_mib": 768, "cpus": 2}
    )
    text = ovf(lab.model_copy(update={"nodes": nodes}), Role.DIRECTOR, [DISK])
    assert items(text, 4)[0]["VirtualQuantity"] == "768"
    assert items(text, 3)[0]["VirtualQuantity"] == "2"


def test_markup_in_names_is_escaped(lab: Lab) -> None:
    text = ovf(lab, Role.DIRECTOR, [OvfDisk("a&b<c>.vmdk", 1, 512, 0)])
    assert 'ovf:href="a&amp;b&lt;c&gt;.vmdk"' in text
    etree.fromstring(text.encode())
