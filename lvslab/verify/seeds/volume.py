"""Rules for seeds: volumes that cloud-init's NoCloud source takes.

Source: cloud-init's documentation, "NoCloud", and its sources: DataSourceNoCloud.py (user-data
and meta-data must be there, network-config and vendor-data may).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO

import pycdlib

from lvslab.formats.seed_iso import LABEL
from lvslab.verify.disks import fat
from lvslab.verify.rules import Absent, Refused, RuleSet, Unreadable, demand, reading
from lvslab.verify.seeds import cloud, labtexts, netconfig, userdata

if TYPE_CHECKING:
    from lvslab.model.lab import Lab

SEED: RuleSet[SeedIso] = RuleSet()

_NEEDED, _NETWORK = ("meta-data", "user-data"), "network-config"
_NAMES = ("rr_path", "joliet_path")
_PRIVATE = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")


class SeedIso:
    """An ISO, or a volume of FAT.

    `node` is the node that it should be for (None: any), `lab` the lab if it is known.
    """

    def __init__(self, file: BinaryIO, node: str | None, lab: Lab | None) -> None:
        self._file, self.node, self.lab = file, node, lab

    @cached_property
    def iso(self) -> Any:
        """The open image; raises Unreadable."""
        image = pycdlib.PyCdlib()
        try:
            with reading("it"):
                image.open_fp(self._file)
        except Unreadable as error:
            raise Unreadable(f"it is not an ISO 9660 image ({error})") from None
        return image

    @property
    def label(self) -> str:
        """The volume's label; raises Unreadable."""
        found = fat.label(self._file)
        if found is None:
            with reading("the label"):
                found = self.iso.pvd.volume_identifier.decode(errors="replace").strip()
        return found

    @cached_property
    def by_names(self) -> dict[str, dict[str, bytes]]:
        """The files by each kind of names that the volume has; raises Unreadable."""
        if fat.label(self._file) is not None:
            return {"fat": fat.files(self._file, (*_NEEDED, _NETWORK))}
        there = {"rr_path": self.iso.has_rock_ridge(), "joliet_path": self.iso.has_joliet()}
        return {kind: self._read(kind) for kind in _NAMES if there[kind]}

    def _read(self, kind: str) -> dict[str, bytes]:
        found = {}
        for name in (*_NEEDED, _NETWORK):
            data = io.BytesIO()
            try:
                with reading(name):
                    self.iso.get_file_from_iso_fp(data, **{kind: f"/{name}"})
            except Unreadable:
                continue
            found[name] = data.getvalue()
        return found

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The files as Linux sees them: by Rock Ridge names if there are such."""
        return next(iter(self.by_names.values()), {})

    def data(self, name: str) -> bytes:
        """A file's content; raises Unreadable without the file."""
        if name not in self.files:
            raise Unreadable(f"there is no {name}")
        return self.files[name]

    @cached_property
    def parts(self) -> list[userdata.MimePart]:
        """The parts of the user-data; raises Unreadable for what cloud-init does not read."""
        with _owned("user-data"):
            return userdata.parts(self.data("user-data"))

    @cached_property
    def meta(self) -> Mapping[str, Any]:
        """The meta-data; raises Unreadable."""
        with _owned("meta-data"):
            return _mapping(self.data("meta-data"), "meta-data")

    @cached_property
    def network(self) -> Mapping[str, Any]:
        """The network-config; raises Absent without it, Refused if it is not a mapping."""
        if self.files and _NETWORK not in self.files:
            raise Absent(f"there is no {_NETWORK}: every interface asks DHCP")
        return _mapping(self.data(_NETWORK), _NETWORK)

    @cached_property
    def interfaces(self) -> list[netconfig.Interface]:
        """What the network-config sets up; raises Absent without it, Unreadable."""
        with _owned(_NETWORK):
            return netconfig.interfaces(self.network)

    @property
    def name(self) -> str:
        """The host name in the meta-data; empty if there is none."""
        return str(self.meta.get("local-hostname") or self.meta.get("hostname") or "")

    @property
    def lab_node(self) -> str:
        """The node of the lab that it should be for; empty if the lab has none of these names."""
        names = (self.node, self.name)
        return next((name for name in names if name and self.lab and name in self.lab.nodes), "")


