"""A .vmx as values: what a machine of VMware's is made of, in the guest's own order.

Reads what VMware reads, not only what we write: keys in any case, values with and without
quotes, comments, every encoding that the file names. Whether a .vmx is a good one is said by
`verify`. Source of the format: open-vm-tools, lib/dict/dictll.c.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from lvslab.core.errors import InputError
from lvslab.core.text import decode, lines, number

LINE = re.compile(
    r'^[ \t]*(?P<key>[^=#"\s]+)[ \t]*=[ \t]*'
    r'(?P<quote>")?(?P<value>(?(quote)[^"]*|[^ \t"#]*))(?(quote)")[ \t]*(?:\#.*)?$'
)
"""A setting without its line end: VMware takes a value with or without quotes, and a comment
behind it (`DictLL_UnmarshalLine` in open-vm-tools, lib/dict/dictll.c)."""

_ESCAPED = re.compile(r"\|([0-7][0-9A-Fa-f])")
_TRUE = {"true", "t", "yes", "y", "on", "1"}
_FALSE = {"false", "f", "no", "n", "off", "0"}
_VNET = re.compile(r"^(?:/dev/)?vmnet(\d{1,3})$", re.IGNORECASE)
_OF_CONNECTION = {"nat": "VMnet8", "hostonly": "VMnet1", "bridged": "VMnet0", "": "VMnet0"}
_DISK = re.compile(r"^((?:scsi|sata|ide|nvme)\d+):\d+\.filename$")
_NO_FILE = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)
_NICS = 10

FIRST_SLOT = 32
"""The first slot behind VMware's PCI bridge: the guest names its interfaces in slot order."""


@dataclass(frozen=True)
class VmxNic:
    """A network card: the guest's name of it, its VMnet, its MAC ("" if VMware makes one).

    `connected`: whether its cable is in when the machine is powered on.
    """

    interface: str
    vnet: str
    mac: str
    slot: int
    model: str
    connected: bool = True


@dataclass(frozen=True)
class VmxMachine:
    """A machine; disks by the order of their controllers, paths beside the .vmx made absolute.

    `cdrom` is the image in the first CD-ROM that is connected at power-on.
    """

    name: str
    memory_mib: int
    cpus: int
    firmware: str
    nics: tuple[VmxNic, ...]
    disks: tuple[Path, ...]
    controllers: tuple[str, ...]
    cdrom: Path | None


def settings(text: str) -> dict[str, str]:
    """Keys in lower case and values; what is not a setting is ignored, as VMware does."""
    found = {}
    for line in lines(text):
        if match := LINE.match(line.rstrip("\r\n")):
            found[match["key"].lower()] = _ESCAPED.sub(
                lambda code: chr(int(code[1], 16)), match["value"]
            )
    return found


def decoded(data: bytes) -> str:
    """A .vmx as text, in the encoding that it names (see `text.decode`)."""
    return decode(data, settings(data.decode("latin-1")).get(".encoding", ""))


def load(path: Path) -> dict[str, str]:
    """The settings of a file, in its own encoding. Raises InputError if there is no such file."""
    return settings(decoded(read_text(path).encode("latin-1")))


def is_encrypted(values: Mapping[str, str]) -> bool:
    """Whether the settings are encrypted, so that only VMware can read them."""
    return "encryption.data" in values and "config.version" not in values


def demand_readable(values: Mapping[str, str], path: Path) -> None:
    """Raise InputError if the machine is encrypted."""
    if is_encrypted(values):
        raise InputError(
            "this machine is encrypted: only VMware can read its settings",
            where=str(path),
            hint="remove the encryption in VMware (VM settings, Options, Access Control)",
        )


def is_on(values: Mapping[str, str], key: str, default: bool = False) -> bool:
    """Whether a setting is TRUE, in any of VMware's spellings; `default` if it says neither."""
    word = values.get(key.lower(), "").lower()
    return default if word not in _TRUE | _FALSE else word in _TRUE


def starts_connected(values: Mapping[str, str], device: str) -> bool:
    """Whether a device is connected when the machine is powered on; VMware's default is yes."""
    return is_on(values, f"{device}.startconnected", default=True)


