"""What a virtual server may say beside address and port: keepalived's own words for it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lvslab.core.places import EXAMPLES
from lvslab.model.lab import Lab
from lvslab.model.load import load_lab
from lvslab.render import keepalived_conf


@pytest.fixture(scope="module")
def dns() -> Lab:
    return load_lab(EXAMPLES / "dns/lab.yaml")


def service(lab: Lab, name: str) -> list[str]:
    """The lines of a virtual server's block."""
    (block,) = re.findall(
        rf"^# {name}\n(virtual_server .*?^\}})", keepalived_conf(lab), re.M | re.S
    )
    return [line.strip() for line in block.splitlines()]


def with_(lab: Lab, **values: Any) -> Lab:
    """The lab with other values of its first virtual server."""
    name, first = next(iter(lab.virtual_servers.items()))
    changed = type(first).model_validate(first.model_dump() | values)
    return lab.model_copy(update={"virtual_servers": lab.virtual_servers | {name: changed}})


def test_a_service_over_udp(dns: Lab) -> None:
    lines = service(dns, "names1u")
    assert "protocol UDP" in lines and "ops" in lines
    assert lines[lines.index("DNS_CHECK {") + 1 :][:2] == ["type A", "name names1u.dnslab"]
    assert "TCP_CHECK {" not in lines
    over_tcp = service(dns, "names1")
    assert "protocol TCP" in over_tcp and "TCP_CHECK {" in over_tcp and "ops" not in over_tcp


def test_without_a_word_nothing_is_said(lab: Lab) -> None:
    words = ("ops", "persistence", "quorum", "sorry_server", "inhibit", "url", "HTTP_GET", "DNS")
    assert not [line for line in service(lab, "web1") if line.startswith(words)]


def test_persistence(lab: Lab) -> None:
    lines = service(with_(lab, persistence={"seconds": 60, "prefix": 24}), "web1")
    assert "persistence_timeout 60" in lines
    assert "persistence_granularity 255.255.255.0" in lines


def test_a_page_is_asked_for(lab: Lab) -> None:
    lines = service(with_(lab, check={"by": "http", "path": "/health", "status": 204}), "web1")
    begin = lines.index("HTTP_GET {")
    assert lines[begin + 1 : begin + 5] == ["url {", "path /health", "status_code 204", "}"]


def test_what_happens_without_servers(lab: Lab) -> None:
    lines = service(with_(lab, quorum=2, inhibit=True, sorry_server="rs2"), "web1")
    assert "quorum 2" in lines and "inhibit_on_failure" in lines
    assert "sorry_server 192.168.100.20 80" in lines
    assert [line for line in lines if line.startswith("real_server")] == [
        "real_server 192.168.100.10 80 {"
    ]
