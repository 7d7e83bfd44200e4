"""What hosts lack for a lab, looked for before anything is made, and said all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lvslab.core.errors import LabError, MissingError, StageError
from lvslab.core.procs import run
from lvslab.core.together import each
from lvslab.lab import network
from lvslab.lab.libvirt import reachable, store
from lvslab.lab.libvirt.fabric import SIGNED, Fabric
from lvslab.lab.libvirt.libvirt_host import Host
from lvslab.lab.libvirt.records import records
from lvslab.model.lab import Lab

_PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "ip": "iproute2",
    "bridge": "iproute2",
    "tar": "tar",
    "bash": "bash",
}
_IMAGES_MIB = 1500  # two roles
_NODE_MIB = 256  # what a node writes while it boots


@dataclass(frozen=True)
class Needed:
    """What is to run: a lab, the nodes of each host that do not run yet, and with what."""

    lab: Lab
    nodes: Mapping[str, Sequence[str]]
    accelerator: str


def demand(wanted: Needed, hosts: Mapping[str, Host]) -> None:
    """Raise MissingError with all that is missing on any host, and what to do about it."""
    found = each(hosts, lambda uri: list(_lacks(hosts[uri], wanted)))
    lines = [f"{hosts[uri].label}: {what}" for uri, lacks in found.items() for what in lacks]
    if lines:
        raise _missing(wanted.lab, lines)


def demand_reach(lab: Lab, own: Mapping[str, str], client: str, hosts: Mapping[str, Host]) -> None:
    """Raise MissingError with each pair of ends between which VXLAN does not pass.

    `own`: URI to the address of each host, `client`: of this one.
    """
    ends = [reachable.End("this machine", client, run)]
    ends += [
        reachable.End(hosts[uri].label, address, hosts[uri].run) for uri, address in own.items()
    ]
    lines = [reachable.opened(pair) for pair in reachable.deaf(Fabric(lab), ends)]
    if lines:
        raise _missing(lab, lines)


def _missing(lab: Lab, lines: Sequence[str]) -> MissingError:
    return MissingError(
        "the lab cannot run on its hosts:" + "".join(f"\n  {line}" for line in lines),
        where=lab.name,
        hint="nothing was made; correct all of this, then run it again",
    )


def _lacks(host: Host, wanted: Needed) -> Iterator[str]:
    try:
        host.connect()
    except LabError as error:
        yield f"{' '.join(error.message.split())}; {error.hint}"
        return
    for look in _LOOKS:
        try:
            yield from look(host, wanted)
        except LabError as error:
            yield error.message


def _programs(host: Host, wanted: Needed) -> Iterator[str]:
    names = " ".join(_PROGRAMS)
    words = f"PATH=$PATH:/usr/sbin:/sbin; for name in {names}; do "
    words += "command -v $name >/dev/null || echo $name; done"
    for name in host.run(["sh", "-c", words], what="looking for programs").split():
        yield f"the program {name} is not there; apt install {_PROGRAMS[name]}"
    if wanted.accelerator == "kvm" and not host.has_kvm():
        yield "it does not offer KVM; say --accelerator tcg, or name only hosts that offer it"


def _others(host: Host, wanted: Needed) -> Iterator[str]:
    """Other labs with the same number, and links that are not ours."""
    lab, fabric = wanted.lab, Fabric(wanted.lab)
    known = {record.lab for record in records(host) if record.number == lab.number} - {lab.name}
    links = network.links(host.run, details=True)
    owned = fabric.owned(links)
    strange = [link for link in links if link["ifname"] not in owned]
    known |= {_signer(link) for link in strange if fabric.is_ours(link["ifname"])}
    for name in sorted(known):
        yield f"the lab {name} has the number {lab.number} too; give one another `number`"
    numbers = {fabric.vni(name): name for name in network.bridge_names(lab)}
    for link in strange:
        vni = link.get("linkinfo", {}).get("info_data", {}).get("id")
        if vni in numbers and not fabric.is_ours(link["ifname"]):
            yield (
                f"its device {link['ifname']} has the VXLAN number {vni} of this lab's "
                f"{numbers[vni]}; give the lab another `number`"
            )


def _signer(link: Mapping[str, Any]) -> str:
    return str(link.get("ifalias", "")).removeprefix(SIGNED)


def _room(host: Host, wanted: Needed) -> Iterator[str]:
    nodes = wanted.nodes[host.uri]
    if not nodes:
        return
    if memory := _memory(host, wanted.lab, nodes):
        yield f"{memory}; end something there, or name another host"
    images = 0 if store.has(host, store.IMAGES) else _IMAGES_MIB
    disk = images + _NODE_MIB * len(nodes)
    if disk > (free := _free_disk(host)):
        yield (
            f"{disk} MiB of disk are needed in {store.ROOT}, and {free} MiB are free; make room "
            "there, or name another host"
        )


_LOOKS: tuple[Callable[[Host, Needed], Iterator[str]], ...] = (_programs, _others, _room)


def demand_memory(lab: Lab, node: str, host: Host) -> None:
    """Raise StageError if a host has too little memory for one more node."""
    if memory := _memory(host, lab, [node]):
        raise StageError(memory, where=host.label, hint="end something there")


def _memory(host: Host, lab: Lab, nodes: Sequence[str]) -> str:
    """What is wrong with a host's memory; proc_meminfo(5): MemAvailable is for new programs."""
    said = host.run(["cat", "/proc/meminfo"], what="asking for its memory").splitlines()
    (line,) = (line for line in said if line.startswith("MemAvailable:"))
    needed, free = sum(lab.nodes[node].memory_mib for node in nodes), int(line.split()[1]) >> 10
    words = f"for {', '.join(nodes)} {needed} MiB of memory are needed, and {free} MiB are free"
    return words if needed > free else ""


def _free_disk(host: Host) -> int:
    """MiB that are free where the lab's files go."""
    words = f"df --output=avail -BM {store.ROOT} 2>/dev/null || df --output=avail -BM /var/lib"
    return int(host.run(["sh", "-c", words], what="asking for room").split()[-1].rstrip("M"))
