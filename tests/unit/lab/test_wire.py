"""What the wire decoder makes of frames: VRRP 2 and 3, gratuitous ARP, and everything else."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvslab.lab import wire
from lvslab.lab.wire import Advert, Announcement
from lvslab.model.lab import Lab
from tests.frames import GROUP, MAC, arp, has_address, ip, ip6, vrrp3


def test_an_advert_of_version_3() -> None:
    frame = ip(112, "192.168.50.251", vrrp3(51, 150, 20, "192.168.50.1"))
    assert wire.decode(frame, "VMnet1", 7.5) == Advert(
        7.5, "VMnet1", "00:50:56:01:01:01",
        IPv4Address("192.168.50.251"), 3, 51, 150, 0.2, (IPv4Address("192.168.50.1"),),
    )  # fmt: skip


def test_an_advert_of_version_2() -> None:
    body = struct.pack("!BBBBBBH", 0x21, 52, 100, 1, 0, 1, 0) + socket.inet_aton("192.168.100.1")
    found = wire.decode(ip(112, "192.168.100.252", body + bytes(8)), "VMnet12", 0)
    assert isinstance(found, Advert)
    assert (found.version, found.interval, found.router_id) == (2, 1.0, 52)


def test_an_ipv6_advert() -> None:
    addresses = ("fe80::200:5eff:fe00:233", "fd00:50::1")
    frame = ip6(112, "fe80::1:1", vrrp3(51, 150, 20, *addresses))
    assert wire.decode(frame, "VMnet1", 7.5) == Advert(
        7.5, "VMnet1", "00:50:56:01:01:01",
        IPv6Address("fe80::1:1"), 3, 51, 150, 0.2, tuple(map(IPv6Address, addresses)),
    )  # fmt: skip


@pytest.mark.parametrize("flags", [0x20, 0xA0])
def test_an_unsolicited_neighbour_advertisement(flags: int) -> None:
    found = wire.decode(has_address("fd00:50::1", flags), "VMnet1", 3)
    assert found == Announcement(3, "VMnet1", "00:50:56:01:01:01", IPv6Address("fd00:50::1"))


def test_an_answer_in_ipv6_is_its_sender_s() -> None:
    segment = struct.pack("!HH", 80, 40000) + bytes(16)
    frame = ip6(6, "fd00:50::1", segment)
    assert wire._is_from(frame, "fd00:50::1", 80)
    assert not wire._is_from(frame, "fd00:50::2", 80)
    assert not wire._is_from(frame, "fd00:50::1", 443)
    assert not wire._is_from(ip6(17, "fd00:50::1", segment), "fd00:50::1", 80)


@pytest.mark.parametrize("operation", [1, 2])
def test_a_gratuitous_arp(operation: int) -> None:
    found = wire.decode(arp(operation, "192.168.50.1", "192.168.50.1"), "VMnet1", 3)
    assert found == Announcement(3, "VMnet1", "00:50:56:01:01:01", IPv4Address("192.168.50.1"))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        arp(1, "192.168.50.100", "192.168.50.1"),  # a question
        arp(1, "0.0.0.0", "0.0.0.0"),
        ip(6, "192.168.50.100", bytes(40)),  # TCP
        ip(112, "192.168.50.251", b"\x32" + bytes(11)),  # VRRP, but no advertisement
        ip(112, "192.168.50.251", vrrp3(51, 150, 20, "192.168.50.1")[:-2]),  # cut off
        ip6(112, "fe80::1", vrrp3(51, 150, 20, "fd00:50::1")[:-2]),
        ip6(58, "fe80::1", bytes([135]) + bytes(23)),  # a question for a neighbour
        has_address("fd00:50::1", 0x60),  # the answer to one
        has_address("fd00:50::1", 0x20)[:70],
    ],
)
def test_everything_else_is_nothing(frame: bytes) -> None:
    assert wire.decode(frame, "VMnet1", 0) is None


@given(st.binary(max_size=256))
def test_no_frame_breaks_the_decoder(frame: bytes) -> None:
    wire.decode(frame, "VMnet1", 0)


@given(
    st.binary(min_size=20, max_size=120), st.sampled_from([b"\x08\x00", b"\x08\x06", b"\x86\xdd"])
)
def test_no_packet_breaks_the_decoder(packet: bytes, kind: bytes) -> None:
    wire.decode(GROUP + MAC + kind + packet[:9] + b"\x70" + packet[9:], "VMnet1", 0)


def advert(lab: Lab, seconds: float, node: str, instance: str, priority: int = 100) -> Advert:
    this = lab.vrrp_instances[instance]
    interface = next(i for i, n in lab.nodes[node].interfaces.items() if n == this.network)
    mac = lab.mac(node, interface)
    return Advert(
        seconds, this.network, mac, IPv4Address("192.168.50.9"), 3, this.router_id,
        priority, 0.2, (this.address,),
    )  # fmt: skip


def test_owners_are_known_by_their_mac(lab: Lab) -> None:
    heard = [
        advert(lab, 1, "lvs1", "VI_1"),
        advert(lab, 2, "lvs2", "VI_3"),
        advert(lab, 3, "lvs1", "VI_1", priority=0),  # gives it up
        advert(lab, 3.1, "lvs2", "VI_1"),
    ]
    assert wire.owners(lab, heard, 0)["VI_1"] == ["lvs1", "lvs2"]
    assert wire.owners(lab, heard, 2.5)["VI_1"] == ["lvs2"]
    assert wire.owners(lab, heard, 2.5)["VI_3"] == []
    assert [node for _, name, node in wire.timeline(lab, heard) if name == "VI_1"] == [
        "lvs1",
        "lvs2",
    ]
