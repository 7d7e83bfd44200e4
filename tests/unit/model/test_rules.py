"""Random labs that are right pass the rules and survive a file; MACs and times are right."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from pydantic import ValidationError

from lvslab.model import load, rules
from lvslab.model.lab import Lab, LabFile, Vrrp
from lvslab.model.names import name_findings
from lvslab.model.role import Kind
from lvslab.model.rules.nodes import reserved_on_windows
from lvslab.render.handout import handout
from tests.strategies import examples, labs, variants

ROOT = Path(__file__).parents[3]
ROLES = load.heads([ROOT / "tests" / "bad" / "roles"]).roles
SLOWLY = examples(40)


def said(lab: Lab) -> list[str]:
    return [f"{finding.what}; {finding.right}" for finding in rules.check(lab)]


def written(lab: Lab, path: Path) -> Path:
    plain = lab.model_dump(mode="json", exclude={"roles"})
    path.write_text(yaml.dump(plain, Dumper=yaml.CSafeDumper, sort_keys=False))
    return path


def keeps_the_rules(lab: Lab) -> None:
    assert said(lab) == []


def is_the_same_when_written_and_read(lab: Lab) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert load.load_lab(written(lab, Path(folder) / "lab.yaml")) == lab


def has_macs_of_vmware_s_static_range_and_none_twice(lab: Lab) -> None:
    macs = [lab.mac(name, nic) for name, node in lab.nodes.items() for nic in node.interfaces]
    assert len({*macs, *map(lab.host_mac, lab.networks)}) == len(macs) + len(lab.networks)
    for mac in macs:
        assert mac.startswith("00:50:56:")
        assert 0 <= int(mac[9:11], 16) <= 0x3F
    other = lab.model_copy(update={"number": lab.number % 63 + 1})
    others = {other.mac(name, nic) for name, node in other.nodes.items() for nic in node.interfaces}
    assert not others & set(macs)


def answers_about_itself(lab: Lab) -> None:
    for name, server in lab.virtual_servers.items():
        network = lab.network_of(name)
        behind = lab.real_servers(name)
        assert list(behind) == list(lab.nodes_of(Kind.SERVER))
        cidr = lab.cidr(network, lab.family_of(name))
        assert all(address in cidr for address in behind.values())
        if server.table:
            via = lab.tables[server.table].via
            assert lab.group_of(server.instance) == lab.group_of(via) is not None
            assert lab.owners(server.instance) == lab.owners(via)
        assert (server.table is None) == lab.answers_directly(name)
        assert lab.vrrp_instances[server.instance].network == lab.client_network
        assert lab.directors_interface_on(network).startswith("eth")


def can_be_unpacked_by_windows(lab: Lab) -> None:
    """No part of a path is a device's name, and no two paths are one there."""
    paths = [*handout(lab), *(f"{n}/{n}.{e}" for n in lab.nodes for e in ("vmdk", "iso"))]
    paths += ["SHA256SUMS", "base/director.vmdk", "base/real-server.vmdk"]
    assert not any(reserved_on_windows(part) for path in paths for part in path.split("/"))
    folders = {path.lower() for path in paths} | {f"{node}" for node in lab.nodes} | {"base"}
    assert len(folders) == len(set(paths)) + len(lab.nodes) + 1


# To make a random lab costs more than to look at it, so one is looked at in all respects; those
# that take long have labs of fewer nodes.


@SLOWLY
@given(labs())
def test_a_random_lab_keeps_the_rules_and_answers_about_itself(lab: Lab) -> None:
    keeps_the_rules(lab)
    has_macs_of_vmware_s_static_range_and_none_twice(lab)
    answers_about_itself(lab)


@SLOWLY
@given(labs(max_real_servers=20))
def test_a_random_lab_can_be_written_read_and_handed_out(lab: Lab) -> None:
    is_the_same_when_written_and_read(lab)
    can_be_unpacked_by_windows(lab)


def test_every_rule_is_registered_once_and_says_what_it_is_for() -> None:
    registered = rules.RULES + rules.RULES_OF_A_WHOLE_LAB
    assert len(set(registered)) == len(registered) > 30
    assert all(rule.__doc__ for rule in registered)


