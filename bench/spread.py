#!/usr/bin/env python3
"""The default lab over two libvirt hosts: up, hit by faults, a director moved, a host killed.

The director moves while it owns its addresses. A host dies twice, first with a director alone, then
with a director and a real server; it comes back and all is well again.

    bench/spread.py [--artifacts DIR] [FAULT ...]

The hosts are namespaces on this machine, each with its own libvirtd (tests/hosts.py); root only.
Prints one line for each step; status 1 if one failed. Takes some ten minutes in emulation.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lvslab.core.errors import LabError  # noqa: E402
from lvslab.core.places import default_cache  # noqa: E402
from lvslab.lab import bringup, checklist, checkpoint, faults, status  # noqa: E402
from lvslab.lab.cluster import Cluster  # noqa: E402
from lvslab.lab.sources import Settings  # noqa: E402
from lvslab.measure import experiments, failover  # noqa: E402
from lvslab.measure.probe import Prober, View, view  # noqa: E402
from lvslab.model.load import load_lab  # noqa: E402
from tests.hosts import Hosts, hosts  # noqa: E402

LIMITS = bringup.Limits(boot_seconds=1500, settle_seconds=300)
FAULTS = ("crash", "stop", "cut-back", "silent-lvs1-eth2", "server-crash")
WATCH_SECONDS = 8.0
MOVE_GAP_SECONDS = 0.5
DEATH_GAP_SECONDS = 1.2


class Spread:
    """The lab over the hosts, step by step."""

    def __init__(self, cluster: Cluster, rig: Hosts, artifacts: Path) -> None:
        self.cluster, self.rig = cluster, rig
        settings = Settings(hosts=tuple(rig.uris))
        self.up = (cluster, artifacts, default_cache(), settings)
        self.failed: list[str] = []

    def step(self, what: str, work: Callable[[], str | None]) -> None:
        """Do a step and say how long it took, and what went wrong."""
        start = time.monotonic()
        try:
            says = work()
        except (LabError, AssertionError) as error:
            says = f"FAILED: {error}"
            self.failed.append(what)
        seconds = time.monotonic() - start
        print(f"{what}: {seconds:.1f} s" + (f": {says}" if says else ""), flush=True)

    def check(self) -> str:
        """The checklist, within two minutes."""
        bad = [each for each in checklist.wait(self.cluster, 120) if not each.ok]
        assert not bad, bad
        return "it passes"

    def fault(self, name: str) -> str:
        """One experiment of `lab failover`."""
        experiment = experiments.everything(self.cluster.lab)[name]
        found = failover.once(self.cluster, experiment)
        assert found.ok, found.problems
        return "; ".join(f"{name}: {seen}" for name, seen in found.views.items())

    def move(self) -> str:
        """lvs1 goes to b and back while clients ask; its addresses go along."""
        assert self.owned_by(["lvs1"]), "lvs1 owns no address"
        said = []
        for host in ("b", "a"):
            moving = partial(self.cluster.move, "lvs1", self.rig.address(host), True)
            start = time.monotonic()
            seen = self.watched(moving)
            said.append(f"to {host} in {time.monotonic() - start:.1f} s, {self.shown(seen)}")
            for name, found in seen.items():
                assert found.lost == 0 and found.gap <= MOVE_GAP_SECONDS, (name, found)
            bad = [each.name for each in status.look(self.cluster).instances if not each.ok]
            assert not bad, f"another director has {bad}"
        return "; ".join(said)

    def host_dies(self, *nodes: str) -> str:
        """The host of lvs2, and of what else is named, dies; what clients of each address lose.

        Those of the other address lose nothing, or, if a real server was there, as much as by its
        death alone.
        """
        self.cluster.move("rs2", self.rig.address("b" if "rs2" in nodes else "a"), True)
        self.check()
        hit = self.owned_by(["lvs2"])
        seen = self.watched(lambda: self.rig.kill("b"))
        broken = [str(fault) for fault in faults.broken(self.cluster)]
        assert broken == [f"{node}: its host does not answer" for node in nodes], broken
        server = experiments.everything(self.cluster.lab)["server-crash"].limit
        others = server if "rs2" in nodes else 0.0
        for name, found in seen.items():
            limit = DEATH_GAP_SECONDS if name in hit else others
            assert found.gap <= limit if limit else found.lost == 0, f"{name}: {found}"
        return self.shown(seen)

    def owned_by(self, nodes: list[str]) -> list[str]:
        """The virtual servers whose addresses these directors hold."""
        held = {each.name: each.held_by for each in status.look(self.cluster).instances}
        servers = self.cluster.lab.virtual_servers
        return [name for name, server in servers.items() if held[server.instance] == nodes]

    def watched(self, work: Callable[[], object]) -> dict[str, View]:
        """What clients of each virtual server see from the beginning of some work on."""
        with Prober(self.cluster.lab, self.cluster.namespace) as probe:
            time.sleep(2)
            zero = time.monotonic()
            work()
            end = max(time.monotonic(), zero + WATCH_SECONDS)
            time.sleep(end - time.monotonic() + 1)  # the last requests are answered
        return {name: view(asked, zero, end) for name, asked in probe.requests.items()}

    @staticmethod
    def shown(seen: dict[str, View]) -> str:
        """Losses and longest gaps as text."""
        return ", ".join(
            f"{name}: {found.lost} of {found.total} lost, gap {found.gap:.2f} s"
            for name, found in seen.items()
        )

    def host_returns(self, *nodes: str) -> str:
        """It is started again; `lab up` starts its nodes, and the checklist passes."""
        self.rig.start("b")
        assert self.rig.wait("b")
        started = bringup.up(*self.up, limits=LIMITS)
        assert sorted(started) == list(nodes), started
        assert not faults.broken(self.cluster)
        return self.check()


def main() -> int:
    """Boot, hit, kill, and end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", default=FAULTS)
    parser.add_argument("--artifacts", type=Path, default=ROOT / "artifacts")
    options = parser.parse_args()
    cluster = Cluster(load_lab(ROOT / "lab.yaml").model_copy(update={"name": "spread"}))
    with tempfile.TemporaryDirectory() as folder, hosts(Path(folder), "a", "b") as rig:
        spread = Spread(cluster, rig, options.artifacts)
        try:
            spread.step("up", lambda: str(bringup.up(*spread.up, limits=LIMITS)))
            if not spread.failed:
                spread.step("check", spread.check)
                spread.step("status", lambda: "; ".join(status.look(cluster).broken))
                spread.step("save", lambda: checkpoint.save(cluster, failover.CHECKPOINT))
                spread.step("restore", lambda: checkpoint.restore(cluster, failover.CHECKPOINT))
                for name in options.faults:
                    spread.step(name, partial(spread.fault, name))
                spread.step("move", spread.move)
                for nodes in (("lvs2",), ("lvs2", "rs2")):
                    there = " and ".join(nodes)
                    spread.step(f"host of {there} dies", partial(spread.host_dies, *nodes))
                    spread.step(f"host of {there} returns", partial(spread.host_returns, *nodes))
        finally:
            with cluster.changing():
                spread.step("down", cluster.down)
    print("failed: " + ", ".join(spread.failed) if spread.failed else "every step passed")
    return int(bool(spread.failed))


if __name__ == "__main__":
    sys.exit(main())
