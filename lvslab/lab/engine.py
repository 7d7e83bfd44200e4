"""Where a lab's machines run: the one interface that every engine implements, and its contract.

An engine knows machines and wires. It knows nothing of keepalived, checklists or lessons: those
ask the machines' agents, and are the same on every engine (`lvslab.lab.cluster`). The client is
not a machine of the engine: it lives in the lab's namespace, which `wire` joins to the networks.

The contract, which tests/unit/lab/test_engine.py holds every engine to:

- What cannot be done is a StageError that names the machine and has the engine's own words.
- What an engine can never do it refuses, always: Unsupported says what, why, and what to do
  instead. Only these may be refused: `renew`, `carry`, `hear`, `console`, `ssh_options`.
- `wire` and `remove` converge: called again, also after they were killed, they end the same.
- `state` asks the engine each time, and keeps only what the engine cannot tell. A machine that
  never was is `off`.
- `kill`, `pause` and `resume` have happened when they return. The guest hears nothing of them.
- `launch` starts with every cable in. `load` starts it paused, in what `save` kept on its disk.
  (By vmrun it runs for the moment between two calls.)
- `plug` takes the guest's carrier away. `carry` and `hear` leave it, and take frames away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from lvslab.core.errors import StageError
from lvslab.lab.agents.agent import Agent
from lvslab.lab.hardware import Machine
from lvslab.lab.network import Port
from lvslab.model.lab import Lab

NodeState = Literal["running", "paused", "disk full", "off", "unreachable"]


class Unsupported(StageError):
    """What an engine can never do: `what` it is, and `why`."""

    def __init__(self, what: str, why: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(f"{what} is not possible here: {why}", where=where, hint=hint)


class NotRemoved(StageError):
    """All was removed but what is on hosts that do not answer."""


class Engine(Protocol):
    """Machines by their node's name, and their cards by the interface's name."""

    def demand(self, accelerator: str) -> None:
        """Raise MissingError with all that is missing for the lab to run; nothing is made."""

    def wire(self, lab: Lab) -> None:
        """Make what is missing of the networks of `lab`, the client's end among them."""

    def in_use(self) -> bool:
        """Whether anything of this lab runs."""

    def remove(self) -> None:
        """End every machine and remove machines and networks. May raise NotRemoved at its end."""

    def stopped(self) -> list[str]:
        """The machines that are off, or whose host does not answer."""

    def renew(self, machines: Sequence[Machine]) -> None:
        """Give machines that are off disks as in their images, and UEFI's first variables."""

    def disks(self) -> set[str]:
        """The machines whose disk, as `renew` made it, is there."""

    def launch(
        self,
        machine: Machine,
        accelerator: str,
        credentials: Mapping[str, bytes],
        load: str | None = None,
    ) -> None:
        """Start a machine. `credentials` reach its systemd (systemd.system-credentials(7)).

        An engine that cannot give them reaches the machine's agent in another way.
        """

    def state(self, node: str) -> NodeState:
        """Whether a machine runs, is paused (also because of a full disk), or is off.

        `unreachable`: its host does not answer, so nobody knows.
        """

    def kill(self, node: str) -> None:
        """Power lost; a machine that is off stays off."""

    def pause(self, node: str) -> None:
        """Its processors stop until `resume`."""

    def resume(self, node: str) -> None:
        """Let a paused machine continue."""

    def press_power(self, node: str) -> None:
        """The power button: the guest shuts down, if it listens (ACPI)."""

    def save(self, node: str, name: str) -> None:
        """Keep memory and disk of a paused machine under a name, in the place of an older one."""

    def plug(self, node: str, interface: str, connected: bool) -> None:
        """Put a cable in or pull it: the guest's carrier comes or goes. Nothing if it is off."""

    def carry(self, node: str, interface: str, frames: bool) -> None:
        """Let every frame of a card through again, or lose all of them."""

    def hear(self, node: str, interface: str, multicast: bool) -> None:
        """Let multicast (VRRP's adverts, connection sync) reach a card again, or keep it away."""

    def ports(self) -> dict[tuple[str, str], Port]:
        """The ends of all wires that are there, by node and interface."""

    def place(self, node: str) -> str:
        """The name of the host that the machine is on; empty for this one."""

    def agent(self, node: str) -> Agent:
        """The way to the machine's agent."""

    def console(self, node: str) -> bytes:
        """All that the machine's first serial port ever said."""

    def ssh_options(self, node: str) -> list[str]:
        """Options with which ssh to root@127.0.0.1 reaches the machine, from the namespace."""

    def processes(self) -> dict[str, int]:
        """Machines that are processes of this host, each with its id: the lab's own work here."""