@contextmanager
def _owned(name: str) -> Iterator[None]:
    """Another rule refuses what is wrong with this file."""
    try:
        yield
    except Refused as refusal:
        raise Unreadable(f"{name}: {refusal}") from None


@lru_cache(maxsize=16)
def _mapping(data: bytes, name: str) -> Mapping[str, Any]:
    """The mapping that a file is. Several rules ask for the same one."""
    try:
        value = cloud.load(data.decode())
    except UnicodeDecodeError:
        raise Refused(f"{name} is not UTF-8 text") from None
    except Unreadable as error:
        raise Refused(f"{name}: {error}") from None
    if value is not None and not isinstance(value, dict):
        raise Refused(f"{name} is not a mapping")
    return value or {}


@SEED.rule(
    "seed-label",
    f"the volume is labelled {LABEL}",
    "cloud-init does not see it: the machine starts without a seed",
)
def _label(seed: SeedIso) -> str:
    try:
        found = seed.label
    except Unreadable as error:
        raise Refused(str(error)) from None
    demand(found.lower() == LABEL, f"the label is {found!r}")
    return f"labelled {found}"


@SEED.rule(
    "seed-files",
    "user-data and meta-data are there",
    "cloud-init ignores a seed without them",
)
def _files(seed: SeedIso) -> str:
    try:
        for name in _NEEDED:
            seed.data(name)
    except Unreadable as error:
        raise Refused(str(error)) from None
    return ", ".join(seed.files)


@SEED.advice(
    "seed-names",
    "all three files, also network-config, have a Rock Ridge and a Joliet name",
    "no importer refuses it: without network-config every interface asks DHCP; Windows, where "
    "teachers look into seeds, uses Joliet names",
)
def _both_names(seed: SeedIso) -> str:
    for kind in _NAMES:
        demand(kind in seed.by_names, f"there are no names of the kind {kind.partition('_')[0]}")
    first, second = seed.by_names.values()
    demand(first == second, "Rock Ridge and Joliet names give other files")
    demand(_NETWORK in first, f"there is no {_NETWORK}")
    return "all three files, by both names"


@SEED.rule(
    "seed-user-data",
    "user-data is of a kind that cloud-init reads, and its cloud-config is a mapping",
    "cloud-init: 'Unhandled non-multipart userdata', and nothing is done",
)
def _user_data(seed: SeedIso) -> str:
    found = userdata.parts(seed.data("user-data"))
    for part in found:
        if part.kind == userdata.CONFIG:
            _mapping(part.text.encode(), "user-data")
    return "user-data: " + (", ".join(part.kind for part in found) or "nothing")


@SEED.advice(
    "seed-one-config",
    "user-data is one cloud-config",
    "no importer refuses it, but what a script or a template does is not looked at",
)
def _one_config(seed: SeedIso) -> str:
    kinds = [part.kind for part in seed.parts]
    demand(kinds == [userdata.CONFIG], f"user-data is {', '.join(kinds) or 'empty'}")
    return "user-data is a cloud-config"


@SEED.rule(
    "seed-meta-data",
    "meta-data is a mapping",
    "cloud-init: the meta-data is not read, and the machine gets no name",
)
def _meta_data(seed: SeedIso) -> str:
    return f"{len(_mapping(seed.data('meta-data'), 'meta-data'))} values"


