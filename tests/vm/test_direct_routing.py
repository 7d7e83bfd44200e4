"""Direct routing in the lab: the example, from the default lab's images.

Its controls take away what keeps real servers silent, or what lets them answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lvslab.core.places import EXAMPLES
from lvslab.core.stages import default_cache
from lvslab.core.waiting import until
from lvslab.lab import bringup, checklist, checkpoint, wire
from lvslab.lab.cluster import Cluster
from lvslab.lab.sources import Settings
from lvslab.measure import experiments, failover
from lvslab.model.load import load_lab
from tests.conftest import ROLES
from tests.programs import build_py

pytestmark = pytest.mark.vm
LAB = EXAMPLES / "direct-routing/lab.yaml"
LIMITS = bringup.Limits(boot_seconds=1500, settle_seconds=300)
START = failover.CHECKPOINT


@pytest.fixture(scope="module")
def booted(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The lab, up from images that were made before, and saved."""
    out = tmp_path_factory.mktemp("direct")
    done = build_py("images", "--lab", str(LAB), "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    for role in ROLES:
        assert f"✓ bake {role} (unchanged)" in done.stderr
    cluster = Cluster(load_lab(LAB).model_copy(update={"name": "direct-test"}))
    try:
        bringup.up(cluster, out, default_cache(), Settings(), limits=LIMITS)
        checkpoint.save(cluster, START)
        yield cluster
    finally:
        with cluster.changing():
            cluster.down()


@pytest.fixture
def cluster(booted: Cluster) -> Cluster:
    checkpoint.restore(booted, START)
    return booted


def problems(cluster: Cluster, item: int) -> list[str]:
    """What is wrong with an item of the checklist, within half a minute."""

    def found() -> list[str]:
        results = checklist.check(cluster)
        return [each.says for each in results if each.item == item and not each.ok]

    return until(found, 30)


def test_the_checklist_passes_and_looks_at_silence_and_the_way_back(cluster: Cluster) -> None:
    found = checklist.wait(cluster, 60)
    assert checklist.well(found), [each for each in found if not each.ok]
    assert {each.node for each in found if each.item == 8} == {"rs1", "rs2", "client"}


def test_no_answer_passes_a_director(cluster: Cluster) -> None:
    checklist.wait(cluster, 60)
    for name in cluster.lab.virtual_servers:
        assert wire.answerers(cluster.lab, cluster.namespace, name) == {"rs1", "rs2"}


@pytest.mark.parametrize("name", ["crash", "stop", "server-crash"])
def test_a_fault_costs_what_is_promised(booted: Cluster, name: str) -> None:
    found = failover.undisturbed(booted, experiments.everything(booted.lab)[name], START)
    assert found.ok, found.problems


def test_a_real_server_that_answers_arp_is_red(cluster: Cluster) -> None:
    checklist.wait(cluster, 60)
    cluster.run("rs1", ["sysctl", "-w", "net.ipv4.conf.all.arp_ignore=0"])
    assert any("machines answer for 192.168.50." in says for says in problems(cluster, 1))
    assert any("arp_ignore is 0, not 1" in says for says in problems(cluster, 8))


def test_a_real_server_without_the_address_is_red(cluster: Cluster) -> None:
    checklist.wait(cluster, 60)
    cluster.run("rs1", ["ip", "address", "del", "192.168.50.1/32", "dev", "lo"])
    assert any("lo has not the service's address" in says for says in problems(cluster, 8))
    assert any("192.168.50.1" in says for says in problems(cluster, 7))
