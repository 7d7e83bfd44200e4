"""Which host each node is on. The hosts themselves know it; what was kept is for dead hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lvslab.core.errors import InputError, LabError
from lvslab.core.together import Result, each
from lvslab.lab.libvirt.domain import Placed
from lvslab.lab.libvirt.fabric import placement
from lvslab.lab.libvirt.libvirt_host import VIRSH, Host
from lvslab.lab.state import LabState
from lvslab.model.lab import Lab


def on_all(hosts: Mapping[str, Host], work: Callable[[Host], Result]) -> dict[str, Result]:
    """URI to what `work` gives for each host; all are asked at once."""
    return each(hosts, lambda uri: work(hosts[uri]))


def on_answering(hosts: Mapping[str, Host], work: Callable[[Host], Result]) -> dict[str, Result]:
    """The same for those that answer; what goes wrong on one of them is raised."""

    def tried(host: Host) -> list[Result]:
        try:
            return [work(host)]
        except LabError:
            if host.answers():
                raise
            return []

    return {uri: found[0] for uri, found in on_all(hosts, tried).items() if found}


class Places:
    """Node to host: where its domain is, else where it was last, else as `placement` says."""

    def __init__(
        self,
        lab: Lab,
        state: LabState,
        hosts: Mapping[str, Host],
        placed: Callable[[str], Placed],
    ) -> None:
        self._lab, self._state, self._hosts, self._placed = lab, state, hosts, placed
        self._known: dict[str, str] = {}

    def host(self, node: str) -> Host:
        """The host of a node."""
        return self._hosts[self._uris[node]]

    def nodes_of(self, host: Host) -> list[str]:
        """The nodes of a host."""
        return [node for node in self._lab.nodes if self._uris[node] == host.uri]

    def named(self, label: str) -> Host:
        """The host of that name or URI. Raises InputError if the lab has no such host."""
        for host in self._hosts.values():
            if label in (host.label, host.uri):
                return host
        names = ", ".join(host.label for host in self._hosts.values())
        raise InputError(f"the lab has no host {label}", hint=f"its hosts are: {names}")

    def put(self, node: str, host: Host) -> None:
        """The node is on that host from now on."""
        self._uris[node] = host.uri
        self.keep()

    def keep(self) -> None:
        """Write down where all nodes are: a host that dies cannot be asked."""
        self._state.save("places", self._uris)

    def running(self) -> set[str]:
        """The nodes whose domain is active on a host that answers; where all are is known then."""
        names = {self._placed(node).uuid: node for node in self._lab.nodes}
        # of a move that broke, one may be left that is off or paused: one that runs counts before
        ask = [*VIRSH, "list --uuid --all; list --uuid; list --uuid --state-running"]
        listed = on_answering(self._hosts, lambda host: host.run(ask, what="asking for domains"))
        places = [(uuid, uri) for uri, uuids in listed.items() for uuid in uuids.split()]
        seen = sorted((place for place in places if place[0] in names), key=places.count)
        if not self._known:
            kept: dict[str, str] = self._state.load("places") or {}
            known = {node: uri for node, uri in kept.items() if uri in self._hosts}
            found = {names[uuid]: uri for uuid, uri in seen}
            self._known = {**placement(self._lab, list(self._hosts)), **known, **found}
        return {names[uuid] for uuid, uri in seen if places.count((uuid, uri)) > 1}

    @property
    def _uris(self) -> dict[str, str]:
        if not self._known:
            self.running()
        return self._known
