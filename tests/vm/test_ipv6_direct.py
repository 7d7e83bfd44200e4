"""Direct routing over IPv6 in the lab: the example in the other family.

One of its services is two ports by one firewall mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvslab.core.places import EXAMPLES
from lvslab.lab import checklist, checkpoint, wire
from lvslab.lab.cluster import Cluster
from lvslab.measure import experiments, failover
from tests.examples import START, problems, up

pytestmark = [pytest.mark.vm, pytest.mark.long]
VIP = "fd00:50::2"


def over_ipv6(folder: Path) -> Path:
    """The example of direct routing with IPv6 addresses; its second service is two ports."""
    text = (EXAMPLES / "direct-routing/lab.yaml").read_text()
    text = re.sub(r"192\.168\.50\.0/24", '"fd00:50::/64"', text)
    text = re.sub(r"192\.168\.50\.(\d+)", r'"fd00:50::\1"', text)
    text = text.replace("instance: VI_2, port: 80,", "instance: VI_2, port: 80, also: [https],")
    file = folder / "lab.yaml"
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def booted(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The lab, up from images that were made before, and saved."""
    folder = tmp_path_factory.mktemp("direct6")
    with up(over_ipv6(folder), built, folder / "out") as cluster:
        yield cluster


@pytest.fixture
def cluster(booted: Cluster) -> Cluster:
    checkpoint.restore(booted, START)
    checklist.wait(booted, 60)
    return booted


def test_the_checklist_passes_and_looks_at_the_way_back(cluster: Cluster) -> None:
    found = checklist.wait(cluster, 60)
    assert checklist.well(found), [each for each in found if not each.ok]
    assert {each.node for each in found if each.item == 8} == {"rs1", "rs2", "client"}
    (client,) = [each for each in found if each.node == "client" and each.item == 7]
    assert f"https://[{VIP}]:443/ answered by rs1, rs2" in client.says


def test_no_answer_passes_a_director(cluster: Cluster) -> None:
    for name in cluster.lab.virtual_servers:
        assert wire.answerers(cluster.lab, cluster.namespace, name) == {"rs1", "rs2"}


@pytest.mark.parametrize("name", ["crash", "stop", "server-crash"])
def test_a_fault_costs_what_is_promised(booted: Cluster, name: str) -> None:
    found = failover.undisturbed(booted, experiments.everything(booted.lab)[name], START)
    assert found.ok, found.problems


def test_a_real_server_without_the_address_is_red(cluster: Cluster) -> None:
    cluster.run("rs1", ["ip", "address", "del", f"{VIP}/128", "dev", "lo"])
    assert any("lo has not the service's address" in says for says in problems(cluster, 8))
    assert any(VIP in says for says in problems(cluster, 7))
