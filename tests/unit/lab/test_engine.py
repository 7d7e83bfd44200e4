"""The contract of `lvslab.lab.engine`, kept by every engine, with machines of a boot sector."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lvslab.core.errors import MissingError, StageError
from lvslab.core.waiting import until
from lvslab.lab import hardware
from lvslab.lab.engine import Engine
from lvslab.lab.libvirt.libvirt_engine import LibvirtEngine
from lvslab.lab.namespace import Namespace
from lvslab.lab.network import Port
from lvslab.lab.qemu.local import LocalEngine
from lvslab.lab.state import LabState
from lvslab.model.lab import Lab
from tests.bare import DISK, SAYS
from tests.hosts import hosts

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here")

ENGINES = ["local", pytest.param("libvirt", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk that starts and a seed, and where labs keep their state."""
    folder = tmp_path_factory.mktemp("e")
    (folder / "disk.raw").write_bytes(DISK.ljust(1 << 20, b"\0"))
    (folder / "seed.iso").write_bytes(bytes(1 << 16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LVSLAB_STATE", str(folder / "s"))
        yield folder


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, lab: Lab, folder: Path) -> Iterator[Engine]:
    """An engine whose networks are there; no machine was started yet."""
    state = LabState(f"engine{os.getpid()}")
    state.create(lab.nodes)
    places = lab, state, Namespace(f"lvslab-{state.name}")
    with contextlib.ExitStack() as stack:
        if request.param == "local":
            made: Engine = LocalEngine(*places)
        else:
            made = LibvirtEngine(*places, stack.enter_context(hosts(folder, "a", "b")).uris)
        made.wire(lab)
        stack.callback(made.remove)
        yield made


@pytest.fixture
def machine(engine: Engine, lab: Lab, folder: Path) -> Iterator[hardware.Machine]:
    """lvs1, with a fresh disk; it is off."""
    made = hardware.machine(lab, "lvs1", folder / "disk.raw", folder / "seed.iso", 2201)
    assert not engine.has_disk("rs1")
    engine.renew(made)
    assert engine.has_disk("lvs1")
    yield made
    engine.kill("lvs1")


def booted(engine: Engine) -> int:
    """How often lvs1 has booted: its console is kept."""
    return engine.console("lvs1").count(SAYS.encode())


def launch(engine: Engine, machine: hardware.Machine, load: str | None = None) -> None:
    engine.launch(machine, "tcg", {}, load)


def test_a_machine_that_never_was_is_off(engine: Engine) -> None:
    assert engine.state("rs2") == "off"
    engine.kill("rs2")
    engine.plug("rs2", "eth1", False)
    assert not engine.in_use()


def test_what_is_missing_is_said_before_anything_is_made(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvslab.lab.qemu.local._KVM", "/nowhere/kvm")  # those hosts have none
    engine.demand("tcg")
    with pytest.raises(MissingError) as caught:
        engine.demand("kvm")
    assert "KVM" in caught.value.message


def test_power_and_pause_have_happened_when_they_return(
    engine: Engine, machine: hardware.Machine
) -> None:
    launch(engine, machine)
    assert engine.state("lvs1") == "running" and engine.in_use()
    engine.pause("lvs1")
    assert engine.state("lvs1") == "paused"
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
    engine: Engine, machine: hardware.Machine
) -> None:
    boots = booted(engine)
    launch(engine, machine)
    assert until(lambda: booted(engine) == boots + 1, 30)
    engine.pause("lvs1")
    engine.save("lvs1", "x")
    engine.save("lvs1", "x")  # in the place of the older one
    engine.kill("lvs1")
    launch(engine, machine, load="x")
    assert engine.state("lvs1") == "paused"
    engine.resume("lvs1")
    assert engine.state("lvs1") == "running"
    assert booted(engine) == boots + 1  # and not again


def test_a_fresh_disk_has_nothing_saved(engine: Engine, machine: hardware.Machine) -> None:
    launch(engine, machine)
    engine.pause("lvs1")
    engine.save("lvs1", "x")
    engine.kill("lvs1")
    engine.renew(machine)
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
