"""The contract of `lvslab.lab.engine`, kept by every engine, with machines of a boot sector."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from lvslab.core.errors import MissingError, StageError
from lvslab.core.waiting import until
from lvslab.lab import hardware
from lvslab.lab.engine import Engine, Unsupported
from lvslab.lab.libvirt.libvirt_engine import LibvirtEngine
from lvslab.lab.namespace import Namespace
from lvslab.lab.network import Port
from lvslab.lab.qemu.local import LocalEngine
from lvslab.lab.state import LabState
from lvslab.lab.vmrun.vmrun_engine import VmrunEngine
from lvslab.lab.vmrun.vmrun_program import Vmrun
from lvslab.model.lab import Lab
from tests import fakevmrun
from tests.bare import DISK, SAYS
from tests.hosts import hosts

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here")

OWN_WIRES = [pytest.param(name, marks=pytest.mark.slow) for name in ("local", "libvirt")]
"""Engines that make disks and wires; VMware has its own."""

ENGINES = [*OWN_WIRES, "vmware"]
REFUSED = {"vmware": {"renew", "carry", "hear", "console", "ssh_options"}}
"""What an engine refuses: see the contract."""


@dataclass(frozen=True)
class Rig:
    """An engine for tests; `boots` is how often lvs1 has booted.

    `adapters` are the addresses that this host has, where the engine asks for them.
    """

    name: str
    engine: Engine
    artifacts: Path
    boots: Callable[[], int]
    adapters: set[str] = field(default_factory=set)

    def refuses(self, verb: str) -> bool:
        return verb in REFUSED.get(self.name, ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk that starts and a seed, and where labs keep their state."""
    folder = tmp_path_factory.mktemp("e")
    (folder / "disk.raw").write_bytes(DISK.ljust(1 << 20, b"\0"))
    (folder / "seed.iso").write_bytes(bytes(1 << 16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LVSLAB_STATE", str(folder / "s"))
        yield folder


def vmrun_engine(lab: Lab, state: LabState, folder: Path) -> Rig:
    """An engine of VMware whose vmrun is the stand-in."""
    artifacts = fakevmrun.make_folders(lab, folder / "a")
    host = fakevmrun.install(folder / "vmrun", "student", "lvslab")
    vmrun = Vmrun(str(folder / "vmrun/bin/vmrun"))
    adapters = {str(address.ip) for network in lab.networks for address in lab.hosts_on(network)}
    made = VmrunEngine(lab, artifacts, state.folder, vmrun, has=adapters.__contains__)

    def boots() -> int:
        with host.machine(made.vmx("lvs1")) as machine:
            return machine.boots

    with host.machine(made.vmx("lvs1")) as machine:
        machine.tools = False  # as a boot sector has none
    return Rig("vmware", made, artifacts, boots, adapters)


@pytest.fixture(scope="module", params=ENGINES)
def rig(request: pytest.FixtureRequest, lab: Lab, folder: Path) -> Iterator[Rig]:
    """An engine whose networks are there; no machine was started yet."""
    state = LabState(f"engine{os.getpid()}")
    state.create(lab.nodes)
    places = lab, state, Namespace(f"lvslab-{state.name}")

    def boots_of(engine: Engine) -> Rig:
        """Its console is kept."""
        seen = SAYS.encode()
        return Rig(request.param, engine, folder, lambda: engine.console("lvs1").count(seen))

    with contextlib.ExitStack() as stack:
        if request.param == "local":
            made = boots_of(LocalEngine(*places))
        elif request.param == "libvirt":
            uris = stack.enter_context(hosts(folder, "a", "b")).uris
            made = boots_of(LibvirtEngine(*places, uris))
        else:
            made = vmrun_engine(lab, state, folder)
        made.engine.wire(lab)
        stack.callback(made.engine.remove)
        yield made


@pytest.fixture
def engine(rig: Rig) -> Engine:
    return rig.engine


@pytest.fixture
def machine(rig: Rig, lab: Lab, folder: Path) -> Iterator[hardware.Machine]:
    """lvs1, with a fresh disk where the engine makes disks; it is off."""
    made = hardware.machine(lab, "lvs1", folder / "disk.raw", folder / "seed.iso", 2201)
    if not rig.refuses("renew"):
        assert "rs1" not in rig.engine.disks()
        rig.engine.renew([made])
    assert "lvs1" in rig.engine.disks()
    yield made
    rig.engine.kill("lvs1")


def launch(engine: Engine, machine: hardware.Machine, load: str | None = None) -> None:
    engine.launch(machine, "tcg", {}, load)


def test_a_machine_that_never_was_is_off(engine: Engine) -> None:
    assert engine.state("rs2") == "off"
    engine.kill("rs2")
    engine.plug("rs2", "eth1", False)
    assert not engine.in_use()


def test_what_is_missing_is_said_before_anything_is_made(
    rig: Rig, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvslab.lab.qemu.local._KVM", "/nowhere/kvm")  # those hosts have none
    engine.demand("tcg")
    there = set(rig.adapters)
    rig.adapters.clear()
    with pytest.raises(MissingError) as caught:
        engine.demand("kvm")
    rig.adapters.update(there)
    for what in there or {"KVM"}:
        assert what in caught.value.message


def test_power_and_pause_have_happened_when_they_return(
    engine: Engine, machine: hardware.Machine
) -> None:
    launch(engine, machine)
    assert engine.state("lvs1") == "running" and engine.in_use()
    assert engine.stopped() == ["lvs2", "rs1", "rs2"]
    engine.pause("lvs1")
    assert engine.state("lvs1") == "paused" and "lvs1" not in engine.stopped()
    engine.resume("lvs1")
    assert engine.state("lvs1") == "running"
    engine.press_power("lvs1")  # a boot sector does not listen
    assert engine.state("lvs1") == "running"
    engine.kill("lvs1")
    assert engine.state("lvs1") == "off" and not engine.in_use()


def test_what_cannot_be_done_names_the_machine(engine: Engine, machine: hardware.Machine) -> None:
    tasks: list[Callable[[], None]] = [
        lambda: engine.pause("lvs1"),
        lambda: engine.resume("lvs1"),
        lambda: engine.press_power("lvs1"),
        lambda: engine.save("lvs1", "x"),
        lambda: launch(engine, machine, load="never-saved"),
        lambda: launch(engine, replace(machine, seed=Path("/nowhere.iso"))),
    ]
    for task in tasks:
        with pytest.raises(StageError) as caught:
            task()
        assert caught.value.where == "lvs1"
        assert engine.state("lvs1") == "off"


def test_a_saved_machine_goes_on_from_there_paused(
    rig: Rig, engine: Engine, machine: hardware.Machine
) -> None:
    boots = rig.boots()
    launch(engine, machine)
    assert until(lambda: rig.boots() == boots + 1, 30)
    engine.pause("lvs1")
    engine.save("lvs1", "x")
    engine.save("lvs1", "x")  # in the place of the older one
    engine.kill("lvs1")
    launch(engine, machine, load="x")
    assert engine.state("lvs1") == "paused"
    engine.resume("lvs1")
    assert engine.state("lvs1") == "running"
    assert rig.boots() == boots + 1  # and not again


def test_what_an_engine_refuses_it_refuses_always_and_says_why(
    rig: Rig, engine: Engine, machine: hardware.Machine
) -> None:
    tasks: dict[str, Callable[[], object]] = {
        "renew": lambda: engine.renew([machine]),
        "carry": lambda: engine.carry("lvs1", "eth1", False),
        "hear": lambda: engine.hear("lvs1", "eth1", False),
        "console": lambda: engine.console("lvs1"),
        "ssh_options": lambda: engine.ssh_options("lvs1"),
    }
    for verb, task in tasks.items():
        for on in (False, True):
            if on and engine.state("lvs1") == "off":
                launch(engine, machine)
            if verb == "renew" and on and not rig.refuses(verb):
                continue  # a disk in use
            try:
                task()
            except Unsupported as refused:
                assert rig.refuses(verb)
                assert " is not possible here: " in refused.message
                assert refused.where == "lvs1" and refused.hint
            else:
                assert not rig.refuses(verb)
    for again in (engine.carry, engine.hear):
        with contextlib.suppress(Unsupported):
            again("lvs1", "eth1", True)


@pytest.mark.parametrize("rig", OWN_WIRES, indirect=True)
def test_a_fresh_disk_has_nothing_saved(engine: Engine, machine: hardware.Machine) -> None:
    launch(engine, machine)
    engine.pause("lvs1")
    engine.save("lvs1", "x")
    engine.kill("lvs1")
    engine.renew([machine])
    with pytest.raises(StageError):
        launch(engine, machine, load="x")


def test_every_card_on_a_lab_network_has_a_wire(engine: Engine, lab: Lab) -> None:
    wired = {
        (name, interface)
        for name, node in lab.nodes.items()
        for interface, network in node.interfaces.items()
        if lab.networks[network].kind == "host-only"
    }
    assert engine.ports() == dict.fromkeys(wired, Port(carries=True, hears=True))


@pytest.mark.parametrize("rig", OWN_WIRES, indirect=True)
def test_a_wire_that_is_cut_or_deaf_is_seen_and_whole_again(engine: Engine) -> None:
    whole, at = Port(carries=True, hears=True), ("rs1", "eth1")
    engine.carry(*at, False)
    assert engine.ports()[at] == Port(carries=False, hears=True)
    engine.carry(*at, True)
    assert engine.ports()[at] == whole
    engine.hear(*at, False)
    assert engine.ports()[at] == Port(carries=True, hears=False)
    engine.hear(*at, True)
    assert engine.ports()[at] == whole


def test_machines_of_this_host_are_named_with_their_processes(
    engine: Engine, machine: hardware.Machine
) -> None:
    launch(engine, machine)
    for node, pid in engine.processes().items():
        assert node == "lvs1"
        assert b"qemu" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_networks_are_made_and_removed_as_often_as_one_likes(
    engine: Engine, machine: hardware.Machine, lab: Lab
) -> None:
    launch(engine, machine)
    engine.wire(lab)
    assert engine.state("lvs1") == "running"  # what runs is left alone
    for _ in range(2):
        engine.remove()
        assert engine.state("lvs1") == "off" and not engine.in_use()
    for _ in range(2):
        engine.wire(lab)
    assert all(port == Port(True, True) for port in engine.ports().values())
