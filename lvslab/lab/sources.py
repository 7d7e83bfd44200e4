"""Where a lab's machines come from: one interface, and the table of those who offer it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from lvslab.core.events import Listener
from lvslab.lab.hardware import Firmware, Hardware, Machine
from lvslab.lab.ova_source import OvaSource
from lvslab.lab.vmware_source import FolderSource, VmwareSource
from lvslab.model.lab import Lab

Origin = Literal["ova", "vmware", "folders"]
EngineName = Literal["local", "libvirt", "vmware"]


@dataclass(frozen=True)
class Settings:
    """How a lab was started; kept, so that a node is started again in the same way.

    `origin` names the source of the machines; VMware's folders decide on hardware and firmware
    (`vmware`: for QEMU; `folders`: for VMware itself).
    `engine` names where they run, and `hosts` are the URIs of the libvirt hosts for it.
    """

    hardware: Hardware = "vmware"
    firmware: Firmware = "bios"
    accelerator: str = "tcg"
    origin: Origin = "ova"
    hosts: tuple[str, ...] = ()
    engine: EngineName = "local"

    def __post_init__(self) -> None:
        """Hosts are libvirt's."""
        if self.hosts:
            object.__setattr__(self, "engine", "libvirt")

    @classmethod
    def kept(cls, dump: dict[str, Any] | None) -> Settings:
        """The settings that were kept as JSON: `vars` of them, in which a tuple is a list."""
        dump = dump or {}
        return cls(**{**dump, "hosts": tuple(dump.get("hosts", ()))})


class MachineSource(Protocol):
    """The machines of a lab: how they are wired, what they boot from, what they are made of."""

    def wires(self) -> Lab:
        """The lab with the networks, memory and processors that the machines have."""

    def disks(self, cache: Path, listener: Listener) -> dict[str, Path]:
        """Node to the raw disk, below `cache`, that its overlay is put over."""

    def seeds(self) -> dict[str, Path]:
        """Node to the ISO in its CD-ROM."""

    def machine(self, node: str, disk: Path, seed: Path, ssh_port: int) -> Machine:
        """The hardware of a node, with its raw disk and its copy of the seed."""


_SOURCES: dict[Origin, Callable[[Lab, Path, Settings], MachineSource]] = {
    "ova": lambda lab, artifacts, settings: OvaSource(
        lab, artifacts, settings.hardware, settings.firmware
    ),
    "vmware": lambda lab, artifacts, settings: VmwareSource(lab, artifacts),
    "folders": lambda lab, artifacts, settings: FolderSource(lab, artifacts),
}


def source_of(lab: Lab, artifacts: Path, settings: Settings) -> MachineSource:
    """The source that the settings name."""
    return _SOURCES[settings.origin](lab, artifacts, settings)
