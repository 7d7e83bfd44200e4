"""Proxmox VE as a platform, by its API (proxmoxer): what is found, made, changed, removed there.

Source: the API's own description (pve-docs, api-viewer) of Proxmox VE 9. A machine's mark is in its
notes, a VNet's in its alias, a rule's in its comment: the call that makes the object writes it. A
machine is known by its number; its network cards have the names of VNets as bridges.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from lvslab.core.events import Listener
from lvslab.deploy import proxmox_machine
from lvslab.deploy.credentials import Credentials
from lvslab.deploy.platforms import Bounds, Platform
from lvslab.deploy.proxmox_api import Api, errors_in_words
from lvslab.deploy.site import ProxmoxSite, Site, pool
from lvslab.deploy.trust import Address
from lvslab.deploy.wanted import (
    Found,
    Mark,
    Wanted,
    WantedImage,
    WantedMachine,
    WantedNetwork,
    WantedRule,
    WantedSeed,
    seed_mark,
)

TAG = "lvslab"
_AT_ONCE = 8
_LEADS_OUT = {"vlan": "bridge", "qinq": "bridge", "evpn": "exitnodes"}
"""Kinds of zones that may lead to a real network, and the setting that says through what."""


_PENDING = "not in force"
"""In the state of a VNet: `new`, `changed` or `deleted`, until the SDN is applied."""


@dataclass(frozen=True)
class ClusterGuest:
    """The platform's handle of a machine: the node that has it, its number."""

    node: str
    number: int

    @property
    def sid(self) -> str:
        """What the HA manager calls it."""
        return f"vm:{self.number}"


def connect(site: Site, who: Credentials, address: Address, trusted: ssl.SSLContext) -> Platform:
    """Log in. Raises InputError if the server refuses that."""
    assert isinstance(site, ProxmoxSite)
    return Proxmox(site, Api(who, address, trusted))


def network_name(mark: Mark, tag: int) -> str:
    """The name of a VNet: at most 8 letters and digits, so it is the number."""
    del mark  # it is in the alias
    return f"lv{tag:06x}"


