"""Direct routing in the lab, from the default lab's images: the example, and the same over IPv6.

Over IPv6 one of its services is two ports by one firewall mark. The controls take away what keeps
real servers silent, or what lets them answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvslab.core.places import EXAMPLES
from lvslab.lab import checklist, wire
from lvslab.lab.cluster import Cluster
from lvslab.measure import experiments, failover
from tests.examples import START, begun_again, problems, up

pytestmark = pytest.mark.vm
EXAMPLE = EXAMPLES / "direct-routing/lab.yaml"
HELD = {"IPv4": "192.168.50.1/32", "IPv6": "fd00:50::2/128"}
"""A service's address as a real server holds it."""


def over_ipv6(folder: Path) -> Path:
    """The example with IPv6 addresses; its second service is two ports."""
    text = re.sub(r"192\.168\.50\.0/24", '"fd00:50::/64"', EXAMPLE.read_text())
    text = re.sub(r"192\.168\.50\.(\d+)", r'"fd00:50::\1"', text)
    text = text.replace("instance: VI_2, port: 80,", "instance: VI_2, port: 80, also: [https],")
    file = folder / "lab.yaml"
    file.write_text(text)
    return file


@pytest.fixture(scope="module", params=["IPv4", pytest.param("IPv6", marks=pytest.mark.long)])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def booted(built: Path, family: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The lab, up from images that were made before, and saved."""
    folder = tmp_path_factory.mktemp("direct")
    with up(EXAMPLE if family == "IPv4" else over_ipv6(folder), built, folder / "out") as cluster:
        yield cluster


@pytest.fixture
def cluster(booted: Cluster) -> Cluster:
    return begun_again(booted)


def test_the_checklist_passes_and_looks_at_silence_and_the_way_back(
    cluster: Cluster, family: str
) -> None:
    found = checklist.wait(cluster, 60)
    assert checklist.well(found), [each for each in found if not each.ok]
    assert {each.node for each in found if each.item == 8} == {"rs1", "rs2", "client"}
    if family == "IPv6":
        (client,) = [each for each in found if each.node == "client" and each.item == 7]
        assert "https://[fd00:50::2]:443/ answered by rs1, rs2" in client.says


def test_no_answer_passes_a_director(cluster: Cluster) -> None:
    for name in cluster.lab.virtual_servers:
        assert wire.answerers(cluster.lab, cluster.namespace, name) == {"rs1", "rs2"}


@pytest.mark.parametrize("name", ["crash", "stop", "server-crash"])
def test_a_fault_costs_what_is_promised(booted: Cluster, name: str) -> None:
    found = failover.undisturbed(booted, experiments.everything(booted.lab)[name], START)
    assert found.ok, found.problems


@pytest.mark.parametrize("family", ["IPv4"], indirect=True)
def test_a_real_server_that_answers_arp_is_red(cluster: Cluster) -> None:
    cluster.run("rs1", ["sysctl", "-w", "net.ipv4.conf.all.arp_ignore=0"])
    assert any("machines answer for 192.168.50." in says for says in problems(cluster, 1))
    assert any("arp_ignore is 0, not 1" in says for says in problems(cluster, 8))


def test_a_real_server_without_the_address_is_red(cluster: Cluster, family: str) -> None:
    held = HELD[family]
    cluster.run("rs1", ["ip", "address", "del", held, "dev", "lo"])
    assert any("lo has not the service's address" in says for says in problems(cluster, 8))
    assert any(held.partition("/")[0] in says for says in problems(cluster, 7))
