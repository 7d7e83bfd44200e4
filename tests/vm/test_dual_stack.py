"""IPv4 and IPv6 beside each other in the lab, over TCP and over UDP in both.

The example has web servers and DNS servers, six machines. With DNS alone there are four. The
controls take away a part of IPv6, or leave something of it behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lvslab.core.places import EXAMPLES
from lvslab.lab import checklist, wire
from lvslab.lab.cluster import Cluster
from lvslab.lab.status import look
from lvslab.measure import experiments, failover
from tests.examples import START, begun_again, problems, up

pytestmark = pytest.mark.vm
EXAMPLE = EXAMPLES / "dual-stack/lab.yaml"
VIP, NETWORK, TABLE = "fd00:50::1", "fd00:100::/64", "LVS1v6"
WEB = {
    "whole": {"http://192.168.50.1:80/": "rs1, rs2", "http://[fd00:50::1]:80/": "rs1, rs2"},
    "dns": {
        "dns 192.168.50.1:53": "ns1, ns2",
        "dns [fd00:50::1]:53": "ns1, ns2",
    },
}
"""What the client asks on the first VIP: the web in the example, DNS over TCP without it."""

NAMES = {"dns 192.168.50.2:53 over UDP": "ns1, ns2", "dns [fd00:50::2]:53 over UDP": "ns1, ns2"}


def without_the_web(folder: Path) -> Path:
    """The example with DNS on both VIPs: over TCP where the web was."""
    lab = yaml.safe_load(EXAMPLE.read_text())
    del lab["nodes"]["rs1"], lab["nodes"]["rs2"]
    for name in ("web", "web6"):
        lab["virtual_servers"][name]["service"] = "dns"
    file = folder / "lab.yaml"
    file.write_text(yaml.safe_dump(lab, sort_keys=False))
    return file


@pytest.fixture(scope="module", params=["dns", pytest.param("whole", marks=pytest.mark.long)])
def which(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def booted(built: Path, which: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The lab, up from images of which the default lab's were made before, and saved."""
    folder = tmp_path_factory.mktemp(which)
    file = EXAMPLE if which == "whole" else without_the_web(folder)
    with up(file, built, folder / "out") as cluster:
        yield cluster


@pytest.fixture
def cluster(booted: Cluster) -> Cluster:
    return begun_again(booted)


def test_the_checklist_passes_in_both_families(cluster: Cluster, which: str) -> None:
    found = checklist.wait(cluster, 60)
    assert checklist.well(found), [each for each in found if not each.ok]
    (client,) = [each for each in found if each.node == "client" and each.item == 7]
    for place, servers in {**WEB[which], **NAMES}.items():
        assert f"{place} answered by {servers}" in client.says


def test_each_instance_is_advertised_by_its_owner_in_its_own_family(cluster: Cluster) -> None:
    found = {instance.name: instance for instance in look(cluster).instances}
    assert len(found) == 8 and all(instance.ok for instance in found.values())
    with wire.listening(cluster.lab, cluster.namespace) as tap:
        look(cluster)
    sources = {advert.source.version: advert.source for advert in tap.adverts()}
    assert sources.keys() == {4, 6} and sources[6].is_link_local


def test_with_nat_each_answer_passes_the_director(cluster: Cluster) -> None:
    for name in ("web", "web6"):
        assert wire.answerers(cluster.lab, cluster.namespace, name) == {"lvs1"}


@pytest.mark.parametrize("name", ["crash", "stop", "server-crash"])
def test_a_fault_costs_what_is_promised(booted: Cluster, name: str) -> None:
    """With 200 connections in the middle of a request, of both families."""
    found = failover.undisturbed(booted, experiments.everything(booted.lab)[name], START)
    assert found.ok, found.problems


def test_a_missing_ipv6_rule_is_red_and_ipv4_goes_on(cluster: Cluster, which: str) -> None:
    server = next(iter(cluster.lab.real_servers("web6")))
    cluster.run(server, ["ip", "-6", "rule", "del", "from", NETWORK, "lookup", TABLE])
    assert problems(cluster, 3) == [f"no rule `from {NETWORK} lookup {TABLE}`"]
    (says,) = problems(cluster, 7, "client")
    in_ipv4, in_ipv6 = WEB[which]
    assert in_ipv6 in says and in_ipv4 not in says


def test_a_stale_rule_is_red(cluster: Cluster) -> None:
    stale = ["ip", "-6", "rule", "add", "from", "fd00:9::/64", "lookup", TABLE]
    cluster.run("ns1", [*stale, "priority", "1500"])
    assert problems(cluster, 3) == [f"table {TABLE} has more than one rule"]


def test_a_director_that_does_not_forward_ipv6_is_red(cluster: Cluster) -> None:
    cluster.run("lvs1", ["sysctl", "-w", "net.ipv6.conf.all.forwarding=0"])
    assert problems(cluster, 5) == ["net.ipv6.conf.all.forwarding is 0, not 1"]


def test_two_owners_of_an_ipv6_address_are_red(cluster: Cluster) -> None:
    """As in a split brain: the neighbours would send to either."""
    cluster.run("lvs2", ["ip", "address", "add", f"{VIP}/64", "dev", "eth1", "nodad"])
    (says,) = problems(cluster, 1, "client")
    assert says.startswith(f"2 machines answer for {VIP}: ")
