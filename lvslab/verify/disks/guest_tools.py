"""Rules for VMware's guest tools: what the VMDK's descriptor says of them, against the disk.

`ddb.toolsInstallType` tells VMware which tools the guest has, so that it need not be running
to be known. Source: open-vm-tools, lib/include/vm_tools_version.h (0 none is known, 1 to 3
VMware's own, 4 open-vm-tools).
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from lvslab.formats.vmdk.reader import Descriptor
from lvslab.verify.disks.inside import ApplianceDisk
from lvslab.verify.rules import Absent, RuleSet, demand, reading

GUEST_TOOLS: RuleSet[Promise] = RuleSet()

_NONE = (None, "0")
_OPEN_VM_TOOLS = "4"
_PROGRAM = "/usr/bin/vmtoolsd"
_UNITS = ("open-vm-tools.service", "vmtoolsd.service")
"""Debian's name of the unit, and that of other distributions."""
_WANTS = "/etc/systemd/system"
_LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")
_CLOCK = "open-vm-tools/plugins/vmsvc/libtimeSync.so"
_ALIASES = "/var/lib/vmware"
_LOGS = "/var/log"


@dataclass(frozen=True)
class Promise:
    """A disk, and the descriptor that speaks of what is on it."""

    descriptor: Descriptor
    disk: ApplianceDisk

    @property
    def kind(self) -> str | None:
        """The kind of tools that the descriptor promises."""
        return self.descriptor.values.get("ddb.toolsInstallType")

    @property
    def has_tools(self) -> bool:
        """Whether the tools' program is in the image."""
        node = self.disk.find(_PROGRAM)
        with reading(_PROGRAM):
            return bool(node is not None and node.filetype == stat.S_IFREG and node.size)

    def demand_tools(self) -> None:
        """Raise Absent if there is nothing that a rule about the tools could look at."""
        if not self.has_tools:
            raise Absent("there are no guest tools")


@GUEST_TOOLS.advice(
    "tools-inside",
    "the image has the guest tools that the disk's toolsInstallType promises, and no others",
    "no importer refuses it: VMware offers a shutdown by the guest's tools, and nothing happens",
)
def _inside(promise: Promise) -> str:
    kind = promise.kind
    if kind in _NONE:
        said = f"toolsInstallType is {kind or 'not said'}"
        demand(not promise.has_tools, f"{said}, but {_PROGRAM} is there")
        return "no tools are promised, and there are none"
    demand(promise.has_tools, f"toolsInstallType is {kind}, but there is no {_PROGRAM}")
    if kind != _OPEN_VM_TOOLS:
        return f"{_PROGRAM}, of VMware's own tools"
    starts = [name for name in _enabled(promise.disk) if PurePosixPath(name).name in _UNITS]
    demand(starts, f"{_PROGRAM} is there, but no unit of {', '.join(_UNITS)} starts it at boot")
    return f"{_PROGRAM}, started by {PurePosixPath(starts[0]).name}"


def _enabled(disk: ApplianceDisk) -> Iterator[str]:
    """The links by which units start at boot (systemd.unit(5), `.wants`)."""
    return (name for name, _ in disk.below(_WANTS) if PurePosixPath(name).parent.suffix == ".wants")


@GUEST_TOOLS.advice(
    "tools-no-clock",
    "the guest tools have no plugin that sets the clock (libtimeSync.so)",
    "no importer refuses it: after a pause the host changes the clock of one director and not of "
    "the other",
)
def _no_clock(promise: Promise) -> str:
    promise.demand_tools()
    for path in (f"{folder}/{_CLOCK}" for folder in _LIBRARIES):
        demand(promise.disk.find(path) is None, f"{path} is in the image")
    return "no plugin sets the clock"


@GUEST_TOOLS.advice(
    "tools-no-state",
    "the guest tools have no state in the image: they never ran",
    "no importer refuses it: the image has another machine's aliases and logs, and whom it trusts",
)
def _no_state(promise: Promise) -> str:
    promise.demand_tools()
    demand(promise.disk.find(_ALIASES) is None, f"{_ALIASES} is in the image")
    for name, _ in promise.disk.below(_LOGS):
        demand(not PurePosixPath(name).name.startswith("vmware-"), f"{name} is in the image")
    return "no state of an earlier run"
