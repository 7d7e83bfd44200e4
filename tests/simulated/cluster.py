"""The machines together: wires, addresses, ARP, IPVS, and what a client gets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from ipaddress import IPv4Address, IPv4Interface
from itertools import count

from lvslab.lessons.variant import Variant
from lvslab.model.lesson import CLIENT, LabFault
from lvslab.model.role import Kind
from lvslab.render.kinds import kind_of
from lvslab.render.kinds.shared import wired
from lvslab.render.lab_texts import NodeTexts
from lvslab.render.machine_files import role_files, texts_of_lab
from tests.simulated.blocks import Block
from tests.simulated.machine import Machine
from tests.simulated.vrrp import Instance, checker, instances, masters

METHODS = {"NAT": "Masq", "DR": "Route", "TUN": "Tunnel"}
LARGE = 1500  # bytes of a packet that fills a frame
TUNNEL = 20  # bytes that IP in IP adds (RFC 2003)


class Simulated:
    """The nodes of a lab with these texts, and faults of the wires."""

    def __init__(
        self, variant: Variant, texts: Mapping[str, NodeTexts], faults: Iterable[LabFault] = ()
    ) -> None:
        self.lab = variant.lesson.lab
        self.faults = list(faults)
        self.machines: dict[str, Machine] = {}
        for node, this in self.lab.nodes.items():
            own = kind_of(self.lab, node).addresses(self.lab, node)
            files = {**_copied(variant, this.role)}
            files |= {path: file.content for path, file in texts[node].files.items()}
            machine = Machine(node, files, list(texts[node].units), wired(self.lab, node), own)
            machine.boot()
            self.machines[node] = machine
        self._turn = count()

    def changed(self) -> None:
        """What follows from the machines is found out again."""
        for name in ("holders", "masters"):
            self.__dict__.pop(name, None)

    # --- wires

    def carrier(self, node: str, interface: str) -> bool:
        return not self._fault("cut", node, interface)

    def connected(self, node: str, interface: str) -> bool:
        return self.carrier(node, interface) and not self._fault("silent", node, interface)

    def _fault(self, kind: str, node: str, interface: str) -> bool:
        return any(
            (fault.kind, fault.node) == (kind, node) and fault.interface in (None, interface)
            for fault in self.faults
        )

    def there(self, network: str) -> list[tuple[str, str]]:
        """Nodes and interfaces on a network whose frames arrive."""
        return [
            (node, interface)
            for node, machine in self.machines.items()
            for interface, behind in machine.interfaces.items()
            if behind == network and self.connected(node, interface)
        ]

    # --- addresses

    @cached_property
    def masters(self) -> set[Instance]:
        every = [
            instance
            for machine in self.machines.values()
            for instance in instances(machine, partial(self._nobody, machine))
        ]
        down = {i for i in every if not self.carrier(i.machine, i.interface)}
        return masters(every, self._hears, down)

    def _nobody(self, machine: Machine, file: str) -> bool:
        """Whether a track file of a machine is 1: lvslab-track.service hears nobody on a network,
        or somebody has written it."""
        if file == "leaving":
            return machine.leaving
        unit = machine.files.get("/etc/systemd/system/lvslab-track.service", "")
        watched = re.search(rf" {re.escape(file)}=(\w+)=(\S+)", unit)
        if not watched or "lvslab-track" not in machine.active:
            return False
        return not self._static_answers(machine, watched[1], watched[2].split(","))

    def _static_answers(self, machine: Machine, interface: str, wanted: Sequence[str]) -> bool:
        """Whether one of these addresses that do not move answers (the host's, a node's own)."""
        network = machine.interfaces[interface]
        if not self.connected(machine.name, interface):
            return False
        others = [(n, i) for n, i in self.there(network) if n != machine.name]
        own = {ip for n, i in others for ip in map(plain, self._static(self.machines[n], i))}
        hosts = map(str, self.lab.networks[network].hosts)
        return bool({*own, *hosts} & set(wanted))

    def _static(self, machine: Machine, interface: str) -> list[str]:
        found = list(map(str, machine.own.get(interface, ())))
        for block in machine.conf.all("static_ipaddress") if machine.conf else ():
            found += [b.words[0] for b in block.inside if b.words[2] == interface]
        return found

    def _hears(self, this: Instance, other: Instance) -> bool:
        receiver, sender = self.machines[this.machine], self.machines[other.machine]
        same = receiver.interfaces[this.interface] == sender.interfaces[other.interface]
        both = self.connected(this.machine, this.interface)
        both = both and self.connected(other.machine, other.interface)
        if not same or not both or self._fault("deaf", this.machine, this.interface):
            return False
        if receiver.drops("protocol 112", "input") or sender.drops("protocol 112", "output"):
            return False
        if receiver.checks_source(this.interface):
            source = IPv4Address(other.source)
            own = map(IPv4Interface, self._static(receiver, this.interface))
            return any(source in address.network for address in own)
        return True

    @cached_property
    def holders(self) -> dict[str, dict[str, list[str]]]:
        """Node to interface to the addresses there, `lo` among them."""
        found = {}
        for node, machine in self.machines.items():
            here = {i: self._static(machine, i) for i in machine.interfaces}
            for instance in sorted(self.masters, key=lambda i: i.name):
                if instance.machine == node:
                    here[instance.interface] += instance.addresses
            found[node] = {**here, "lo": ["127.0.0.1/8", *machine.loopback]}
        return found

    def answers(self, asker: str, network: str, address: str) -> list[str]:
        """Who answers on a network when `asker` asks for an address by ARP."""
        found = []
        for node, interface in self.there(network):
            machine = self.machines[node]
            strict = int(machine.sysctl("net.ipv4.conf.all.arp_ignore")) > 0
            places = [interface] if strict else list(self.holders[node])
            here = {plain(a) for place in places for a in self.holders[node][place]}
            if node != asker and address in here:
                found.append(node)
        hosts = list(map(str, self.lab.networks[network].hosts))
        return found + ([CLIENT] if address in hosts and asker != CLIENT else [])

    # --- IPVS

    def table(self, node: str) -> dict[str, dict[str, object]]:
        """A director's IPVS table in labcheck's form."""
        machine = self.machines[node]
        found: dict[str, dict[str, object]] = {}
        for block in machine.conf.all("virtual_server") if machine.conf else ():
            alive = {}
            for server in block.all("real_server"):
                address, port = server.words[1:3]
                if self._healthy(machine, address, checker(server), block.has("ha_suspend")):
                    weight = int(server.value("weight", "1")) > 0
                    alive[f"{address}:{port}"] = (METHODS[block.value("lvs_method")], weight)
            scheduler = block.value("lvs_sched")
            found[":".join(block.words[1:])] = {"scheduler": scheduler, "real_servers": alive}
        return found

    def _healthy(self, machine: Machine, address: str, check: str, keeps: bool) -> bool:
        interface = self._towards(machine, address)
        if interface is None:
            return keeps
        network = machine.interfaces[interface]
        servers = self.answers(machine.name, network, address)
        if not self.connected(machine.name, interface) or not servers:
            return False
        status = self.status(servers[0])
        return status is not None and (check == "TCP_CHECK" or status == 200)

    def _towards(self, machine: Machine, address: str) -> str | None:
        """The interface through which a machine reaches a neighbour's address."""
        for interface in machine.interfaces:
            for own in self.holders[machine.name][interface]:
                if IPv4Address(address) in IPv4Interface(own).network and not own.endswith("/32"):
                    return interface
        return None

    # --- pages

    def status(self, node: str) -> int | None:
        """The HTTP status of a real server's page; None if it takes no connection."""
        machine = self.machines[node]
        if "apache2" not in machine.active:
            return None
        if not any(unit.endswith("-fpm") for unit in machine.active):
            return 503
        missing = re.search(r"^php_admin_value\[auto_prepend_file\] *= *(\S+)", machine.pool, re.M)
        return 500 if missing and missing[1] not in machine.files else 200

    def page(self, node: str) -> str | OSError:
        """What labcheck gets from a real server: its name, or what is wrong."""
        status = self.status(node)
        if status is None:
            return ConnectionRefusedError("Connection refused")
        return node if status == 200 else OSError(f"it answers {status}")

    def visit(self, service: str, size: int = 100) -> str | OSError:
        """What the client gets from a virtual server (address:port) for a request of `size`."""
        address = service.split(":")[0]
        network = self.lab.client_network
        owners = self.answers(CLIENT, network, address)
        if not owners:
            return TimeoutError()
        director = self.machines[owners[0]]
        if self.lab.kind_of(director.name) is Kind.SERVER:  # ARP flux: a server took it
            return self.page(director.name)
        entry = self._entry(director, service)
        servers = list(self.table(director.name).get(service, {}).get("real_servers", {}))  # type: ignore[call-overload]
        if entry is None or not servers:
            return ConnectionRefusedError("Connection refused")
        server = servers[self._chosen(entry, len(servers))].split(":")[0]
        return self._through(director, entry, server, size)

    def _entry(self, director: Machine, service: str) -> Block | None:
        blocks = director.conf.all("virtual_server") if director.conf else iter(())
        return next((b for b in blocks if ":".join(b.words[1:]) == service), None)

    def _chosen(self, entry: Block, servers: int) -> int:
        """The place of the real server that a new connection of the one client gets."""
        stays = entry.value("persistence_timeout") or entry.value("lvs_sched") in ("sh", "mh")
        return 0 if stays else next(self._turn) % servers

    def _through(self, director: Machine, entry: Block, server: str, size: int) -> str | OSError:
        interface = self._towards(director, server)
        if interface is None:
            return TimeoutError()
        network, method = director.interfaces[interface], entry.value("lvs_method")
        node = self.answers(director.name, network, server)[0]
        machine = self.machines[node]
        service = entry.words[1]
        arrives = next(i for i, n in machine.interfaces.items() if n == network)
        if method != "NAT":
            if service not in map(plain, machine.loopback):
                return TimeoutError()
            if not self._fits(director, interface, size, method):
                return TimeoutError()
            return self.page(node)
        way = machine.way_back(server)
        if machine.checks_source(arrives) == 1 and (way is None or way.dev != arrives):
            return TimeoutError()
        held = {plain(address) for address in self.holders[director.name][interface]}
        if way is None or way.via is None or way.via not in held:
            return TimeoutError()
        if director.sysctl("net.ipv4.ip_forward") != "1":
            return TimeoutError()
        (client,) = map(str, self.lab.networks[self.lab.client_network].hosts)
        # An address with /32 gives the director no way to the client's network.
        return self.page(node) if self._towards(director, client) else TimeoutError()

    def _fits(self, director: Machine, interface: str, size: int, method: str) -> bool:
        """Whether a packet that must not be cut gets through, or the client hears that it is too
        large (RFC 1191)."""
        room = director.mtu.get(interface, LARGE) - (TUNNEL if method == "TUN" else 0)
        return size <= room or not director.drops("icmp type destination-unreachable", "output")


_COPIES: dict[tuple[str, str], dict[str, str]] = {}


def _copied(variant: Variant, role: str) -> dict[str, str]:
    """The files of a role that are the same in every lab; rendered once, as this takes long."""
    key = (variant.lesson.name, role)
    if key not in _COPIES:
        spec = variant.specs[role]
        of_lab = texts_of_lab(variant.lesson.lab, spec)
        files = role_files(variant.lesson.lab, spec)
        _COPIES[key] = {p: f.content for p, f in files.items() if p not in of_lab}
    return _COPIES[key]


def plain(address: str) -> str:
    """An address without its prefix."""
    return address.split("/")[0]
