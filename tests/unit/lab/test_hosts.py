"""A lab over two libvirt hosts: nodes that move between them, hosts that lack something or die."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lvslab.cli.main import main
from lvslab.core.errors import InputError, LabError, MissingError, StageError
from lvslab.core.waiting import until
from lvslab.lab import checkpoint, faults, hardware
from lvslab.lab.cluster import Cluster
from lvslab.lab.libvirt import libvirt_host, readiness, takeover
from lvslab.lab.libvirt.domain import domain
from lvslab.lab.libvirt.fabric import Fabric
from lvslab.lab.libvirt.libvirt_engine import LibvirtEngine
from lvslab.lab.libvirt.libvirt_host import Host
from lvslab.lab.namespace import Namespace
from lvslab.lab.network import Port
from lvslab.lab.sources import Settings
from lvslab.lab.state import LabState, runtime_root
from lvslab.model.lab import Lab
from tests.bare import DISK, SAYS, make_artifacts
from tests.hosts import Hosts, hosts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here"),
]
WHOLE = Port(carries=True, hears=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk that starts and a seed, and where labs keep their state."""
    folder = tmp_path_factory.mktemp("h")
    (folder / "disk.raw").write_bytes(DISK.ljust(1 << 20, b"\0"))
    (folder / "seed.iso").write_bytes(bytes(1 << 16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LVSLAB_STATE", str(folder / "s"))
        yield folder


@pytest.fixture(scope="module")
def rig(folder: Path) -> Iterator[Hosts]:
    with hosts(folder, "a", "b") as rig:
        yield rig


@pytest.fixture(scope="module")
def state(lab: Lab) -> LabState:
    return LabState(f"hosts{os.getpid()}")


@pytest.fixture
def engine(rig: Hosts, lab: Lab, state: LabState) -> Iterator[LibvirtEngine]:
    """The engine of a lab whose wires are there; no machine was started yet."""
    state.create(lab.nodes)
    (state.folder / "places.json").unlink(missing_ok=True)
    made = again(rig, lab, state)
    made.wire(lab)
    yield made
    again(rig, lab, state).remove()


def again(rig: Hosts, lab: Lab, state: LabState) -> LibvirtEngine:
    """The engine as the next command has it, which remembers nothing."""
    named = lab.model_copy(update={"name": state.name})
    return LibvirtEngine(named, state, Namespace(f"lvslab-{state.name}"), rig.uris)


@pytest.fixture
def machine(lab: Lab, folder: Path) -> hardware.Machine:
    return hardware.machine(lab, "lvs1", folder / "disk.raw", folder / "seed.iso", 2201)


@pytest.fixture
def running(engine: LibvirtEngine, machine: hardware.Machine) -> LibvirtEngine:
    """The same; lvs1 has booted on a."""
    engine.renew([machine])
    engine.launch(machine, "tcg", {})
    assert until(lambda: booted(engine) == 1, 30)
    return engine


def booted(engine: LibvirtEngine) -> int:
    return engine.console("lvs1").count(SAYS.encode())


def left_on(uri: str, name: str) -> str:
    """What a host has of lvs1: domain, files and taps."""
    words = f"virsh -q -c qemu:///system list --all --name | grep {name}-lvs1; "
    words += f"ls -d /var/lib/lvslab/{name}/lvs1 2>/dev/null; "
    words += "ip -o link | grep -o l1n0-eth[0-9]; true"
    return Host.of(uri).run(["sh", "-c", words], what="looking")


# --- a node moves


def test_a_running_node_moves_with_its_faults_and_its_console(
    running: LibvirtEngine, rig: Hosts, lab: Lab, state: LabState, machine: hardware.Machine
) -> None:
    a, b = rig.uris
    there = rig.address("b")
    running.carry("lvs1", "eth1", False)
    running.hear("lvs1", "eth2", False)
    running.plug("lvs1", "eth3", False)
    assert running.place("lvs1") == rig.address("a")
    assert running.move("lvs1", there)
    for engine in (running, again(rig, lab, state)):
        assert engine.place("lvs1") == there and engine.state("lvs1") == "running"
        assert booted(engine) == 1  # it went on, and what it said before is kept
        ports = engine.ports()
        assert ports["lvs1", "eth1"] == Port(carries=False, hears=True)
        assert ports["lvs1", "eth2"] == Port(carries=True, hears=False)
        assert ports["lvs1", "eth3"] == WHOLE
    links = Host.of(b).virsh("domiflist", f"{state.name}-lvs1")
    mac = lab.mac("lvs1", "eth3")
    assert mac in links
    assert "down" in Host.of(b).virsh("domif-getlink", f"{state.name}-lvs1", mac)
    assert left_on(a, state.name) == ""
    # and all that can be done with a node can be done there
    engine = again(rig, lab, state)
    engine.carry("lvs1", "eth1", True)
    engine.pause("lvs1")
    engine.save("lvs1", "x")
    engine.kill("lvs1")
    engine.launch(machine, "tcg", {}, load="x")
    engine.resume("lvs1")
    assert engine.state("lvs1") == "running" and booted(engine) == 1
    assert not engine.move("lvs1", there)  # it is there
    engine.kill("lvs1")
    engine.launch(machine, "tcg", {})
    assert until(lambda: booted(engine) == 2, 30)
    assert engine.agent("lvs1").path.is_socket()


def test_a_paused_node_moves_and_stays_paused(running: LibvirtEngine, rig: Hosts) -> None:
    running.pause("lvs1")
    assert running.move("lvs1", rig.uris[1])
    assert running.state("lvs1") == "paused"
    running.resume("lvs1")
    assert running.state("lvs1") == "running"


def test_a_node_that_is_off_takes_its_checkpoints_along(
    running: LibvirtEngine, rig: Hosts, machine: hardware.Machine, state: LabState
) -> None:
    running.pause("lvs1")
    running.save("lvs1", "x")
    running.kill("lvs1")
    assert running.move("lvs1", rig.address("b"))
    assert running.state("lvs1") == "off" and "lvs1" in running.disks()
    assert left_on(rig.uris[0], state.name) == ""
    running.launch(machine, "tcg", {}, load="x")
    running.resume("lvs1")
    assert running.state("lvs1") == "running" and booted(running) == 1


def test_a_node_that_never_was_moves_its_place(
    engine: LibvirtEngine, rig: Hosts, lab: Lab, state: LabState
) -> None:
    assert engine.move("rs2", rig.address("a"))
    assert again(rig, lab, state).place("rs2") == rig.address("a")


def test_a_node_that_cannot_move_is_where_it_was(
    running: LibvirtEngine, rig: Hosts, state: LabState, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = rig.address("b")

    def refused(kind: type[LabError], work: Callable[[], object]) -> LabError:
        with pytest.raises(kind) as caught:
            work()
        assert running.place("lvs1") == rig.address("a")
        assert running.state("lvs1") == "running" and booted(running) == 1
        return caught.value

    error = refused(InputError, lambda: running.move("lvs1", "nowhere"))
    assert error.message == "the lab has no host nowhere"
    assert error.hint == f"its hosts are: {rig.address('a')}, {there}"

    running.save("lvs1", "x")
    error = refused(InputError, lambda: running.move("lvs1", there))
    assert error.message == "a node that is on cannot take its checkpoints along: x"
    assert error.hint == "say --drop-checkpoints, or move it while it is off"
    assert running.saved("lvs1") == ["x"]

    # somebody's rule keeps the hosts' TCP apart: migration ends, and nothing is left there
    monkeypatch.setattr("lvslab.lab.libvirt.wiring.Wiring.ends", nobody_there)
    error = refused(StageError, lambda: running.move("lvs1", there, drop_saved=True))
    assert error.where == "lvs1"
    assert error.hint == (
        f"TCP ports 49152 to 49215 of {there} must be open for {rig.address('a')}"
    )
    monkeypatch.undo()
    assert left_on(rig.uris[1], state.name) == ""
    assert running.move("lvs1", there)


def nobody_there(wires: object) -> tuple[dict[str, str], str]:
    """As `Wiring.ends`, with addresses at which nobody takes a migration."""
    return dict.fromkeys(wires._hosts, "127.0.0.9"), "127.0.0.1"  # type: ignore[attr-defined]


# --- what is missing is said before anything is made


def lacking(
    rig: Hosts, lab: Lab, state: LabState, accelerator: str = "tcg", uris: list[str] | None = None
) -> MissingError:
    """What `demand` says of a lab that does not run; nothing is made."""
    named = lab.model_copy(update={"name": state.name})
    place = Namespace(f"lvslab-{state.name}")
    (state.folder / "places.json").unlink(missing_ok=True)  # a test before has moved nodes
    engine = LibvirtEngine(named, state, place, uris or rig.uris)
    with pytest.raises(MissingError) as caught:
        engine.demand(accelerator)
    assert not place.exists()
    for uri in filter(lambda uri: Host.of(uri).answers(), rig.uris):
        assert state.name not in everything_on(uri)
    assert caught.value.where == state.name
    assert caught.value.hint == "nothing was made; correct all of this, then run it again"
    return caught.value


def everything_on(uri: str) -> str:
    """All links, domains and files of labs of a host."""
    words = "ip -o link; virsh -q -c qemu:///system list --all --name; ls -R /var/lib/lvslab; "
    return on(uri, words + "ls /run/netns 2>/dev/null; true")


def on(uri: str, script: str) -> str:
    return Host.of(uri).run(["bash", "-c", script], what="trying")


def test_all_that_hosts_lack_is_said_at_once(
    rig: Hosts, lab: Lab, folder: Path, state: LabState, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = rig.uris
    LibvirtEngine(lab, LabState("calm"), Namespace("calm"), rig.uris).demand("tcg")  # the control
    other = LibvirtEngine(
        lab.model_copy(update={"name": "other"}), LabState("other"), Namespace("other"), [a]
    )
    machine = hardware.machine(lab, "rs1", folder / "disk.raw", folder / "seed.iso", 2201)
    other.renew([machine])
    other.define([machine], "tcg", {})
    on(b, "chmod -x /usr/bin/qemu-img; rm -rf /var/lib/lvslab/images")  # images need room, too
    vni = Fabric(lab).vni("VMnet12")
    on(b, f"ip link add odd type vxlan id {vni} local {rig.address('b')} dstport 4789")
    node = lab.nodes["lvs2"].model_copy(update={"memory_mib": 40_000_000})
    greedy = lab.model_copy(update={"nodes": {**lab.nodes, "lvs2": node}})
    monkeypatch.setattr(readiness, "_NODE_MIB", 1 << 32)
    try:
        lines = lacking(rig, greedy, state, "kvm").message.splitlines()
    finally:
        on(b, "chmod +x /usr/bin/qemu-img; ip link del odd")
        other.remove()
    ours, theirs = (f"  {rig.address(name)}: " for name in ("a", "b"))
    no_kvm = "it does not offer KVM; say --accelerator tcg, or name only hosts that offer it"
    free = [re.sub("[0-9]+ MiB are free", "FREE", line) for line in lines]
    disk = f"{2 << 32} MiB of disk are needed in /var/lib/lvslab, and FREE; "
    disk += "make room there, or name another host"
    assert free == [
        "the lab cannot run on its hosts:",
        ours + no_kvm,
        ours + "the lab other has the number 1 too; give one another `number`",
        ours + disk,
        theirs + "the program qemu-img is not there; apt install qemu-utils",
        theirs + no_kvm,
        theirs + f"its device odd has the VXLAN number {vni} of this lab's VMnet12; "
        "give the lab another `number`",
        theirs + "for lvs2, rs2 40000512 MiB of memory are needed, and FREE; "
        "end something there, or name another host",
        theirs + disk.replace(str(2 << 32), str((2 << 32) + 1500)),
    ]


def test_links_of_another_lab_with_the_same_number_are_seen(
    rig: Hosts, lab: Lab, state: LabState
) -> None:
    a, _ = rig.uris
    on(a, "ip link add l1-vmnet1 type bridge && ip link set l1-vmnet1 alias lvslab:half")
    try:
        assert "the lab half has the number 1 too" in lacking(rig, lab, state).message
    finally:
        on(a, "ip link del l1-vmnet1")


def test_hosts_without_libvirt_or_connection_are_named(
    rig: Hosts, lab: Lab, state: LabState
) -> None:
    _, b = rig.uris
    gone = b.replace(rig.address("b"), "10.99.0.99")
    on(b, "kill $(cat /run/libvirtd.pid); while [ -e /run/libvirtd.pid ]; do sleep 0.1; done")
    forget_connections()
    try:
        lines = lacking(rig, lab, state, uris=[b, gone]).message.splitlines()
    finally:
        restart_libvirt(rig, "b")
    assert lines[1].startswith(
        f"  {rig.address('b')}: the host {rig.address('b')} has no libvirt that answers: "
    )
    assert lines[1].endswith("on it, as root: apt install libvirt-daemon-system qemu-system-x86")
    assert lines[2].startswith("  10.99.0.99: the host 10.99.0.99 cannot be reached: ssh: ")
    assert lines[2].endswith("; try it: ssh root@10.99.0.99")


def forget_connections() -> None:
    """As a new command: nothing is known of any host."""
    libvirt_host._CONNECTED.clear()
    libvirt_host._FAILED.clear()
    for socket in runtime_root().glob("ssh-*"):
        command = ["ssh", "-S", str(socket), "-O", "exit", "x"]
        subprocess.run(command, check=False, capture_output=True)


def restart_libvirt(rig: Hosts, name: str) -> None:
    """Start the daemon again in the namespaces of a host, where only its init is."""
    (shell,) = children(rig.processes[name].pid)
    command = ["nsenter", "-t", str(shell), "-a", "libvirtd", "-d"]
    subprocess.run(command, check=True)
    forget_connections()
    host = Host.of(rig.uris[rig.names.index(name)])
    assert until(host.answers, 20)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_connection_whose_ssh_was_killed_is_opened_again(rig: Hosts) -> None:
    host = Host.of(rig.uris[0])
    host.connect()
    (before,) = masters(host, host._control)
    os.kill(before, signal.SIGKILL)
    assert until(lambda: not masters(host, host._control), 10) and host._control.exists()
    libvirt_host._CONNECTED.clear()  # as the next command, which remembers nothing
    assert host.run(["hostname"], what="asking its name") == "a\n"
    assert masters(host, host._control), "the connection is shared again"


def test_ways_to_nodes_whose_ssh_was_killed_are_opened_again(
    running: LibvirtEngine, rig: Hosts, state: LabState
) -> None:
    """As after a power cut of the workstation, which leaves the sockets, too."""
    host = Host.of(rig.uris[0])
    way = host._forwarder(state.name)
    running.agent("lvs1")
    (before,) = masters(host, way)
    os.kill(before, signal.SIGKILL)
    assert until(lambda: not masters(host, way), 10) and way.exists()
    running.agent("lvs1")
    assert masters(host, way) not in ([], [before])


def masters(host: Host, control: Path) -> list[int]:
    """The process that listens at a socket of a host's connection, if there is one."""
    words = ["ssh", "-S", str(control), "-O", "check", host.destination]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    return [int(number) for number in re.findall(r"pid=(\d+)", said)]


def test_ports_that_are_closed_are_found_by_a_frame(rig: Hosts, lab: Lab, state: LabState) -> None:
    a, b = rig.uris
    on(a, f"ip rule add to {rig.address('b')} ipproto udp dport 4789 blackhole")
    try:
        lines = lacking(rig, lab, state).message.splitlines()
    finally:
        on(a, "ip rule del ipproto udp dport 4789")
    assert lines[1:] == [
        f"  {rig.address('b')}: nothing from {rig.address('a')} arrives at UDP port 4789; "
        f"open it there for {rig.address('a')}"
    ]


# --- a host dies, and another workstation takes over


@pytest.fixture
def cluster(rig: Hosts, lab: Lab, folder: Path, state: LabState) -> Iterator[Cluster]:
    """A lab whose nodes have started, as `lab up` leaves it; its guests have no agent."""
    made = Cluster(lab.model_copy(update={"name": state.name}))
    (state.folder / "places.json").unlink(missing_ok=True)
    made.state.create(lab.nodes)
    made.state.save("lab", made.lab.model_dump(mode="json"))
    made.state.save("settings", vars(Settings(hosts=tuple(rig.uris))))
    made.state.save("artifacts", str(folder))
    made._make_key()
    made.engine.wire(made.lab)
    made_of = folder / "disk.raw", folder / "seed.iso"
    made._prepare(dict.fromkeys(lab.nodes, made_of))
    made.each(list(lab.nodes), made.launch)
    yield made
    Cluster(made.lab).down()


def as_the_next_command(cluster: Cluster) -> Cluster:
    forget_connections()
    return Cluster(cluster.lab)


def test_a_host_dies_and_comes_back(
    rig: Hosts, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = rig.address("a"), rig.address("b")
    cluster.pause("rs1")
    rig.kill("b")
    cluster = as_the_next_command(cluster)
    assert main(["lab", "status", "--name", cluster.lab.name, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[0])
    assert {node["name"]: (node["host"], node["state"]) for node in shown["nodes"]} == {
        "lvs1": (a, "running"), "rs1": (a, "paused"),
        "lvs2": (b, "unreachable"), "rs2": (b, "unreachable"),
    }  # fmt: skip
    assert shown["broken"] == [
        "rs1 is paused",
        "lvs2: its host does not answer",
        "rs2: its host does not answer",
    ]
    # the others can be used, and started again, also with wires that were lost
    on(rig.uris[0], "ip link del l1n1-eth1; ip link del l1n2-eth1; true")
    cluster.kill("lvs1")
    cluster.engine.wire(cluster.lab)
    cluster.launch("lvs1")
    with pytest.raises(StageError) as caught:
        faults.heal(cluster)
    assert cluster.node_state("rs1") == "running"  # that was healed before
    assert caught.value.message == f"its host {b} does not answer"
    assert caught.value.hint == "start that host again, then: lab heal"
    with pytest.raises(StageError, match="does not answer"):
        cluster.move("lvs2", a)
    with pytest.raises(StageError, match="cannot be reached"):
        cluster.move("lvs1", b)
    with pytest.raises(MissingError, match=f"{b}: the host {b} cannot be reached"):
        cluster.engine.demand("tcg")
    assert cluster.node_state("lvs1") == "running"
    # it is back: its nodes are off and have their disks
    rig.start("b")
    assert rig.wait("b")
    cluster = as_the_next_command(cluster)
    assert cluster.node_state("lvs2") == "off" and "lvs2" in cluster.engine.disks()
    assert [str(fault) for fault in faults.heal(cluster)] == ["lvs2 is off", "rs2 is off"]
    assert faults.broken(cluster) == []
    assert client_ends(rig, "b") == {"10.99.0.1", a}


def client_ends(rig: Hosts, name: str) -> set[str]:
    """To whom a host sends what it has no entry for."""
    said = on(rig.uris[rig.names.index(name)], "bridge -json fdb show dev l1x0")
    return {entry["dst"] for entry in json.loads(said) if entry["mac"] == "00:00:00:00:00:00"}


def test_down_says_which_host_it_could_not_clean(rig: Hosts, cluster: Cluster) -> None:
    rig.kill("b")
    with pytest.raises(StageError) as caught:
        as_the_next_command(cluster).down()
    b = rig.address("b")
    assert caught.value.message == f"{b}: no answer, so what the lab has there is left"
    assert caught.value.hint == (
        "run lab down again when the host is back; if it never is: lab down --forget"
    )
    assert cluster.lab.name not in everything_on(rig.uris[0])
    rig.start("b")
    assert rig.wait("b")
    as_the_next_command(cluster).down()
    assert cluster.lab.name not in everything_on(rig.uris[1])
    assert not cluster.state.folder.exists()


def test_down_forgets_a_host_that_never_comes_back(
    rig: Hosts, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    b, name = rig.address("b"), cluster.lab.name
    rig.kill("b")
    forget_connections()
    assert main(["lab", "down", "--name", name]) == 4
    assert "lab down --forget" in capsys.readouterr().err
    assert main(["lab", "down", "--name", name, "--forget"]) == 0
    shown = capsys.readouterr()
    assert f"{b}: no answer, so what the lab has there is left" in shown.err
    assert shown.out == f"the lab {name} has ended\n"
    assert not cluster.state.folder.exists()
    assert main(["lab", "down", "--name", name]) == 0
    assert capsys.readouterr().out == f"there is no lab {name}\n"
    rig.start("b")
    assert rig.wait("b")
    forget_connections()
    cluster.engine.remove()  # the next test finds nothing here
    assert name not in everything_on(rig.uris[1])


def test_another_workstation_takes_over(
    rig: Hosts, cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = list(cluster.lab.nodes)
    assert cluster.move("lvs1", rig.address("b"))
    checkpoint.save(cluster, "x")
    faults.cut(cluster, "lvs1", "eth1")
    faults.cut(cluster, "rs1", "eth1", silent=True)
    before = faults.broken(cluster)
    key = cluster.state.key.read_bytes()
    with monkeypatch.context() as elsewhere:
        forget_connections()
        cluster.namespace.remove()
        elsewhere.setenv("LVSLAB_STATE", str(folder / "t"))
        on(rig.uris[0], "bridge fdb append 00:00:00:00:00:00 dev l1x0 dst 10.99.0.77")
        for uris, name, words in (
            (rig.uris, "nope", "the lab nope is on none of these hosts"),
            (rig.uris[:1], None, "lvs1 is on none of these hosts"),
        ):
            with pytest.raises(InputError) as caught:
                takeover.adopt(uris, name)
            assert caught.value.message == words
            assert not (folder / "t" / cluster.lab.name).exists()
        named = [word for uri in reversed(rig.uris) for word in ("--host", uri)]
        assert main(["lab", "adopt", *named]) == 0
        here = Cluster.running(cluster.lab.name)
        assert here.lab == cluster.lab and here.settings.hosts == tuple(reversed(rig.uris))
        assert here.state.key.read_bytes() == key
        assert here.state.key.stat().st_mode & 0o777 == 0o600
        assert here.seed("lvs1").read_bytes() == (folder / "seed.iso").read_bytes()
        assert here.engine.place("lvs1") == rig.address("b")
        assert faults.broken(here) == before and len(before) == 2
        assert client_ends(rig, "a") == {"10.99.0.1", rig.address("b")}  # and no strange one
        # every verb works: faults, checkpoints, power, the sockets of agents and consoles
        faults.heal(here)
        assert list(checkpoint.names(here)) == ["x"]
        checkpoint.restore(here, "x")
        assert {here.node_state(node) for node in nodes} == {"running"}
        assert here.files("lvs1").console.is_socket() and here.files("lvs1").agent.is_socket()
        here.kill("lvs2")
        here._prepare({"lvs2": (folder / "disk.raw", folder / "seed.iso")})
        assert list(checkpoint.names(here)) == ["x"]  # its disk was known
        here.down()
        for uri in rig.uris:
            assert cluster.lab.name not in everything_on(uri)
        with pytest.raises(InputError, match="no lab is on these hosts"):
            takeover.adopt(rig.uris, None)
    forget_connections()


# --- several nodes in one command


def test_what_libvirt_does_not_define_names_the_node(
    engine: LibvirtEngine,
    rig: Hosts,
    lab: Lab,
    folder: Path,
    state: LabState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = [
        hardware.machine(lab, node, folder / "disk.raw", folder / "seed.iso", 2201)
        for node in ("lvs1", "rs1")  # on one host
    ]
    engine.renew(both)

    def broken(machine: hardware.Machine, *rest: Any) -> str:
        return "<domain/>" if machine.name == "rs1" else domain(machine, *rest)

    monkeypatch.setattr("lvslab.lab.libvirt.libvirt_engine.domain", broken)
    with pytest.raises(StageError) as caught:
        engine.define(both, "tcg", {})
    assert caught.value.where == "rs1" and "missing name" in caught.value.message
    assert "domain.xml" not in on(rig.uris[0], f"ls -R /var/lib/lvslab/{state.name}")
    monkeypatch.undo()
    engine.define(both, "tcg", {})
    on(rig.uris[0], f"rm /var/lib/lvslab/{state.name}/lvs1/disk.qcow2")
    assert engine.disks() == {"rs1"}
    on(rig.uris[0], f"mkdir /var/lib/lvslab/{state.name}/lvs1/disk.qcow2")  # no place for it
    with pytest.raises(StageError, match="disk.qcow2") as caught:
        engine.renew(both)
    assert caught.value.where == "lvs1"


# --- what a killed `lab up` leaves


def test_removing_waits_for_what_a_killed_command_still_makes(
    engine: LibvirtEngine, rig: Hosts, state: LabState
) -> None:
    late = f"flock -s 9; sleep 2; mkdir -p /var/lib/lvslab/{state.name}/late"
    on(rig.uris[0], f"({late}) 9</var/lib/lvslab >/dev/null 2>&1 &")
    engine.remove()
    assert state.name not in everything_on(rig.uris[0])
    on(rig.uris[0], f"sleep 2; ! test -e /var/lib/lvslab/{state.name}")  # nor later


def test_down_leaves_nothing_after_an_up_that_was_killed(
    rig: Hosts, lab: Lab, folder: Path, state: LabState
) -> None:
    a, b = rig.uris
    (folder / "art").mkdir()
    artifacts = make_artifacts(lab, folder / "art")
    words = ["lab", "up", "--name", state.name, "--artifacts", str(artifacts), "--host", a]
    command = [sys.executable, "-m", "lvslab.cli", *words, "--host", b, "--accelerator", "tcg"]
    environment = {**os.environ, "LVSLAB_CACHE": str(folder / "c")}
    for moment in (
        "ip -o link | grep l1-vmnet1",
        f"ls -d /var/lib/lvslab/{state.name}",
        f"virsh -q -c qemu:///system list --name | grep {state.name}",
    ):
        log = (folder / "up.log").open("wb")
        with log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as up:
            seen = until(partial(on, a, f"{moment}; true"), 90)
            up.kill()
        assert seen, (folder / "up.log").read_text()
        assert state.name in everything_on(a)
        assert main(["lab", "down", "--name", state.name]) == 0
        for uri in rig.uris:
            left = everything_on(uri)
            assert state.name not in left and "l1-" not in left and "l1x" not in left
            other_than_itself = f"guest=[{state.name[0]}]{state.name[1:]}"
            assert not on(uri, f"pgrep -f {other_than_itself}; true").strip()
        assert not state.folder.exists() and not Namespace(f"lvslab-{state.name}").exists()
