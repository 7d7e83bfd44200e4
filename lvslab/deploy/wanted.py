"""What a lab needs on a cluster, and what was found there: plain values that can be compared.

Each object has a kind, a name, a mark and a state. The state is a mapping of texts, so that one
function compares, shows and changes all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

KINDS = ("network", "image", "seed", "machine", "rule", "power")
"""In the order in which they are made; they are removed in the opposite one."""

_MARK = re.compile(r"\blvslab/([a-z0-9-]+)/([a-z0-9-]*)/([A-Za-z0-9-]+)")


@dataclass(frozen=True)
class Mark:
    """What an object of ours says of itself on the cluster, in its notes.

    `student` is empty if the lab is not of a class; `of` is a node, a VMnet or a role.
    """

    lab: str
    student: str
    of: str

    @property
    def text(self) -> str:
        """How it is written."""
        return f"lvslab/{self.lab}/{self.student}/{self.of}"

    @property
    def key(self) -> str:
        """What the ledger calls it."""
        return f"{self.student}/{self.of}"

    @classmethod
    def read(cls, text: str | None) -> Mark | None:
        """The mark in some notes; None if there is none."""
        found = _MARK.search(text or "")
        return cls(found[1], found[2], found[3]) if found else None


_SEED = re.compile(r"lvslab\.([a-z0-9-]+)\.([a-z0-9-]+\.[0-9a-f]{12})\.iso")


def seed_file(mark: Mark) -> str:
    """The name of a seed's file. A file has no notes: its name is its mark."""
    return f"lvslab.{mark.lab}.{mark.of}.iso"


def seed_mark(file: str) -> Mark | None:
    """The mark of a file by its name; None if it is no seed of ours."""
    found = _SEED.fullmatch(file)
    return Mark(found[1], "", found[2]) if found else None


@dataclass(frozen=True)
class Wanted:
    """One object that must be there."""

    kind: ClassVar[str]
    name: str
    mark: Mark

    @property
    def state(self) -> Mapping[str, str]:
        """What must be true of it."""
        return {}


@dataclass(frozen=True)
class WantedNetwork(Wanted):
    """A network of one student, apart from all others: a VLAN or a VNI (`tag`) of `switch`."""

    kind = "network"
    switch: str
    tag: int

    @property
    def state(self) -> Mapping[str, str]:
        """Where it is, and its tag."""
        return {"switch": self.switch, "tag": str(self.tag)}


@dataclass(frozen=True)
class WantedImage(Wanted):
    """The disk of a role, out of its OVA, that the machines are linked clones of.

    `sha256` is the OVA's, `number` is that of the machine which holds it, on a platform that
    numbers machines.
    """

    kind = "image"
    ova: Path
    sha256: str
    number: int

    @property
    def state(self) -> Mapping[str, str]:
        """`whole`: it was made to the end."""
        return {"whole": "yes"}


@dataclass(frozen=True)
class WantedSeed(Wanted):
    """The seed of a node as a file of the cluster. All students have the same."""

    kind = "seed"
    path: Path
    size: int

    @property
    def state(self) -> Mapping[str, str]:
        """Its size in bytes; its name has its sum."""
        return {"size": str(self.size)}


@dataclass(frozen=True)
class WantedCard:
    """A network card: the guest's name of it, the name of the network, MAC, slot of VMware."""

    interface: str
    network: str
    mac: str
    slot: int

    @property
    def text(self) -> str:
        """How a state has it."""
        return f"{self.network} {self.mac}"


@dataclass(frozen=True)
class WantedMachine(Wanted):
    """A node of one student. Machines with another `place` go to another host, if there is one."""

    kind = "machine"
    image: str
    seed: str
    memory_mib: int
    cpus: int
    cards: tuple[WantedCard, ...]
    place: int
    number: int

    @property
    def state(self) -> Mapping[str, str]:
        """All of it, a card under the name of its interface."""
        return {
            "image": self.image,
            "seed": self.seed,
            "memory": str(self.memory_mib),
            "cpus": str(self.cpus),
            **{card.interface: card.text for card in self.cards},
        }


@dataclass(frozen=True)
class WantedRule(Wanted):
    """Machines that must run on different hosts (`apart`), or all on one."""

    kind = "rule"
    apart: bool
    machines: tuple[str, ...]

    @property
    def state(self) -> Mapping[str, str]:
        """The machines, sorted."""
        word = "apart" if self.apart else "together"
        return {word: " ".join(sorted(self.machines))}


@dataclass(frozen=True)
class WantedPower(Wanted):
    """A machine that must run; its name is the machine's."""

    kind = "power"


@dataclass(frozen=True)
class Found:
    """An object of the cluster. `mark` is None if we did not make it.

    `number` is what the ledger gives out: a network's tag, a machine's number. `ref` is the
    platform's own handle.
    """

    kind: str
    name: str
    mark: Mark | None
    state: Mapping[str, str]
    number: int | None = None
    ref: Any = field(default=None, compare=False)