def labs_with_mistakes() -> Iterator[Lab]:
    """Those of the bad labs whose values are each for itself right, and one with 300 nodes."""
    text = (ROOT / "tests" / "bad" / "lab.yaml").read_text()
    cases = (ROOT / "tests" / "bad" / "lab-cases.yaml").read_text()
    for case in yaml.load(cases, Loader=yaml.CSafeLoader):
        changed = text
        for old, new in case["change"].items():
            changed = changed.replace(old, new)
        with contextlib.suppress(yaml.YAMLError, ValidationError):
            file = LabFile.model_validate(yaml.load(changed, Loader=yaml.CSafeLoader))
            if not name_findings(file.model_dump(mode="json"), ROLES):
                yield Lab.with_roles(file, ROLES)
    yield crowd()


def crowd() -> Lab:
    lab = load.load_lab(ROOT / "lab.yaml")
    nodes = {**lab.nodes, **{f"rs{i}": lab.nodes["rs1"] for i in range(3, 300)}}
    return lab.model_copy(update={"nodes": nodes})


def test_every_rule_is_broken_by_a_bad_lab() -> None:
    broken = {
        rule
        for lab in labs_with_mistakes()
        for rule in rules.RULES + rules.RULES_OF_A_WHOLE_LAB
        if list(rule(lab))
    }
    assert {rule.__name__ for rule in rules.RULES + rules.RULES_OF_A_WHOLE_LAB} == {
        rule.__name__ for rule in broken
    }


ENTRIES = ("networks", "nodes", "vrrp_instances", "sync_groups", "tables", "virtual_servers")


def backwards(lab: Lab) -> Lab:
    """The lab with all its entries in the other order."""
    turned = {name: dict(reversed(getattr(lab, name).items())) for name in ENTRIES}
    return lab.model_copy(update=turned)


@pytest.mark.slow
def test_the_order_of_entries_hides_no_mistake() -> None:
    """A rule that stopped at the first entry that is right would see nothing behind it."""
    whole = rules.RULES + rules.RULES_OF_A_WHOLE_LAB
    for lab in labs_with_mistakes():
        broken = {rule.__name__ for rule in whole if list(rule(lab))}
        assert {rule.__name__ for rule in whole if list(rule(backwards(lab)))} == broken


def test_names_are_judged_in_a_lab_that_was_not_read_from_a_file() -> None:
    lab = load.load_lab(ROOT / "lab.yaml")
    changed = lab.model_copy(update={"sync_groups": {"VG1": ("VI_1", "VI_9")}})
    assert said(changed) == [
        "sync_groups.VG1[1] names VI_9, and there is no such VRRP instance; "
        "VRRP instances are VI_1, VI_2, VI_3, VI_4"
    ]


def test_more_nodes_than_macs() -> None:
    assert "rs209 is node 211; a lab has at most 210 nodes" in said(crowd())


@pytest.mark.parametrize(
    ("version", "seconds", "priority", "down"),
    [
        (2, 1, 100, 3.609375),
        (2, 2, 100, 6.609375),
        (3, 0.2, 100, 0.721875),
        (3, 0.2, 150, 0.6828125),
    ],
)
def test_the_master_down_interval(version: int, seconds: float, priority: int, down: float) -> None:
    vrrp = Vrrp.model_validate({"version": version, "advert_seconds": seconds})
    assert vrrp.down_seconds(priority) == pytest.approx(down)


def test_two_hundred_real_servers_are_read_quickly(tmp_path: Path) -> None:
    """The bound is many times what it takes: only a wrong order of growth breaks it."""
    data = yaml.safe_load((ROOT / "lab.yaml").read_text())
    data["networks"]["VMnet12"]["cidr"] = "192.168.100.0/22"
    data["networks"]["VMnet13"]["cidr"] = "192.168.200.0/22"
    for i in range(3, 201):
        addresses = {"eth1": f"192.168.101.{i}", "eth2": f"192.168.201.{i}"}
        data["nodes"][f"rs{i}"] = data["nodes"]["rs1"] | {"addresses": addresses}
    path = tmp_path / "lab.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    start = time.monotonic()
    assert len(load.load_lab(path).nodes) == 202
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    "kind", variants(["ed25519"], ["ecdsa", "-b", "521"], ["rsa", "-b", "3072"], fast=2)
)
def test_a_key_that_ssh_keygen_made_is_taken(lab: Lab, tmp_path: Path, kind: list[str]) -> None:
    key = tmp_path / "key"
    words = ["-q", "-N", "", "-C", "J\u00f6rg's key", "-f", str(key), "-t", *kind]
    subprocess.run(["ssh-keygen", *words], check=True)
    line = key.with_suffix(".pub").read_text("utf-8").strip()
    login = {"user": "student", "ssh_keys": [line]}
    assert said(Lab.model_validate(lab.model_dump() | {"login": login})) == []


