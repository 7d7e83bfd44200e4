"""A machine of Proxmox VE as its configuration: read, and written. Pure.

Source: qm.conf(5). Values are property strings: `e1000=00:50:56:01:01:00,bridge=lv000bb8`.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

from lvslab.core.errors import InputError
from lvslab.deploy.wanted import WantedImage, WantedMachine

_MODEL = "e1000"
_DRIVE = "ide2"
_IMAGE = re.compile(r"^image: (\S+)", re.MULTILINE)


def notes(wanted: WantedMachine) -> str:
    """What a machine's notes say: its mark, and which image its disk is based on."""
    return f"{wanted.mark.text}\n\nimage: {wanted.image}\n"


def image(wanted: WantedImage, storage: str, volume: str) -> dict[str, Any]:
    """The settings of the machine that holds an image's disk, out of an OVA on a storage.

    Cards and seed come with each clone. Raises InputError if the OVA has no disk.
    """
    with tarfile.open(wanted.ova) as archive:
        disk = next((name for name in archive.getnames() if name.endswith(".vmdk")), None)
    if disk is None:
        raise InputError("there is no .vmdk in it", where=str(wanted.ova))
    return {
        "name": wanted.name,
        "description": f"{wanted.mark.text}\n",
        "ostype": "l26",
        "scsihw": "lsi",
        "scsi0": f"{storage}:0,import-from={volume}/{disk}",
        "boot": "order=scsi0",
        "memory": 512,
        "cores": 1,
    }


def state(config: Mapping[str, Any]) -> dict[str, str]:
    """The state of a machine, as `WantedMachine.state` has it."""
    found = _IMAGE.search(config.get("description", ""))
    return {
        "image": found[1] if found else "",
        "seed": _volume(str(config.get(_DRIVE, ""))),
        "memory": str(config.get("memory", 512)),
        "cpus": str(int(config.get("cores", 1)) * int(config.get("sockets", 1))),
        **dict(_cards(config)),
    }


def changes(wanted: WantedMachine, found: Mapping[str, str], files: str) -> dict[str, Any]:
    """The settings with which a machine of this state becomes what it must be."""
    values: dict[str, Any] = {}
    if found.get("memory") != str(wanted.memory_mib):
        values["memory"] = wanted.memory_mib
    if found.get("cpus") != str(wanted.cpus):
        values |= {"cores": wanted.cpus, "sockets": 1}
    if found.get("seed") != wanted.seed:
        values[_DRIVE] = f"{files}:iso/{wanted.seed},media=cdrom"
    for number, card in enumerate(wanted.cards):
        if found.get(card.interface) != card.text:
            values[f"net{number}"] = f"{_MODEL}={card.mac},bridge={card.network}"
    known = {card.interface for card in wanted.cards}
    if extra := [key for key in found if key.startswith("eth") and key not in known]:
        values["delete"] = ",".join(key.replace("eth", "net") for key in extra)
    return values


def _cards(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in sorted(key for key in config if re.fullmatch(r"net\d+", key)):
        parts = dict(part.partition("=")[::2] for part in str(config[key]).split(","))
        model, mac = next(iter(parts.items()))
        words = [parts.get("bridge", "no network"), mac.lower()]
        if model != _MODEL:
            words.append(f"({model})")
        if parts.get("link_down") == "1":
            words.append("(its link is down)")
        yield key.replace("net", "eth"), " ".join(words)


def _volume(drive: str) -> str:
    """The file in a CD-ROM drive, without its storage; empty if there is none."""
    return drive.partition(",")[0].rpartition("/")[2]