class Proxmox:
    """A cluster of Proxmox VE, as `Platform` says."""

    def __init__(self, site: ProxmoxSite, api: Api) -> None:
        self.switch = site.zone
        self.limits = Bounds(63, 0xFFFFFF, network_name, pool(site.numbers), rules=site.ha)
        self._site, self._api = site, api
        self._refs: dict[tuple[str, str], Any] = {}

    @property
    def _first(self) -> str:
        """The node that has images and files."""
        return self._site.nodes[0]

    # --- find -----------------------------------------------------------------------------

    def find(self) -> list[Found]:
        """See `Platform`."""
        with errors_in_words("looking at what is there"):
            machines = list(self._machines())
            names = {this.ref.sid: this for this in machines if this.kind == "machine"}
            rules = list(self._rules(names)) if self._site.ha else []
            found = [*self._networks(), *self._seeds(), *machines, *rules]
        self._refs = {(this.kind, this.name): this.ref for this in found}
        return found

    def _networks(self) -> Iterator[Found]:
        for vnet in self._api.root.cluster.sdn.vnets.get(pending=1):
            values = vnet | vnet.get("pending", {})
            state = {"switch": str(values.get("zone", "")), "tag": str(values.get("tag", "none"))}
            if vnet.get("state"):
                state[_PENDING] = str(vnet["state"])
            number = int(values["tag"]) if values.get("tag") else None
            mark = Mark.read(values.get("alias"))
            yield Found("network", vnet["vnet"], mark, state, number, vnet["vnet"])

    def _seeds(self) -> Iterator[Found]:
        content = self._storage(self._first, self._site.files).content
        for file in content.get(content="iso"):
            name = file["volid"].rpartition("/")[2]
            mark = seed_mark(name)
            yield Found("seed", name, mark, {"size": str(file["size"])}, ref=file["volid"])

    def _machines(self) -> Iterator[Found]:
        """Machines of ours, and others that have a number which the site gives to the labs."""
        numbers = self.limits.numbers or range(0)
        listed = [
            this
            for this in self._api.root.cluster.resources.get(type="vm")
            if this["vmid"] in numbers or TAG in str(this.get("tags", "")).split(";")
        ]
        with ThreadPoolExecutor(_AT_ONCE) as pool_:
            configs = list(pool_.map(self._config, listed))
        for this, config in zip(listed, configs, strict=True):
            mark, ref = (
                Mark.read(config.get("description")),
                ClusterGuest(this["node"], this["vmid"]),
            )
            name = config.get("name", f"VM {ref.number}")
            if mark and mark.of.startswith("image-"):
                whole = "yes" if this.get("template") else "no"
                yield Found("image", name, mark, {"whole": whole}, ref.number, ref)
                continue
            yield Found("machine", name, mark, proxmox_machine.state(config), ref.number, ref)
            if this.get("status") == "running":
                yield Found("power", name, mark, {}, ref=ref)

    def _config(self, listed: Mapping[str, Any]) -> Mapping[str, Any]:
        kind = self._api.root.nodes(listed["node"])
        machine = kind.lxc if listed["type"] == "lxc" else kind.qemu
        config: Mapping[str, Any] = machine(listed["vmid"]).config.get(current=1)
        return config

    def _rules(self, machines: Mapping[str, Found]) -> Iterator[Found]:
        managed = {this["sid"] for this in self._api.root.cluster.ha.resources.get()}
        for rule in self._api.root.cluster.ha.rules.get():
            sids = str(rule.get("resources", "")).split(",")
            names = sorted(machines[sid].name if sid in machines else sid for sid in sids)
            word = "apart" if rule.get("affinity") == "negative" else "together"
            state = {word: " ".join(names)}
            if not managed.issuperset(sids):
                state["managed"] = "not all"
            yield Found("rule", rule["rule"], Mark.read(rule.get("comment")), state, ref=sids)

    # --- problems -------------------------------------------------------------------------

    def problems(self, wanted: Sequence[Wanted], found: Sequence[Found]) -> Iterable[str]:
        """See `Platform`."""
        with errors_in_words("looking at the zone and the storages"):
            yield from self._zone_problems()
            yield from self._storage_problems()
        yield from _number_problems(wanted, found)

    def _zone_problems(self) -> Iterator[str]:
        zone = self._api.root.cluster.sdn.zones(self._site.zone).get()
        name, kind = self._site.zone, zone.get("type")
        if through := zone.get(_LEADS_OUT.get(kind, "")):
            yield (
                f"the zone {name} ({kind}) leads to a real network through {through}; use a zone "
                "of kind vxlan or simple"
            )
        if kind == "simple" and self._site.reach == "cluster" and len(self._site.nodes) > 1:
            yield (
                f"the networks of the zone {name} (simple) end at each node, and the site says "
                "reach: cluster; use a zone of kind vxlan, or one node"
            )

    def _storage_problems(self) -> Iterator[str]:
        needs = {self._site.storage: {"images"}}
        needs[self._site.files] = needs.get(self._site.files, set()) | {"iso", "import", "images"}
        there = {this["storage"]: this for this in self._node(self._first).storage.get()}
        for name, content in needs.items():
            if name not in there:
                yield f"{self._first} has no storage {name}"
                continue
            lacking = content - set(str(there[name].get("content", "")).split(","))
            if lacking:
                yield f"the storage {name} does not take {', '.join(sorted(lacking))}"
            if len(self._site.nodes) > 1 and not there[name].get("shared"):
                yield f"the storage {name} is not shared, and the site names several nodes"

    # --- make, change, remove -------------------------------------------------------------

    def make(self, wanted: Wanted, listener: Listener) -> None:
        """See `Platform`."""
        with errors_in_words("Proxmox VE refuses it"):
            match wanted:
                case WantedNetwork():
                    values = {"zone": wanted.switch, "tag": wanted.tag, "alias": wanted.mark.text}
                    self._api.root.cluster.sdn.vnets.post(vnet=wanted.name, **values)
                case WantedImage():
                    self._import(wanted)
                case WantedSeed():
                    files = self._site.files
                    self._api.upload(self._first, files, "iso", wanted.path, wanted.name)
                case WantedMachine():
                    self._clone(wanted)
                case WantedRule():
                    self._put_rule(wanted, self._api.root.cluster.ha.rules.post)
                case _:
                    self._run(self._refs["machine", wanted.name], "start")

    def change(self, wanted: Wanted, found: Found, listener: Listener) -> None:
        """See `Platform`."""
        with errors_in_words("Proxmox VE refuses it"):
            match wanted:
                case WantedNetwork() if not _going(found):
                    values = {"zone": wanted.switch, "tag": wanted.tag, "alias": wanted.mark.text}
                    self._api.root.cluster.sdn.vnets(wanted.name).put(**values)
                case WantedNetwork():
                    self.make(wanted, listener)
                case WantedMachine():
                    values = proxmox_machine.changes(wanted, found.state, self._site.files)
                    self._machine(found.ref).config.put(**values)
                case WantedRule():
                    self._put_rule(wanted, self._api.root.cluster.ha.rules(wanted.name).put)
                case _:  # an image or a seed that was not made to the end
                    self.remove(found)
                    self.make(wanted, listener)

    def remove(self, found: Found) -> None:
        """See `Platform`."""
        with errors_in_words("Proxmox VE refuses it"):
            match found.kind:
                case "network":
                    if not _going(found):
                        self._api.root.cluster.sdn.vnets(found.ref).delete()
                case "seed":
                    self._delete_file(found.ref)
                case "rule":
                    self._api.root.cluster.ha.rules(found.name).delete()
                    for sid in found.ref:
                        self._api.root.cluster.ha.resources(sid).delete()
                case "power":
                    self._run(found.ref, "stop")
                case _:
                    self._api.done(self._machine(found.ref).delete(purge=1))

    def settle(self, kind: str) -> None:
        """Networks are in force when the whole configuration of the SDN is applied."""
        if kind == "network":
            with errors_in_words("Proxmox VE does not apply the networks"):
                self._api.done(self._api.root.cluster.sdn.put())

    def _import(self, wanted: WantedImage) -> None:
        """A machine with the OVA's disk becomes a template; the uploaded OVA is removed."""
        files, name = self._site.files, f"lvslab-{wanted.sha256[:16]}.ova"
        self._api.upload(self._first, files, "import", wanted.ova, name)
        volume = f"{files}:import/{name}"
        values = proxmox_machine.image(wanted, self._site.storage, volume) | {"tags": TAG}
        if self._site.pool:
            values["pool"] = self._site.pool
        qemu = self._node(self._first).qemu
        self._api.done(qemu.post(vmid=wanted.number, **values))
        self._api.done(qemu(wanted.number).template.post())
        self._delete_file(volume)

    def _clone(self, wanted: WantedMachine) -> None:
        image = self._refs["image", wanted.image]
        nodes = self._site.nodes
        target = nodes[wanted.place % len(nodes)]
        values = {"newid": wanted.number, "name": wanted.name, "full": 0}
        values |= {"description": proxmox_machine.notes(wanted)}
        if target != image.node:
            values["target"] = target
        if self._site.pool:
            values["pool"] = self._site.pool
        self._api.done(self._machine(image).clone.post(**values))
        self._machine(ClusterGuest(target, wanted.number)).config.put(
            **proxmox_machine.changes(wanted, {}, self._site.files)
        )

    def _put_rule(self, wanted: WantedRule, send: Any) -> None:
        sids = [self._refs["machine", name].sid for name in wanted.machines]
        managed = {this["sid"] for this in self._api.root.cluster.ha.resources.get()}
        for sid in sids:
            if sid not in managed:
                self._api.root.cluster.ha.resources.post(sid=sid, comment=wanted.mark.text)
        send(
            rule=wanted.name,
            type="resource-affinity",
            affinity="negative" if wanted.apart else "positive",
            resources=",".join(sids),
            comment=wanted.mark.text,
        )

    def _run(self, machine: ClusterGuest, word: str) -> None:
        """Start or stop a machine."""
        self._api.done(self._machine(machine).status(word).post())

    def _delete_file(self, volume: str) -> None:
        upid = self._storage(self._first, self._site.files).content(volume).delete()
        if upid:  # a short deletion is no task
            self._api.done(upid)

    def _node(self, name: str) -> Any:
        return self._api.root.nodes(name)

    def _storage(self, node: str, name: str) -> Any:
        return self._node(node).storage(name)

    def _machine(self, this: ClusterGuest) -> Any:
        return self._node(this.node).qemu(this.number)

    def close(self) -> None:
        """See `Platform`."""
        self._api.close()


def _going(network: Found) -> bool:
    """Whether a VNet is removed, and still in force."""
    return network.state.get(_PENDING) == "deleted"


def _number_problems(wanted: Sequence[Wanted], found: Sequence[Found]) -> Iterator[str]:
    """Numbers that must be a machine of ours, and are one of somebody else's."""
    owners = {this.number: this for this in found if this.kind in ("machine", "image")}
    for this in wanted:
        if isinstance(this, WantedMachine | WantedImage):
            owner = owners.get(this.number)
            if owner and (owner.name, owner.mark) != (this.name, this.mark):
                yield f"{this.name} must have the number {this.number}, which {owner.name} has"