def cards(values: Mapping[str, str]) -> list[str]:
    """The network cards that are present: ethernet0 … ethernet9."""
    return [f"ethernet{n}" for n in range(_NICS) if is_on(values, f"ethernet{n}.present")]


def slots(values: Mapping[str, str]) -> dict[str, int]:
    """The PCI slot of each card that is present, in the guest's order: eth0, eth1, …

    A card without a slot (or with -1: VMware chooses at power-on) gets the next free one.
    """
    written = {card: number(values.get(f"{card}.pcislotnumber", "")) for card in cards(values)}
    found = {card: slot for card, slot in written.items() if slot is not None}
    free = (slot for slot in count(FIRST_SLOT) if slot not in found.values())
    for card in written:
        if card not in found:
            found[card] = next(free)
    return dict(sorted(found.items(), key=lambda entry: (_place(entry[1]), entry[0])))


def _place(slot: int) -> tuple[int, int, int]:
    """Where Linux finds a slot when it looks through the buses: bridge, its function, device.

    VMware's number is function * 1024 + (bridge + 1) * 32 + device; below 32 there is no
    bridge. So 1184 (pciBridge4, function 1) comes before 192 (pciBridge5).
    """
    return slot >> 5 & 31, slot >> 10, slot & 31


def read_text(path: Path) -> str:
    """The text of a .vmx, one character a byte, so that it can be written back unchanged.

    Raises InputError if there is no such file.
    """
    try:
        return path.read_bytes().decode("latin-1")
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise InputError("there is no such .vmx", where=str(path)) from None


def read(path: Path) -> VmxMachine:
    """The machine that a .vmx describes.

    Raises InputError if it is encrypted, or lacks memory, disk or number.
    """
    values = load(path)
    demand_readable(values, path)
    cdroms, disks = [], []
    for key, name in values.items():
        match = _DISK.match(key)
        device = key.removesuffix(".filename")
        if not match or not is_on(values, f"{device}.present"):
            continue
        if values.get(f"{device}.devicetype", "").lower().startswith("cdrom"):
            if starts_connected(values, device):
                cdroms.append((device, path.parent / name))
        elif match[1].startswith("ide") or is_on(values, f"{match[1]}.present"):
            controller = values.get(f"{match[1]}.virtualdev", match[1].rstrip("0123456789"))
            disks.append((device, controller.lower(), path.parent / name))
    if not disks:
        raise InputError("this machine has no disk", where=str(path))
    disks.sort()
    return VmxMachine(
        name=values.get("displayname", path.stem),
        memory_mib=_number(path, values, "memsize"),
        cpus=_number(path, values, "numvcpus", 1),
        firmware=values.get("firmware", "bios").lower(),
        nics=_nics(path, values),
        disks=tuple(disk for _, _, disk in disks),
        controllers=tuple(controller for _, controller, _ in disks),
        cdrom=min(cdroms)[1] if cdroms else None,
    )


def _nics(path: Path, values: Mapping[str, str]) -> tuple[VmxNic, ...]:
    """The cards in the order of their PCI slots: so the guest counts eth0, eth1, …"""
    for card in cards(values):
        if values.get(key := f"{card}.pcislotnumber", "") not in ("", "-1"):
            _number(path, values, key)
    return tuple(
        VmxNic(
            interface=f"eth{number}",
            vnet=_vnet(path, values, card),
            mac=values.get(f"{card}.address", "").lower(),
            slot=slot,
            model=values.get(f"{card}.virtualdev", "e1000").lower(),
            connected=starts_connected(values, card),
        )
        for number, (card, slot) in enumerate(slots(values).items())
    )


def _vnet(path: Path, values: Mapping[str, str], card: str) -> str:
    kind = values.get(f"{card}.connectiontype", "").lower()
    if kind != "custom":
        return _OF_CONNECTION.get(kind, "VMnet0")
    name = values.get(f"{card}.vnet", "")
    match = _VNET.match(name)
    if not match:
        raise InputError(f"{card}.vnet is {name!r}, not a VMnet", where=str(path))
    return f"VMnet{int(match[1])}"


def _number(path: Path, values: Mapping[str, str], key: str, default: int | None = None) -> int:
    text = values.get(key, "" if default is None else str(default))
    found = number(text)
    if found is None:
        raise InputError(f"{key} is {text!r}, not a number", where=str(path))
    return found
