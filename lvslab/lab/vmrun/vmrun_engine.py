"""The engine of a host with VMware: the .vmx folders, which `vmrun` starts, stops and wires.

The folders belong to the user: nothing here writes into them but VMware itself. What vmrun cannot
tell (whether a machine is paused) is kept in the lab's state, and holds while the machine is on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lvslab.core.errors import MissingError, StageError
from lvslab.core.places import PROGRAM
from lvslab.formats import vmx
from lvslab.lab.agents.agent import Agent
from lvslab.lab.engine import NodeState, Unsupported
from lvslab.lab.hardware import Machine
from lvslab.lab.network import Port, wired_interfaces
from lvslab.lab.vmrun.guest_operations import GuestOperations
from lvslab.lab.vmrun.host_network import owns
from lvslab.lab.vmrun.vmrun_program import Vmrun
from lvslab.model.lab import Lab

FOLDER = "vmware"
"""Where the machines' folders are, below the artifacts."""

OURS = "lvslab-"
"""How the names of our snapshots begin: others are the user's, and stay."""

_LONG = 600.0  # seconds: a machine's memory is written or read


class VmrunEngine:
    """The machines of `lab` in the folders below `artifacts`; `notes` is a folder of our own.

    `has` says whether this host has an address.
    """

    def __init__(
        self,
        lab: Lab,
        artifacts: Path,
        notes: Path,
        vmrun: Vmrun,
        has: Callable[[str], bool] = owns,
    ) -> None:
        self._lab, self._folders = lab, artifacts.absolute() / FOLDER
        self._notes, self._vmrun, self._has = notes, vmrun, has

    # --- networks

    def demand(self, accelerator: str) -> None:
        """This host has an adapter on each network of a client. There is no accelerator to choose.

        In WSL the adapters are those of Windows, and are not looked for.
        """
        if self._vmrun.windows:
            return
        wanted = {
            str(address.ip): network
            for network in self._lab.networks
            for address in self._lab.hosts_on(network)
        }
        if missing := [address for address in wanted if not self._has(address)]:
            raise MissingError(
                "this host has no adapter with "
                + ", ".join(f"{address} on {wanted[address]}" for address in missing),
                hint=f"make VMware's networks: {PROGRAM} vmware networks (docs/import.md)",
            )

    def wire(self, lab: Lab) -> None:
        """Nothing: VMware's networks are its own."""

    def in_use(self) -> bool:
        """Whether VMware runs a machine of the lab."""
        return bool(self._running())

    def remove(self) -> None:
        """Power off, and remove our snapshots. Folders and networks are the user's."""
        for node in self._lab.nodes:
            if not self.vmx(node).is_file():
                continue
            self.kill(node)
            self.forget(node)

    def forget(self, node: str) -> None:
        """Remove our snapshots of a machine; the user's own stay."""
        for name in self._snapshots(node):
            if name.startswith(OURS):
                self._ask(node, "deleteSnapshot", name, timeout=_LONG)

    # --- one machine

    def stopped(self) -> list[str]:
        """Those that VMware does not run."""
        return [node for node in self._lab.nodes if self.state(node) == "off"]

    def renew(self, machines: Sequence[Machine]) -> None:
        """Unsupported: the disk may have what its user made."""
        raise Unsupported(
            "a fresh disk",
            "a machine's folder belongs to its user",
            where=", ".join(machine.name for machine in machines),
            hint="unpack its folder again",
        )

    def disks(self) -> set[str]:
        """Those whose folder is there."""
        return {node for node in self._lab.nodes if self.vmx(node).is_file()}

    def launch(
        self,
        machine: Machine,
        accelerator: str,
        credentials: Mapping[str, bytes],
        load: str | None = None,
    ) -> None:
        """`start nogui`. VMware gives its guests no credentials: see `agent`."""
        node = machine.name
        if not machine.seed.is_file():  # VMware would ask a question in a window that is not there
            raise StageError(f"there is no {machine.seed.name}, its seed", where=node)
        if load:
            if not self._vmrun.tell and OURS + load not in self._snapshots(node):
                raise StageError(f"it has no snapshot {OURS}{load}", where=node)
            self._ask(node, "revertToSnapshot", OURS + load, timeout=_LONG)
        self._note(node).unlink(missing_ok=True)
        self._ask(node, "start", "nogui", timeout=_LONG)
        if load:
            self.pause(node)

    def state(self, node: str) -> NodeState:
        """As `vmrun list` says; that it is paused is our own note."""
        if node not in self._running():
            return "off"
        return "paused" if self._note(node).exists() else "running"

    def kill(self, node: str) -> None:
        """`stop hard`."""
        if self._vmrun.tell or self.state(node) != "off":
            self._ask(node, "stop", "hard")
        self._note(node).unlink(missing_ok=True)

    def pause(self, node: str) -> None:
        """`pause`."""
        self._ask(node, "pause")
        if not self._vmrun.tell:
            self._note(node).touch()

    def resume(self, node: str) -> None:
        """`unpause`."""
        try:
            self._ask(node, "unpause")
        finally:  # if it failed, the machine is off or runs: somebody used VMware's window
            self._note(node).unlink(missing_ok=True)

    def press_power(self, node: str) -> None:
        """`stop soft`: the guest's tools shut it down. Its end is not waited for."""
        self._demand_on(node)
        self._vmrun.begin("stop", self._name(node), "soft")

    def save(self, node: str, name: str) -> None:
        """A snapshot with the machine's memory, in the place of one of that name."""
        self._demand_on(node)  # VMware would take one without memory
        if OURS + name in self._snapshots(node):
            self._ask(node, "deleteSnapshot", OURS + name, timeout=_LONG)
        self._ask(node, "snapshot", OURS + name, timeout=_LONG)

    # --- its wires

    def plug(self, node: str, interface: str, connected: bool) -> None:
        """`connectNamedDevice` or `disconnectNamedDevice`, for the card of the interface."""
        if self._vmrun.tell or self.state(node) != "off":
            command = "connectNamedDevice" if connected else "disconnectNamedDevice"
            self._ask(node, command, self.card(node, interface))

    def carry(self, node: str, interface: str, frames: bool) -> None:
        """VMware has nothing for it: Unsupported."""
        raise Unsupported(
            "dropping frames with the link up",
            "vmrun can only pull the whole cable",
            where=node,
            hint=f"lab cut {node} {interface}, without --silent",
        )

    def hear(self, node: str, interface: str, multicast: bool) -> None:
        """VMware has nothing for it: Unsupported."""
        raise Unsupported(
            "keeping multicast away (a split brain)",
            "vmrun cannot drop some frames and let others pass",
            where=node,
            hint="make this fault in the lab on QEMU: lab up",
        )

    def ports(self) -> dict[tuple[str, str], Port]:
        """All whole: nothing can drop frames here."""
        return {
            (node, interface): Port(carries=True, hears=True)
            for node in self._lab.nodes
            for interface in wired_interfaces(self._lab, node)
        }

    # --- ways in

    def place(self, node: str) -> str:
        """This host."""
        return ""

    def agent(self, node: str) -> Agent:
        """The guest operations of VMware's tools, in the place of a serial port."""
        return GuestOperations(node, self.vmx(node), self._vmrun, self._lab.login)

    def console(self, node: str) -> bytes:
        """VMware has nothing for it: Unsupported."""
        raise Unsupported(
            "a console",
            "the machine's serial port is not connected: its console is VMware's window",
            where=node,
            hint="open its .vmx in VMware",
        )

    def ssh_options(self, node: str) -> list[str]:
        """Unsupported: the machines do not know the lab's key."""
        raise Unsupported(
            "ssh with the lab's key",
            "VMware cannot give it to a machine",
            where=node,
            hint="log in on its console in VMware's window, or by SSH with a key that lab.yaml "
            "names (login.ssh_keys): vmrun getGuestIPAddress shows the address",
        )

    def processes(self) -> dict[str, int]:
        """The `vmware-vmx` of each machine, where the kernel tells (Linux)."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = entry.read_bytes().decode(errors="replace").split("\0")
                for node in self._lab.nodes:
                    if words[0].endswith("vmware-vmx") and self._name(node) in words:
                        found[node] = int(entry.parent.name)
        return found

    def vmx(self, node: str) -> Path:
        """The .vmx of a node."""
        return self._folders / node / f"{node}.vmx"

    def card(self, node: str, interface: str) -> str:
        """VMware's name of a card, ethernet0 …, by the guest's, eth0 … (see `vmx.slots`)."""
        return list(vmx.slots(vmx.load(self.vmx(node))))[int(interface.removeprefix("eth"))]

    # --- within

    def _name(self, node: str) -> str:
        return self._vmrun.name_of(self.vmx(node))

    def _running(self) -> list[str]:
        """The nodes whose machine is on: `list` shows paths after a line with their number."""
        there = {self._plain(line) for line in self._vmrun.ask("list").splitlines()[1:]}
        return [node for node in self._lab.nodes if self._plain(self._name(node)) in there]

    def _plain(self, name: str) -> str:
        """A path that is the same as another one exactly if it names the same file."""
        return name.strip().casefold() if self._vmrun.windows else name.strip()

    def _snapshots(self, node: str) -> list[str]:
        return [line.strip() for line in self._ask(node, "listSnapshots").splitlines()[1:]]

    def _demand_on(self, node: str) -> None:
        if not self._vmrun.tell and self.state(node) == "off":
            raise StageError("the machine is off", where=node)

    def _note(self, node: str) -> Path:
        return self._notes / f"{node}.paused"

    def _ask(self, node: str, command: str, *words: str, timeout: float = 120) -> str:
        name = self._name(node)
        return self._vmrun.ask(command, name, *words, where=node, timeout=timeout)
