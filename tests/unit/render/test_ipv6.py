"""Two families in every text: keepalived's file, seeds, settings, VMware's folder, the picture."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
import yaml

from lvslab.core.places import EXAMPLES, ROLE_FOLDERS
from lvslab.model.lab import Lab
from lvslab.model.load import load_lab, load_role
from lvslab.model.role import RoleSpec
from lvslab.render import keepalived_conf, node_facts, node_seed, role_files
from lvslab.render.handout import NETWORKS_PS1, NETWORKS_SH, SHEET, answers, handout
from lvslab.render.picture import svg
from tests.sources import powershell_errors

Specs = dict[str, RoleSpec]
SYSCTL = "/etc/sysctl.d/60-lvslab.conf"
NETWORKD = "/etc/systemd/network/10-cloud-init-eth1.network.d/50-lvslab.conf"
UNITS = "/etc/systemd/system"


@pytest.fixture(scope="module")
def dual() -> Lab:
    return load_lab(EXAMPLES / "dual-stack/lab.yaml")


@pytest.fixture(scope="module")
def alone() -> Lab:
    return load_lab(EXAMPLES / "ipv6/lab.yaml")


def with_service(lab: Lab, **values: object) -> Lab:
    """The lab with other values of its last virtual server."""
    name, last = list(lab.virtual_servers.items())[-1]
    changed = type(last).model_validate(last.model_dump() | values)
    return lab.model_copy(update={"virtual_servers": lab.virtual_servers | {name: changed}})


def instance(conf: str, name: str) -> str:
    (block,) = re.findall(rf"^vrrp_instance {name} \{{\n(.*?)^\}}", conf, re.M | re.S)
    return str(block)


def test_an_ipv6_instance_has_a_link_local_address_first_and_no_source(dual: Lab) -> None:
    """RFC 5798, 5.1.2.1 and 5.2.9; keepalived takes the interface's own address for the source."""
    conf = keepalived_conf(dual)
    lines = [line.strip() for line in instance(conf, "VI_5").splitlines()]
    at = lines.index("virtual_ipaddress {")
    assert lines[at + 1 : at + 3] == [
        "fe80::200:5eff:fe00:233/64",
        "fd00:50::1/64 preferred_lft 0",
    ]
    assert not any("mcast_src_ip" in line for line in lines)
    assert "@lvs1 mcast_src_ip 192.168.50.251" in instance(conf, "VI_1")
    assert "virtual_ipaddress {\n        192.168.50.1/24\n    }" in instance(conf, "VI_1")


def test_a_director_has_its_own_addresses_in_both_families(dual: Lab) -> None:
    conf = keepalived_conf(dual)
    for line in ("@lvs1 192.168.50.251/24 dev eth1", "@lvs1 fd00:50::251/64 dev eth1"):
        assert line in conf


def test_checks_and_persistence_are_of_the_service_s_family(dual: Lab, alone: Lab) -> None:
    conf = keepalived_conf(dual)
    assert conf.count("type AAAA") == conf.count("type A\n") == 2
    stays = {"persistence": {"seconds": 60}}
    assert "persistence_granularity 128" in keepalived_conf(with_service(alone, **stays))
    shorter = {"persistence": {"seconds": 60, "prefix": 64}}
    assert "persistence_granularity 64" in keepalived_conf(with_service(alone, **shorter))


def test_a_mark_is_of_the_service_s_family(alone: Lab, specs: Specs) -> None:
    shop = with_service(alone, also=("https",))
    assert "virtual_server fwmark 2 {" in keepalived_conf(shop)
    assert "    ip_family inet6\n" in keepalived_conf(shop)
    packets = role_files(shop, specs["director"])["/etc/lvslab/packets.nft"].content
    assert "ip6 daddr fd00:50::2 tcp dport { 80, 443 } meta mark set 2" in packets
    assert "table inet lvslab {" in packets
    assert "tcp flags rst ip6 saddr set fd00:50::2\n" in packets


def test_the_kernel_forwards_and_asks_nobody_for_a_duplicate(
    dual: Lab, lab: Lab, specs: Specs
) -> None:
    director = role_files(dual, specs["director"])[SYSCTL].content
    assert "net.ipv6.conf.all.forwarding = 1\n" in director
    assert "net.ipv6.conf.eth3.accept_dad = 0\n" in director
    server = role_files(dual, specs["real-server"])[SYSCTL].content
    assert "net.ipv6.conf.eth1.accept_dad = 0\n" in server and "forwarding" not in server
    assert all("ipv6" not in role_files(lab, spec)[SYSCTL].content for spec in specs.values())


def test_a_real_server_has_a_table_and_a_rule_in_each_family(dual: Lab, specs: Specs) -> None:
    text = role_files(dual, specs["real-server"])[NETWORKD].content
    assert "LinkLocalAddressing=ipv6\nIPv6AcceptRA=no\n" in text
    for line in (
        "[Route]\nTable=LVS1\nDestination=192.168.100.0/24\nScope=link\n",
        "[Route]\nTable=LVS1v6\nDestination=fd00:100::/64\n\n",
        "[Route]\nTable=LVS1v6\nGateway=fd00:100::1\n",
        "[RoutingPolicyRule]\nFrom=fd00:100::/64\nTable=LVS1v6\nPriority=1111\n",
    ):
        assert line in text


