"""The hosts file: the libvirt hosts that labs run on, in place of a `--host` for each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from lvslab.core.errors import InputError
from lvslab.lab.libvirt.libvirt_host import Host, with_underlay
from lvslab.model.family import Address
from lvslab.model.load import load_shape
from lvslab.model.shapes import Strict

_Uri = Annotated[str, Field(min_length=1, description="as libvirt names it")]


class HostEntry(Strict):
    """A host, and its address on the network that carries the labs' frames."""

    uri: _Uri
    underlay: Address | None = Field(
        None, description="the host's address for VXLAN and for nodes that move, if it is another"
    )


class HostsFile(Strict):
    """Everything that a hosts file has."""

    hosts: tuple[HostEntry, ...] = Field(description="the hosts, in order")


def read_hosts(path: Path) -> tuple[str, ...]:
    """The URIs in a hosts file, each with its underlay in it.

    Raises BadInput with all mistakes in the file, InputError for a URI that is none.
    """
    uris = [with_underlay(host.uri, host.underlay) for host in load_shape(path, HostsFile).hosts]
    if not uris:
        raise InputError(
            "there is no host in it",
            where=str(path),
            hint="add `- uri: qemu+ssh://root@HOST/system`",
        )
    for uri in uris:
        Host.of(uri)
    return tuple(uris)
