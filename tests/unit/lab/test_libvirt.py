"""Libvirt hosts: their URIs, where nodes go, the names of links, a machine's XML."""

from __future__ import annotations

import base64
import json
import socket
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lvslab.cli.main import main
from lvslab.core.errors import InputError, MissingError, StageError
from lvslab.lab import hardware, rootless
from lvslab.lab.libvirt.domain import METADATA, Placed, domain
from lvslab.lab.libvirt.fabric import Fabric, known_peers, placement
from lvslab.lab.libvirt.hosts_file import read_hosts
from lvslab.lab.libvirt.libvirt_engine import LibvirtEngine
from lvslab.lab.libvirt.libvirt_host import Host
from lvslab.lab.namespace import Namespace
from lvslab.lab.network import bridge_names
from lvslab.lab.state import LabState
from lvslab.model.lab import Lab

A, B = "qemu+ssh://root@a/system", "qemu+ssh://root@b/system"


def test_a_host_is_named_as_libvirt_does() -> None:
    host = Host.of("qemu+ssh://me@b.example:2222/system?keyfile=/k&known_hosts=/h")
    assert (host.label, host.destination) == ("b.example", "me@b.example")
    said = " ".join(host.options)
    for words in ("-p 2222", "-i /k", "UserKnownHostsFile=/h", "BatchMode=yes"):
        assert words in said


@pytest.mark.parametrize(
    "uri",
    [
        "a",
        "qemu:///system",
        "qemu+tcp://a/system",
        "qemu+ssh://a/session",
        "qemu+ssh:///system",
        "qemu+ssh://-oProxyCommand=x/system",
        "qemu+ssh://a:port/system",
        "qemu+ssh://a/system?command=x",
        "qemu+ssh://a/system?underlay=b",
    ],
)
def test_what_is_no_libvirt_host_is_refused(uri: str) -> None:
    with pytest.raises(InputError) as caught:
        Host.of(uri)
    assert caught.value.message == f"{uri} is not the address of a libvirt host"
    assert caught.value.hint == "give qemu+ssh://root@HOST/system, if needed with ?keyfile=FILE"


def test_a_socket_that_a_killed_ssh_left_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LVSLAB_STATE", str(tmp_path))
    host = Host.of(A)
    assert not host.forwards("x")
    with socket.socket(socket.AF_UNIX) as ssh:
        ssh.bind(str(tmp_path / "ssh-root-a-x"))
        ssh.listen()
        assert host.forwards("x")
    assert (tmp_path / "ssh-root-a-x").exists() and not host.forwards("x")


