"""The OVF text: DMTF's schema, golden files, and what other programs read in it."""

from __future__ import annotations

import copy
import random
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest
from dissect.hypervisor.descriptor.ovf import OVF
from lxml import etree

from lvslab.core.procs import program
from lvslab.model.lab import Lab, Node
from lvslab.render.ovf import OvfDisk, ovf
from lvslab.verify import Outcome
from lvslab.verify.ova.devices import HARDWARE
from lvslab.verify.ova.envelope import ENVELOPE
from lvslab.verify.ova.package import Envelope
from lvslab.verify.ova.products import PRODUCT
from tests.appliance import BREAKS_SCHEMA
from tests.conftest import ROOT, Golden
from tests.strategies import share

SCHEMA = ROOT / "tests" / "ovf-schema" / "dsp8023_1.1.1.xsd"
DISK = OvfDisk("director-disk1.vmdk", 161_061_273, 4096 << 20, 600 << 20)
SEED = OvfDisk("director-disk2.vmdk", 70_000, 376_832, 65_536)
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"

ORDER = {"ovf-schema", "ovf-section-order", "ovf-hardware-order", "ovf-child-order", "ovf-xml"}


def texts(lab: Lab) -> dict[str, str]:
    return {
        "director.ovf": ovf(lab, "director", [DISK], version="1.2"),
        "real-server.ovf": ovf(lab, "real-server", [DISK]),
        "lvs1.ovf": ovf(lab, "director", [DISK, SEED], name="lvs1"),
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


@pytest.mark.parametrize("name", ["director.ovf", "real-server.ovf", "lvs1.ovf"])
def test_dmtfs_schema(
    lab: Lab, wide_lab: Lab, tmp_path: Path, schema: etree.XMLSchema, name: str
) -> None:
    for which in (lab, wide_lab):
        text = texts(which)[name]
        done = xmllint(tmp_path, text)
        assert done.returncode == 0, done.stderr
        schema.assertValid(etree.fromstring(text.encode()))


@pytest.mark.parametrize(("old", "new"), BREAKS_SCHEMA.values(), ids=BREAKS_SCHEMA)
def test_dmtfs_schema_can_refuse(
    lab: Lab, tmp_path: Path, schema: etree.XMLSchema, old: str, new: str
) -> None:
    text = texts(lab)["director.ovf"]
    broken = re.sub(old, new, text, count=1, flags=re.DOTALL)
    assert broken != text
    assert xmllint(tmp_path, broken).returncode != 0
    assert not schema.validate(etree.fromstring(broken.encode()))


def spoil(root: etree._Element, chance: random.Random) -> None:
    """Change an element or an attribute at random."""
    element = chance.choice([e for e in root.iter() if e.getparent() is not None])
    parent = element.getparent()
    assert parent is not None
    match chance.randrange(6):
        case 0:
            parent.remove(element)
        case 1:
            parent.insert(chance.randrange(len(parent) + 1), copy.deepcopy(element))
        case 2:
            element.tag = chance.choice([e.tag for e in root.iter()])
        case 3:
            parent.insert(chance.randrange(len(parent)), element)
        case 4 if element.attrib:
            del element.attrib[chance.choice(list(element.attrib))]
        case _:
            element.text = chance.choice(["", "ten", "-1", "99999999999999999999999"])


@pytest.mark.many
def test_what_dmtfs_schema_refuses_is_refused_by_the_rules(
    lab: Lab, schema: etree.XMLSchema
) -> None:
    """Damage at random: the table of `verify` misses nothing that the schema sees."""
    chance, refused, good = random.Random(8023), 0, texts(lab)
    rounds = share(600)
    for round_ in range(rounds):
        root = etree.fromstring(good[chance.choice(["lvs1.ovf", "director.ovf"])].encode())
        spoil(root, chance)
        data = etree.tostring(root)
        envelope = Envelope(partial(bytes, data), {}, lambda _: None)
        found = [f for rules in (ENVELOPE, HARDWARE, PRODUCT) for f in rules.run(envelope, "x.ovf")]
        assert not [f for f in found if f.outcome is Outcome.DEFECT], f"round {round_}"
        if not schema.validate(etree.fromstring(data)):
            refused += 1
            failed = {f.rule.id for f in found if f.outcome is Outcome.FAIL}
            assert failed & ORDER, f"round {round_}: {schema.error_log.last_error}"
    assert refused > rounds / 3


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
    text = ovf(lab.model_copy(update={"nodes": nodes}), "director", [DISK])
    assert items(text, 4)[0]["VirtualQuantity"] == "768"
    assert items(text, 3)[0]["VirtualQuantity"] == "2"


def test_markup_in_names_is_escaped(lab: Lab) -> None:
    text = ovf(lab, "director", [OvfDisk("a&b<c>.vmdk", 1, 512, 0)])
    assert 'ovf:href="a&amp;b&lt;c&gt;.vmdk"' in text
    etree.fromstring(text.encode())