@SEED.advice(
    "seed-node",
    "meta-data names the node of the file's name (in an OVA: of the machine's) and an instance id",
    "no importer refuses it: the machine starts under another name, and keepalived takes another "
    "node's lines",
)
def _node(seed: SeedIso) -> str:
    demand(seed.meta.get("instance-id"), "meta-data has no instance-id")
    wanted = seed.node if seed.node is not None else seed.name
    demand(seed.name == wanted, f"it is the seed of {seed.name or 'no node'}, not of {wanted}")
    if seed.lab:
        demand(seed.name in seed.lab.nodes, f"{seed.name} is not in the lab")
    return f"the seed of {seed.name}"


@SEED.rule(
    "seed-network",
    "network-config is of version 1 or 2, and its addresses are valid",
    "cloud-init: the network is not set up",
)
def _network(seed: SeedIso) -> str:
    found = netconfig.interfaces(seed.network)
    return "interfaces are " + (", ".join(i.name for i in found) or "as they are")


@SEED.advice(
    "seed-interfaces",
    "network-config is of version 2 and uses interface names, never MAC addresses",
    "no importer refuses it: an import changes MAC addresses, and the machine has none of its "
    "networks",
)
def _interfaces(seed: SeedIso) -> str:
    for interface in seed.interfaces:
        demand(not interface.mac, f"{interface.name} is found by its MAC address")
    version = seed.network.get("network", seed.network).get("version")
    demand(version in (2, None), f"network-config is of version {version}")
    if seed.lab and (node := seed.lab_node):
        ours = set(seed.lab.nodes[node].interfaces)
        for interface in seed.interfaces:
            demand(interface.name in ours, f"{node} has no {interface.name} in the lab")
    return "interfaces are " + ", ".join(i.name for i in seed.interfaces)


@SEED.rule(
    "seed-addresses",
    "each static address appears once and, if the lab is known, belongs to the node",
    "two machines answer for one address",
)
def _addresses(seed: SeedIso) -> str:
    found = [(address, i.name) for i in seed.interfaces for address in i.addresses]
    demand(len({a for a, _ in found}) == len(found), "an address is given twice")
    if seed.lab and (node := seed.lab_node):
        wires = seed.lab.nodes[node].interfaces
        for address, name in found:
            wanted = seed.lab.addresses_of(node, wires.get(name, ""))
            says = " and ".join(map(str, wanted)) or "it has none"
            demand(address in wanted, f"{name} has {address}, the lab says {says}")
    return ", ".join(str(address) for address, _ in found) or "no static address"


@SEED.rule(
    "seed-lab-texts",
    "what the lab changes in the image is whole: each text has the sum that goes with it",
    "apply-texts in the image refuses it: the machine joins nothing",
)
def _lab_texts(seed: SeedIso) -> str:
    try:
        texts = [part.text for part in seed.parts if part.kind == userdata.CONFIG]
        values = [_mapping(text.encode(), "user-data") for text in texts]
    except (Refused, Unreadable) as error:
        raise Absent(str(error)) from None  # the rule about user-data refuses it
    return "; ".join(map(labtexts.look, values)) or "the image's own texts"


@SEED.advice(
    "seed-no-plain-password",
    "no password in plain text, no SSH login by password, no private key",
    "no importer refuses it: everybody who has the seed has the password",
)
def _no_plain_password(seed: SeedIso) -> str:
    for part in seed.parts:
        demand(not _PRIVATE.search(part.text), f"a private key is in the {part.kind}")
        if part.kind == userdata.TEMPLATE:
            for sentence in cloud.log_ins(part.text):
                demand("passwd" not in sentence and "password" not in sentence, sentence)
        if part.kind == userdata.CONFIG:
            with _owned("user-data"):
                values = _mapping(part.text.encode(), "user-data")
            _demand_no_secret(values)
    return "no secret in plain text"


def _demand_no_secret(data: Mapping[str, Any]) -> None:
    demand("password" not in data, "a password is in plain text")
    demand(data.get("ssh_pwauth") in (None, False), "SSH takes passwords")
    demand("ssh_keys" not in data, "host keys are in the seed")
    for sentence in cloud.plain_passwords(data):
        raise Refused(sentence)
