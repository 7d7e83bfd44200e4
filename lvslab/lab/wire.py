"""What the wires of the lab carry: VRRP adverts and gratuitous ARP, with the kernel's times.

Formats: Ethernet II; ARP (RFC 826; gratuitous: RFC 5227, section 3), and what is the same in IPv6,
unsolicited neighbour advertisements (RFC 4861, sections 4.4 and 7.2.6); IPv4 (RFC 791); IPv6 (RFC
8200, section 3); VRRP version 2 (RFC 3768, section 5.1) and 3 (RFC 5798, section 5.1).
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from lvslab.lab.namespace import Namespace
from lvslab.lab.network import bridge_names
from lvslab.model.family import Address, family_of
from lvslab.model.lab import Lab

_ETH_P_ALL, _ETH_P_IP, _ETH_P_ARP, _ETH_P_IPV6 = 0x0003, 0x0800, 0x0806, 0x86DD  # linux/if_ether.h
_IPV6_HEADER = 40
_ADVERTISEMENT, _SOLICITED = 136, 0x40  # the type of ICMPv6, and the flag of an answer
_VRRP = 112  # IANA protocol number
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h
_PACKET_OUTGOING = 4  # linux/if_packet.h
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Advert:
    """A VRRP advert: `seconds` is monotonic time, `interval` what the sender announces."""

    seconds: float
    network: str
    mac: str
    source: Address
    version: int
    router_id: int
    priority: int
    interval: float
    addresses: tuple[Address, ...]


@dataclass(frozen=True)
class Announcement:
    """A gratuitous ARP, or IPv6's counterpart: `mac` says that it owns `address`."""

    seconds: float
    network: str
    mac: str
    address: Address


Heard = Advert | Announcement


def decode(frame: bytes, network: str, seconds: float) -> Heard | None:
    """A frame as what it announces, or None if it is neither advert nor gratuitous ARP."""
    if len(frame) < 34:
        return None
    kind = struct.unpack_from("!H", frame, 12)[0]
    mac = frame[6:12].hex(":")
    if kind == _ETH_P_ARP:
        return _arp(frame[14:], network, mac, seconds)
    packet = frame[14:]
    if kind == _ETH_P_IP and packet[9] == _VRRP:
        body = packet[(packet[0] & 0x0F) * 4 :]
        return _vrrp(body, packet[12:16], network, mac, seconds)
    if kind == _ETH_P_IPV6 and len(packet) > _IPV6_HEADER:
        body = packet[_IPV6_HEADER:]
        if packet[6] == _VRRP:
            return _vrrp(body, packet[8:24], network, mac, seconds)
        if packet[6] == socket.IPPROTO_ICMPV6:
            return _neighbour(body, network, mac, seconds)
    return None


def _neighbour(body: bytes, network: str, mac: str, seconds: float) -> Announcement | None:
    if len(body) < 24 or body[0] != _ADVERTISEMENT or body[4] & _SOLICITED:
        return None
    return Announcement(seconds, network, mac, IPv6Address(body[8:24]))


def _arp(packet: bytes, network: str, mac: str, seconds: float) -> Announcement | None:
    if len(packet) < 28 or packet[:6] != struct.pack("!HHBB", 1, _ETH_P_IP, 6, 4):
        return None
    sender, target = packet[14:18], packet[24:28]
    if sender != target or sender == bytes(4):
        return None
    return Announcement(seconds, network, mac, ip_address(sender))


def _vrrp(body: bytes, sender: bytes, network: str, mac: str, seconds: float) -> Advert | None:
    """`sender` is the packet's source, by whose family the addresses are of four or 16 bytes."""
    if len(body) < 8 or body[0] & 0x0F != 1:  # type 1: ADVERTISEMENT, the only one
        return None
    version, count, each = body[0] >> 4, body[3], len(sender)
    if len(body) < 8 + each * count:
        return None
    if version == 3:
        interval = (struct.unpack_from("!H", body, 4)[0] & 0x0FFF) / 100  # centiseconds
    else:
        interval = float(body[5])
    places = range(8, 8 + each * count, each)
    addresses = tuple(ip_address(body[at : at + each]) for at in places)
    source = ip_address(sender)
    return Advert(seconds, network, mac, source, version, body[1], body[2], interval, addresses)


