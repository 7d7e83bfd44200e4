"""The client of a lab on VMware: this host itself, with its adapters on VMware's networks."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lvslab.lab.namespace import Namespace


@dataclass(frozen=True)
class HostNetwork(Namespace):
    """In the place of a lab's namespace: nothing is made, entered or removed."""

    def exists(self) -> bool:
        """It always does."""
        return True

    def create(self) -> None:
        """VMware has made its networks."""

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Here already."""
        yield

    def processes(self) -> list[int]:
        """None: nobody's processes are the lab's because they run on this host."""
        return []

    def has(self, pid: int) -> bool:
        """None is."""
        return False

    def remove(self) -> None:
        """Nothing was made."""

    def heard(self, devices: Mapping[str, str]) -> dict[str, str]:
        """None: an adapter of VMware's shows the frames of this host, not those of a network."""
        return {}


def owns(address: str) -> bool:
    """Whether an adapter of this host has an address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