def with_priorities(lab: Lab, weight: int, **values: tuple[int, ...]) -> Lab:
    """Instances with these priorities of the directors, and a track script of this weight."""
    directors = lab.nodes_of(Kind.DIRECTOR)
    instances = {
        name: lab.vrrp_instances[name].model_copy(
            update={"priorities": dict(zip(directors, numbers, strict=True))}
        )
        for name, numbers in values.items()
    }
    track = lab.directors.track.model_copy(update={"enabled": True, "weight": weight})
    update = {"directors": lab.directors.model_copy(update={"track": track}), "sync_groups": {}}
    return lab.model_copy(update={"vrrp_instances": instances, **update})


def scripts(lab: Lab) -> list[str]:
    return [each.what for each in rules.vrrp.the_track_script_can_move_a_group(lab)]


def test_a_failing_track_script_takes_the_owner_below_the_next_director(wide_lab: Lab) -> None:
    """How far the others are from each other does not matter, but the worst instance does."""
    near, far = (150, 140, 50), (150, 50, 100)
    assert scripts(with_priorities(wide_lab, -11, outside=near, inside=near)) == []
    (told,) = scripts(with_priorities(wide_lab, -10, outside=near, inside=near))
    assert told.startswith("a failing track script takes 10 from d1's priority for outside")
    assert told.endswith("is 10 above d2's")
    assert scripts(with_priorities(wide_lab, -51, outside=far, inside=near)) == []
    (told,) = scripts(with_priorities(wide_lab, -9, outside=(150, 50, 145), inside=near))
    assert "for inside" in told and told.endswith("is 10 above d2's")


def test_a_node_without_interfaces_is_reported(lab: Lab) -> None:
    bare = lab.nodes["rs1"].model_copy(update={"interfaces": {}})
    told = said(lab.model_copy(update={"nodes": lab.nodes | {"rs1": bare}}))
    assert "rs1 has no interface eth1; it has no interface at all" in told


DEVICES = ["con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(10))]


@pytest.mark.parametrize("name", DEVICES)
def test_no_node_is_called_as_a_device_of_windows(lab: Lab, name: str) -> None:
    """With any extension, too: a node's files are NAME.vmx, NAME.iso and NAME.ova."""
    told = said(lab.model_copy(update={"nodes": lab.nodes | {name: lab.nodes["rs1"]}}))
    assert any(f"{name} cannot be the name of a node, Windows has a device" in t for t in told)
    for spelt in (name, name.upper(), f"{name}.iso", f"{name.title()}.tar.gz", f"{name} .vmx"):
        assert reserved_on_windows(spelt)


@pytest.mark.parametrize(
    "name", ["com10", "com", "lpt", "console", "auxi", "xcon", "nul2", "con-1", "rs1.con", "a.b c"]
)
def test_other_names_are_no_devices(lab: Lab, name: str) -> None:
    assert not reserved_on_windows(name)
    told = said(lab.model_copy(update={"nodes": lab.nodes | {name: lab.nodes["rs1"]}}))
    assert not any("cannot be the name of a node" in t for t in told)


@pytest.mark.parametrize("name", ["rs1.", "rs1 ", "rs1. .", "COM\u00b9", "lpt\u00b3.iso", "CONIN$"])
def test_what_windows_drops_or_has_since_long(name: str) -> None:
    assert reserved_on_windows(name)


def test_a_warning_is_for_a_lab_that_is_right(lab: Lab, tmp_path: Path) -> None:
    """VMnet8 as a host-only network: most hosts have VMware's NAT there."""
    assert rules.warning_findings(lab) == []
    assert load.warnings(ROOT / "lab.yaml") == []
    text = (ROOT / "lab.yaml").read_text().replace("{kind: nat}", "{cidr: 192.168.8.0/24}")
    path = tmp_path / "lab.yaml"
    path.write_text(text)
    [problem] = load.warnings(path)
    line = text.splitlines().index(next(t for t in text.splitlines() if "VMnet8: {" in t)) + 1
    assert (problem.line, problem.column) == (line, 3)
    assert "VMnet8 is host-only here, and VMware's own NAT network on most hosts" in str(problem)
    assert "use another such as VMnet2" in str(problem)


def test_every_warning_is_made_by_some_lab(lab: Lab) -> None:
    network = lab.networks["VMnet13"]
    changed = lab.model_copy(update={"networks": {**lab.networks, "VMnet8": network}})
    assert all(list(each(changed)) for each in rules.WARNINGS)
    assert rules.WARNINGS and not set(rules.WARNINGS) & set(rules.RULES)