class Tap:
    """Listens on every bridge of the lab from a thread of its own; `heard` grows.

    `networks` are those that can be heard from where the client is (see `Namespace.heard`).
    """

    def __init__(self, lab: Lab, namespace: Namespace) -> None:
        self.heard: list[Heard] = []
        bridges = namespace.heard(bridge_names(lab))
        self.networks = set(bridges)
        self._ended = threading.Event()
        self._sockets: dict[socket.socket, str] = {}
        with contextlib.ExitStack() as made, namespace.inside():
            for network, bridge in bridges.items():
                wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
                made.enter_context(wire)  # closed if a later bridge is not there
                wire.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
                wire.bind((bridge, _ETH_P_ALL))
                self._sockets[wire] = network
            made.pop_all()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def take(self) -> list[Heard]:
        """What was heard since the last time, and is forgotten now."""
        taken = self.heard[:]
        del self.heard[: len(taken)]  # what is heard meanwhile is behind it
        return taken

    def close(self) -> None:
        """Stop listening; what was heard stays."""
        self._ended.set()
        self._thread.join()
        for wire in self._sockets:
            wire.close()

    def adverts(self) -> list[Advert]:
        """The adverts heard so far."""
        return [heard for heard in list(self.heard) if isinstance(heard, Advert)]

    def announcements(self) -> list[Announcement]:
        """The gratuitous ARPs heard so far."""
        return [heard for heard in list(self.heard) if isinstance(heard, Announcement)]

    def _listen(self) -> None:
        # the kernel stamps frames with the wall clock; probes use the monotonic one
        offset = time.monotonic() - time.time()
        while not self._ended.is_set():
            for wire in select.select(list(self._sockets), [], [], 0.1)[0]:
                try:
                    frame, extra, _, address = wire.recvmsg(256, 64)
                except OSError:  # its bridge is gone: the lab has just ended
                    return
                if address[2] == _PACKET_OUTGOING:
                    continue
                found = decode(frame, self._sockets[wire], _stamp(extra) + offset)
                if found:
                    self.heard.append(found)


def _stamp(extra: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("ll", data[:16])
            return float(seconds + nanoseconds / 1e9)
    return time.time()


@contextlib.contextmanager
def listening(lab: Lab, namespace: Namespace) -> Iterator[Tap]:
    """A tap for the time of a block."""
    tap = Tap(lab, namespace)
    try:
        yield tap
    finally:
        tap.close()


def answerers(lab: Lab, namespace: Namespace, virtual_server: str, seconds: float = 2) -> set[str]:
    """Whose frames bring a virtual server's answers to a client that connects: nodes, or MACs.

    One connection for each real server, so that each is asked in turn.
    """
    address, port = lab.endpoint(virtual_server)
    network = lab.vrrp_instances[lab.virtual_servers[virtual_server].instance].network
    found = set()
    with (
        namespace.inside(),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as wire,
    ):
        wire.bind((bridge_names(lab)[network], _ETH_P_ALL))
        wire.settimeout(seconds)
        for _ in lab.real_servers(virtual_server):
            with contextlib.suppress(OSError):
                socket.create_connection((address, port), seconds).close()
        wire.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, place = wire.recvfrom(256)
                if place[2] != _PACKET_OUTGOING and _is_from(frame, address, port):
                    found.add(frame[6:12].hex(":"))
    nodes = nodes_by_mac(lab)
    return {nodes.get(mac, mac) for mac in found}


def _is_from(frame: bytes, address: str, port: int) -> bool:
    """Whether a frame is TCP (RFC 9293, section 3.1) from an address and port."""
    if len(frame) < 54:
        return False
    kind, packet = struct.unpack_from("!H", frame, 12)[0], frame[14:]
    if kind == _ETH_P_IP:
        start, protocol, source = (packet[0] & 0x0F) * 4, packet[9], packet[12:16]
    elif kind == _ETH_P_IPV6:
        start, protocol, source = _IPV6_HEADER, packet[6], packet[8:24]
    else:
        return False
    return (
        protocol == socket.IPPROTO_TCP
        and str(ip_address(source)) == address
        and packet[start : start + 2] == struct.pack("!H", port)
    )


def nodes_by_mac(lab: Lab) -> dict[str, str]:
    """MAC address to node, for all interfaces of the lab."""
    return {
        lab.mac(node, interface): node
        for node, this in lab.nodes.items()
        for interface in this.interfaces
    }


def timeline(lab: Lab, adverts: list[Advert]) -> list[tuple[float, str, str]]:
    """The adverts as (monotonic seconds, VRRP instance, director), in order of time.

    A director is known by the MAC of its NIC, whatever source address it uses. An advert
    of priority 0 gives the address up (RFC 5798, section 5.2.4) and is left out.
    """
    nodes = nodes_by_mac(lab)
    instances = {
        (this.network, this.family, this.router_id): name
        for name, this in lab.vrrp_instances.items()
    }
    found = []
    for advert in adverts:
        instance = instances.get((advert.network, family_of(advert.source), advert.router_id))
        if instance and advert.priority:
            found.append((advert.seconds, instance, nodes.get(advert.mac, advert.mac)))
    return sorted(found)


def owners(lab: Lab, adverts: list[Advert], since: float) -> dict[str, list[str]]:
    """Who advertises each instance after `since`: instance to the directors heard."""
    found: dict[str, list[str]] = {name: [] for name in lab.vrrp_instances}
    for seconds, instance, node in timeline(lab, adverts):
        if seconds >= since and node not in found[instance]:
            found[instance].append(node)
    return found
