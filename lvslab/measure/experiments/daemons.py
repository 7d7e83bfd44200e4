"""Services that are stopped, restarted, reloaded or killed, and addresses handed over by hand."""

from __future__ import annotations

import re
import time
from dataclasses import replace

from lvslab.lab import faults
from lvslab.lab.cluster import Cluster
from lvslab.measure.experiments.experiment import (
    Action,
    Experiment,
    command,
    heal,
    home,
    master_down,
    neighbours_after_moves,
    owners_without,
    real_servers,
    services_of,
    victim,
)
from lvslab.measure.watchers import Tables
from lvslab.model.lab import Lab

_CONF = "/etc/keepalived/keepalived.conf"
_LEAVING = "/run/lvslab/leaving"
_NOBODY: frozenset[str] = frozenset()


def experiments(lab: Lab) -> list[Experiment]:
    """All experiments of this kind."""
    return [*_stops(lab), *_killed(lab), *_reloads(lab), *_system(lab), *_by_hand(lab)]


def _stops(lab: Lab) -> list[Experiment]:
    node, _ = victim(lab)
    hits, moved = services_of(lab, node), owners_without(lab, node)

    def stop(cluster: Cluster) -> None:
        faults.stop_service(cluster, node, "keepalived.service")

    return [
        Experiment("stop", f"keepalived is stopped on {node}", stop, hits, 0.3, 0.0, moved),
        Experiment(
            "return", f"keepalived starts again on {node} and takes its addresses back",
            heal(node), hits, 0.2, 0.0, home(lab), prepare=stop, seconds=6,
        ),
        Experiment(
            "restart", f"keepalived is restarted on {node}", _systemctl(node, "restart"),
            hits, 0.3, 0.0, home(lab), moves=2, seconds=9,
        ),
    ]  # fmt: skip


def _killed(lab: Lab) -> list[Experiment]:
    """keepalived's processes, each by its name."""
    node, instance = victim(lab)
    down = master_down(lab, instance)
    return [
        Experiment(
            f"kill-{name}", f"{what} of {node} is killed by SIGKILL; it starts again",
            command(node, "pkill", "-KILL", "--exact", process),
            services_of(lab, node), max(0.8, down), 0.0, home(lab),
            moves=2, seconds=9, watchers=(neighbours_after_moves,),
        )
        for name, what, process in (
            ("main", "keepalived's main process", "keepalived"),
            ("vrrp", "keepalived's VRRP process", "keepalived_vrrp"),
            ("checkers", "keepalived's process of health checks", "keepalived_lvs"),
        )
    ]  # fmt: skip


def _reloads(lab: Lab) -> list[Experiment]:
    node, _ = victim(lab)
    plain = Experiment(
        "reload", f"keepalived reloads its file on {node}", _systemctl(node, "reload"),
        _NOBODY, 0.0, 0.0, home(lab), moves=0, watchers=(Tables,),
    )  # fmt: skip
    return [
        plain,
        replace(
            plain,
            name="reload-changed",
            summary=f"keepalived reloads a changed file on {node}",
            fault=_change_and_reload(node),
        ),
    ]


def _system(lab: Lab) -> list[Experiment]:
    node, _ = victim(lab)
    server = real_servers(lab)[0]
    networkd = "systemd-networkd.service"
    quiet = {
        "networkd-director": (
            f"systemd-networkd is restarted on {node}", _systemctl(node, "restart", networkd),
        ),
        "networkd-server": (
            f"systemd-networkd is restarted on {server}", _systemctl(server, "restart", networkd),
        ),
        "dhcp": (
            f"{node} renews its address on eth0", command(node, "networkctl", "renew", "eth0"),
        ),
    }  # fmt: skip
    return [
        Experiment(name, summary, fault, _NOBODY, 0.0, 0.0, home(lab), moves=0, seconds=6)
        for name, (summary, fault) in quiet.items()
    ]


def _by_hand(lab: Lab) -> list[Experiment]:
    """Through the file that the hand-over of a stop writes, too."""
    node, _ = victim(lab)

    def some(name: str, summary: str, times: int, pause: float, long: bool) -> Experiment:
        return Experiment(
            name, summary, _hand_over(node, times, pause), services_of(lab, node), 0.3, 0.0,
            home(lab), moves=2 * times, seconds=3, long=long,
            breaks=None if long else _NOBODY,
            watchers=(Tables, neighbours_after_moves),
        )  # fmt: skip

    return [
        some("both-on-one", f"{node} hands its addresses over, and takes them back", 1, 3, False),
        some("takeovers", "200 takeovers in a row; no table is ever empty", 100, 1.5, True),
    ]


def _systemctl(node: str, verb: str, service: str = "keepalived.service") -> Action:
    return command(node, "systemctl", verb, service)


def _change_and_reload(node: str) -> Action:
    """A changed health check: keepalived changes what differs, and nothing else."""

    def action(cluster: Cluster) -> None:
        before = cluster.run(node, ["cat", _CONF])
        after = re.sub(r"retry \d+", "retry 3", before)
        cluster.run(node, ["tee", _CONF], stdin=after)
        _systemctl(node, "reload")(cluster)

    return action


def _hand_over(node: str, times: int, pause: float) -> Action:
    def action(cluster: Cluster) -> None:
        for _ in range(times):
            for word in ("1", "0"):
                cluster.run(node, ["sh", "-c", f"echo {word} >{_LEAVING}"])
                time.sleep(pause)

    return action
