"""Rules for seeds: ISOs (or disks) that cloud-init's NoCloud source takes."""

from __future__ import annotations

import io
from functools import cached_property
from ipaddress import IPv4Interface
from typing import Any, BinaryIO

import pycdlib
import yaml
from pycdlib.pycdlibexception import PyCdlibException

from lvslab.check.verify.cloud import plain_passwords
from lvslab.check.verify.rules import Refused, RuleSet, Unreadable, demand
from lvslab.export.seed import LABEL
from lvslab.model.lab import Lab

SEED: RuleSet[SeedIso] = RuleSet()

_FILES = ("meta-data", "network-config", "user-data")


class SeedIso:
    """An ISO; `node` is the node that it should be for, `lab` the lab if it is known."""

    def __init__(self, file: BinaryIO, node: str, lab: Lab | None) -> None:
        self._file, self.node, self.lab = file, node, lab

    @cached_property
    def iso(self) -> Any:
        """The open image; raises Unreadable."""
        image = pycdlib.PyCdlib()
        try:
            image.open_fp(self._file)
        except (PyCdlibException, OSError) as error:
            raise Unreadable(f"it is not an ISO 9660 image ({error})") from None
        return image

    @cached_property
    def texts(self) -> dict[str, str]:
        """The files by their Rock Ridge names; raises Unreadable."""
        return self._read("rr_path")

    @cached_property
    def joliet_texts(self) -> dict[str, str]:
        """The files by their Joliet names; raises Unreadable."""
        return self._read("joliet_path")

    def _read(self, kind: str) -> dict[str, str]:
        found = {}
        for name in _FILES:
            data = io.BytesIO()
            try:
                self.iso.get_file_from_iso_fp(data, **{kind: f"/{name}"})
                found[name] = data.getvalue().decode()
            except (PyCdlibException, UnicodeDecodeError) as error:
                raise Unreadable(f"{name} cannot be read by its {kind} ({error})") from None
        return found

    def value(self, name: str) -> dict[str, Any]:
        """A file's YAML; raises Refused if it is no mapping, Unreadable without the file."""
        try:
            value = yaml.safe_load(self.texts[name])
        except yaml.YAMLError as error:
            raise Refused(f"{name} is not YAML: {error}") from None
        if not isinstance(value, dict):
            raise Refused(f"{name} is not a mapping")
        return value

    @property
    def interfaces(self) -> dict[str, Any]:
        """The interfaces of the network-config by name; raises Refused and Unreadable."""
        config = self.value("network-config")
        config = config.get("network", config)
        if config.get("version") != 2:
            raise Refused("network-config is not of version 2")
        return dict(config.get("ethernets") or {})


@SEED.rule(
    "seed-label",
    f"the volume is labelled {LABEL}",
    "cloud-init does not see it: the machine starts without a seed",
)
def _label(seed: SeedIso) -> str:
    try:
        found = seed.iso.pvd.volume_identifier.decode(errors="replace").strip()
    except Unreadable as error:
        raise Refused(str(error)) from None
    demand(found.lower() == LABEL, f"the label is {found!r}")
    return f"labelled {found}"


@SEED.rule(
    "seed-files",
    "user-data, meta-data and network-config are there by Rock Ridge and by Joliet name",
    "cloud-init ignores a seed without user-data and meta-data",
)
def _files(seed: SeedIso) -> str:
    try:
        demand(seed.texts == seed.joliet_texts, "Rock Ridge and Joliet names give other files")
    except Unreadable as error:
        raise Refused(str(error)) from None
    return "all three files, by both names"


@SEED.rule(
    "seed-user-data",
    "user-data is a cloud-config that can be read",
    "cloud-init: 'Unhandled non-multipart userdata', and nothing is done",
)
def _user_data(seed: SeedIso) -> str:
    first = seed.texts["user-data"].partition("\n")[0].strip()
    demand(first == "#cloud-config", f"user-data begins with {first!r}, not #cloud-config")
    seed.value("user-data")
    return "user-data is a cloud-config"


@SEED.rule(
    "seed-node",
    "meta-data names the node of the file's name, and an instance id",
    "the machine comes up under another name, and keepalived takes another node's lines",
)
def _node(seed: SeedIso) -> str:
    meta = seed.value("meta-data")
    demand(meta.get("instance-id"), "meta-data has no instance-id")
    name = meta.get("local-hostname")
    demand(name == seed.node, f"it is the seed of {name}, not of {seed.node}")
    if seed.lab:
        demand(name in seed.lab.nodes, f"{name} is not in the lab")
    return f"the seed of {name}"


@SEED.rule(
    "seed-interfaces",
    "network-config goes by interface name, never by MAC address",
    "an import changes MAC addresses: the machine comes up without its networks",
)
def _interfaces(seed: SeedIso) -> str:
    for name, settings in seed.interfaces.items():
        match = (settings or {}).get("match") or {}
        demand("macaddress" not in match, f"{name} goes by its MAC address")
    if seed.lab and seed.node in seed.lab.nodes:
        ours = set(seed.lab.nodes[seed.node].interfaces)
        for name in seed.interfaces:
            demand(name in ours, f"{seed.node} has no {name} in the lab")
    return "interfaces are " + ", ".join(seed.interfaces)


@SEED.rule(
    "seed-addresses",
    "the static addresses are the node's own, each once",
    "two machines answer for one address",
)
def _addresses(seed: SeedIso) -> str:
    found = {
        IPv4Interface(address): name
        for name, settings in seed.interfaces.items()
        for address in (settings or {}).get("addresses") or ()
    }
    count = sum(len((s or {}).get("addresses") or ()) for s in seed.interfaces.values())
    demand(len(found) == count, "an address is given twice")
    node = seed.lab.nodes.get(seed.node) if seed.lab else None
    if seed.lab and node:
        for address, name in found.items():
            wanted = seed.lab.address_of(seed.node, node.interfaces.get(name, ""))
            demand(address == wanted, f"{name} has {address}, the lab says {wanted}")
    return ", ".join(str(address) for address in found) or "no static address"


@SEED.rule(
    "seed-no-plain-password",
    "no password in plain text, no SSH log-in by password, no private key",
    "none refuses it: everybody who has the seed has the password",
)
def _no_plain_password(seed: SeedIso) -> str:
    data = seed.value("user-data")
    demand("password" not in data, "a password is in plain text")
    demand(data.get("ssh_pwauth") in (None, False), "SSH takes passwords")
    demand("ssh_keys" not in data, "host keys are in the seed")
    for sentence in plain_passwords(data):
        raise Refused(sentence)
    return "no secret in plain text"
