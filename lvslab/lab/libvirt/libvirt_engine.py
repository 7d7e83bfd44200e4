"""The engine of libvirt hosts: a domain for each machine, its files and wires on its host."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lvslab.core.errors import InputError, LabError, StageError
from lvslab.core.procs import run
from lvslab.core.together import each
from lvslab.lab import network
from lvslab.lab.engine import NodeState
from lvslab.lab.hardware import Machine
from lvslab.lab.libvirt.domain import Placed, domain
from lvslab.lab.libvirt.fabric import Fabric, placement
from lvslab.lab.libvirt.libvirt_host import ANSWER_SECONDS, VIRSH, Host
from lvslab.lab.namespace import Namespace
from lvslab.lab.network import Port, bridge_names, wired_interfaces
from lvslab.lab.state import LabState
from lvslab.model.lab import Lab

_ROOT = "/var/lib/lvslab"
_FIRST_SSH_PORT = 20_000
_SSH_PORTS = 250  # for each lab
_LONG = 600.0  # seconds: an image is copied, a machine's memory is kept


class LibvirtEngine:
    """The machines of `lab` on libvirt hosts. The client stays in the namespace on this one."""

    def __init__(
        self, lab: Lab, state: LabState, namespace: Namespace, uris: Sequence[str]
    ) -> None:
        self._lab, self._state, self._namespace = lab, state, namespace
        self._hosts = {uri: Host.of(uri) for uri in uris}
        self._fabric = Fabric(lab)

    # --- networks

    def wire(self, lab: Lab) -> None:
        """Bridges, VXLAN devices and taps on each host, and the client's end here."""
        if not self.in_use():
            self._namespace.remove()
        seen = self._on_hosts(Host.addresses)
        own = {uri: addresses[1] for uri, addresses in seen.items()}
        clients = {addresses[0] for addresses in seen.values()}
        if len(clients) > 1:
            raise InputError(
                "the hosts see this one under different addresses: " + ", ".join(sorted(clients)),
                where="--host",
                hint="name all hosts by addresses of one network",
            )
        (client,) = clients

        def wire_host(host: Host) -> None:
            others = [client, *(address for uri, address in own.items() if uri != host.uri)]
            there = _names(host.run)
            nodes = self._nodes_of(host)
            _batch(host.run, "ip", self._fabric.of_host(nodes, own[host.uri], there))
            _batch(host.run, "bridge", self._fabric.peers(others, there))

        self._on_hosts(wire_host)
        self._wire_client(client, list(own.values()))

    def _wire_client(self, own: str, others: Sequence[str]) -> None:
        """A VXLAN device is made where the hosts are reached, and then moves to the namespace."""
        self._namespace.create()
        network.build_bridges(self._lab, self._namespace)
        with self._namespace.inside():
            there = _names(run)
        names = bridge_names(self._lab)
        new = [self._fabric.vxlan(name) for name in names if self._fabric.vxlan(name) not in there]
        moved = [f"link set {device} netns {self._namespace.name}" for device in new]
        _batch(run, "ip", [*self._fabric.vxlans(own, there), *moved])
        with self._namespace.inside():
            _batch(run, "ip", [self._fabric.joined(name, to) for name, to in names.items()])
            _batch(run, "bridge", self._fabric.peers(others, there))

    def in_use(self) -> bool:
        """Whether a domain of this lab is active on any host, or the client runs something."""
        active = self._on_hosts(lambda host: _virsh(host, "list", "--uuid").split())
        ours = {self._placed(node).uuid for node in self._lab.nodes}
        return bool(self._namespace.processes()) or any(ours & set(a) for a in active.values())

    def remove(self) -> None:
        """Leave nothing of this lab on any host, nor here."""

        def clear(host: Host) -> None:
            known = set(_virsh(host, "list", "--all", "--uuid").split())
            for node in self._lab.nodes:
                if (uuid := self._placed(node).uuid) in known:
                    self._undefine(host, uuid)
            links = filter(self._fabric.is_ours, _names(host.run))
            _batch(host.run, "ip", [f"link del {name}" for name in links])
            host.run(["rm", "-rf", f"{_ROOT}/{self._lab.name}"], what="removing the lab's files")
            host.disconnect(self._lab.name)

        self._on_hosts(clear)
        self._namespace.remove()

    # --- one machine

    def renew(self, machine: Machine) -> None:
        """Copy the image to the host if it is not there, and make a fresh overlay over it."""
        host, placed = self._host(machine.name), self._placed(machine.name)
        if machine.firmware == "uefi":
            raise InputError("a libvirt host has no UEFI for labs", where="--firmware", hint="bios")
        if placed.uuid in _virsh(host, "list", "--all", "--uuid").split():
            self._undefine(host, placed.uuid)
        base = self._image(host, machine.base_disk)
        host.run(["mkdir", "-p", placed.folder], what="making the node's folder")
        words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, placed.disk]
        host.run(words, what="making an overlay", where=machine.name)

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
        if not set(placed.taps.values()) <= set(_names(host.run)):
            self.wire(self._lab)  # the host was started again: links are not kept
        if load:
            self._ask(name, "snapshot-revert", placed.uuid, load, "--paused", timeout=_LONG)
        else:
            self._put_seed(host, machine)
            text = domain(machine, placed, accelerator, credentials)
            host.run(
                [*VIRSH, "define", "/dev/stdin"],
                what="defining the domain", stdin=text, where=name,
            )  # fmt: skip
            self._ask(name, "start", placed.uuid)
        host.forward(
            self._lab.name,
            [
                (getattr(self._state.node(node), port), getattr(self._placed(node), port))
                for node in self._nodes_of(host)
                for port in ("agent", "console")
            ],
        )

    def state(self, node: str) -> NodeState:
        """As libvirt says."""
        words = ("domstate", self._placed(node).uuid, "--reason")
        try:
            said = self._ask(node, *words, timeout=ANSWER_SECONDS).strip()
        except StageError as error:
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
        tap, host = self._fabric.tap(node, interface), self._host(node)
        own = self._fabric.bridge(self._lab.nodes[node].interfaces[interface])
        bridge = own if frames else self._fabric.nowhere
        host.run(["ip", "link", "set", tap, "master", bridge], what=f"setting {tap}", where=node)
        if not frames:
            self._set_port(node, interface, "isolated", "on")

    def hear(self, node: str, interface: str, multicast: bool) -> None:
        """The bridge floods multicast to the tap, or does not."""
        self._set_port(node, interface, "mcast_flood", "on" if multicast else "off")

    def ports(self) -> dict[tuple[str, str], Port]:
        """As the bridges say of those hosts that answer."""

        def shown(host: Host) -> dict[str, dict[str, Any]]:
            try:
                return network.host_ports(host.run)
            except LabError:
                if host.answers():
                    raise
                return {}

        there = ChainMap(*self._on_hosts(shown).values())
        return network.ends(self._lab, there, self._fabric.tap, self._fabric.nowhere)

    # --- ways in

    def agent(self, node: str) -> Path:
        """A socket here, which SSH leads to that of the host."""
        return self._state.node(node).agent

    def console(self, node: str) -> bytes:
        """What libvirt has kept of the first serial port."""
        log = self._placed(node).console_log
        words = ["sh", "-c", f"cat {log} 2>/dev/null || true"]
        return self._host(node).run(words, what="reading the console", where=node).encode()

    def ssh_options(self, node: str) -> list[str]:
        """Through the connection to the host: the port is on its loopback."""
        return self._host(node).way_to(self._placed(node).ssh_port)

    def processes(self) -> dict[str, int]:
        """None: they are processes of other hosts."""
        return {}

    # --- within

    @cached_property
    def _places(self) -> dict[str, str]:
        """Node to the URI of its host."""
        return placement(self._lab, list(self._hosts))

    def _nodes_of(self, host: Host) -> list[str]:
        return [node for node, where in self._places.items() if where == host.uri]

    def _host(self, node: str) -> Host:
        return self._hosts[self._places[node]]

    def _placed(self, node: str) -> Placed:
        lab = self._lab
        wired = wired_interfaces(lab, node)
        number = list(lab.nodes).index(node)
        return Placed(
            f"{lab.name}-{node}",
            f"{_ROOT}/{lab.name}/{node}",
            {interface: self._fabric.tap(node, interface) for interface in wired},
            _FIRST_SSH_PORT + _SSH_PORTS * lab.number + number,
            json.dumps({"lab": lab.name, "number": lab.number, "node": node}),
        )

    def _image(self, host: Host, raw: Path) -> str:
        """The path of a raw disk on a host, which is copied there once (its folder has its id)."""
        there = f"{_ROOT}/images/{raw.parent.name}.raw"
        known = host.run(["sh", "-c", f"ls {there} 2>/dev/null || true"], what="looking for images")
        if not known.strip():
            host.run(["mkdir", "-p", f"{_ROOT}/images"], what="making the folder of images")
            host.copy(raw, there)
        return there

    def _put_seed(self, host: Host, machine: Machine) -> None:
        try:
            content = machine.seed.read_bytes()
        except OSError as error:
            raise StageError(f"its seed: {error.strerror}", where=machine.name) from None
        seed = self._placed(machine.name).seed
        host.run(["tee", seed], what="copying its seed", stdin=content, where=machine.name)

    def _undefine(self, host: Host, uuid: str) -> None:
        if _virsh(host, "domstate", uuid).strip() != "shut off":
            _virsh(host, "destroy", uuid)
        _virsh(host, "undefine", uuid, "--snapshots-metadata")

    def _ask(self, node: str, *words: str, timeout: float = 60) -> str:
        return _virsh(self._host(node), *words, where=node, timeout=timeout)

    def _set_port(self, node: str, interface: str, *setting: str) -> None:
        tap = self._fabric.tap(node, interface)
        words = ["bridge", "link", "set", "dev", tap, *setting]
        self._host(node).run(words, what=f"setting {tap}", where=node)

    def _on_hosts(self, work: Callable[[Host], Any]) -> dict[str, Any]:
        """What `work` gives for each host; all are asked at once."""
        return each(self._hosts, lambda uri: work(self._hosts[uri]))


def _virsh(host: Host, *words: str, where: str = "", timeout: float = 60) -> str:
    return host.run([*VIRSH, *words], what=f"virsh {words[0]}", where=where, timeout=timeout)


def _names(ask: network.Asking) -> list[str]:
    """The names of the links where `ask` runs programs."""
    return [link["ifname"] for link in network.links(ask)]


def _batch(ask: Callable[..., str], tool: str, lines: Sequence[str]) -> None:
    """Give `ip` or `bridge` lines to do, where `ask` runs programs."""
    if lines:
        ask([tool, "-batch", "-"], what="wiring the lab", stdin="\n".join([*lines, ""]))