def test_a_hosts_file_names_hosts_and_their_underlay(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text(
        "hosts:\n"
        f"  - uri: {A}\n"
        f"    underlay: 192.0.2.1\n"
        f"  - uri: {B}?keyfile=/k\n"
        f"    underlay: 2001:db8::2\n"
        f"  - uri: {B}\n"
    )
    uris = read_hosts(file)
    assert [Host.of(uri).underlay for uri in uris] == ["192.0.2.1", "2001:db8::2", ""]
    assert uris[1] == f"{B}?keyfile=/k&underlay=2001:db8::2"
    assert Host.of(uris[0]).destination == "root@a"


def test_mistakes_in_a_hosts_file_are_shown_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text(f"hosts:\n  - uri: {A}\n    underlay: a\n  - url: {B}\n")
    assert main(["lab", "up", "--hosts", str(file)]) == 2
    said = capsys.readouterr().err
    assert "hosts.yaml:3:15: hosts[0].underlay" in said and "hosts.yaml:4" in said and "url" in said
    file.write_text("hosts:\n  - uri: qemu:///system\n")
    assert main(["lab", "up", "--hosts", str(file)]) == 2
    assert "qemu:///system is not the address of a libvirt host" in capsys.readouterr().err
    file.write_text("hosts: []\n")
    with pytest.raises(InputError, match="there is no host in it"):
        read_hosts(file)


def test_the_underlay_is_where_the_frames_go() -> None:
    host = Host.of(f"{A}?underlay=127.0.0.2")
    assert host.addresses() == ("127.0.0.1", "127.0.0.2")


def test_a_host_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LVSLAB_STATE", str(tmp_path))
    with pytest.raises(StageError) as caught:
        Host.of("qemu+ssh://127.0.0.1:9/system").run(["true"], what="x")
    assert "the host 127.0.0.1 cannot be reached:" in caught.value.message
    assert "Connection refused" in caught.value.message
    assert caught.value.hint == "try it: ssh 127.0.0.1"
    assert list(tmp_path.iterdir()) == []


def test_an_ordinary_user_cannot_join_hosts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(MissingError, match="VXLAN devices here: only root can make them"):
        rootless.demand_root("a lab on other hosts has VXLAN devices here")
    monkeypatch.undo()
    assert main(["lab", "up", "--host", "nowhere"]) == 2
    assert "nowhere is not the address of a libvirt host" in capsys.readouterr().err


def test_directors_are_apart_and_servers_spread(lab: Lab, wide_lab: Lab) -> None:
    assert placement(lab, [A, B]) == {"lvs1": A, "lvs2": B, "rs1": A, "rs2": B}
    assert set(placement(lab, [A]).values()) == {A}
    wide = placement(wide_lab, [A, B])
    for role in ("director", "real-server"):
        where = [wide[node] for node in wide_lab.nodes_with(role)]
        assert abs(where.count(A) - where.count(B)) <= 1


def test_links_have_names_that_fit_and_two_labs_share_none(lab: Lab, wide_lab: Lab) -> None:
    def names(this: Lab) -> set[str]:
        fabric = Fabric(this)
        found = {fabric.nowhere}
        for network in bridge_names(this):
            found |= {fabric.bridge(network), fabric.vxlan(network)}
        for node, made in this.nodes.items():
            found |= {fabric.tap(node, interface) for interface in made.interfaces}
        return found

    other = wide_lab.model_copy(update={"number": 63})
    for one, another in ((lab, other), (other, lab)):
        assert max(map(len, names(one))) <= 15
        assert all(Fabric(one).is_ours(name) for name in names(one))
        assert not any(Fabric(one).is_ours(name) for name in names(another))
    many = lab.model_copy(update={"number": 6})  # l6 is the beginning of l63
    assert not any(Fabric(many).is_ours(name) for name in names(other))


def test_networks_of_two_labs_have_their_own_numbers(lab: Lab) -> None:
    seen = set()
    for number in (1, 2, 63):
        fabric = Fabric(lab.model_copy(update={"number": number}))
        seen |= {fabric.vni(network) for network in bridge_names(lab)}
    assert len(seen) == 9 and max(seen) < 1 << 24  # RFC 7348, section 5: 24 bits


def test_only_what_is_missing_is_made(lab: Lab) -> None:
    fabric = Fabric(lab)
    first = fabric.of_host(["lvs1"], "192.0.2.1", [])
    made = [line.split()[2] for line in first if line.startswith("link add")]
    made += [line.split()[3] for line in first if line.startswith("tuntap add")]
    assert sorted(made) == [
        "l1-nowhere", "l1-vmnet1", "l1-vmnet12", "l1-vmnet13",
        "l1n0-eth1", "l1n0-eth2", "l1n0-eth3", "l1x0", "l1x1", "l1x2",
    ]  # fmt: skip
    again = fabric.of_host(["lvs1"], "192.0.2.1", made)
    assert not any("add" in line.split() for line in again)


def test_the_other_ends_become_what_they_should_be(lab: Lab) -> None:
    fabric, one, two = Fabric(lab), "192.0.2.2", "192.0.2.3"
    said = [
        {"mac": "00:00:00:00:00:00", "ifname": f"l1x{number}", "dst": one} for number in range(3)
    ]
    known = known_peers([*said, {"mac": "33:33:00:00:00:01", "ifname": "eth0"}])
    assert fabric.peers([one], known) == []
    assert len(fabric.peers([one, two], {})) == 6
    changed = fabric.peers([two], known)
    assert changed[:2] == [
        f"fdb append 00:00:00:00:00:00 dev l1x0 dst {two}",
        f"fdb del 00:00:00:00:00:00 dev l1x0 dst {one}",
    ]
    assert len(changed) == 6


def test_a_lab_removes_no_link_that_another_has_signed(lab: Lab) -> None:
    other = Fabric(lab.model_copy(update={"name": "other"}))
    lines = [line.split() for line in other.of_host(["lvs1"], "192.0.2.1", [])]
    aliases = {line[2]: line[4] for line in lines if "alias" in line}
    assert len(aliases) == 10
    links = [{"ifname": name, "ifalias": alias} for name, alias in aliases.items()]
    assert Fabric(lab).owned(links) == []
    assert sorted(other.owned([*links, {"ifname": "eth0"}])) == sorted(aliases)
    assert Fabric(lab).owned([{"ifname": "l1x0"}]) == ["l1x0"]


# --- a machine's XML


def placed(lab: Lab, node: str) -> Placed:
    return LibvirtEngine(lab, LabState("x"), Namespace("x"), [A, B])._placed(node)


def made(lab: Lab, node: str, accelerator: str = "tcg", **changes: object) -> ElementTree.Element:
    machine = hardware.machine(lab, node, Path("/base.raw"), Path("/seed.iso"), 2201)
    machine = replace(machine, **changes)  # type: ignore[arg-type]
    text = domain(machine, placed(lab, node), accelerator, {"agent": b"\x00bytes"}, "{}")
    return ElementTree.fromstring(text)


def value(root: ElementTree.Element, path: str, attribute: str) -> str:
    found = root.find(path)
    assert found is not None, path
    return found.get(attribute, "")


def test_the_machine_has_the_devices_of_a_local_one(lab: Lab) -> None:
    root = made(lab, "lvs1")
    assert root.get("type") == "qemu" and root.find("cpu") is None
    assert root.findtext("memory") == "512"
    assert value(root, "devices/disk[@device='disk']/driver", "cache") == "unsafe"
    assert value(root, "devices/controller[@type='scsi']", "model") == "lsisas1068"
    assert root.findtext("devices/disk/wwn") == f"{hardware.WWN:016x}"
    assert value(root, "devices/disk[@device='cdrom']/target", "dev") == "hdc"
    cards = root.findall("devices/interface")
    assert [value(card, "mac", "address") for card in cards] == [
        lab.mac("lvs1", interface) for interface in ("eth1", "eth2", "eth3")
    ]
    assert {value(card, "model", "type") for card in cards} == {"e1000-82545em"}
    assert [value(card, "address", "slot") for card in cards] == ["0x2", "0x3", "0x4"]
    assert value(root, "devices/serial[2]/address", "irq") == "0x5"


def test_its_nat_leads_nowhere(lab: Lab) -> None:
    words = [arg.get("value", "") for arg in made(lab, "lvs1").iter() if arg.tag.endswith("}arg")]
    assert words[0] == "-netdev" and "restrict=on" in words[1]
    assert "hostfwd=tcp:127.0.0.1:" in words[1]
    card = json.loads(words[3])
    assert (card["mac"], card["bus"], card["addr"]) == (lab.mac("lvs1", "eth0"), "pci.1", "0x1")


def test_it_is_found_again_by_what_it_says_of_itself(lab: Lab) -> None:
    root = made(lab, "lvs1")
    assert json.loads(root.findtext(f"metadata/{{{METADATA}}}lab") or "") == {
        "lab": "lvslab", "number": 1, "node": "lvs1",
    }  # fmt: skip
    uuids = {made(lab, node).findtext("uuid") for node in lab.nodes}
    assert len(uuids) == len(lab.nodes)
    assert root.findtext("uuid") == placed(lab, "lvs1").uuid


def test_credentials_reach_systemd(lab: Lab) -> None:
    entry = made(lab, "rs1").findtext("sysinfo/oemStrings/entry") or ""
    name, _, content = entry.partition("=")
    assert name == "io.systemd.credential.binary:agent"
    assert base64.b64decode(content) == b"\x00bytes"


@pytest.mark.parametrize(
    ("controller", "bus", "model"),
    [("pvscsi", "scsi", "vmpvscsi"), ("ahci", "sata", None), ("virtio", "virtio", None)],
)
def test_other_controllers(lab: Lab, controller: str, bus: str, model: str | None) -> None:
    root = made(lab, "rs1", "kvm", controller=controller)
    assert root.get("type") == "kvm" and value(root, "cpu", "mode") == "host-passthrough"
    assert value(root, "devices/disk[@device='disk']/target", "bus") == bus
    found = root.find("devices/controller[@type='scsi']")
    assert (found is not None and found.get("model")) == (model or False)
