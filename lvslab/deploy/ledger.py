"""The numbers of students' labs, networks and machines: given once, and written down in a file.

A network's number is its VLAN or VNI, a machine's the one that the platform calls it by. On libvirt
hosts a lab has one number, which all of its networks and MACs follow from. Two programs that count
for themselves give one number twice, and two classes then hear each other.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lvslab.core.errors import InputError
from lvslab.core.files import write_atomic
from lvslab.deploy.wanted import Found

SECTIONS = ("network", "machine")
"""What a cluster numbers."""
LABS = ("number",)
"""What libvirt hosts number: each student's lab."""
_FOREIGN = "this file is not a ledger: {}"


@dataclass
class Ledger:
    """The numbers by kind and key (see `Mark.key`); the file is written by `write` only.

    `hosts`: the host of each student's lab, where we choose it and not the cluster.
    """

    path: Path
    lab: str
    numbers: dict[str, dict[str, int]] = field(
        default_factory=lambda: {section: {} for section in SECTIONS}
    )
    hosts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, lab: str, sections: Sequence[str] = SECTIONS) -> Ledger:
        """The ledger of a lab, empty if there is no file.

        Raises InputError if the file is another lab's, is damaged, or has one number twice.
        """
        if not path.exists():
            return cls(path, lab, {section: {} for section in sections})
        try:
            data = json.loads(path.read_text())
            of, numbers = data["lab"], {section: dict(data[section]) for section in sections}
            hosts = dict(data.get("host", {}))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                _FOREIGN.format(error),
                where=str(path),
                hint="move it away: the numbers are then read from the cluster",
            ) from None
        if of != lab:
            raise InputError(
                f"it is the ledger of the lab {of}, this one is {lab}",
                where=str(path),
                hint="use another site file or list for each lab: the ledger is beside it",
            )
        for section, given in numbers.items():
            _demand_different(path, section, given)
        return cls(path, lab, numbers, hosts)

    def adopt(self, found: Iterable[Found]) -> None:
        """Take the numbers of what this lab has on the cluster and the file does not know."""
        for this in found:
            section = "machine" if this.kind == "image" else this.kind
            if section not in SECTIONS or not this.mark or this.number is None:
                continue
            given = self.numbers[section]
            if this.mark.lab == self.lab and this.number not in given.values():
                given.setdefault(this.mark.key, this.number)

    def give(self, kind: str, keys: Iterable[str], pool: range, taken: Collection[int]) -> None:
        """Give each key that has no number the lowest one of `pool` that nobody has.

        `taken`: the numbers of what others made. Raises InputError if the pool is too small.
        """
        given = self.numbers[kind]
        free = (number for number in pool if number not in {*given.values(), *taken})
        wanted = [key for key in dict.fromkeys(keys) if key not in given]
        for key, number in zip(wanted, free, strict=False):
            given[key] = number
        if lacking := [key for key in wanted if key not in given]:
            raise InputError(
                f"{pool.start}-{pool.stop - 1} has too few numbers for the {kind}s: "
                f"{len(lacking)} get none",
                hint="make the range in the site file larger",
            )

    def forget(self, students: Collection[str]) -> None:
        """Take back the numbers of students whose labs are gone."""
        for section, given in self.numbers.items():
            kept = {k: n for k, n in given.items() if k.partition("/")[0] not in students}
            self.numbers[section] = kept
        self.hosts = {key: uri for key, uri in self.hosts.items() if key not in students}

    def write(self) -> None:
        """Write the file, whole or not at all."""
        data = {"lab": self.lab, **self.numbers, **({"host": self.hosts} if self.hosts else {})}
        write_atomic(self.path, json.dumps(data, indent=1) + "\n")


def _demand_different(path: Path, section: str, given: dict[str, int]) -> None:
    owners: dict[int, str] = {}
    for key, number in given.items():
        other = owners.setdefault(number, key)
        if other != key:
            raise InputError(
                f"{other} and {key} have the same number, {number} ({section})",
                where=str(path),
                hint="remove one of the two lines: it then gets another number",
            )
