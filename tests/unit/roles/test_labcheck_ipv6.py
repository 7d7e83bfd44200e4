"""labcheck in two families: green in a sound world, red without one part of IPv6."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from lvslab.core.places import EXAMPLES
from lvslab.model.lab import Lab
from lvslab.model.load import load_lab
from tests.conftest import ROOT
from tests.neighbour import beside
from tests.unit.roles.test_labcheck import LABCHECK, World, examine, link


@pytest.fixture(scope="module")
def dual() -> Lab:
    return load_lab(EXAMPLES / "dual-stack/lab.yaml")


def director() -> World:
    """lvs1 of the example while all is well."""

    def servers(net: int, port: int, *hosts: int) -> list[dict[str, Any]]:
        places = ("192.168.{}.{}:{}", "[fd00:{}::{}]:{}")
        return [{p.format(net, h, port): ("Masq", True) for h in hosts} for p in places]

    web, names = servers(100, 80, 10, 20), servers(200, 53, 30, 40)
    return {
        "links": {
            "eth1": link(
                "192.168.50.251/24", "fd00:50::251/64", "192.168.50.1/24", "fd00:50::1/64"
            ),
            "eth2": link(
                "192.168.100.251/24", "fd00:100::251/64", "192.168.100.1/24", "fd00:100::1/64"
            ),
            "eth3": link("192.168.200.251/24", "fd00:200::251/64"),
        },
        "ipvs": {
            "192.168.50.1:80": {"scheduler": "rr", "real_servers": web[0]},
            "[fd00:50::1]:80": {"scheduler": "rr", "real_servers": web[1]},
            "192.168.50.2:53/udp": {"scheduler": "rr", "real_servers": names[0]},
            "[fd00:50::2]:53/udp": {"scheduler": "rr", "real_servers": names[1]},
        },
        "kernel": {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"},
        "answers": {interface: ["m"] for interface in ("eth1", "eth2", "eth3")},
    }


def real_server() -> World:
    """rs1 of the example while all is well."""
    rules, routes = [{"src": "all", "table": "local"}], {}
    for net, dev, number in ((100, "eth1", 1), (200, "eth2", 2)):
        for table, start, prefix, gateway in (
            (f"LVS{number}", f"192.168.{net}.0", 24, f"192.168.{net}.1"),
            (f"LVS{number}v6", f"fd00:{net}::", 64, f"fd00:{net}::1"),
        ):
            rules.append({"src": start, "srclen": prefix, "table": table})  # type: ignore[dict-item]
            routes[table] = [
                {"dst": f"{start}/{prefix}", "dev": dev},
                {"dst": "default", "gateway": gateway, "dev": dev},
            ]
    return {
        "links": {
            "eth1": link("192.168.100.10/24", "fd00:100::10/64"),
            "eth2": link("192.168.200.10/24", "fd00:200::10/64"),
        },
        "rules": rules,
        "routes": routes,
        "answers": {"eth1": ["m"], "eth2": ["m"]},
        "pages": lambda _place: "rs1",
    }


def client() -> World:
    """The client of the example while all is well."""
    return {
        "links": {"vmnet1": link("192.168.50.100/24", "fd00:50::100/64")},
        "answers": {"vmnet1": ["m"]},
        "pages": lambda _place: "rs1",
        "names": lambda _place: "ns1",
    }


WORLDS: dict[str, Callable[[], World]] = {"lvs1": director, "rs1": real_server, "client": client}


def looked_at(
    dual: Lab, monkeypatch: pytest.MonkeyPatch, node: str, world: World
) -> dict[int, str]:
    """The problems by item."""
    monkeypatch.setitem(LABCHECK.PROBES, "dns-udp", lambda place: world["names"](place))
    found = examine(dual, monkeypatch, node, world)
    return {item: "; ".join(p for f in these for p in f.problems) for item, these in found.items()}


@pytest.mark.parametrize(
    ("node", "items"), [("lvs1", {1, 2, 5, 6}), ("rs1", {3, 4, 6, 7}), ("client", {1, 7})]
)
def test_all_is_well(
    dual: Lab, monkeypatch: pytest.MonkeyPatch, node: str, items: set[int]
) -> None:
    assert looked_at(dual, monkeypatch, node, WORLDS[node]()) == dict.fromkeys(items, "")


BROKEN: list[tuple[str, int, Callable[[World], Any], str]] = [
    ("lvs1", 1, lambda w: w["links"]["eth1"]["addresses"].remove("fd00:50::1/64"),
     "VI_5 (fd00:50::1/64 on eth1) belongs here and is not here"),
    ("lvs1", 1, lambda w: w["links"]["eth1"].update(addresses=["fd00:50::1/128"]),
     "(found as fd00:50::1/128: without /64 there is no way to its network)"),
    ("lvs1", 1, lambda w: w["links"]["eth3"]["addresses"].append("fd00:200::1/64"),
     "VI_8 (fd00:200::1/64 on eth3) is here but belongs to lvs2"),
    ("lvs1", 2, lambda w: w["ipvs"].pop("[fd00:50::2]:53/udp"),
     "[fd00:50::2]:53/udp is not in the table"),
    ("lvs1", 2, lambda w: w["ipvs"]["[fd00:50::1]:80"]["real_servers"].pop("[fd00:100::20]:80"),
     "[fd00:50::1]:80: real server [fd00:100::20]:80 is missing"),
    ("lvs1", 5, lambda w: w["kernel"].update({"net.ipv6.conf.all.forwarding": "0"}),
     "net.ipv6.conf.all.forwarding is 0, not 1"),
    ("lvs1", 6, lambda w: w["links"]["eth3"]["addresses"].remove("fd00:200::251/64"),
     "eth3 (VMnet13) has not its address fd00:200::251/64"),
    ("lvs1", 6, lambda w: w["links"]["eth3"]["addresses"].append("fd00:9::1/64"),
     "eth3 (VMnet13) has fd00:9::1/64, which nobody gave it"),
    ("lvs1", 6, lambda w: w.update(silent={f"fd00:100::{n}" for n in (10, 20, 30, 40)}),
     "eth2 (VMnet12): nobody answers for fd00:100::10, fd00:100::20"),
    ("rs1", 3, lambda w: w["rules"].remove({"src": "fd00:100::", "srclen": 64, "table": "LVS1v6"}),
     "no rule `from fd00:100::/64 lookup LVS1v6`"),
    ("rs1", 3, lambda w: w["rules"].append({"src": "fd00:9::", "srclen": 64, "table": "LVS1v6"}),
     "table LVS1v6 has more than one rule"),
    ("rs1", 4, lambda w: w["routes"]["LVS1v6"].pop(),
     "table LVS1v6: no route default via fd00:100::1 dev eth1"),
    ("rs1", 6, lambda w: w.update(silent={"fd00:100::1"}),
     "eth1 (VMnet12): nobody answers for fd00:100::1"),
    ("rs1", 7, lambda w: w.update(pages=lambda p: "rs1" if "127" in p else OSError("no")),
     "http, [::1]:80: no"),
    ("client", 1, lambda w: w.update(silent={"fd00:50::2"}), "nobody answers for fd00:50::2"),
    ("client", 7, lambda w: w["links"]["vmnet1"]["addresses"].pop(),
     "no interface has fd00:50::100/64 (VMnet1)"),
    ("client", 7, lambda w: w.update(pages=lambda p: OSError("no") if "fd00" in p else "rs1"),
     "http://[fd00:50::1]:80/: no"),
    ("client", 7, lambda w: w.update(names=lambda p: OSError("no") if "fd00" in p else "ns1"),
     "dns [fd00:50::2]:53 over UDP: no"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "item", "break_it", "words"), BROKEN)
def test_a_broken_world_is_red(
    dual: Lab, monkeypatch: pytest.MonkeyPatch, node: str, item: int,
    break_it: Callable[[World], Any], words: str,
) -> None:  # fmt: skip
    world = WORLDS[node]()
    break_it(world)
    assert words in looked_at(dual, monkeypatch, node, world)[item]


IP_SAYS = [
    ({"family": "inet6", "local": "fd00:50::1", "prefixlen": 64, "scope": "global"}, True),
    ({"family": "inet6", "local": "fe80::1", "prefixlen": 64, "scope": "link"}, False),
    ({"family": "inet6", "local": "::1", "prefixlen": 128, "scope": "host"}, False),
    (
        {"family": "inet6", "local": "fd00:50::1", "scope": "global", "tentative": True},
        False,
    ),
    ({"family": "inet", "local": "127.0.0.1", "prefixlen": 8, "scope": "host"}, True),
]


@pytest.mark.parametrize(("address", "counts"), IP_SAYS)
def test_an_address_counts_once_it_is_in_use(address: dict[str, Any], counts: bool) -> None:
    assert LABCHECK.counts(address) is counts


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("192.168.50.1:80", True),
        ("[fd00:50::1]:80", True),
        ("fd00:50::1:80", False),
        ("[192.168.50.1]:80", False),
        ("[fd00:50::1%eth1]:80", False),
        ("[fd00:50::1]", False),
        ("[fd00:50::1]:0", False),
        ("[]:80", False),
    ],
)
def test_an_address_and_a_port(text: str, right: bool) -> None:
    assert LABCHECK.is_service(text) is right


ASK = """\
import json, sys
from pathlib import Path
from tests.programs import loaded
labcheck = loaded(Path(sys.argv[1]))
mac = labcheck.links()["eth1"]["mac"]
found = {a: len(labcheck.neighbour_answers("eth1", mac, [a], 0.2)) for a in sys.argv[2:]}
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here")
def test_a_neighbour_tells_of_its_card_s_address_and_not_of_a_service_s() -> None:
    """Linux itself: direct routing over IPv6 needs no counterpart of arp_ignore."""
    program = ROOT / "roles/common/files/usr/local/bin/labcheck"
    asked = ["fd00:50::10", "192.168.50.10", "fd00:50::1", "fd00:50::99"]
    theirs = ["192.168.50.10/24 dev eth1", "fd00:50::10/64 dev eth1 nodad"]
    said = beside(
        [*theirs, "fd00:50::1/128 dev lo"],
        ["192.168.50.100/24 dev eth1", "fd00:50::100/64 dev eth1 nodad"],
        *(sys.executable, "-c", ASK, str(program), *asked),
    )
    assert json.loads(said) == dict(zip(asked, (1, 1, 0, 0), strict=True))
