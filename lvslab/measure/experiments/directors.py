"""A director as a whole: its power, its processors, its clock, its disk, its memory."""

from __future__ import annotations

import time

from lvslab.lab.cluster import Cluster
from lvslab.measure.experiments.experiment import (
    Action,
    Experiment,
    command,
    heal,
    home,
    master_down,
    neighbours,
    neighbours_after_moves,
    owners_without,
    promise,
    services_of,
    victim,
)
from lvslab.measure.watchers import Tables
from lvslab.model.lab import Lab

_HOUR = 3600
# What is free, then what root may use beyond that; the last byte must be refused, or the disk is
# not full.
_FILL = """\
set -e
fallocate --length $(df --output=avail --block-size=1 / | tail -1) /var/full
dd if=/dev/zero of=/var/rest bs=64K status=none || true
! echo more 2>/dev/null >/var/more
"""
# It takes what there is, page by page, until the kernel ends it.
_EAT = "hoard = []\nwhile True:\n    hoard.append(b'x' * (1 << 20))\n"


def experiments(lab: Lab) -> list[Experiment]:
    """All experiments of this kind."""
    return [*_power(lab), *_pauses(lab), *_resources(lab)]


def _power(lab: Lab) -> list[Experiment]:
    node, instance = victim(lab)
    hits, moved = services_of(lab, node), owners_without(lab, node)
    down = master_down(lab, instance)
    return [
        Experiment(
            "crash", f"{node} loses its power", lambda c: c.kill(node),
            hits, promise(lab, 1.2, down), down, moved, median=max(0.8, down),
        ),
        Experiment(
            "reboot", f"{node} is shut down by its power button",
            lambda c: c.engine.press_power(node), hits, 0.3, 0.0, moved, seconds=12,
        ),
        Experiment(
            "comeback", f"{node} boots again and takes its addresses back",
            heal(node), hits, 0.2, 0.0, home(lab), "settled",
            prepare=lambda c: c.kill(node), seconds=240, slow=True, breaks=None, long=True,
        ),
    ]  # fmt: skip


def _pauses(lab: Lab) -> list[Experiment]:
    node, instance = victim(lab)
    hits, down = services_of(lab, node), master_down(lab, instance)
    detect = lab.directors.vrrp.advert_seconds
    return [
        Experiment(
            "hiccup", f"{node} is paused for 0.5 s: nothing may move",
            _pause(node, 0.5), hits, 0.5 + detect, 0.5, home(lab), watchers=(Tables,),
        ),
        Experiment(
            "pause", f"{node} is paused for 2 s; its tables stay as they are",
            _pause(node, 2), hits, promise(lab, 1.2, down), down, home(lab), moves=2, seconds=7,
            watchers=(Tables, neighbours_after_moves),
        ),
        *(
            Experiment(
                name, f"{node} was paused for {seconds:g} s and continues",
                heal(node), hits, 1.0, 0.0, home(lab), "healed",
                prepare=lambda c: c.pause(node), lasts=seconds, moves=2, long=seconds > 10,
                breaks=None if seconds > 10 else frozenset(), watchers=(Tables, neighbours(1)),
            )
            for name, seconds in (("stun", 3.0), ("stun-long", 30.0))
        ),
    ]  # fmt: skip


def _resources(lab: Lab) -> list[Experiment]:
    node, _ = victim(lab)
    nothing: frozenset[str] = frozenset()
    return [
        Experiment(
            "clock", f"the clock of {node} jumps an hour ahead, and back", _clock(node),
            nothing, 0.0, 0.0, home(lab), seconds=3, moves=0, watchers=(Tables,),
        ),
        Experiment(
            "disk-full", f"the disk of {node} is full",
            command(node, "sh", "-c", _FILL),
            nothing, 0.0, 0.0, home(lab), seconds=6, moves=0, watchers=(Tables,),
        ),
        Experiment(
            "memory", f"the memory of {node} is exhausted",
            command(node, "systemd-run", "--collect", "--unit=hoard", "python3", "-c", _EAT),
            nothing, 0.0, 0.0, home(lab), seconds=10, moves=0, watchers=(Tables,),
        ),
    ]  # fmt: skip


def _pause(node: str, seconds: float) -> Action:
    def action(cluster: Cluster) -> None:
        cluster.pause(node)
        time.sleep(seconds)
        cluster.resume(node)

    return action


def _clock(node: str) -> Action:
    def action(cluster: Cluster) -> None:
        for step in (_HOUR, -_HOUR):
            now = int(cluster.run(node, ["date", "+%s"]))
            cluster.run(node, ["date", "--set", f"@{now + step}"])
            time.sleep(2)

    return action
