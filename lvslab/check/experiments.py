"""The experiments of `lab failover`: a fault, what it may cost, and what computes the bar.

Limits are promises of the product; bars are what the protocols need at least:
Master_Down_Interval = 3 x advert interval + skew, skew = (256 - priority) / 256 x advert
interval (RFC 5798, section 6.1).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lvslab.core.errors import InputError
from lvslab.model.lab import Lab, Role
from lvslab.run import faults
from lvslab.run.cluster import Cluster

_ALLOWANCE = 0.3  # over what the protocols need: the way to the wire, and a client's next request
_LETTER_SECONDS = 1.0

Measure = Literal["gap", "settled", "back"]
Action = Callable[[Cluster], None]


@dataclass(frozen=True)
class Experiment:
    """A fault and what a client may see of it.

    `hits` are the virtual servers that may notice; every other may not lose one request.
    `measure` says what `limit` (seconds) bounds: the longest gap, the time from the first
    lost request to the last, or the time until `server` answers for every service.
    `prepare` brings the fault that `fault` then mends. `owners` says who owns each
    instance at the end; `median` bounds the median of many runs; `seconds` is how long the
    cluster is watched.
    """

    name: str
    summary: str
    fault: Action
    hits: frozenset[str]
    limit: float
    bar: float
    owners: dict[str, str]
    measure: Measure = "gap"
    prepare: Action | None = None
    median: float | None = None
    seconds: float = 5
    server: str = ""


def master_down(lab: Lab, instance: str) -> float:
    """Master_Down_Interval of the backup of an instance, in seconds."""
    backup = lab.owners(instance)[1]
    return lab.directors.vrrp.down_seconds(lab.vrrp_instances[instance].priorities[backup])


def _promise(lab: Lab, seconds: float, needed: float) -> float:
    """A promise of `seconds`, or as much more as a lab with other values needs.

    `needed` is what the protocols take at least. A director without addresses of its own
    finds its servers only once it is master.
    """
    alone = 0.0 if lab.directors.source_addresses == "own" else _LETTER_SECONDS
    return max(seconds, needed + _ALLOWANCE) + alone


def everything(lab: Lab) -> dict[str, Experiment]:
    """All experiments for this lab, by name. Raises InputError if it has one director only."""
    directors = list(lab.nodes_of(Role.DIRECTOR))
    if len(directors) < 2:
        raise InputError("failover needs two directors", hint="add one to lab.yaml")
    made = [*_director_faults(lab), *_network_faults(lab), *_silent_faults(lab)]
    made += _server_faults(lab)
    return {experiment.name: experiment for experiment in made}


def _director_faults(lab: Lab) -> list[Experiment]:
    victim, instance = _victim(lab)
    hits, moved, home = _services_of(lab, victim), _owners_without(lab, victim), _home(lab)
    down = master_down(lab, instance)
    detect = lab.directors.vrrp.advert_seconds

    def stop(cluster: Cluster) -> None:
        faults.stop_service(cluster, victim, "keepalived.service")

    def start(cluster: Cluster) -> None:
        faults.heal(cluster, victim)

    return [
        Experiment(
            "crash", f"{victim} loses its power", lambda c: c.kill(victim),
            hits, _promise(lab, 1.2, down), down, moved, median=max(0.8, down),
        ),
        Experiment(
            "stop", f"keepalived is stopped on {victim}", stop, hits, 0.3, 0.0, moved,
        ),
        Experiment(
            "return", f"keepalived starts again on {victim} and takes its addresses back",
            start, hits, 0.2, 0.0, home, prepare=stop, seconds=6,
        ),
        Experiment(
            "reboot", f"{victim} is shut down by its power button",
            lambda c: c.qmp(victim, "system_powerdown"), hits, 0.3, 0.0, moved, seconds=12,
        ),
        Experiment(
            "comeback", f"{victim} boots again and takes its addresses back",
            start, hits, 0.2, 0.0, home, "settled", prepare=lambda c: c.kill(victim), seconds=120,
        ),
        Experiment(
            "hiccup", f"{victim} stands still for 0.5 s: nothing may move",
            lambda c: _hiccup(c, victim), hits, 0.5 + detect, 0.5, home,
        ),
    ]  # fmt: skip


def _network_faults(lab: Lab) -> list[Experiment]:
    victim, instance = _victim(lab)
    moved, home = _owners_without(lab, victim), _home(lab)
    hits, down = _services_of(lab, victim), master_down(lab, instance)
    front = lab.interface_on(Role.DIRECTOR, lab.vrrp_instances[instance].network)
    back = lab.interface_on(Role.DIRECTOR, _return_network(lab, next(iter(sorted(hits)))))

    def cut(interface: str) -> Action:
        return lambda cluster: faults.cut(cluster, victim, interface)

    def heal(cluster: Cluster) -> None:
        faults.heal(cluster, victim)

    return [
        Experiment(
            "cut-front", f"{victim}'s cable to the clients ({front}) is pulled",
            cut(front), hits, _promise(lab, 1.2, down), down, moved,
        ),
        Experiment(
            "cut-back", f"{victim}'s cable to its servers ({back}) is pulled",
            cut(back), hits, _promise(lab, 1.2, down), down, moved,
        ),
        Experiment(
            "heal-front", f"{victim}'s cable to the clients is back",
            heal, hits, 0.2, 0.0, home, prepare=cut(front), seconds=8,
        ),
    ]  # fmt: skip


def _silent_faults(lab: Lab) -> list[Experiment]:
    """For each virtual server: the way from its director to its servers dies, links stay up.

    None without the watch: then nobody notices.
    """
    track = lab.directors.track
    if not track.enabled:
        return []
    found = {}
    for virtual_server in lab.virtual_servers.values():
        owner = lab.owners(virtual_server.instance)[0]
        bar = track.interval_seconds * track.fall + master_down(lab, virtual_server.instance)
        interface = lab.interface_on(Role.DIRECTOR, lab.tables[virtual_server.table].network)
        found[owner, interface] = Experiment(
            f"silent-{owner}-{interface}",
            f"{owner}'s network to its servers ({interface}) dies, the link stays up",
            _silent_cut(owner, interface),
            _services_of(lab, owner), _promise(lab, 3.0, bar + track.interval_seconds), bar,
            _owners_without(lab, owner), seconds=9,
        )  # fmt: skip
    return list(found.values())


def _server_faults(lab: Lab) -> list[Experiment]:
    server = list(lab.nodes_of(Role.REAL_SERVER))[0]
    everyone, home = frozenset(lab.virtual_servers), _home(lab)
    check = next(iter(lab.virtual_servers.values())).check
    detect = (
        check.delay_loop_seconds
        + check.connect_timeout_seconds * (check.retry + 1)
        + check.delay_before_retry_seconds * check.retry
    )

    def stop(cluster: Cluster) -> None:
        faults.stop_service(cluster, server, "apache2.service")

    return [
        Experiment(
            "server-crash", f"{server} loses its power", lambda c: c.kill(server),
            everyone, max(2.0, detect + _ALLOWANCE), detect, home, "settled", seconds=6,
        ),
        Experiment(
            "server-stop", f"the web server of {server} is stopped", stop,
            everyone, 2.0, check.delay_loop_seconds, home, "settled", seconds=6,
        ),
        Experiment(
            "server-return", f"the web server of {server} is back",
            lambda c: _heal(c, server), frozenset(), 3.0, check.delay_loop_seconds, home, "back",
            prepare=stop, seconds=6, server=server,
        ),
    ]  # fmt: skip


def _silent_cut(node: str, interface: str) -> Action:
    return lambda cluster: faults.cut(cluster, node, interface, silent=True)


def _heal(cluster: Cluster, node: str) -> None:
    faults.heal(cluster, node)


def _hiccup(cluster: Cluster, node: str) -> None:
    cluster.pause(node)
    time.sleep(0.5)
    cluster.resume(node)


def _victim(lab: Lab) -> tuple[str, str]:
    """The director that owns the first virtual server, and that server's instance."""
    instance = next(iter(lab.virtual_servers.values())).instance
    return lab.owners(instance)[0], instance


def _services_of(lab: Lab, director: str) -> frozenset[str]:
    return frozenset(
        name
        for name, this in lab.virtual_servers.items()
        if lab.owners(this.instance)[0] == director
    )


def _return_network(lab: Lab, virtual_server: str) -> str:
    return lab.tables[lab.virtual_servers[virtual_server].table].network


def _home(lab: Lab) -> dict[str, str]:
    return {name: lab.owners(name)[0] for name in lab.vrrp_instances}


def _owners_without(lab: Lab, director: str) -> dict[str, str]:
    return {
        name: next(owner for owner in lab.owners(name) if owner != director)
        for name in lab.vrrp_instances
    }
