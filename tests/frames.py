"""Frames as the wires of a lab carry them, made byte by byte and not by the code under test."""

from __future__ import annotations

import socket
import struct

MAC = bytes.fromhex("005056010101")
GROUP = bytes.fromhex("01005e000012")


def ip(protocol: int, source: str, body: bytes, mac: bytes = MAC) -> bytes:
    """A packet to VRRP's group."""
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 255, protocol, 0,
        socket.inet_aton(source), socket.inet_aton("224.0.0.18"),
    )  # fmt: skip
    # The header's checksum (RFC 791, section 3.1): a host's bridges may drop what is wrong.
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    head = head[:10] + struct.pack("!H", checksum) + head[12:]
    return GROUP + mac + b"\x08\x00" + head + body


def vrrp3(router: int, priority: int, centiseconds: int, *addresses: str) -> bytes:
    """What an advert of version 3 says."""
    body = struct.pack("!BBBBHH", 0x31, router, priority, len(addresses), centiseconds, 0)
    families = {True: socket.AF_INET6, False: socket.AF_INET}
    return body + b"".join(socket.inet_pton(families[":" in a], a) for a in addresses)


def ip6(protocol: int, source: str, body: bytes, mac: bytes = MAC) -> bytes:
    """An IPv6 packet to VRRP's group (RFC 8200, section 3)."""
    head = struct.pack("!IHBB", 6 << 28, len(body), protocol, 255)
    ends = [socket.inet_pton(socket.AF_INET6, address) for address in (source, "ff02::12")]
    return bytes.fromhex("333300000012") + mac + b"\x86\xdd" + head + b"".join(ends) + body


def has_address(address: str, flags: int, mac: bytes = MAC) -> bytes:
    """A neighbour advertisement (RFC 4861, section 4.4) with its sender's MAC."""
    target = socket.inet_pton(socket.AF_INET6, address)
    body = bytes([136, 0, 0, 0, flags, 0, 0, 0]) + target + b"\x02\x01" + mac
    return ip6(58, address, body, mac)


def arp(operation: int, sender: str, target: str, mac: bytes = MAC) -> bytes:
    """An ARP packet to everybody."""
    packet = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    packet += mac + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target)
    return b"\xff" * 6 + mac + b"\x08\x06" + packet
