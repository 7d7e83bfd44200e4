"""vSphere as a platform, by its API (pyVmomi): what is found, made, changed and removed there.

Source: VMware's vSphere Web Services API reference. A machine's mark is in its extraConfig, a
port group's in its description: both are written by the call that makes the object, so that
nothing of ours is ever without one. A rule is ours if all its machines are.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from pyVmomi import vim, vmodl

from lvslab.core.events import Listener
from lvslab.deploy import upload
from lvslab.deploy.credentials import Credentials
from lvslab.deploy.platforms import Bounds, Platform
from lvslab.deploy.site import Site, VsphereSite
from lvslab.deploy.trust import Address
from lvslab.deploy.vsphere_image import import_image
from lvslab.deploy.vsphere_inventory import Inventory, errors_in_words
from lvslab.deploy.vsphere_machine import MARK, PortGroup, changed, cloned, extra, state
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

SEED_FOLDER = "lvslab-seeds"
_MACHINE = ("name", "config.extraConfig", "config.hardware", "runtime.powerState", "snapshot")


def connect(site: Site, who: Credentials, address: Address, trusted: ssl.SSLContext) -> Platform:
    """Log in. Raises InputError if the server or a place of the site is not as it should be."""
    assert isinstance(site, VsphereSite)
    return Vsphere(site, Inventory(site, who, address, trusted), trusted)


def _network_name(mark: Mark, tag: int) -> str:
    del tag  # a name of vSphere has room for words
    return "-".join(filter(None, (mark.lab, mark.student, mark.of)))


class Vsphere:
    """A vCenter, as `Platform` says."""

    limits = Bounds(80, 4094, _network_name, None, rules=True)

    def __init__(self, site: VsphereSite, places: Inventory, trusted: ssl.SSLContext) -> None:
        self.switch = site.switch
        self._site, self._places, self._trusted = site, places, trusted
        self._refs: dict[tuple[str, str], Any] = {}
        self._rules = threading.Lock()
        self._empty: dict[str, int] = {}

    # --- find -----------------------------------------------------------------------------

    def find(self) -> list[Found]:
        """See `Platform`."""
        with errors_in_words("looking at what is there"):
            networks = list(self._networks())
            machines = list(self._machines({this.ref.key: this.name for this in networks}))
            found = [*networks, *self._seeds(), *machines, *self._find_rules(machines)]
        self._refs = {(this.kind, this.name): this.ref for this in found}
        return found

    def _networks(self) -> Iterator[Found]:
        kind = vim.dvs.DistributedVirtualPortgroup
        below = self._places.datacenter.networkFolder
        switch = self._places.switch_values["uuid"]
        names = {self._places.switch: self._site.switch}
        for ref, values in self._places.properties(below, kind, ["name", "config"]):
            config = values["config"]
            vlan = getattr(config.defaultPortConfig, "vlan", None)
            tag = getattr(vlan, "vlanId", None)
            number = tag if isinstance(tag, int) else None
            where = names.get(config.distributedVirtualSwitch, "another switch")
            state = {"switch": where, "tag": str(number or "none")}
            handle = PortGroup(ref, config.key, switch)
            yield Found(
                "network", values["name"], Mark.read(config.description), state, number, handle
            )

    def _machines(self, networks: Mapping[str, str]) -> Iterator[Found]:
        kind = vim.VirtualMachine
        for ref, values in self._places.properties(self._places.folder, kind, _MACHINE):
            settings = extra(values.get("config.extraConfig", ()))
            mark, name = Mark.read(settings.get(MARK)), values["name"]
            if mark and mark.of.startswith("image-"):
                whole = "yes" if _snapshot(values) else "no"
                yield Found("image", name, mark, {"whole": whole}, ref=ref)
                continue
            hardware = values.get("config.hardware")
            there = state(hardware, settings, networks) if hardware else {}
            yield Found("machine", name, mark, there, ref=ref)
            if values["runtime.powerState"] == vim.VirtualMachine.PowerState.poweredOn:
                yield Found("power", name, mark, {}, ref=ref)

    def _seeds(self) -> Iterator[Found]:
        wanted = vim.host.DatastoreBrowser.SearchSpec(
            details=vim.host.DatastoreBrowser.FileInfo.Details(
                fileSize=True, fileType=False, modification=False, fileOwner=False
            ),
            matchPattern=["*.iso"],
        )
        try:
            result = self._places.done(
                self._places.seeds.browser.SearchDatastore_Task(self._file(""), wanted)
            )
        except vim.fault.FileNotFound:
            return
        for file in result.file:
            state = {"size": str(file.fileSize)}
            yield Found("seed", file.path, seed_mark(file.path), state, ref=self._file(file.path))

    def _find_rules(self, machines: Sequence[Found]) -> Iterator[Found]:
        by_ref = {str(this.ref): this for this in machines if this.kind == "machine"}
        rules: list[Any] = self._places.cluster.configurationEx.rule
        for rule in rules:
            if not isinstance(
                rule, vim.cluster.AffinityRuleSpec | vim.cluster.AntiAffinityRuleSpec
            ):
                continue
            word = "together" if isinstance(rule, vim.cluster.AffinityRuleSpec) else "apart"
            inside = [by_ref.get(str(ref)) for ref in rule.vm if str(ref) in by_ref or _exists(ref)]
            if not inside:
                self._empty[str(rule.name)] = int(rule.key or 0)
                continue
            names = sorted(this.name if this else "a machine of others" for this in inside)
            state = {word: " ".join(names)}
            if rule.enabled is False:
                state["enabled"] = "no"
            yield Found("rule", str(rule.name), _whose(inside, word), state, ref=rule)

    def _file(self, name: str) -> str:
        return f"[{self._places.seeds.name}] {SEED_FOLDER}/{name}".rstrip("/")

    # --- problems -------------------------------------------------------------------------

    def problems(self, wanted: Sequence[Wanted], found: Sequence[Found]) -> Iterable[str]:
        """See `Platform`."""
        leading = _adapters(self._places.switch_values["config"])
        name = self._site.switch
        if self._site.reach == "host" and leading:
            yield (
                f"{name} leads to a real network ({', '.join(sorted(leading.values()))}), and the "
                "site says reach: host; use a switch without physical adapters"
            )
        if self._site.reach == "cluster" and len(self._places.hosts) > 1:
            for host in self._places.hosts:
                if str(host) not in leading:
                    yield (
                        f"{name} has no physical adapter on {host.name}, so its networks end "
                        "there, and the site says reach: cluster"
                    )

    # --- make, change, remove -------------------------------------------------------------

    def make(self, wanted: Wanted, listener: Listener) -> None:
        """See `Platform`."""
        with errors_in_words("vSphere refuses it"):
            match wanted:
                case WantedNetwork():
                    spec = _port_group(wanted)
                    self._places.done(self._places.switch.AddDVPortgroup_Task([spec]))
                case WantedImage():
                    import_image(self._places, wanted, self._trusted, listener)
                case WantedSeed():
                    self._send_seed(wanted)
                case WantedMachine():
                    self._clone(wanted)
                case WantedRule():
                    self._put_rule(wanted, None)
                case _:
                    self._places.done(self._refs["machine", wanted.name].PowerOnVM_Task())

    def change(self, wanted: Wanted, found: Found, listener: Listener) -> None:
        """See `Platform`."""
        with errors_in_words("vSphere refuses it"):
            match wanted:
                case WantedNetwork():
                    spec = _port_group(wanted)
                    spec.configVersion = found.ref.ref.config.configVersion
                    self._places.done(found.ref.ref.ReconfigureDVPortgroup_Task(spec))
                case WantedMachine():
                    self._reconfigure(wanted, found)
                case WantedRule():
                    self._put_rule(wanted, found.ref.key)
                case _:  # an image or a seed that was not made to the end
                    self.remove(found)
                    self.make(wanted, listener)

    def remove(self, found: Found) -> None:
        """See `Platform`."""
        with errors_in_words("vSphere refuses it"):
            match found.kind:
                case "network":
                    self._places.done(found.ref.ref.Destroy_Task())
                case "seed":
                    files = self._places.session.content.fileManager
                    self._places.done(
                        files.DeleteDatastoreFile_Task(found.ref, self._places.datacenter)
                    )
                case "rule":
                    self._change_rules("remove", None, found.ref.key)
                case "power":
                    self._places.done(found.ref.PowerOffVM_Task())
                case _:
                    self._places.done(found.ref.Destroy_Task())

    def settle(self, kind: str) -> None:
        """Each call of vSphere is in force when it ends."""

    def _clone(self, wanted: WantedMachine) -> None:
        image = self._refs["image", wanted.image]
        hosts = self._places.hosts
        where = vim.vm.RelocateSpec(
            pool=self._places.cluster.resourcePool,
            datastore=self._places.datastore,
            host=hosts[wanted.place % len(hosts)],
            diskMoveType="createNewChildDiskBacking",  # a linked clone
        )
        config = cloned(wanted, image.config.hardware.device, self._refs, self._file(wanted.seed))
        spec = vim.vm.CloneSpec(
            location=where,
            snapshot=image.snapshot.currentSnapshot,
            config=config,
            powerOn=False,
            template=False,
        )
        self._places.done(image.CloneVM_Task(self._places.folder, wanted.name, spec))

    def _reconfigure(self, wanted: WantedMachine, found: Found) -> None:
        devices = found.ref.config.hardware.device
        config = changed(wanted, found.state, devices, self._refs, self._file(wanted.seed))
        self._places.done(found.ref.ReconfigVM_Task(config))

    def _send_seed(self, wanted: WantedSeed) -> None:
        places = self._places
        files = places.session.content.fileManager
        with suppress(vim.fault.FileAlreadyExists):
            files.MakeDirectory(self._file(""), places.datacenter, True)
        where = f"dcPath={quote(self._site.datacenter)}&dsName={quote(places.seeds.name)}"
        at = f"{places.address.host}:{places.address.port}"
        url = f"https://{at}/folder/{SEED_FOLDER}/{quote(wanted.name)}?{where}"
        headers = {
            "Cookie": places.session._stub.cookie,
            "Content-Type": "application/octet-stream",
        }
        with wanted.path.open("rb") as content:
            upload.send(url, "PUT", content, wanted.size, self._trusted, headers, lambda _: None)

    def _put_rule(self, wanted: WantedRule, key: int | None) -> None:
        """Write a rule, in the place of one whose machines are all gone."""
        kind = vim.cluster.AntiAffinityRuleSpec if wanted.apart else vim.cluster.AffinityRuleSpec
        machines = [self._refs["machine", name] for name in wanted.machines]
        info = kind(name=wanted.name, enabled=True, vm=machines)
        key = self._empty.get(wanted.name) if key is None else key
        if key is not None:
            info.key = key
        self._change_rules("add" if key is None else "edit", info, None)

    def _change_rules(self, act: str, info: Any, key: int | None) -> None:
        """One change at a time: two at once could each be based on the rules before the other."""
        rule = vim.cluster.RuleSpec(operation=act, info=info, removeKey=key)
        spec = vim.cluster.ConfigSpecEx(rulesSpec=[rule])
        with self._rules:
            self._places.done(self._places.cluster.ReconfigureComputeResource_Task(spec, True))

    def close(self) -> None:
        """See `Platform`."""
        self._places.close()


def _port_group(wanted: WantedNetwork) -> Any:
    """A port group with a VLAN, whose description has the mark."""
    vlan = vim.dvs.VmwareDistributedVirtualSwitch.VlanIdSpec(vlanId=wanted.tag, inherited=False)
    return vim.dvs.DistributedVirtualPortgroup.ConfigSpec(
        name=wanted.name,
        type="earlyBinding",
        numPorts=8,
        autoExpand=True,
        description=wanted.mark.text,
        defaultPortConfig=vim.dvs.VmwareDistributedVirtualSwitch.VmwarePortConfigPolicy(vlan=vlan),
    )


def _snapshot(values: Mapping[str, Any]) -> bool:
    """Whether a machine has the snapshot that clones are made of."""
    return bool(values.get("snapshot") and values["snapshot"].currentSnapshot)


def _adapters(config: Any) -> dict[str, str]:
    """Host of a distributed switch to a text with its physical adapters there; those without are
    left out."""
    found = {}
    for member in config.host:
        backing = member.config.backing
        names = [spec.pnicDevice for spec in getattr(backing, "pnicSpec", None) or ()]
        if names:
            found[str(member.config.host)] = f"{' '.join(names)} of {member.config.host.name}"
    return found


def _exists(machine: Any) -> bool:
    try:
        return bool(machine.name)
    except vmodl.fault.ManagedObjectNotFound:
        return False


def _whose(machines: Sequence[Found | None], word: str) -> Mark | None:
    """The mark of a rule: it is ours if all its machines are one student's of one lab."""
    marks = {
        (this.mark.lab, this.mark.student) if this and this.mark else None for this in machines
    }
    owner = marks.pop() if len(marks) == 1 else None
    return Mark(*owner, word) if owner else None
