"""A lab over two libvirt hosts: nodes that move between them, hosts that lack something or die."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lvslab.core.errors import InputError, LabError, StageError
from lvslab.core.waiting import until
from lvslab.lab import hardware
from lvslab.lab.libvirt.libvirt_engine import LibvirtEngine
from lvslab.lab.libvirt.libvirt_host import Host
from lvslab.lab.namespace import Namespace
from lvslab.lab.network import Port
from lvslab.lab.state import LabState
from lvslab.model.lab import Lab
from tests.bare import DISK, SAYS
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
    engine.renew(machine)
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
    assert engine.agent("lvs1").is_socket()


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
    assert running.state("lvs1") == "off" and running.has_disk("lvs1")
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
