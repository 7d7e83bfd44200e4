"""What a cluster can do for a lab: one small interface, and the table of those who offer it."""

from __future__ import annotations

import importlib
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from lvslab.core.errors import MissingError
from lvslab.core.events import Listener
from lvslab.core.places import IN_CHECKOUT, PROGRAM
from lvslab.deploy.credentials import Credentials
from lvslab.deploy.site import ProxmoxSite, Site, VsphereSite
from lvslab.deploy.trust import Address
from lvslab.deploy.wanted import Found, Mark, Wanted


@dataclass(frozen=True)
class Bounds:
    """What a platform allows: how long a machine's name may be, which tags a network may have.

    `network_name` makes the name of a network of its mark and its tag. `numbers` is the range of
    machines' numbers; None if the platform has none. `rules`: whether it has
    rules about which machines run on one host, and the site wants them.
    """

    machine_name: int
    highest_tag: int
    network_name: Callable[[Mark, int], str]
    numbers: range | None
    rules: bool


class Platform(Protocol):
    """A cluster. All methods raise LabError; `make`, `change` and `remove` end when it is done.

    `find` is called first, and again when all objects of a kind are made: what an object needs was
    seen by the last `find`. `make`, `change` and `remove` are called for several objects of one
    kind at the same time.
    """

    limits: Bounds
    switch: str
    """What the site calls that which has the networks."""

    def find(self) -> list[Found]:
        """All objects at the site's places, ours and others'."""

    def problems(self, wanted: Sequence[Wanted], found: Sequence[Found]) -> Iterable[str]:
        """Why this cluster is not fit for what is wanted: one sentence each."""

    def make(self, wanted: Wanted, listener: Listener) -> None:
        """Make an object that is not there."""

    def change(self, wanted: Wanted, found: Found, listener: Listener) -> None:
        """Give an object of ours the state that is wanted."""

    def remove(self, found: Found) -> None:
        """Remove an object of ours."""

    def settle(self, kind: str) -> None:
        """Called when several objects of a kind were made, changed or removed: put it in force."""

    def close(self) -> None:
        """Log out."""


@dataclass(frozen=True)
class Offered:
    """A platform of the table: what people call it, its site file, its port, who connects.

    `connect` is `module:name` of a function of site, credentials, address and TLS context.
    """

    title: str
    site: type[Site]
    port: int
    connect: str


PLATFORMS = {
    "vsphere": Offered("vSphere", VsphereSite, 443, "lvslab.deploy.vsphere:connect"),
    "proxmox": Offered("Proxmox VE", ProxmoxSite, 8006, "lvslab.deploy.proxmox:connect"),
}

Connect = Callable[[Site, Credentials, Address, ssl.SSLContext], Platform]


def connect(name: str) -> Connect:
    """The function that logs in to a platform. Raises MissingError if its client is missing."""
    module, _, function = PLATFORMS[name].connect.partition(":")
    try:
        return cast(Connect, getattr(importlib.import_module(module), function))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lvslab"):
            raise
        way = f"{PROGRAM} setup" if IN_CHECKOUT else "pip install 'lvslab[deploy]'"
        raise MissingError(
            f"the Python package for {PLATFORMS[name].title} is missing ({error.name})",
            hint=f"{way} gets it",
        ) from None
