"""What the domains of a host say of their labs: each has a record in its metadata.

A second one has what the workstation keeps of the lab, so that another can take it over.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any
from xml.etree import ElementTree

from lvslab.lab.libvirt.domain import KEPT, METADATA
from lvslab.lab.libvirt.libvirt_host import VIRSH, Host
from lvslab.lab.state import LabState

_ENTRY = re.compile(r":([0-9a-f-]{36}):\s*(<.*>)")


@dataclass(frozen=True)
class Record:
    """A domain's lab and node."""

    lab: str
    number: int
    node: str

    def text(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Kept:
    """What a workstation keeps of a lab and a node of it; `folder` has the node's files."""

    lab: str
    node: str
    folder: str
    state: dict[str, Any]

    @classmethod
    def of(cls, state: LabState, lab: str, node: str, folder: str) -> Kept:
        """As it is here now."""
        wanted = {"lab": "lab", "settings": "settings", "artifacts": "artifacts"}
        wanted["base"] = f"{node}/base"
        return cls(lab, node, folder, {name: state.load(file) for name, file in wanted.items()})

    def text(self) -> str:
        """As it is written into the domain."""
        return json.dumps(asdict(self))


def kept(host: Host) -> list[Kept]:
    """The same of all domains of a host."""
    return [Kept(**json.loads(text)) for text in said(host, KEPT)]


def records(host: Host) -> list[Record]:
    """The records of all domains of a host, also of those that are off."""
    return list(records_by_name(host).values())


def records_by_name(host: Host) -> dict[str, Record]:
    """The same by the name of the domain."""
    return {name: Record(**json.loads(text)) for name, text in _by_name(host, METADATA).items()}


def said(host: Host, space: str) -> list[str]:
    """What each domain of a host has in its metadata under a namespace."""
    return list(_by_name(host, space).values())


def _by_name(host: Host, space: str) -> dict[str, str]:
    """The same by the name of the domain. One virsh asks for all: a class has a hundred."""
    lines = host.virsh("list", "--all", "--uuid", "--name").splitlines()
    names = dict(line.strip().split(" ", 1) for line in lines if line.strip())
    if not names:
        return {}
    asked = [f"echo :{uuid}:; metadata {uuid} {space}" for uuid in names]
    # a domain that has none is an error of its own command: `echo` comes last
    text = host.run([*VIRSH, "; ".join([*asked, "echo"])], what="asking for the labs")
    found = {}
    for uuid, entry in _ENTRY.findall(text):
        found[names[uuid].strip()] = "".join(ElementTree.fromstring(entry).itertext())
    return found