def test_a_seed_has_the_addresses_of_both_families(dual: Lab) -> None:
    seed = node_seed(dual, "rs1")
    network = yaml.safe_load(seed.network_config)["ethernets"]
    assert network["eth1"]["addresses"] == ["192.168.100.10/24", "fd00:100::10/64"]
    hosts = seed.user_data
    assert "192.168.100.30 ns1\n" in hosts and "fd00:100::30 ns1\n" in hosts


def test_direct_routing_holds_the_address_on_the_loopback(dual: Lab, specs: Specs) -> None:
    way = {"method": "DR", "network": "VMnet12", "table": None, "service": "http"}
    direct = with_service(dual, **way, protocol="TCP")
    assert [str(address) for address in direct.held_by("rs1")] == ["fd00:50::2"]
    files = role_files(direct, specs["real-server"])
    assert (
        "Address=fd00:50::2/128\n"
        in files["/etc/systemd/network/15-lvslab-services.network"].content
    )
    assert "arp_ignore" not in files[SYSCTL].content  # Linux needs nothing of that in IPv6
    assert node_facts.expectations(direct)["nodes"]["rs1"]["silent"] == ["fd00:50::2/128"]


def test_tracking_asks_both_families_and_knows_what_may_come(dual: Lab, specs: Specs) -> None:
    unit = role_files(dual, specs["director"])[f"{UNITS}/lvslab-track.service"].content
    (word,) = re.findall(r"arp_VMnet12=\S+", unit)
    _, interface, asked, coming = word.split("=")
    assert interface == "eth2"
    assert asked == "192.168.100.10,192.168.100.20,fd00:100::10,fd00:100::20"
    assert coming == "fe80::200:5eff:fe00:234,fd00:100::1"


def test_connection_sync_goes_over_ipv6_only_where_there_is_nothing_else(
    dual: Lab, alone: Lab, specs: Specs
) -> None:
    unit = f"{UNITS}/lvslab-sync.service"
    assert "connection-sync eth2 50\n" in role_files(dual, specs["director"])[unit].content
    text = role_files(alone, specs["director"])[unit].content
    assert "connection-sync eth2 50 ff02::81\n" in text


def test_a_director_hands_over_the_addresses_of_both_families(dual: Lab, specs: Specs) -> None:
    path = f"{UNITS}/keepalived.service.d/10-lvslab.conf"
    words = role_files(dual, specs["director"])[path].content
    assert " 192.168.50.1 " in words and " fd00:50::1 " in words


def test_a_dns_server_answers_for_ipv6_names_and_to_ipv6_clients(dual: Lab, lab: Lab) -> None:
    spec = load_role(ROLE_FOLDERS, "dns-server")
    text = role_files(dual, spec)["/etc/unbound/unbound.conf.d/lvslab.conf"].content
    assert 'local-data: "names6.duallab. AAAA fd00:50::2"' in text
    assert 'local-data: "names.duallab. A 192.168.50.2"' in text
    assert "access-control: ::0/0 allow" in text


def test_vmware_gets_ipv4_and_the_host_s_ipv6_address_is_set_beside_it(
    dual: Lab, alone: Lab, lab: Lab
) -> None:
    assert "IPV6" not in handout(lab)[NETWORKS_SH].upper()
    assert "IPV6" not in handout(lab)[NETWORKS_PS1].upper()
    assert answers(dual)["VNET_1_HOSTONLY_SUBNET"] == "192.168.50.0"
    assert answers(alone)["VNET_1_HOSTONLY_SUBNET"] == "198.18.1.0"
    assert answers(alone)["VNET_1_VIRTUAL_ADAPTER_ADDR"] == "198.18.1.254"
    assert answers(alone)["VNET_12_VIRTUAL_ADAPTER"] == "no"
    for this in (dual, alone):
        texts = handout(this)
        assert "HOST_IPV6=fd00:50::100/64\n" in texts[NETWORKS_SH]
        assert "Address = 'fd00:50::100'; Prefix = 64" in texts[NETWORKS_PS1]
        assert powershell_errors(texts[NETWORKS_PS1]) == []
        assert "http://[fd00:50::1]/" in texts[SHEET]


def test_the_picture_has_both_families(dual: Lab, alone: Lab) -> None:
    for this in (dual, alone):
        ElementTree.fromstring(svg(this))
        assert "fd00:50::1" in svg(this) and "fd00:100::/64" in svg(this)
    assert "table LVS1, default via 192.168.100.1; table LVS1v6, default via" in svg(dual)


def test_the_client_is_told_to_ask_both_families(dual: Lab) -> None:
    client = json.loads(node_facts.text(dual))["client"]
    assert client["addresses"] == ["192.168.50.100/24", "fd00:50::100/64"]
    assert [service["service"] for service in client["services"]] == [
        "192.168.50.1:80",
        "192.168.50.2:53",
        "[fd00:50::1]:80",
        "[fd00:50::2]:53",
    ]
