"""The engine of libvirt hosts: a domain for each machine, its files and wires on its host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from xml.etree import ElementTree

from lvslab.core.errors import InputError, LabError, StageError
from lvslab.core.together import Result, each
from lvslab.lab.agents.agent import SerialAgent
from lvslab.lab.engine import NodeState, NotRemoved
from lvslab.lab.hardware import Machine
from lvslab.lab.libvirt import definitions, readiness, store
from lvslab.lab.libvirt.definitions import Definition
from lvslab.lab.libvirt.domain import Placed, domain
from lvslab.lab.libvirt.libvirt_host import ANSWER_SECONDS, Host
from lvslab.lab.libvirt.moving import Journey
from lvslab.lab.libvirt.placement import Places, on_answering
from lvslab.lab.libvirt.readiness import Needed, Reach
from lvslab.lab.libvirt.records import Kept, Record
from lvslab.lab.libvirt.wiring import Wiring
from lvslab.lab.namespace import Namespace
from lvslab.lab.network import Port, wired_interfaces
from lvslab.lab.state import LabState
from lvslab.model.lab import Lab

_FIRST_SSH_PORT = 20_000
_SSH_PORTS = 250  # for each lab
_LONG = 600.0  # seconds: a machine's memory is kept


class LibvirtEngine:
    """The machines of `lab` on libvirt hosts. The client stays in the namespace on this one."""

    def __init__(
        self, lab: Lab, state: LabState, namespace: Namespace, uris: Sequence[str]
    ) -> None:
        self._lab, self._state, self._namespace = lab, state, namespace
        self._hosts = {uri: Host.of(uri) for uri in uris}
        self._wires = Wiring(lab, state, namespace, self._hosts)

    # --- networks

    def demand(self, accelerator: str) -> None:
        """All hosts answer, have what the nodes need, and hear each other and this one."""
        missing = self.stopped()
        needed = {
            uri: Needed(
                [(self._lab, [n for n in self._places.nodes_of(host) if n in missing])], accelerator
            )
            for uri, host in self._hosts.items()
        }
        readiness.demand(needed, self._hosts)
        if set(missing) == set(self._lab.nodes):
            readiness.demand_reach([Reach(self._lab, *self._wires.ends())], self._hosts)

    def wire(self, lab: Lab) -> None:
        """Bridges, VXLAN devices and taps on each host that answers, and the client's end here."""
        if self._namespace.exists() and not self.in_use():
            self._namespace.remove()
        self._wires.make(self._places.nodes_of)
        if self._state.folder.exists():
            self._places.keep()

    def in_use(self) -> bool:
        """Whether a domain of this lab is active on any host, or the client runs something."""
        return bool(self._namespace.processes()) or set(self.stopped()) != set(self._lab.nodes)

    def stopped(self) -> list[str]:
        """The nodes whose domain is active on no host that answers."""
        active = self._places.running()
        return [node for node in self._lab.nodes if node not in active]

    def remove(self) -> None:
        """Leave nothing of this lab on any host, nor here.

        Raises NotRemoved that names the hosts that do not answer, after the others are clean.
        """

        def clear(host: Host) -> None:
            placed = [self._placed(node) for node in self._lab.nodes]
            definitions.forget(host, placed, store.lab_folder(self._lab.name))
            self._wires.remove(host)
            host.disconnect(self._lab.name)

        clean = on_answering(self._hosts, clear)
        self._wires.remove_client()
        lost = [host.label for uri, host in self._hosts.items() if uri not in clean]
        if lost:
            raise NotRemoved(
                f"{', '.join(lost)}: no answer, so what the lab has there is left",
                where=self._lab.name,
                hint="run lab down again when the host is back; if it never is: lab down --forget",
            )

    # --- one machine

    def renew(self, machines: Sequence[Machine]) -> None:
        """Copy images to hosts that lack them, and make fresh overlays over them."""
        for machine in machines:
            if machine.firmware == "uefi":
                words = "a libvirt host has no UEFI for labs"
                raise InputError(words, where="--firmware", hint="bios")
        raw = {machine.name: machine.base_disk for machine in machines}

        def on(host: Host, nodes: Sequence[str]) -> None:
            placed = {node: self._placed(node) for node in nodes}
            bases = {node: store.image(store.image_id(raw[node])) for node in nodes}
            if missing := definitions.renew(host, placed, bases):
                for disk in {raw[node] for node in nodes if bases[node] in missing}:
                    store.put_image(host, disk, self._lab.name)
                definitions.renew(host, placed, bases)

        self._on_hosts(list(raw), on)

    def disks(self) -> set[str]:
        """The nodes whose overlay is on their host."""
        paths = {self._placed(node).disk: node for node in self._lab.nodes}

        def on(host: Host, nodes: Sequence[str]) -> list[str]:
            return store.those_there(host, [self._placed(node).disk for node in nodes])

        there = self._on_hosts(list(self._lab.nodes), on)
        return {paths[path] for found in there.values() for path in found}

    def launch(
        self,
        machine: Machine,
        accelerator: str,
        credentials: Mapping[str, bytes],
        load: str | None = None,
    ) -> None:
        """Define and start the domain; its agent and console can be reached then."""
        name = machine.name
        host, placed = self._host(name), self._placed(name)
        if not self._wires.are_there(host, name):
            self.wire(self._lab)  # the host was started again: links are not kept
        if load:
            self._ask(name, "snapshot-revert", placed.uuid, load, "--paused", timeout=_LONG)
        else:
            self.define([machine], accelerator, credentials)
            self._ask(name, "start", placed.uuid)
        self._forward(host)

    def define(
        self, machines: Sequence[Machine], accelerator: str, credentials: Mapping[str, bytes]
    ) -> None:
        """Bring seeds to the hosts and define the domains, which are not started."""
        by_name = {machine.name: machine for machine in machines}

        def definition(name: str) -> Definition:
            machine, placed = by_name[name], self._placed(name)
            kept = Kept.of(self._state, self._lab.name, name, placed.folder)
            text = domain(machine, placed, accelerator, credentials, kept.text())
            return Definition(
                name, placed, text, store.node_files(machine.seed, self._state.key, name)
            )

        def on(host: Host, nodes: Sequence[str]) -> None:
            definitions.define(host, [definition(node) for node in nodes])

        self._on_hosts(list(by_name), on)

    def state(self, node: str) -> NodeState:
        """As libvirt says."""
        words = ("domstate", self._placed(node).uuid, "--reason")
        try:
            said = self._ask(node, *words, timeout=ANSWER_SECONDS).strip()
        except LabError as error:
            if "failed to get domain" in error.message:
                return "off"
            if self._host(node).answers():
                raise
            return "unreachable"
        word, _, reason = said.partition(" (")
        if word == "paused":
            return "disk full" if reason.startswith("I/O error") else "paused"
        return "running" if word == "running" else "off"

    def kill(self, node: str) -> None:
        """`virsh destroy`."""
        if self.state(node) != "off":
            self._ask(node, "destroy", self._placed(node).uuid)

    def pause(self, node: str) -> None:
        """`virsh suspend`."""
        self._ask(node, "suspend", self._placed(node).uuid)

    def resume(self, node: str) -> None:
        """`virsh resume`."""
        self._ask(node, "resume", self._placed(node).uuid)

    def press_power(self, node: str) -> None:
        """`virsh shutdown`, by ACPI."""
        self._ask(node, "shutdown", self._placed(node).uuid, "--mode", "acpi")

    def save(self, node: str, name: str) -> None:
        """A snapshot in the machine's overlay, with its memory."""
        uuid = self._placed(node).uuid
        if name in self._ask(node, "snapshot-list", uuid, "--name").split():
            self._ask(node, "snapshot-delete", uuid, name, timeout=_LONG)
        self._ask(node, "snapshot-create-as", uuid, name, timeout=_LONG)

    # --- its wires

    def plug(self, node: str, interface: str, connected: bool) -> None:
        """`virsh domif-setlink`."""
        if self.state(node) != "off":
            word = "up" if connected else "down"
            mac = self._lab.mac(node, interface)
            self._ask(node, "domif-setlink", self._placed(node).uuid, mac, word)

    def carry(self, node: str, interface: str, frames: bool) -> None:
        """The tap moves to the bridge that leads nowhere, or back to its network's."""
        self._wires.carry(self._host(node), node, interface, frames)

    def hear(self, node: str, interface: str, multicast: bool) -> None:
        """The bridge floods multicast to the tap, or does not."""
        self._wires.hear(self._host(node), node, interface, multicast)

    def ports(self) -> dict[tuple[str, str], Port]:
        """As the bridges say of those hosts that answer."""
        return self._wires.ports()

    # --- its host

    def place(self, node: str) -> str:
        """The name of its host."""
        return self._host(node).label

    def move(self, node: str, label: str, drop_saved: bool = False) -> bool:
        """Bring a machine to another host, as it is: running, paused or off; False if it is there.

        One that is off takes its checkpoints along; of one that is on they must be dropped. Raises
        InputError if that is not said or there is no such host, StageError if it did not succeed:
        then it is where it was.
        """
        source, target = self._host(node), self._places.named(label)
        if source == target:
            return False
        target.connect()
        live = self._demand_movable(node, source, drop_saved)
        if live:
            readiness.demand_memory(self._lab, node, target)
        journey = Journey(self._lab.name, node, self._placed(node), source, target)
        self._wires.give(node, source, target)
        try:
            if live:
                self._drop_saved(node)
                journey.live(self._wires.ends()[0][target.uri])
            elif store.has(source, self._placed(node).disk):
                journey.cold()
        except LabError:
            if not live or journey.is_at_source():
                with contextlib.suppress(LabError):  # the target may have died
                    journey.undo()
                    self._wires.take(node, target)
            raise
        self._places.put(node, target)
        for host in (target, source):
            host.disconnect(self._lab.name)
            self._forward(host)
        journey.finish()
        self._wires.take(node, source)
        return True

    def _demand_movable(self, node: str, source: Host, drop_saved: bool) -> bool:
        """Whether a machine that can be moved is on."""
        state = self.state(node)
        if state == "unreachable":
            raise StageError(
                f"its host {source.label} does not answer",
                where=node,
                hint=f"move it when {source.label} is back",
            )
        if state != "off" and not drop_saved and (names := self.saved(node)):
            raise InputError(
                "a node that is on cannot take its checkpoints along: " + ", ".join(names),
                where=node,
                hint="say --drop-checkpoints, or move it while it is off",
            )
        return state != "off"

    def saved(self, node: str) -> list[str]:
        """The names of the checkpoints that are on its disk."""
        uuid = self._placed(node).uuid
        if uuid not in self._host(node).virsh("list", "--all", "--uuid").split():
            return []
        return self._ask(node, "snapshot-list", uuid, "--name").split()

    def saved_at(self, node: str, name: str) -> str:
        """When a checkpoint of a machine was saved (ISO 8601, UTC)."""
        text = self._ask(node, "snapshot-dumpxml", self._placed(node).uuid, name)
        seconds = int(ElementTree.fromstring(text).findtext("creationTime", "0"))
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

    def pulled(self, node: str) -> list[str]:
        """The interfaces of a machine whose cables are out."""
        cards = ElementTree.fromstring(self._ask(node, "dumpxml", self._placed(node).uuid))
        taps = {tap: interface for interface, tap in self._placed(node).taps.items()}
        return [
            taps[card.find("target").get("dev", "")]  # type: ignore[union-attr]
            for card in cards.iterfind("devices/interface")
            if card.find("link[@state='down']") is not None
        ]

    def _drop_saved(self, node: str) -> None:
        for name in self.saved(node):
            words = ("snapshot-delete", self._placed(node).uuid, name)
            self._ask(node, *words, timeout=_LONG)

    # --- ways in

    def agent(self, node: str) -> SerialAgent:
        """A socket here, which SSH leads to that of the host."""
        with contextlib.suppress(LabError):  # who asks there hears that nobody answers
            self._forward(self._host(node))
        return SerialAgent(self._state.node(node).agent)

    def console(self, node: str) -> bytes:
        """What libvirt has kept of the first serial port."""
        return store.console(self._host(node), self._placed(node), node)

    def ssh_options(self, node: str) -> list[str]:
        """Through the connection to the host: the port is on its loopback."""
        return self._host(node).way_to(self._placed(node).ssh_port)

    def processes(self) -> dict[str, int]:
        """None: they are processes of other hosts."""
        return {}

    # --- within

    @cached_property
    def _places(self) -> Places:
        return Places(self._lab, self._state, self._hosts, self._placed)

    def _host(self, node: str) -> Host:
        return self._places.host(node)

    def _on_hosts(
        self, nodes: Sequence[str], work: Callable[[Host, Sequence[str]], Result]
    ) -> dict[str, Result]:
        """URI to what `work` gives for each host and those of `nodes` that are on it."""
        there = {
            uri: [node for node in self._places.nodes_of(host) if node in nodes]
            for uri, host in self._hosts.items()
        }
        uris = [uri for uri, own in there.items() if own]
        return each(uris, lambda uri: work(self._hosts[uri], there[uri]))

    def _placed(self, node: str) -> Placed:
        lab = self._lab
        wired = wired_interfaces(lab, node)
        number = list(lab.nodes).index(node)
        return Placed(
            f"{lab.name}-{node}",
            f"{store.lab_folder(lab.name)}/{node}",
            {interface: self._wires.fabric.tap(node, interface) for interface in wired},
            _FIRST_SSH_PORT + _SSH_PORTS * lab.number + number,
            Record(lab.name, lab.number, node).text(),
        )

    def _forward(self, host: Host) -> None:
        """Let the sockets of the host's nodes be found here; nothing if they are."""
        if host.forwards(self._lab.name):
            return
        sockets = [
            (getattr(self._state.node(node), port), getattr(self._placed(node), port))
            for node in self._places.nodes_of(host)
            for port in ("agent", "console")
        ]
        if sockets:
            host.forward(self._lab.name, sockets)

    def _ask(self, node: str, *words: str, timeout: float = 60) -> str:
        return self._host(node).virsh(*words, where=node, timeout=timeout)
