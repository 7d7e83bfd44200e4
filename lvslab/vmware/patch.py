"""Connects an imported machine to the lab's networks: an OVA cannot name VMnet12.

Only lines about the cards' networks change; all other bytes of the .vmx stay.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lvslab.core import text as texts
from lvslab.core.errors import CheckFailed, InputError
from lvslab.core.files import atomic
from lvslab.formats import vmx
from lvslab.model.lab import Lab
from lvslab.render.handout import wiring

Host = Literal["windows", "linux", "fusion"]

_VNET_PREFIX: dict[Host, str] = {"windows": "VMnet", "linux": "/dev/vmnet", "fusion": "vmnet"}
_RUNNING = ("*.vmem", "*.vmss")
_SNAPSHOT = re.compile(r"-Snapshot\d+\.vmem$")
"""The memory of a snapshot: it is there while the machine is off, too."""


@dataclass(frozen=True)
class ChangedSetting:
    """A setting of a .vmx: its value before and after; None if it was not or is no more there."""

    key: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Patched:
    """The role that a machine was taken for, what changed, and where the old file is."""

    role: str
    changes: tuple[ChangedSetting, ...]
    backup: Path | None


def this_host() -> Host:
    """The kind of host whose VMware will open the file; in WSL that is Windows."""
    if sys.platform == "darwin":
        return "fusion"
    return "windows" if "microsoft" in platform.release().lower() else "linux"


def patch(
    path: Path, lab: Lab, host: Host, role: str | None = None, *, dry: bool = False
) -> Patched:
    """Connect the machine's cards as its role is wired; with `dry` only say what would change.

    The guest counts its interfaces by PCI slot, so that is how cards are matched with the
    role's. The role follows from the number of cards unless it is given. The old file is kept
    beside the new one, which has its owner, group and mode; of a symbolic link the target is
    changed. A machine that is connected already is not touched. Raises InputError, and
    CheckFailed if the machine is open, runs or is suspended.
    """
    text = vmx.read_text(path)
    real = path.resolve()
    for name in dict.fromkeys((path, real)):
        _demand_off(name)
    values = vmx.settings(text)
    vmx.demand_readable(values, path)
    cards = vmx.slots(values)
    chosen = role or _role(path, lab, len(cards))
    wires = wiring(lab, chosen) if chosen in lab.roles else []
    if len(wires) != len(cards):
        raise InputError(
            f"it has {len(cards)} network cards, a {chosen} has {len(wires)}", where=str(path)
        )
    wanted: dict[str, str | None] = {}
    for card, (kind, vnet) in zip(cards, wires, strict=True):
        wanted[f"{card}.connectionType"] = kind
        wanted[f"{card}.vnet"] = vnet.replace("VMnet", _VNET_PREFIX[host]) if vnet else None
    new, changes = _edited(text, wanted)
    backup = None
    if changes and not dry:
        backup = _free_name(real)
        shutil.copy2(real, backup)
        with contextlib.suppress(PermissionError):
            os.chown(backup, real.stat().st_uid, real.stat().st_gid)
        _rewrite(real, new.encode("latin-1"))
    return Patched(chosen, tuple(changes), backup)


def _demand_off(path: Path) -> None:
    lock = path.with_name(f"{path.name}.lck")
    if lock.exists():
        raise CheckFailed(
            "VMware has it open",
            where=str(path),
            hint=f"power the machine off and close its tab (or, after a crash, remove {lock.name})",
        )
    for pattern in _RUNNING:
        for state in path.parent.glob(pattern):
            if not _SNAPSHOT.search(state.name):
                raise CheckFailed(
                    f"the machine runs or is suspended ({state.name})",
                    where=str(path),
                    hint="power it off",
                )


def _rewrite(path: Path, content: bytes) -> None:
    """New content for a file that stays its owner's, its group's and of the same mode.

    A new file takes its place, so that nothing is written into a copy that it is linked with;
    only who may not make one like it writes into the old one.
    """
    like = path.stat()
    with contextlib.suppress(PermissionError), atomic(path) as new:
        new.write_bytes(content)
        os.chown(new, like.st_uid, like.st_gid)
        new.chmod(stat.S_IMODE(like.st_mode))
        return
    path.write_bytes(content)


def _role(path: Path, lab: Lab, cards: int) -> str:
    fitting = [role for role in lab.roles if len(wiring(lab, role)) == cards]
    if not fitting:
        raise InputError(
            f"it has {cards} network cards, no role of the lab has so many", where=str(path)
        )
    if len(fitting) > 1:
        raise InputError(
            f"more than one role has {cards} cards", where=str(path), hint="give --role"
        )
    return fitting[0]


def _edited(text: str, wanted: dict[str, str | None]) -> tuple[str, list[ChangedSetting]]:
    """The text with the wanted settings (None: not there), and what changed."""
    names = {key.lower(): key for key in wanted}
    left = dict(wanted)
    changes, lines = [], []
    end = "\r\n" if "\r\n" in text else "\n"
    for line in texts.lines(text):
        match = vmx.LINE.match(line.rstrip("\r\n"))
        name = names.get(match["key"].lower()) if match else None
        if match is None or name is None:
            lines.append(line)
        elif name in left:
            new = left.pop(name)
            if match["value"] == new:
                lines.append(line)
                continue
            changes.append(ChangedSetting(name, match["value"], new))
            if new is not None:
                lines.append(f'{name} = "{new}"{end}')
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += end
    for name, new in left.items():
        if new is not None:
            changes.append(ChangedSetting(name, None, new))
            lines.append(f'{name} = "{new}"{end}')
    return "".join(lines), changes


def _free_name(path: Path) -> Path:
    backup, number = path.with_name(f"{path.name}.before-lvslab"), 1
    while backup.exists():
        number += 1
        backup = path.with_name(f"{path.name}.before-lvslab-{number}")
    return backup
