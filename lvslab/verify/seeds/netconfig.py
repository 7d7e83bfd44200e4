"""A network-config as cloud-init reads it: interfaces, and the addresses that they get.

Source: cloud-init's documentation, "Networking config" version 1 and version 2 (netplan's).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

from lvslab.verify.rules import Refused

_KINDS = ("ethernets", "bonds", "bridges", "vlans", "wifis")


@dataclass(frozen=True)
class Interface:
    """An interface by the name in the file; `mac` if it is found by its MAC address."""

    name: str
    mac: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]


def interfaces(config: Mapping[str, Any]) -> list[Interface]:
    """The interfaces of a network-config; raises Refused if its version is neither 1 nor 2."""
    inner = config.get("network", config)
    if not isinstance(inner, Mapping):
        raise Refused("network is not a mapping")
    if inner.get("config") == "disabled":
        return []
    match inner.get("version"):
        case 1:
            return list(_version_1(inner))
        case 2:
            return list(_version_2(inner))
        case version:
            raise Refused(f"network-config is of version {version or 'none'}, not 1 or 2")


def _version_1(config: Mapping[str, Any]) -> Iterator[Interface]:
    entries = config.get("config")
    if not isinstance(entries, list):
        raise Refused("network-config of version 1 has no list `config`")
    for entry in entries:
        if not isinstance(entry, Mapping) or entry.get("type") in ("nameserver", "route"):
            continue
        subnets = entry.get("subnets")
        found = (
            _address(subnet["address"], subnet.get("netmask"))
            for subnet in (subnets if isinstance(subnets, list) else ())
            if isinstance(subnet, Mapping) and subnet.get("address")
        )
        name, mac = str(entry.get("name", "")), str(entry.get("mac_address") or "")
        yield Interface(name, mac, tuple(found))


def _version_2(config: Mapping[str, Any]) -> Iterator[Interface]:
    for kind in _KINDS:
        section = config.get(kind)
        for name, settings in (section if isinstance(section, Mapping) else {}).items():
            values = settings if isinstance(settings, Mapping) else {}
            match = values.get("match")
            mac = match.get("macaddress") if isinstance(match, Mapping) else ""
            listed = values.get("addresses")
            found = [
                _address(next(iter(entry), "") if isinstance(entry, Mapping) else entry, None)
                for entry in (listed if isinstance(listed, list) else ())
            ]
            yield Interface(str(name), str(mac or ""), tuple(found))


def _address(text: object, mask: object) -> IPv4Interface | IPv6Interface:
    whole = f"{text}/{mask}" if mask and "/" not in str(text) else str(text)
    try:
        return ip_interface(whole)
    except ValueError:
        raise Refused(f"{whole!r} is not an address") from None
