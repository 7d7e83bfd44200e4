"""`class up`, `check` and `down` over two libvirt hosts: real daemons, guests of a boot sector."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lvslab.cli import main
from lvslab.core.files import remove
from lvslab.lab import checklist
from lvslab.lab.cluster import Cluster
from lvslab.lab.libvirt.fabric import Fabric
from lvslab.lab.libvirt.libvirt_host import VIRSH, Host
from lvslab.model.lab import Lab
from tests.bare import Guests, make_artifacts
from tests.deploying import Ended
from tests.hosts import Hosts, hosts

NAME = f"toys{os.getpid()}"  # other tests of this file may run beside in their own process
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here"),
    pytest.mark.slow,
]

ROOT = Path(__file__).resolve().parents[3]
FOR_EACH_LAB = {
    "asking for domains", "asking for its links", "wiring the lab", "making overlays",
    "virsh define",
}  # fmt: skip
"""What a host is asked for each lab that is defined on it, once."""
_WORD = 0x88B5  # an EtherType for experiments (IEEE 802)
_CLIENT = 'import json\nprint(json.dumps([{"item": 1, "title": "x", "ok": True, "says": "y"}]))\n'


@dataclass
class Desk:
    """Where the teacher sits, with a class of two, and what the guests of each lab say."""

    folder: Path
    rig: Hosts
    guests: dict[str, Guests] = field(default_factory=dict)
    capsys: pytest.CaptureFixture[str] | None = None

    @property
    def list_file(self) -> Path:
        return self.folder / "class.csv"

    @property
    def ledger_file(self) -> Path:
        return self.folder / "class.hosts.json"

    @property
    def ledger(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ledger_file.read_text())
        return found

    @property
    def named(self) -> list[str]:
        return [word for uri in self.rig.uris for word in ("--host", uri)]

    def run(self, verb: str, *words: str) -> Ended:
        assert self.capsys is not None
        lab = ["--lab", str(self.folder / "lab.yaml")]
        self.capsys.readouterr()
        status = main.main(["class", verb, str(self.list_file), *lab, *words])
        return Ended(status, *self.capsys.readouterr())

    def up(self, *words: str) -> Ended:
        return self.run("up", *self.named, "--artifacts", str(self.folder / "a"), *words)

    def cluster(self, student: str) -> Cluster:
        found = Cluster.known(f"{NAME}-{student}")
        assert found is not None
        return found


def where(desk: Desk, student: str) -> str:
    """The name of the host that a student's lab is on."""
    return desk.rig.names[desk.rig.uris.index(desk.ledger["host"][student])]


def domains(desk: Desk, name: str, kind: str = "--all") -> list[str]:
    """The domains of a host, each with its id if it runs."""
    host = Host.of(desk.rig.uris[desk.rig.names.index(name)])
    said = host.run([*VIRSH, "list", kind], what="asking")
    return sorted(" ".join(line.split()) for line in said.splitlines() if line.strip())


def links(desk: Desk, name: str) -> list[str]:
    """The links of labs on a host."""
    with desk.rig.place(name).inside():
        said = subprocess.run(["ip", "-json", "link"], capture_output=True, check=True).stdout
    return [link["ifname"] for link in json.loads(said) if link["ifname"] not in ("lo", "eth0")]


def whispers(desk: Desk, cluster: Cluster) -> set[str]:
    """The bridges of all hosts that hear a broadcast of a lab's client on VMnet1."""
    ears = {}
    with contextlib.ExitStack() as stack:
        for name in desk.rig.names:
            bridges = [link for link in links(desk, name) if "-vmnet" in link]
            with desk.rig.place(name).inside():
                for bridge in bridges:
                    ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_WORD))
                    ears[bridge] = stack.enter_context(ear)
                    ear.bind((bridge, _WORD))
                    ear.settimeout(0.5)
        with cluster.namespace.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as mouth:
            mouth.bind(("vmnet1", 0))
            head = b"\xff" * 6 + b"\x02\0\0\0\0\1" + _WORD.to_bytes(2, "big")
            mouth.send(head + bytes(46))
        return {bridge for bridge, ear in ears.items() if _hears(ear)}


def _hears(ear: socket.socket) -> bool:
    try:
        return bool(ear.recv(64))
    except TimeoutError:
        return False


