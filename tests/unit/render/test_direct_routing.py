"""Direct routing: what a director and a real server get, and what labcheck makes of it."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from lvslab.core.places import EXAMPLES
from lvslab.measure import experiments
from lvslab.model.lab import Lab
from lvslab.model.load import load_lab
from lvslab.model.role import RoleSpec
from lvslab.render import keepalived_conf, node_facts, role_files
from lvslab.render.handout import SHEET, handout
from lvslab.render.picture import svg
from tests.unit.roles.test_labcheck import LABCHECK, World, examine, link

HELD = "/etc/systemd/network/15-lvslab-services.network"
SYSCTL = "/etc/sysctl.d/60-lvslab.conf"
SILENT = ("net.ipv4.conf.all.arp_ignore = 1\n", "net.ipv4.conf.all.arp_announce = 2\n")
Specs = dict[str, RoleSpec]


@pytest.fixture(scope="module")
def direct() -> Lab:
    return load_lab(EXAMPLES / "direct-routing/lab.yaml")


@pytest.fixture(scope="module")
def tunnelling() -> Lab:
    return load_lab(EXAMPLES / "tunnelling/lab.yaml")


def test_a_director_hands_packets_on_as_they_came(direct: Lab, lab: Lab) -> None:
    assert keepalived_conf(direct).count("lvs_method DR\n") == 2
    assert "DR" not in keepalived_conf(lab)


def test_a_real_server_has_the_addresses_and_is_silent(direct: Lab, lab: Lab, specs: Specs) -> None:
    files = role_files(direct, specs["real-server"])
    assert "Name=lo\n" in files[HELD].content
    for address in ("192.168.50.1", "192.168.50.2"):
        assert f"Address={address}/32\n" in files[HELD].content
    assert all(line in files[SYSCTL].content for line in SILENT)
    director = role_files(direct, specs["director"])
    assert HELD not in director and not any(line in director[SYSCTL].content for line in SILENT)
    nat = role_files(lab, specs["real-server"])
    assert HELD not in nat and "arp_" not in nat[SYSCTL].content


def test_a_real_server_has_only_the_addresses_of_its_own_services(direct: Lab) -> None:
    mine = {"web1": direct.virtual_servers["web1"]}
    assert [str(a) for a in direct.held_by("rs1")] == ["192.168.50.1", "192.168.50.2"]
    fewer = direct.model_copy(update={"virtual_servers": mine})
    assert [str(a) for a in fewer.held_by("rs1")] == ["192.168.50.1"]
    assert direct.held_by("lvs1") == []


def director() -> World:
    servers = {f"192.168.50.{host}:80": ("Route", True) for host in (10, 20)}
    return {
        "links": {"eth1": link("192.168.50.251/24", "192.168.50.1/24")},
        "ipvs": {
            f"192.168.50.{last}:80": {"scheduler": "rr", "real_servers": dict(servers)}
            for last in (1, 2)
        },
        "kernel": {"net.ipv4.ip_forward": "1"},
        "answers": {"eth1": ["m"]},
    }


def real_server() -> World:
    return {
        "links": {
            "lo": link("127.0.0.1/8", "192.168.50.1/32", "192.168.50.2/32"),
            "eth1": link("192.168.50.10/24"),
        },
        "rules": [],
        "routes": {},
        "kernel": {
            "net.ipv4.conf.all.arp_ignore": "1",
            "net.ipv4.conf.all.arp_announce": "2",
        },
        "answers": {"eth1": ["m"]},
        "pages": lambda _url: "rs1",
    }


@pytest.mark.parametrize(
    ("node", "world", "items"),
    [("lvs1", director(), {1, 2, 5, 6}), ("rs1", real_server(), {6, 7, 8})],
)
def test_all_is_well(
    direct: Lab, monkeypatch: pytest.MonkeyPatch, node: str, world: World, items: set[int]
) -> None:
    found = examine(direct, monkeypatch, node, world)
    assert found.keys() == items
    assert [f.problems for findings in found.values() for f in findings if f.problems] == []


IP_SAYS = """[
{"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"link_type":"loopback",
 "address":"00:00:00:00:00:00","addr_info":[
  {"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host","label":"lo"},
  {"family":"inet","local":"192.168.50.1","prefixlen":32,"scope":"global","label":"lo"},
  {"family":"inet6","local":"::1","prefixlen":128,"scope":"host"}]},
{"ifname":"eth1","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],"link_type":"ether",
 "address":"00:50:56:07:03:01","addr_info":[
  {"family":"inet","local":"192.168.50.10","prefixlen":24,"scope":"global","label":"eth1"}]},
{"ifname":"tunl0","flags":["NOARP","UP","LOWER_UP"],"link_type":"ipip","address":"0.0.0.0",
 "addr_info":[]}]"""


def test_the_loopback_and_a_tunnel_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `ip -json address` said on a real server of the lab."""
    monkeypatch.setattr(LABCHECK, "run_ip", lambda *_words: (0, IP_SAYS))
    assert LABCHECK.addresses() == {
        "lo": ["127.0.0.1/8", "192.168.50.1/32"],
        "eth1": ["192.168.50.10/24"],
        "tunl0": [],
    }
    assert [link["mac"].hex() for link in LABCHECK.links().values()] == [
        "0" * 12,
        "005056070301",
        "",
    ]


