"""Networks: cables pulled and put back, links that carry nothing, directors that are deaf."""

from __future__ import annotations

import time

from lvslab.lab import faults
from lvslab.lab.cluster import Cluster
from lvslab.measure.experiments.experiment import (
    Action,
    Experiment,
    everyone,
    heal,
    home,
    master_down,
    neighbours,
    owners_without,
    promise,
    services_of,
    victim,
)
from lvslab.measure.watchers import Tables
from lvslab.model.lab import Lab
from lvslab.model.role import Kind

_FLAPS, _AWAY_SECONDS, _THERE_SECONDS = 5, 0.5, 1.5


def experiments(lab: Lab) -> list[Experiment]:
    """All experiments of this kind."""
    return [*_cables(lab), *_silent(lab), *_deaf(lab)]


def _cables(lab: Lab) -> list[Experiment]:
    node, instance = victim(lab)
    moved = owners_without(lab, node)
    hits, down = services_of(lab, node), master_down(lab, instance)
    front = lab.directors_interface_on(lab.vrrp_instances[instance].network)
    back = lab.directors_interface_on(lab.network_of(next(iter(sorted(hits)))))

    def cut(interface: str) -> Action:
        return lambda cluster: faults.cut(cluster, node, interface)

    return [
        Experiment(
            "cut-front", f"{node}'s cable to the clients ({front}) is pulled",
            cut(front), hits, promise(lab, 1.2, down), down, moved,
        ),
        *([] if back == front else [Experiment(
            "cut-back", f"{node}'s cable to its servers ({back}) is pulled",
            cut(back), hits, promise(lab, 1.2, down), down, moved,
        )]),
        Experiment(
            "heal-front", f"{node}'s cable to the clients is back",
            heal(node), hits, 0.2, 0.0, home(lab),
            prepare=cut(front), seconds=lab.directors.vrrp.preempt_delay_seconds + 6,
            watchers=(Tables,),
        ),
        Experiment(
            "flap", f"{node}'s cable to the clients is pulled {_FLAPS} times in 10 s",
            flapping(node, front), hits, promise(lab, 1.2, down), down, moved,
            seconds=2, watchers=(Tables,),
        ),
    ]  # fmt: skip


def _silent(lab: Lab) -> list[Experiment]:
    """For each virtual server: the way from its director to its servers dies, links stay up.

    None without the watch: then nobody notices.
    """
    track = lab.directors.track
    if not track.enabled:
        return []
    found = {}
    for name, virtual_server in lab.virtual_servers.items():
        owner = lab.owners(virtual_server.instance)[0]
        bar = track.interval_seconds * track.fall + master_down(lab, virtual_server.instance)
        interface = lab.directors_interface_on(lab.network_of(name))
        found[owner, interface] = Experiment(
            f"silent-{owner}-{interface}",
            f"{owner}'s network to its servers ({interface}) dies, the link stays up",
            _silent_cut(owner, interface),
            services_of(lab, owner), promise(lab, 3.0, bar + track.interval_seconds), bar,
            owners_without(lab, owner), seconds=9,
        )  # fmt: skip
    return list(found.values())


def _deaf(lab: Lab) -> list[Experiment]:
    """Directors that have not heard each other's adverts, or one of them, hear them again."""
    directors = list(lab.nodes_of(Kind.DIRECTOR))
    kinds = {
        "split": ("the directors hear each other again after {} s", directors, 3.5),
        "split-long": ("the directors hear each other again after {} s", directors, 30.0),
        "deaf": (f"{directors[1]} hears {directors[0]} again after {{}} s", directors[1:2], 3.5),
        "deaf-long": (
            f"{directors[1]} hears {directors[0]} again after {{}} s",
            directors[1:2],
            30.0,
        ),
    }
    return [
        Experiment(
            name, summary.format(f"{lasts:g}"), heal(), everyone(lab), 1.0, 0.0,
            home(lab), "healed", prepare=_deafen(deaf), lasts=lasts, moves=2,
            breaks=None, watchers=(Tables, neighbours(1)), long=lasts > 10,
        )
        for name, (summary, deaf, lasts) in kinds.items()
    ]  # fmt: skip


def _silent_cut(node: str, interface: str) -> Action:
    return lambda cluster: faults.cut(cluster, node, interface, silent=True)


def _deafen(nodes: list[str]) -> Action:
    return lambda cluster: faults.deafen(cluster, nodes)


def flapping(
    node: str, interface: str, there: float = _THERE_SECONDS, times: int = _FLAPS
) -> Action:
    """A cable that is away and there again, for long enough to be answered; there at the end."""

    def action(cluster: Cluster) -> None:
        for _ in range(times):
            faults.cut(cluster, node, interface)
            time.sleep(_AWAY_SECONDS)
            faults.heal(cluster, node, interface)
            time.sleep(there)

    return action
