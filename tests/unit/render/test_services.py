"""What a virtual server may say beside address and port: keepalived's own words for it."""

from __future__ import annotations

import re

import pytest

from lvslab.core.places import EXAMPLES
from lvslab.model.lab import Lab
from lvslab.model.load import load_lab
from lvslab.model.role import RoleSpec
from lvslab.render import keepalived_conf, role_files
from lvslab.render.machine_files import units
from lvslab.render.node_facts import expectations
from tests.conftest import with_service

PACKETS = "/etc/lvslab/packets.nft"
PORTS = "/etc/apache2/ports.conf"


def refusals_of(lab: Lab, spec: RoleSpec) -> list[str]:
    lines = role_files(lab, spec)[PACKETS].content.splitlines()
    return [line.strip() for line in lines if "tcp flags rst" in line]


@pytest.fixture(scope="module")
def dns() -> Lab:
    return load_lab(EXAMPLES / "dns/lab.yaml")


@pytest.fixture(scope="module")
def shop() -> Lab:
    return load_lab(EXAMPLES / "shop/lab.yaml")


def service(lab: Lab, name: str) -> list[str]:
    """The lines of a virtual server's block."""
    (block,) = re.findall(
        rf"^# {name}\n(virtual_server .*?^\}})", keepalived_conf(lab), re.M | re.S
    )
    return [line.strip() for line in block.splitlines()]


def test_a_service_over_udp(dns: Lab) -> None:
    lines = service(dns, "names1u")
    assert "protocol UDP" in lines and "ops" not in lines
    alone = with_service(
        dns, protocol="UDP", one_packet=True, method="DR", network="VMnet12", table=None
    )
    assert "ops" in service(alone, "names1")
    assert lines[lines.index("DNS_CHECK {") + 1 :][:2] == ["type A", "name names1u.dnslab"]
    assert "TCP_CHECK {" not in lines
    over_tcp = service(dns, "names1")
    assert "protocol TCP" in over_tcp and "TCP_CHECK {" in over_tcp and "ops" not in over_tcp


def test_without_a_word_nothing_is_said(lab: Lab) -> None:
    words = ("ops", "persistence", "quorum", "sorry_server", "inhibit", "url", "HTTP_GET", "DNS")
    assert not [line for line in service(lab, "web1") if line.startswith(words)]


def test_a_check_that_reads_the_page(lab: Lab) -> None:
    lines = service(with_service(lab, check={"by": "http", "content": "all (is) well?"}), "web1")
    assert 'regex "all [(]is[)] well[?]"' in lines


def test_a_check_by_script_knows_the_real_server_and_is_not_root(lab: Lab) -> None:
    command = ["/usr/bin/curl", "--fail", "http://{address}:{port}/{address}"]
    check = {"by": "script", "command": command, "timeout_seconds": 3, "retry": 4}
    lines = service(with_service(lab, check=check, port=8080), "web1")
    first = lines[lines.index("MISC_CHECK {") + 1 :]
    assert first[: first.index("}")] == [
        'misc_path "/usr/bin/curl --fail http://192.168.100.10:8080/192.168.100.10"',
        "misc_timeout 3",
        "user nobody nogroup",
        "retry 4",
        "delay_before_retry 0.2",
    ]


def test_persistence(lab: Lab) -> None:
    lines = service(with_service(lab, persistence={"seconds": 60, "prefix": 24}), "web1")
    assert "persistence_timeout 60" in lines
    assert "persistence_granularity 255.255.255.0" in lines


def test_services_that_share_a_client_have_one_mark(shop: Lab, specs: dict[str, RoleSpec]) -> None:
    lines = service(shop, "shop")
    assert lines[0] == "virtual_server fwmark 1 {"
    assert "sorry_server 192.168.100.30 0" in lines and "real_server 192.168.100.10 0 {" in lines
    assert not [line for line in lines if line.startswith("protocol")]
    assert lines.count("connect_port 443") == lines.count("connect_port 80") == 2
    files = role_files(shop, specs["director"])
    assert "ip daddr 192.168.50.1 tcp dport { 80, 443 } meta mark set 1\n" in files[PACKETS].content


def test_without_such_services_there_is_no_mark(lab: Lab, specs: dict[str, RoleSpec]) -> None:
    assert "meta mark" not in role_files(lab, specs["director"])[PACKETS].content


def test_who_is_refused_late_hears_it_from_the_address_that_was_asked(
    lab: Lab, shop: Lab, specs: dict[str, RoleSpec]
) -> None:
    assert refusals_of(lab, specs["director"]) == [
        "ip saddr { 192.168.100.10, 192.168.100.20 } tcp sport 80 tcp flags rst "
        "ip saddr set 192.168.50.1",
        "ip saddr { 192.168.200.10, 192.168.200.20 } tcp sport 80 tcp flags rst "
        "ip saddr set 192.168.50.2",
    ]
    ports = [
        line.split("tcp sport ")[1].split()[0] for line in refusals_of(shop, specs["director"])
    ]
    assert ports == ["443", "80"]


def test_a_port_that_serves_for_two_addresses_does_not_say_which(
    specs: dict[str, RoleSpec],
) -> None:
    four = load_lab(EXAMPLES / "three-directors/lab.yaml")
    web4 = four.virtual_servers["web4"].model_copy(update={"port": 80})
    servers = four.virtual_servers | {"web4": web4}
    same = four.model_copy(update={"virtual_servers": servers})
    assert [len(refusals_of(this, specs["director"])) for this in (four, same)] == [4, 2]


def test_real_servers_that_answer_directly_need_nothing(specs: dict[str, RoleSpec]) -> None:
    direct = load_lab(EXAMPLES / "direct-routing/lab.yaml")
    assert PACKETS not in role_files(direct, specs["director"])
    assert "lvslab-packets.service" not in units(direct, specs["director"])


def test_a_real_server_with_https_makes_a_certificate(
    shop: Lab, lab: Lab, specs: dict[str, RoleSpec]
) -> None:
    with_tls, without = (role_files(this, specs["real-server"]) for this in (shop, lab))
    assert "Listen 443\n" in with_tls[PORTS].content
    assert "lvslab-certificate.service" in units(shop, specs["real-server"])
    assert "443" not in without[PORTS].content
    assert with_tls.keys() - without.keys() == {
        "/etc/apache2/conf-enabled/lvslab-tls.conf",
        "/etc/systemd/system/lvslab-certificate.service",
    }


def test_every_port_is_asked_by_the_client(shop: Lab) -> None:
    asked = expectations(shop)["client"]["services"]
    assert [(each["service"], each["probe"]) for each in asked] == [
        ("192.168.50.1:443", "https"),
        ("192.168.50.1:80", "http"),
    ]


def test_a_page_is_asked_for(lab: Lab) -> None:
    lines = service(
        with_service(lab, check={"by": "http", "path": "/health", "status": 204}), "web1"
    )
    begin = lines.index("HTTP_GET {")
    assert lines[begin + 1 : begin + 5] == ["url {", "path /health", "status_code 204", "}"]


def test_what_happens_without_servers(lab: Lab) -> None:
    lines = service(with_service(lab, quorum=2, inhibit=True, sorry_server="rs2"), "web1")
    assert "quorum 2" in lines and "inhibit_on_failure" in lines
    assert "sorry_server 192.168.100.20 80" in lines
    assert [line for line in lines if line.startswith("real_server")] == [
        "real_server 192.168.100.10 80 {"
    ]