def nat(world: World) -> None:
    world["ipvs"]["192.168.50.1:80"]["real_servers"]["192.168.50.10:80"] = ("Masq", True)


def without_address(world: World) -> None:
    world["links"]["lo"]["addresses"].remove("192.168.50.2/32")


def on_its_card(world: World) -> None:
    world["links"]["eth1"]["addresses"].append("192.168.50.1/32")


def answering(world: World) -> None:
    world["kernel"]["net.ipv4.conf.all.arp_ignore"] = "0"


@pytest.mark.parametrize(
    ("node", "world", "harm", "item", "says"),
    [
        ("lvs1", director, nat, 2, "real server 192.168.50.10:80 is not in DR mode"),
        ("rs1", real_server, without_address, 8, "lo has not the service's address 192.168.50.2"),
        ("rs1", real_server, on_its_card, 8, "eth1 has 192.168.50.1: its neighbours would hear"),
        ("rs1", real_server, answering, 8, "arp_ignore is 0, not 1: ARP would answer"),
    ],
)
def test_a_broken_world_is_red(
    direct: Lab, monkeypatch: pytest.MonkeyPatch, node: str, world: Callable[[], World],
    harm: Callable[[World], None], item: int, says: str,
) -> None:  # fmt: skip
    broken = world()
    harm(broken)
    found = examine(direct, monkeypatch, node, broken)
    assert says in "; ".join(problem for f in found[item] for problem in f.problems)


def tunnel_end() -> World:
    world = real_server()
    world["links"] |= {
        "tunl0": link(),
        "eth1": link("192.168.100.10/24"),
        "eth2": link("192.168.50.10/24"),
    }
    world["answers"]["eth2"] = ["m"]
    return world


def test_a_real_server_takes_packets_out_of_others(
    tunnelling: Lab, specs: Specs, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = role_files(tunnelling, specs["real-server"])
    assert "Name=tunl0\n" in files["/etc/systemd/network/15-lvslab-tunnel.network"].content
    assert "ipip\n" in files["/etc/modules-load.d/lvslab.conf"].content
    assert keepalived_conf(tunnelling).count("lvs_method TUN\n") == 2
    world = tunnel_end()
    (well,) = examine(tunnelling, monkeypatch, "rs1", world)[8]
    assert well.problems == []
    world["links"]["tunl0"]["up"] = False
    (broken,) = examine(tunnelling, monkeypatch, "rs1", world)[8]
    assert broken.problems[0].startswith("tunl0 is not up")
    del world["links"]["tunl0"]
    (gone,) = examine(tunnelling, monkeypatch, "rs1", world)[8]
    assert gone.problems == broken.problems


def test_the_network_of_the_tunnels_is_watched(tunnelling: Lab) -> None:
    """It has no VRRP address, and who is cut off from it must not have the service's address."""
    conf = keepalived_conf(tunnelling)
    assert "track_file arp_VMnet12 {" in conf
    blocks = conf.split("vrrp_instance ")[1:]
    assert all("arp_VMnet12\n" in block and "arp_VMnet1\n" in block for block in blocks)


def test_every_interface_has_somebody_to_ask(direct: Lab) -> None:
    for facts in node_facts.expectations(direct)["nodes"].values():
        assert all(these["neighbours"] for these in facts["interfaces"].values())


def test_real_servers_are_drawn_on_the_client_s_network(direct: Lab, lab: Lab) -> None:
    words = "real servers answer clients directly"
    assert words in svg(direct) and words not in svg(lab)
    ElementTree.fromstring(svg(direct))


def test_a_network_that_is_both_front_and_back_is_cut_once(direct: Lab, lab: Lab) -> None:
    assert "cut-back" in experiments.everything(lab)
    names = experiments.everything(direct).keys()
    assert "cut-front" in names and "cut-back" not in names


def test_the_sheet_of_a_class_says_what_is_there(direct: Lab, lab: Lab) -> None:
    sheet, usual = (handout(this)[SHEET] for this in (direct, lab))
    assert "8. The service's address is there, and silent" in sheet and "ip rule" not in sheet
    assert "ip route show table LVS1" in usual and "silent" not in usual