@pytest.fixture(scope="module")
def desk_of_all(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("c")
    (folder / "a").mkdir()
    make_artifacts(lab, folder / "a")
    text = (ROOT / "lab.yaml").read_text().replace("name: lvslab", f"name: {NAME}")
    (folder / "lab.yaml").write_text(text)
    (folder / "class.csv").write_text("id,name\nalice,A\nBob,B\n")
    (folder / "labcheck").write_text(_CLIENT)
    launch = Cluster.launch
    with pytest.MonkeyPatch.context() as patch, hosts(folder, "a", "b") as rig:
        desk = Desk(folder, rig)

        def with_guest(self: Cluster, node: str, load: str | None = None) -> None:
            launch(self, node, load)
            guests = desk.guests.setdefault(self.lab.name, Guests(self.lab))
            guests.attach(node, self.files(node).agent)

        patch.setenv("LVSLAB_STATE", str(folder / "s"))
        patch.setenv("LVSLAB_CACHE", str(folder / "cache"))
        patch.setattr(Cluster, "launch", with_guest)
        patch.setattr(checklist, "_PROGRAM", folder / "labcheck")
        try:
            yield desk
        finally:
            for guests in desk.guests.values():
                guests.end()


@pytest.fixture
def desk(desk_of_all: Desk, capsys: pytest.CaptureFixture[str]) -> Desk:
    desk_of_all.capsys = capsys
    return desk_of_all


@pytest.fixture
def running(desk: Desk) -> Desk:
    """The class is up: a test before has started it, if it ran in this process."""
    if not desk.ledger_file.exists():
        ended = desk.up()
        assert ended.status == 0, ended.text
    return desk


def test_a_dry_run_changes_nothing(desk: Desk) -> None:
    ended = desk.up("--dry-run", "--json")
    assert ended.status == 0, ended.text
    alice, bob = ended.objects("step")
    assert alice["student"] == "alice" and alice["nodes"] == ["lvs1", "lvs2", "rs1", "rs2"]
    assert alice["networks"] == [7000200, 7000201, 7000202]
    assert bob["networks"] == [7000300, 7000301, 7000302]
    assert not desk.ledger_file.exists()
    assert all(links(desk, name) == domains(desk, name) == [] for name in desk.rig.names)


def test_what_cannot_be_is_refused_before_anything_starts(desk: Desk) -> None:
    ended = desk.up("--vcpus-per-core", "1")
    assert ended.status == 2
    assert "class.csv:2:1: its lab needs 2304 MiB and 4 virtual processors; " in ended.err
    assert "class.csv:3:1: its lab needs" in ended.err
    a = ["--artifacts", str(desk.folder / "a")]
    for words, status, told in (
        (["up", *a], 2, "no host is named"),
        (["up", "--host", desk.rig.uris[0], "--artifacts", "/x"], 2, "there is no such image"),
        (["up", "--student", "zoe"], 2, "zoe is not in the class"),
        (["up", *a, "--host", "qemu+ssh://127.0.0.1:9/system"], 4, "127.0.0.1 cannot be reached"),
    ):
        ended = desk.run(*words)
        assert (ended.status, told in ended.err) == (status, True), ended.text
    assert not desk.ledger_file.exists()
    assert all(links(desk, name) == [] for name in desk.rig.names)


def test_one_student_first_then_the_class_then_nothing_new(desk: Desk) -> None:
    ended = desk.up("--student", "Bob")
    assert ended.status == 0, ended.text
    assert (ended := desk.run("check", "--wait", "0")).status == 1
    assert "alice" in ended.out and "there is no lab: class up makes it" in ended.out
    ended = desk.up()
    assert ended.status == 0, ended.text
    assert sorted(desk.ledger["host"].values()) == sorted(desk.rig.uris)
    assert desk.ledger["number"] == {"bob": 2, "alice": 3}
    before = {name: domains(desk, name) for name in desk.rig.names}
    assert sorted(map(len, before.values())) == [4, 4]
    ended = desk.run("up", "--artifacts", str(desk.folder / "a"), "--json")  # their hosts are known
    assert [lab["ok"] for lab in ended.objects("lab")] == [True, True]
    assert before == {name: domains(desk, name) for name in desk.rig.names}


@pytest.mark.usefixtures("running")
def test_a_class_that_is_well_and_one_lab_that_is_not(desk: Desk) -> None:
    assert (ended := desk.run("check", "--wait", "1")).status == 0, ended.text
    assert "all 2 labs are well" in ended.out
    desk.guests[f"{NAME}-bob"].ill.add("rs2")
    ended = desk.run("check", "--wait", "0", "--json")
    assert ended.status == 1
    said = {lab["student"]: lab["problem"] for lab in ended.objects("lab")}
    assert said["alice"] == "" and "rs2: 1 it is alive: it is not" in said["bob"]
    desk.guests[f"{NAME}-bob"].ill.clear()


@pytest.mark.usefixtures("running")
def test_no_student_hears_another(desk: Desk) -> None:
    """A broadcast of alice's client reaches her own lab's bridge, over VXLAN, and nobody else."""
    alice, bob = Fabric(desk.cluster("alice").lab), Fabric(desk.cluster("bob").lab)
    assert whispers(desk, desk.cluster("alice")) == {alice.bridge("VMnet1")}
    let_bob_hear(desk, alice, bob)
    assert bob.bridge("VMnet1") in whispers(desk, desk.cluster("alice"))
    ended = desk.run("check", "--wait", "0")
    assert ended.status == 1
    vni = alice.vni("VMnet1")
    assert f"has its number, {vni}: they hear each other" in ended.out
    assert f"{bob.vxlan('VMnet1')} has the number {vni} on" in ended.out


def let_bob_hear(desk: Desk, alice: Fabric, bob: Fabric) -> None:
    """The control: his network on the wire gets the number of hers."""
    host, device, vni = where(desk, "bob"), bob.vxlan("VMnet1"), alice.vni("VMnet1")
    address = desk.rig.address(host)
    lines = (
        f"ip link del {device}",
        f"ip link add {device} type vxlan id {vni} local {address} dstport 4789",
        f"ip link set {device} master {bob.bridge('VMnet1')} up",
    )
    with desk.rig.place(host).inside():
        for line in lines:
            subprocess.run(line.split(), check=True)
    with desk.cluster("alice").namespace.inside():
        device = alice.vxlan("VMnet1")
        line = f"bridge fdb append 00:00:00:00:00:00 dev {device} dst {address}"
        subprocess.run(line.split(), check=True)


@pytest.mark.usefixtures("running")
def test_down_of_one_and_of_all_leaves_nothing(desk: Desk) -> None:
    hers = where(desk, "alice")
    ended = desk.run("down", "--dry-run", "--json")
    assert [len(step["domains"]) for step in ended.objects("step")] == [4, 4]
    ended = desk.run("down", "--student", "bob")
    assert ended.status == 0, ended.text
    assert list(desk.ledger["host"]) == ["alice"] and len(domains(desk, hers)) == 4
    desk.ledger_file.unlink()  # lost: the hosts know what they have
    ended = desk.run("down", *desk.named)
    assert ended.status == 0, ended.text
    assert all(links(desk, name) == domains(desk, name) == [] for name in desk.rig.names)
    assert Cluster.known(f"{NAME}-alice") is None


def commands_of(desk: Desk, students: int) -> Counter[str]:
    """How often a class of so many is defined on one host asks it for what."""
    names = "".join(f"s{number}\n" for number in range(students))
    desk.list_file.write_text(f"id\n{names}")
    counted: Counter[str] = Counter()
    run = Host.run

    def count(self: Host, argv: Sequence[str | Path], *, what: str, **more: Any) -> str:
        counted[what] += 1
        return run(self, argv, what=what, **more)

    words = ["up", "--host", desk.rig.uris[0], "--artifacts", str(desk.folder / "a"), "--no-start"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Host, "run", count)
        ended = desk.run(*words)
    assert ended.status == 0, ended.text
    assert len(domains(desk, "a")) == 4 * students
    ended = desk.run("down")
    assert ended.status == 0, ended.text
    assert links(desk, "a") == domains(desk, "a") == []
    return counted


def test_a_further_lab_needs_few_commands(desk: Desk) -> None:
    """What hosts need is looked for once, and what a lab needs there goes in one script each."""
    text = desk.list_file.read_text()
    try:
        few = commands_of(desk, 1)
        more = commands_of(desk, 3)
    finally:
        desk.list_file.write_text(text)
    assert more - few == dict.fromkeys(FOR_EACH_LAB, 2)


def test_what_a_host_lacks_is_said_once_before_anything_is_made(desk: Desk) -> None:
    a, b = (Host.of(uri) for uri in desk.rig.uris)
    a.run(["chmod", "-x", "/usr/bin/qemu-img"], what="breaking it")
    try:
        ended = desk.up()
    finally:
        a.run(["chmod", "+x", "/usr/bin/qemu-img"], what="as before")
    assert ended.status == 3
    lacks = f"{a.label}: the program qemu-img is not there; apt install qemu-utils"
    assert ended.err.count(lacks) == 1 and b.label not in ended.err
    assert "2 labs: the labs cannot run on their hosts:" in ended.err
    assert not desk.ledger_file.exists()
    blind = ["rule", "add", "to", "10.99.0.1", "ipproto", "udp", "dport", "4789", "blackhole"]
    a.run(["ip", *blind], what="breaking it")
    try:
        ended = desk.up()
    finally:
        a.run(["ip", "rule", "del", "ipproto", "udp", "dport", "4789"], what="as before")
    assert ended.status == 3
    assert f"this machine: nothing from {a.label} arrives at UDP port 4789" in ended.err
    assert all(links(desk, name) == domains(desk, name) == [] for name in desk.rig.names)


def test_domains_that_are_not_started_and_an_end_without_this_machine_s_state(desk: Desk) -> None:
    ended = desk.up("--student", "alice", "--no-start")
    assert ended.status == 0, ended.text
    there = where(desk, "alice")
    assert len(domains(desk, there)) == 4 and domains(desk, there, "--state-running") == []
    remove(desk.cluster("alice").state.folder)  # another machine has started it
    ended = desk.run("down")
    assert ended.status == 0, ended.text
    assert links(desk, there) == domains(desk, there) == []
    assert not desk.ledger_file.exists()
