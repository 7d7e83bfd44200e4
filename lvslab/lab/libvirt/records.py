"""What the domains of a host say of their labs: each has a record in its metadata."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from xml.etree import ElementTree

from lvslab.lab.libvirt.domain import METADATA
from lvslab.lab.libvirt.libvirt_host import VIRSH, Host


@dataclass(frozen=True)
class Record:
    """A domain's lab and node."""

    lab: str
    number: int
    node: str

    def text(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self))


def records(host: Host) -> list[Record]:
    """The records of all domains of a host, also of those that are off."""
    return [Record(**json.loads(text)) for text in said(host, METADATA)]


def said(host: Host, space: str) -> list[str]:
    """What each domain of a host has in its metadata under a namespace."""
    ask = shlex.join(VIRSH)
    words = f"for domain in $({ask} list --all --uuid); do "
    words += f'{ask} metadata "$domain" {space} 2>/dev/null; done; true'
    found = host.run(["sh", "-c", words], what="asking for the labs")
    return ["".join(entry.itertext()) for entry in ElementTree.fromstring(f"<all>{found}</all>")]
