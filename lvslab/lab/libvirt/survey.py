"""What a libvirt host has and what is on it, as it says at one moment: room, domains, networks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from lvslab.lab.libvirt.libvirt_host import Host
from lvslab.lab.libvirt.records import Record, records_by_name

_MIB = 1024  # KiB


@dataclass(frozen=True)
class HostedDomain:
    """A domain of a host; `rss_mib` is what it takes of the memory now.

    `record`: what a node of a lab says of itself; None if it is not a lab's.
    """

    name: str
    active: bool
    cpus: int
    rss_mib: int
    record: Record | None = None

    @property
    def lab(self) -> str:
        """The name of its lab; empty if it is not a lab's."""
        return self.record.lab if self.record else ""


@dataclass(frozen=True)
class HostedNetwork:
    """A VXLAN device of a host: the number of its network on the wire, and its bridge."""

    device: str
    vni: int
    bridge: str


@dataclass(frozen=True)
class Survey:
    """A host: its processors, the memory that is free, its domains and the labs' networks."""

    label: str
    cpus: int
    free_mib: int
    domains: tuple[HostedDomain, ...]
    networks: tuple[HostedNetwork, ...]


def survey(host: Host) -> Survey:
    """Ask a host. Raises StageError or MissingError as `Host.run` does."""
    words = ["sh", "-c", "grep MemAvailable /proc/meminfo && nproc"]
    memory, cpus = host.run(words, what="asking for its memory").splitlines()
    return Survey(
        host.label,
        int(cpus),
        int(memory.split()[1]) // _MIB,
        tuple(_domains(host)),
        tuple(_networks(host)),
    )


def _domains(host: Host) -> Iterator[HostedDomain]:
    said = host.virsh("domstats", "--state", "--balloon", "--vcpu")
    known = records_by_name(host)
    for name, values in map(_stats, said.split("Domain: ")[1:]):
        yield HostedDomain(
            name,
            values.get("state.state") in ("1", "3"),  # running, paused (virDomainState)
            int(values.get("vcpu.current", 1)),
            int(values.get("balloon.rss", 0)) // _MIB,
            known.get(name),
        )


def _stats(part: str) -> tuple[str, dict[str, str]]:
    name, *lines = part.splitlines()
    return name.strip("'"), dict(line.strip().split("=", 1) for line in lines if "=" in line)


def _networks(host: Host) -> Iterator[HostedNetwork]:
    said = host.run(
        ["ip", "-json", "-details", "link", "show", "type", "vxlan"], what="asking for its networks"
    )
    for link in json.loads(said or "[]"):
        if link:
            vni = link["linkinfo"]["info_data"]["id"]
            yield HostedNetwork(link["ifname"], vni, link.get("master", ""))
