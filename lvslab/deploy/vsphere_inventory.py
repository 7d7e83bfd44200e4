"""vSphere's inventory: connecting, finding things by name, waiting for tasks, errors in words."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pyVim.connect import Disconnect, SmartStubAdapter
from pyVmomi import vim, vmodl

from lvslab.core.errors import InputError, LabError, StageError
from lvslab.deploy import trust
from lvslab.deploy.credentials import Credentials
from lvslab.deploy.site import VsphereSite
from lvslab.deploy.trust import Address

_PAGE = 500
_PAUSES = (0.02, 0.5)
"""Seconds between two looks at a task: the first pause, and the longest one."""


@contextmanager
def errors_in_words(what: str) -> Iterator[None]:
    """Turn what the client and the server raise into errors for people."""
    try:
        yield
    except LabError:
        raise
    except vim.fault.NoPermission as fault:
        raise StageError(
            f"{what}: this user lacks the right {fault.privilegeId}",
            hint="docs/deploy.md lists the rights that are needed",
        ) from None
    except vim.fault.InvalidPowerState:
        raise StageError(
            f"{what}: not while the machine runs", hint="shut it down, then call this again"
        ) from None
    except vmodl.MethodFault as fault:
        name = type(fault).__name__.rpartition(".")[2]
        told = getattr(fault, "msg", "")
        raise StageError(f"{what}: {name}: {told}" if told else f"{what}: {name}") from None
    except OSError as error:
        raise StageError(f"{what}: {error}") from None


class Inventory:
    """A session with a vCenter, and the places of a site in its inventory."""

    def __init__(
        self, site: VsphereSite, who: Credentials, address: Address, trusted: ssl.SSLContext
    ) -> None:
        """Log in and find the places. Raises InputError if one is not there."""
        self.address = address
        self.session = _login(who, address, trusted)
        try:
            with errors_in_words(f"looking at {address.host}"):
                self._find_places(site)
        except BaseException:
            self.close()
            raise

    def _find_places(self, site: VsphereSite) -> None:
        center = f"/{site.datacenter}"
        self.datacenter = self._at(center, "datacenter", site.datacenter)
        folder = f"{center}/vm/{site.folder}" if site.folder else f"{center}/vm"
        self.folder = self._at(folder, "folder", site.folder or "vm")
        self.cluster = self._at(f"{center}/host/{site.cluster}", "cluster", site.cluster)
        if not isinstance(self.cluster, vim.ClusterComputeResource):
            raise InputError(f"{site.cluster} is not a cluster of hosts", where="site file")
        stores = {store.name: store for store in self.datacenter.datastore}
        self.datastore = _one(stores, "datastore", site.datastore)
        self.seeds = _one(stores, "datastore", site.seeds or site.datastore)
        switches = self.properties(
            self.datacenter.networkFolder, vim.DistributedVirtualSwitch, ["name", "uuid", "config"]
        )
        self.switch, self.switch_values = _one(
            {str(values["name"]): (switch, values) for switch, values in switches},
            "distributed switch",
            site.switch,
        )
        self.hosts = sorted(self.cluster.host, key=lambda host: str(host.name))

    def _at(self, path: str, noun: str, name: str) -> Any:
        found = self.session.content.searchIndex.FindByInventoryPath(path)
        if found is None:
            raise InputError(f"vSphere has no {noun} {name} (looked for {path})", where="site file")
        return found

    def properties(
        self, below: Any, kind: Any, paths: Sequence[str]
    ) -> list[tuple[Any, Mapping[str, Any]]]:
        """All objects of a kind below a folder, with some of their properties."""
        query = vmodl.query.PropertyCollector
        view = self.session.content.viewManager.CreateContainerView(below, [kind], True)
        into = query.TraversalSpec(
            name="view", path="view", skip=False, type=vim.view.ContainerView
        )
        wanted = query.FilterSpec(
            objectSet=[query.ObjectSpec(obj=view, skip=True, selectSet=[into])],
            propSet=[query.PropertySpec(type=kind, pathSet=list(paths), all=False)],
        )
        collector = self.session.content.propertyCollector
        page = collector.RetrievePropertiesEx([wanted], query.RetrieveOptions(maxObjects=_PAGE))
        found: list[tuple[Any, Mapping[str, Any]]] = []
        while page:
            for this in page.objects:
                found.append((this.obj, {value.name: value.val for value in this.propSet}))
            page = collector.ContinueRetrievePropertiesEx(page.token) if page.token else None
        view.DestroyView()
        return found

    def done(self, task: Any) -> Any:
        """Wait for a task; returns its result, raises its fault."""
        pause, longest = _PAUSES
        while True:
            info = self._read(task, ["info.state", "info.error", "info.result"])
            if info["info.state"] == vim.TaskInfo.State.success:
                return info.get("info.result")
            if info["info.state"] == vim.TaskInfo.State.error:
                raise info["info.error"]
            time.sleep(pause)
            pause = min(2 * pause, longest)

    def _read(self, this: Any, paths: Sequence[str]) -> Mapping[str, Any]:
        """Some properties of one object."""
        query = vmodl.query.PropertyCollector
        wanted = query.FilterSpec(
            objectSet=[query.ObjectSpec(obj=this, skip=False)],
            propSet=[query.PropertySpec(type=type(this), pathSet=list(paths), all=False)],
        )
        collector = self.session.content.propertyCollector
        page = collector.RetrievePropertiesEx([wanted], query.RetrieveOptions())
        return {value.name: value.val for this in page.objects for value in this.propSet}

    def close(self) -> None:
        """Log out; a server that has gone is no error."""
        with suppress(vmodl.MethodFault, OSError):
            Disconnect(self.session)


def _one(known: Mapping[str, Any], noun: str, name: str) -> Any:
    if name not in known:
        have = ", ".join(sorted(known)) or "none"
        raise InputError(f"vSphere has no {noun} {name}", where="site file", hint=f"it has: {have}")
    return known[name]


def _login(who: Credentials, address: Address, trusted: ssl.SSLContext) -> Any:
    try:
        stub = SmartStubAdapter(address.host, address.port, sslContext=trusted)
    except ssl.SSLError as error:
        raise trust.refused(address, error) from None
    except Exception as error:  # the client raises plain Exception for what is no vSphere
        raise trust.unreachable(address, error) from None
    session: Any = vim.ServiceInstance("ServiceInstance", stub)
    try:
        session.content.sessionManager.Login(who.user, who.secret)
    except (vmodl.MethodFault, OSError) as error:
        stub.DropConnections()
        if isinstance(error, vim.fault.InvalidLogin):
            raise InputError(
                f"{address.host} refuses the user {who.user} with this password"
            ) from None
        raise trust.unreachable(address, error) from None
    return session
