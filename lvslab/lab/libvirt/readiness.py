"""What hosts lack for a lab, looked for before anything is made, and said all at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lvslab.core.errors import LabError, MissingError, StageError
from lvslab.core.procs import run
from lvslab.core.together import each
from lvslab.lab import network
from lvslab.lab.libvirt import reachable, store
from lvslab.lab.libvirt.fabric import SIGNED, Fabric
from lvslab.lab.libvirt.libvirt_host import Host
from lvslab.lab.libvirt.records import Record, records
from lvslab.model.lab import Lab

_PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "ip": "iproute2",
    "bridge": "iproute2",
    "tar": "tar",
    "bash": "bash",
    "flock": "util-linux",
}
_IMAGES_MIB = 1500  # two roles
_NODE_MIB = 256  # what a node writes while it boots


@dataclass(frozen=True)
class Needed:
    """What is to run on a host: labs, each with those nodes that do not run yet, and with what."""

    labs: Sequence[tuple[Lab, Sequence[str]]]
    accelerator: str

    @property
    def nodes(self) -> int:
        """How many nodes are to be started."""
        return sum(len(nodes) for _, nodes in self.labs)


@dataclass(frozen=True)
class Reach:
    """Between which ends VXLAN must pass for a lab.

    `own`: URI to the address of each host, `client`: of this machine.
    """

    lab: Lab
    own: Mapping[str, str]
    client: str


def demand(wanted: Mapping[str, Needed], hosts: Mapping[str, Host]) -> None:
    """Raise MissingError with all that is missing on any host, and what to do about it.

    Each host is asked once, for however many labs. `wanted`: by the host's URI.
    """
    found = each(wanted, lambda uri: list(_lacks(hosts[uri], wanted[uri])))
    lines = [f"{hosts[uri].label}: {what}" for uri, lacks in found.items() for what in lacks]
    if lines:
        raise _missing({lab.name for needed in wanted.values() for lab, _ in needed.labs}, lines)


def demand_reach(wanted: Sequence[Reach], hosts: Mapping[str, Host]) -> None:
    """Raise MissingError with each pair of ends between which VXLAN does not pass."""

    by_name = {reach.lab.name: reach for reach in wanted}

    def deaf(name: str) -> list[str]:
        this = by_name[name]
        ends = [reachable.End("this machine", this.client, run)]
        ends += [
            reachable.End(hosts[uri].label, address, hosts[uri].run)
            for uri, address in this.own.items()
        ]
        return [reachable.opened(pair) for pair in reachable.deaf(Fabric(this.lab), ends)]

    found = each(by_name, deaf)
    if lines := [line for lines in found.values() for line in lines]:
        raise _missing(found, lines)


def _missing(labs: Collection[str], lines: Sequence[str]) -> MissingError:
    one = len(labs) == 1
    what = "the lab cannot run on its hosts:" if one else "the labs cannot run on their hosts:"
    return MissingError(
        what + "".join(f"\n  {line}" for line in lines),
        where=next(iter(labs)) if one else f"{len(labs)} labs",
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
    known, links = records(host), network.links(host.run, details=True)
    for lab, _ in wanted.labs:
        name = f"{lab.name}: " if len(wanted.labs) > 1 else ""
        yield from (f"{name}{what}" for what in _clashes(lab, known, links))


def _clashes(lab: Lab, records: Sequence[Record], links: Sequence[dict[str, Any]]) -> Iterator[str]:
    fabric = Fabric(lab)
    known = {record.lab for record in records if record.number == lab.number} - {lab.name}
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
    if not wanted.nodes:
        return
    if memory := _memory(host, wanted.labs):
        yield f"{memory}; end something there, or name another host"
    images = 0 if store.has(host, store.IMAGES) else _IMAGES_MIB
    disk = images + _NODE_MIB * wanted.nodes
    if disk > (free := _free_disk(host)):
        yield (
            f"{disk} MiB of disk are needed in {store.ROOT}, and {free} MiB are free; make room "
            "there, or name another host"
        )


_LOOKS: tuple[Callable[[Host, Needed], Iterator[str]], ...] = (_programs, _others, _room)


def demand_memory(lab: Lab, node: str, host: Host) -> None:
    """Raise StageError if a host has too little memory for one more node."""
    if memory := _memory(host, [(lab, [node])]):
        raise StageError(memory, where=host.label, hint="end something there")


def _memory(host: Host, labs: Sequence[tuple[Lab, Sequence[str]]]) -> str:
    """What is wrong with a host's memory; proc_meminfo(5): MemAvailable is for new programs."""
    said = host.run(["cat", "/proc/meminfo"], what="asking for its memory").splitlines()
    (line,) = (line for line in said if line.startswith("MemAvailable:"))
    needed = sum(lab.nodes[node].memory_mib for lab, nodes in labs for node in nodes)
    free = int(line.split()[1]) >> 10
    names = ", ".join(labs[0][1]) if len(labs) == 1 else f"{len(labs)} labs"
    words = f"for {names} {needed} MiB of memory are needed, and {free} MiB are free"
    return words if needed > free else ""


def _free_disk(host: Host) -> int:
    """MiB that are free where the lab's files go."""
    words = f"df --output=avail -BM {store.ROOT} 2>/dev/null || df --output=avail -BM /var/lib"
    return int(host.run(["sh", "-c", words], what="asking for room").split()[-1].rstrip("M"))
