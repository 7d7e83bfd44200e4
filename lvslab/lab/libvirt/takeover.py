"""A lab on libvirt hosts is taken over by a workstation that knows nothing of it.

What a workstation keeps of a lab is in the metadata of its domains too, its key and seeds are among
the files there (`lvslab.lab.libvirt.records`). The client's end is made here; the hosts send no
frame to the one before any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lvslab.core.errors import InputError
from lvslab.lab.cluster import Cluster
from lvslab.lab.libvirt import records, store
from lvslab.lab.libvirt.libvirt_engine import LibvirtEngine
from lvslab.lab.libvirt.libvirt_host import Host
from lvslab.lab.libvirt.placement import on_answering
from lvslab.lab.libvirt.records import Kept
from lvslab.lab.network import wired_interfaces
from lvslab.model.lab import Lab

_NAME_ALL = "name all hosts of the lab, as `lab up` did"


def adopt(uris: Sequence[str], name: str | None) -> Cluster:
    """The lab `name`, or the only one that is on these hosts, as if it had been started here.

    Raises InputError if it is not there, if this workstation has another of that name, or if a
    node is on none of the hosts.
    """
    hosts = {uri: Host.of(uri) for uri in uris}
    there = on_answering(hosts, records.kept)
    chosen = _chosen({kept.lab for found in there.values() for kept in found}, name)
    known = Cluster.known(chosen)
    if known and not known.settings.hosts:
        raise InputError(
            "this workstation has a lab of that name", where=chosen, hint="end it: lab down"
        )
    found = {
        kept.node: (uri, kept) for uri, all_ in there.items() for kept in all_ if kept.lab == chosen
    }
    cluster = Cluster(Lab.model_validate(next(iter(found.values()))[1].state["lab"]))
    silent = [uri for uri in hosts if uri not in there]
    places = {node: uri for node, (uri, _) in found.items()}
    for node in cluster.lab.nodes:
        if node not in places:
            if not silent:
                raise InputError(f"{node} is on none of these hosts", hint=_NAME_ALL)
            places[node] = silent[0]
    with cluster.changing():
        _write_down(cluster, hosts, places, {node: kept for node, (_, kept) in found.items()})
        engine = LibvirtEngine(cluster.lab, cluster.state, cluster.namespace, uris)
        _ask_for_the_rest(cluster, engine, list(found))
        engine.wire(cluster.lab)
        for node in found:
            engine.agent(node)  # its sockets are here from now on
    return cluster


def _chosen(labs: set[str], name: str | None) -> str:
    if not labs or (name and name not in labs):
        what = f"the lab {name} is on none of these hosts" if name else "no lab is on these hosts"
        raise InputError(what, hint=_NAME_ALL)
    if name is None and len(labs) > 1:
        raise InputError(
            "these hosts have several labs: " + ", ".join(sorted(labs)), hint="choose one: --name"
        )
    return name or labs.pop()


def _write_down(
    cluster: Cluster, hosts: Mapping[str, Host], places: Mapping[str, str], kept: Mapping[str, Kept]
) -> None:
    """The state folder, as the workstation before had it."""
    state = cluster.state
    state.create(cluster.lab.nodes)
    first = next(iter(kept.values())).state
    state.save("settings", {**(first["settings"] or {}), "hosts": list(hosts)})
    state.save("artifacts", first["artifacts"])
    state.save("places", dict(places))
    for node, of_node in kept.items():
        host, folder = hosts[places[node]], of_node.folder
        (state.node(node).folder / "seed.iso").write_bytes(store.read(host, f"{folder}/seed.iso"))
        for part in ("base", "made"):
            state.save(f"{node}/{part}", of_node.state["base"])
        for file in (state.key, state.key.with_suffix(".pub")):
            if not file.exists() and store.has(host, f"{folder}/{file.name}"):
                file.touch(mode=0o600)
                file.write_bytes(store.read(host, f"{folder}/{file.name}"))
    state.save("lab", first["lab"])


def _ask_for_the_rest(cluster: Cluster, engine: LibvirtEngine, nodes: Sequence[str]) -> None:
    """Pulled cables and checkpoints."""
    pulled = [
        ("carrier", node, interface)
        for node in nodes
        for interface in engine.pulled(node)
        if interface in wired_interfaces(cluster.lab, node)
    ]
    cluster.state.save("faults", sorted(pulled))
    names = [engine.saved(node) for node in nodes]
    whole = set(names[0]).intersection(*names[1:]) if len(nodes) == len(cluster.lab.nodes) else ()
    times = {name: engine.saved_at(nodes[0], name) for name in sorted(whole)}
    cluster.state.save("checkpoints", times)
