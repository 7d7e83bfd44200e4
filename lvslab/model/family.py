"""What differs between IPv4 and IPv6, in one place.

A value's family follows from its address: nothing in lab.yaml says it a second time.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
)
from typing import TypeVar

Address = IPv4Address | IPv6Address
AddressInterface = IPv4Interface | IPv6Interface
Cidr = IPv4Network | IPv6Network
_HasVersion = TypeVar("_HasVersion", Address, AddressInterface, Cidr)


@dataclass(frozen=True)
class Family:
    """A family of addresses, and what the lab's parts need to know of it."""

    name: str
    """As people write it."""
    version: int
    """As `ipaddress` has it."""
    bits: int
    """Of an address."""
    header: str
    """As nftables names the header that has the addresses (nft(8))."""
    socket: int
    """For socket(2)."""
    private: tuple[Cidr, ...]
    """The networks that a lab may use (RFC 1918, section 3; RFC 4193, section 3.1)."""
    smallest: int
    """The longest prefix of a network that has room for a VIP, two directors and some servers."""
    loopback: str
    """The machine itself, as it is written before a port."""

    def __str__(self) -> str:
        return self.name

    @property
    def private_words(self) -> str:
        """The networks that a lab may use, as they are written."""
        return ", ".join(map(str, self.private))


IPV4 = Family(
    name="IPv4",
    version=4,
    bits=32,
    header="ip",
    socket=socket.AF_INET,
    private=tuple(IPv4Network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    smallest=29,
    loopback="127.0.0.1",
)
IPV6 = Family(
    name="IPv6",
    version=6,
    bits=128,
    header="ip6",
    socket=socket.AF_INET6,
    private=(IPv6Network("fd00::/8"),),
    smallest=120,
    loopback="[::1]",
)
FAMILIES = (IPV4, IPV6)
"""In the order in which they are shown."""


def family_of(value: Address | AddressInterface | Cidr) -> Family:
    """The family of an address or of a network."""
    return IPV4 if value.version == IPV4.version else IPV6


def family_named(address: str) -> Family:
    """The family of an address that is a text. Raises ValueError if it is none."""
    return family_of(ip_address(address))


def of_family(values: Iterable[_HasVersion], family: Family) -> _HasVersion | None:
    """The first of some values that is of a family; None if none is."""
    return next((value for value in values if value.version == family.version), None)


def with_prefix(address: Address, prefix: int) -> AddressInterface:
    """An address together with the length of its network's prefix."""
    return ip_interface(f"{address}/{prefix}")


def alone(address: Address) -> AddressInterface:
    """An address as a network of its own (/32, /128)."""
    return with_prefix(address, family_of(address).bits)


def place(address: Address | str, port: int) -> str:
    """An address and a port as one text: 192.168.50.1:80, [fd00:50::1]:80 (RFC 3986, 3.2.2)."""
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def in_url(address: Address | str) -> str:
    """An address as it stands in a URL."""
    return f"[{address}]" if ":" in str(address) else str(address)


def link_local(router_id: int) -> IPv6Interface:
    """The link-local address of an IPv6 virtual router, which adverts must name first.

    RFC 5798, 5.2.9. It is made of the virtual router's MAC (7.3) as RFC 4291, appendix A, says, so
    that no two virtual routers of a network have the same.
    """
    return IPv6Interface(f"fe80::200:5eff:fe00:{0x0200 + router_id:x}/64")


def silent_lan(number: int) -> IPv4Network:
    """An IPv4 network that nobody uses, for what cannot do without: VMware's networks.

    Of RFC 2544, appendix C.2.2; `number` is the VMnet's.
    """
    return IPv4Network(f"198.18.{number}.0/24")
