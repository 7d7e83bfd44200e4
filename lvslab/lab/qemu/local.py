"""The engine of this host: a QEMU for each machine, bridges and taps in one network namespace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lvslab.core.errors import MissingError, StageError
from lvslab.core.files import atomic
from lvslab.core.procs import last_lines, program, run
from lvslab.lab import hardware, network
from lvslab.lab.agents.agent import SerialAgent
from lvslab.lab.engine import NodeState
from lvslab.lab.namespace import Namespace
from lvslab.lab.network import Port
from lvslab.lab.qemu.qmp import monitor
from lvslab.lab.state import LabState
from lvslab.model.lab import Lab

_SAVE_SECONDS = 120
_KVM = "/dev/kvm"


class LocalEngine:
    """The machines of `lab` on this host; their files are those of `state`."""

    def __init__(self, lab: Lab, state: LabState, namespace: Namespace) -> None:
        self._lab, self._state, self._namespace = lab, state, namespace

    def demand(self, accelerator: str) -> None:
        """KVM can be opened, if it is asked for."""
        if accelerator == "kvm" and not os.access(_KVM, os.R_OK | os.W_OK):
            raise MissingError(
                f"this host offers no KVM: {_KVM} cannot be opened",
                hint="say --accelerator tcg, or auto",
            )

    def wire(self, lab: Lab) -> None:
        """Make namespace, bridges and taps; those of another lab.yaml that ended are removed."""
        if not self.in_use():
            self._namespace.remove()
        self._namespace.create()
        network.build(lab, self._namespace)

    def in_use(self) -> bool:
        """Whether a process lives in the lab's namespace."""
        return bool(self._namespace.processes())

    def remove(self) -> None:
        """Kill what is in the namespace, and remove it with its bridges and taps."""
        self._namespace.remove()

    def stopped(self) -> list[str]:
        """Those that have no process."""
        return [node for node in self._lab.nodes if self._process(node) is None]

    def renew(self, machines: Sequence[hardware.Machine]) -> None:
        """Fresh overlays over the machines' raw disks, and over UEFI's empty variables."""
        for machine in machines:
            files = self._state.node(machine.name)
            files.disk.unlink(missing_ok=True)  # made last: while it is there, the rest is, too
            if machine.firmware == "uefi":
                _overlay(files.firmware_vars, hardware.ovmf()[1])
            _overlay(files.disk, machine.base_disk)

    def disks(self) -> set[str]:
        """Those whose overlay is there."""
        return {node for node in self._lab.nodes if self._state.node(node).disk.exists()}

    def launch(
        self,
        machine: hardware.Machine,
        accelerator: str,
        credentials: Mapping[str, bytes],
        load: str | None = None,
    ) -> None:
        """Start QEMU. Raises StageError with its own words."""
        files = self._state.node(machine.name)
        command = hardware.qemu_command(machine, files, accelerator, credentials, load)
        files.pid.unlink(missing_ok=True)
        with self._namespace.inside(), files.qemu_log.open("w+b") as log:
            started = subprocess.run(
                [program(command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            log.seek(0)
            said = log.read().decode(errors="replace")
        if started.returncode:
            port = machine.ssh_port
            taken = f"something in the lab's namespace uses port {port}: end it, then try again"
            hint = taken if "host forwarding rule" in said else ""
            raise StageError(
                "QEMU did not start:" + last_lines(said), where=machine.name, hint=hint
            )

    def state(self, node: str) -> NodeState:
        """As QEMU says."""
        if self._process(node) is None:
            return "off"
        status = self._qmp(node, "query-status")
        if status["running"]:
            return "running"
        return "disk full" if status["status"] == "io-error" else "paused"

    def kill(self, node: str) -> None:
        """QEMU is killed; it has ended when this returns."""
        if pid := self._process(node):
            self._namespace.kill(pid)

    def pause(self, node: str) -> None:
        """QEMU's `stop`."""
        self._qmp(node, "stop")

    def resume(self, node: str) -> None:
        """QEMU's `cont`."""
        self._qmp(node, "cont")

    def press_power(self, node: str) -> None:
        """QEMU's `system_powerdown`."""
        self._qmp(node, "system_powerdown")

    def save(self, node: str, name: str) -> None:
        """A snapshot in the machine's overlay, with its memory."""
        with monitor(self._state.node(node).qmp, _SAVE_SECONDS) as qmp:
            qmp.human(f"savevm {name}")

    def plug(self, node: str, interface: str, connected: bool) -> None:
        """QEMU's `set_link`."""
        if self._process(node) is not None:
            self._qmp(node, "set_link", name=f"nic-{interface}", up=connected)

    def carry(self, node: str, interface: str, frames: bool) -> None:
        """The tap moves to the bridge that leads nowhere, or back to its network's."""
        if frames:
            network.carry(self._lab, self._namespace, node, interface)
        else:
            network.drop_silently(self._namespace, self._tap(node, interface))

    def hear(self, node: str, interface: str, multicast: bool) -> None:
        """The bridge floods multicast to the tap, or does not."""
        network.drop_multicast(self._namespace, self._tap(node, interface), not multicast)

    def ports(self) -> dict[tuple[str, str], Port]:
        """As the bridges say."""
        return network.ends(self._lab, network.ports(self._namespace), self._tap)

    def place(self, node: str) -> str:
        """This host."""
        return ""

    def agent(self, node: str) -> SerialAgent:
        """QEMU's socket."""
        return SerialAgent(self._state.node(node).agent)

    def console(self, node: str) -> bytes:
        """What QEMU has kept of the first serial port."""
        log = self._state.node(node).console_log
        return log.read_bytes() if log.exists() else b""

    def ssh_options(self, node: str) -> list[str]:
        """A port of the namespace's loopback."""
        return ["-p", str(hardware.ssh_port(self._lab, node))]

    def processes(self) -> dict[str, int]:
        """The QEMU of each machine that runs."""
        return {node: pid for node in self._lab.nodes if (pid := self._process(node))}

    def _process(self, node: str) -> int | None:
        """The process id of a machine's QEMU, if it runs in the lab's namespace."""
        try:
            pid = int(self._state.node(node).pid.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if self._namespace.has(pid) else None

    def _qmp(self, node: str, command: str, **arguments: Any) -> Any:
        with monitor(self._state.node(node).qmp) as qmp:
            return qmp.execute(command, **arguments)

    def _tap(self, node: str, interface: str) -> str:
        return network.tap_name(self._lab, node, interface)


def _overlay(path: Path, base: Path) -> None:
    with atomic(path) as temporary:
        run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, temporary],
            what="making an overlay",
        )
