"""The engines that a lab can run on: a table; another engine is a line in it and a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lvslab.lab.engine import Engine
from lvslab.lab.libvirt.libvirt_engine import LibvirtEngine
from lvslab.lab.namespace import Namespace
from lvslab.lab.qemu.local import LocalEngine
from lvslab.lab.sources import EngineName, Settings
from lvslab.lab.state import LabState
from lvslab.lab.vmrun.host_network import HostNetwork
from lvslab.lab.vmrun.vmrun_engine import VmrunEngine
from lvslab.lab.vmrun.vmrun_program import Vmrun
from lvslab.model.lab import Lab


@dataclass(frozen=True)
class Premises:
    """What an engine is made from: the lab, its state, where its client is, how it was started.

    `artifacts` is where the machines' images or folders are.
    """

    lab: Lab
    state: LabState
    namespace: Namespace
    settings: Settings
    artifacts: Path


@dataclass(frozen=True)
class EngineKind:
    """What must be known of an engine before it exists.

    `own_disks`: it gives the nodes disks of the lab's own, over their images, and a copy of their
    seeds; else the nodes are folders that somebody has. `own_network`: the client lives in a
    network namespace; else it is this host. `warm`: a first start can go on from a checkpoint of
    an earlier lab (see `warm`).
    """

    make: Callable[[Premises], Engine]
    own_disks: bool = True
    own_network: bool = True
    warm: bool = False


def _local(premises: Premises) -> Engine:
    return LocalEngine(premises.lab, premises.state, premises.namespace)


def _libvirt(premises: Premises) -> Engine:
    return LibvirtEngine(premises.lab, premises.state, premises.namespace, premises.settings.hosts)


def _vmware(premises: Premises) -> Engine:
    return VmrunEngine(premises.lab, premises.artifacts, premises.state.folder, Vmrun.found())


ENGINES: dict[EngineName, EngineKind] = {
    "local": EngineKind(_local, warm=True),
    "libvirt": EngineKind(_libvirt),
    "vmware": EngineKind(_vmware, own_disks=False, own_network=False),
}


def engine_kind(state: LabState) -> EngineKind:
    """The engine that a lab was started on; before that the one of this host."""
    return ENGINES[Settings.kept(state.load("settings")).engine]


def client_place(name: str, kind: EngineKind) -> Namespace:
    """Where the client of the lab `name` is."""
    return (Namespace if kind.own_network else HostNetwork)(f"lvslab-{name}")


def engine_of(premises: Premises) -> Engine:
    """The engine that the settings name."""
    return ENGINES[premises.settings.engine].make(premises)
