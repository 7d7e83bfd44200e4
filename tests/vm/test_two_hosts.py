"""The default lab over two libvirt hosts: checked, a director moved, a host killed and back.

The hosts are namespaces on this machine (tests/hosts.py). One boot; the tests are in the order of
a story, because a host that dies takes the checkpoints of its nodes along until it is back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvslab.core.places import default_cache
from lvslab.core.waiting import until
from lvslab.lab import bringup, checklist, faults, wire
from lvslab.lab.cluster import Cluster
from lvslab.lab.sources import Settings
from lvslab.lab.state import STATE_VARIABLE
from lvslab.measure.probe import Prober, View, view
from lvslab.model.load import load_lab
from tests.examples import LIMITS
from tests.hosts import Hosts, hosts

pytestmark = pytest.mark.vm

ROOT = Path(__file__).resolve().parents[2]
MOVE_SECONDS = 0.5
DEATH_SECONDS = 1.2
WATCH_SECONDS = 8.0


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with hosts(tmp_path_factory.mktemp("hosts"), "a", "b") as made:
        yield made


@pytest.fixture(scope="module")
def cluster(built: Path, rig: Hosts) -> Iterator[Cluster]:
    """The lab, up over both hosts; what is kept of it goes with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(STATE_VARIABLE, str(rig.folder / "state"))
        this = Cluster(load_lab(ROOT / "lab.yaml").model_copy(update={"name": "two-hosts"}))
        try:
            settings = Settings(hosts=tuple(rig.uris))
            bringup.up(this, built, default_cache(), settings, limits=LIMITS)
            yield this
        finally:
            with this.changing():
                this.down()


def whole(cluster: Cluster) -> None:
    found = checklist.wait(cluster, 120)
    assert checklist.well(found), [each for each in found if not each.ok]


def seen_by_clients(probe: Prober, zero: float) -> dict[str, View]:
    end = time.monotonic()
    return {name: view(asked, zero, end) for name, asked in probe.requests.items()}


def test_the_checklist_passes_with_each_director_on_its_own_host(cluster: Cluster) -> None:
    whole(cluster)
    assert [cluster.engine.place(node) for node in ("lvs1", "lvs2")] == ["10.99.0.11", "10.99.0.12"]
    assert wire.answerers(cluster.lab, cluster.namespace, "web2") == {"lvs2"}


def test_a_director_moves_to_another_host_and_keeps_its_address(cluster: Cluster) -> None:
    with Prober(cluster.lab, cluster.namespace) as probe:
        time.sleep(2)
        zero = time.monotonic()
        assert cluster.move("lvs1", "10.99.0.12")
        time.sleep(2)
        seen = seen_by_clients(probe, zero)
    assert all(each.gap <= MOVE_SECONDS for each in seen.values()), seen
    assert wire.answerers(cluster.lab, cluster.namespace, "web1") == {"lvs1"}
    assert cluster.move("lvs1", "10.99.0.11")
    whole(cluster)


def test_the_cluster_survives_the_death_of_a_host(cluster: Cluster, rig: Hosts) -> None:
    """lvs2 and rs2 die together: web2 moves, web1 goes on with rs1."""
    with Prober(cluster.lab, cluster.namespace) as probe:
        time.sleep(2)
        zero = time.monotonic()
        rig.kill("b")
        time.sleep(WATCH_SECONDS)
        seen = seen_by_clients(probe, zero)
    assert all(each.gap <= DEATH_SECONDS for each in seen.values()), seen
    assert {str(fault) for fault in faults.broken(cluster)} == {
        "lvs2: its host does not answer",
        "rs2: its host does not answer",
    }
    assert wire.answerers(cluster.lab, cluster.namespace, "web2") == {"lvs1"}
    assert not checklist.well(checklist.check(cluster)), "the control: half of it is gone"


def test_a_host_that_is_back_makes_it_whole_again(cluster: Cluster, rig: Hosts) -> None:
    rig.start("b")
    assert rig.wait("b")
    assert until(lambda: cluster.node_state("lvs2") == "off", 30)
    faults.heal(cluster)
    for node in ("lvs2", "rs2"):
        bringup.wait_for_boot(cluster, node, LIMITS, lambda event: None)
    whole(cluster)
    assert wire.answerers(cluster.lab, cluster.namespace, "web2") == {"lvs2"}
