"""Direct routing in the lab: the example, from the default lab's images.

Its controls take away what keeps real servers silent, or what lets them answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lvslab.core.places import EXAMPLES
from lvslab.lab import checklist, checkpoint, wire
from lvslab.lab.cluster import Cluster
from lvslab.measure import experiments, failover
from tests.examples import START, problems, up

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def booted(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The lab, up from images that were made before, and saved."""
    with up(
        EXAMPLES / "direct-routing/lab.yaml", built, tmp_path_factory.mktemp("direct")
    ) as cluster:
        yield cluster


@pytest.fixture
def cluster(booted: Cluster) -> Cluster:
    checkpoint.restore(booted, START)
    return booted


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
