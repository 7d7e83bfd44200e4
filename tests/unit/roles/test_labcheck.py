"""labcheck: each item is green in a sound world and red when that world lacks one thing."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from lvslab.model.lab import Lab
from lvslab.model.role import Probe
from lvslab.render import node_facts
from tests.programs import loaded

PROGRAM = Path(__file__).resolve().parents[3] / "roles/common/files/usr/local/bin/labcheck"
World = dict[str, Any]


LABCHECK = loaded(PROGRAM)


def link(*addresses: str, carrier: bool = True) -> dict[str, Any]:
    return {"mac": bytes(6), "up": True, "carrier": carrier, "addresses": list(addresses)}


def director() -> World:
    """lvs1 while all is well."""
    servers = {
        net: {f"192.168.{net}.{host}:80": ("Masq", True) for host in (10, 20)} for net in (100, 200)
    }
    return {
        "links": {
            "eth0": link("10.0.2.15/24"),
            "eth1": link("192.168.50.251/24", "192.168.50.1/24"),
            "eth2": link("192.168.100.251/24", "192.168.100.1/24"),
            "eth3": link("192.168.200.251/24"),
        },
        "ipvs": {
            "192.168.50.1:80": {"scheduler": "rr", "real_servers": servers[100]},
            "192.168.50.2:80": {"scheduler": "rr", "real_servers": servers[200]},
        },
        "kernel": {"net.ipv4.ip_forward": "1"},
        "answers": {"eth1": ["m"], "eth2": ["m"], "eth3": ["m"]},
    }


def real_server() -> World:
    """rs1 while all is well."""
    nets = {"LVS1": ("192.168.100", "eth1"), "LVS2": ("192.168.200", "eth2")}
    return {
        "links": {
            "eth0": link("10.0.2.15/24"),
            "eth1": link("192.168.100.10/24"),
            "eth2": link("192.168.200.10/24"),
        },
        "rules": [{"src": "all", "table": "local"}]
        + [{"src": f"{net}.0", "srclen": 24, "table": table} for table, (net, _) in nets.items()],
        "routes": {
            table: [
                {"dst": f"{net}.0/24", "dev": dev},
                {"dst": "default", "gateway": f"{net}.1", "dev": dev},
            ]
            for table, (net, dev) in nets.items()
        },
        "answers": {"eth1": ["m"], "eth2": ["m"]},
        "pages": lambda _url: "rs1",
    }


def client() -> World:
    """The client while all is well."""
    return {
        "links": {"vmnet1": link("192.168.50.100/24")},
        "answers": {"vmnet1": ["m"]},
        "pages": lambda _url: "rs1",
    }


def examine(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, node: str, world: World
) -> dict[int, list[Any]]:
    """The findings by item; what labcheck asks is answered from `world`."""

    def ip_json(*words: str) -> Any:
        return world["rules"] if words == ("rule",) else world["routes"].get(words[-1], [])

    monkeypatch.setattr(LABCHECK, "links", lambda: world["links"])
    monkeypatch.setattr(LABCHECK, "ipvs_table", lambda: world["ipvs"])
    monkeypatch.setattr(LABCHECK, "sysctl", lambda key: world["kernel"].get(key, "0"))
    monkeypatch.setattr(LABCHECK, "ip_json", ip_json)
    monkeypatch.setitem(LABCHECK.PROBES, "http", lambda place: world["pages"](place))
    monkeypatch.setattr(
        LABCHECK,
        "neighbour_answers",
        lambda interface, _mac, targets, *_, **__: [
            mac
            for mac in world["answers"].get(interface, [])
            if set(targets) - world.get("silent", set())
        ],
    )
    expected = node_facts.expectations(lab)
    facts = expected["client"] if node == "client" else expected["nodes"][node]
    found: dict[int, list[Any]] = {}
    for finding in LABCHECK.examine(node, facts):
        found.setdefault(finding.item, []).append(finding)
    return found


WORLDS: dict[str, Callable[[], World]] = {
    "lvs1": director,
    "rs1": real_server,
    "client": client,
}


@pytest.mark.parametrize(
    ("node", "items"), [("lvs1", {1, 2, 5, 6}), ("rs1", {3, 4, 6, 7}), ("client", {1, 7})]
)
def test_all_is_well(lab: Lab, monkeypatch: pytest.MonkeyPatch, node: str, items: set[int]) -> None:
    found = examine(lab, monkeypatch, node, WORLDS[node]())
    assert set(found) == items
    assert [f.problems for findings in found.values() for f in findings if f.problems] == []


def give(world: World, interface: str, *addresses: str) -> None:
    world["links"][interface] = link(*addresses)


def unset(world: World, *path: Any) -> None:
    for key in path[:-1]:
        world = world[key]
    del world[path[-1]]


BROKEN: list[tuple[str, int, Callable[[World], Any], str]] = [
    ("lvs1", 1, lambda w: give(w, "eth1", "192.168.50.251/24"),
     "VI_1 (192.168.50.1/24 on eth1) belongs here and is not here"),
    ("lvs1", 1, lambda w: give(w, "eth1", "192.168.50.251/24", "192.168.50.1/32"),
     "VI_1 (192.168.50.1/24 on eth1) belongs here and is not here (found as 192.168.50.1/32: "
     "without /24 there is no way to its network)"),
    ("lvs1", 1, lambda w: give(w, "eth3", "192.168.200.251/24", "192.168.200.1/24"),
     "VI_4 (192.168.200.1/24 on eth3) is here but belongs to lvs2"),
    ("lvs1", 2, lambda w: unset(w, "ipvs", "192.168.50.2:80"),
     "192.168.50.2:80 is not in the table"),
    ("lvs1", 2, lambda w: unset(w, "ipvs", "192.168.50.1:80", "real_servers", "192.168.100.10:80"),
     "192.168.50.1:80: real server 192.168.100.10:80 is missing"),
    ("lvs1", 2,
     lambda w: w["ipvs"]["192.168.50.1:80"]["real_servers"].update(
         {"192.168.100.20:80": ("Route", True)}),
     "192.168.50.1:80: real server 192.168.100.20:80 is not in NAT mode with a weight"),
    ("lvs1", 2,
     lambda w: w["ipvs"]["192.168.50.1:80"]["real_servers"].update(
         {"192.168.100.30:80": ("Masq", True)}),
     "192.168.50.1:80: 192.168.100.30:80 does not belong there"),
    ("lvs1", 2, lambda w: w["ipvs"]["192.168.50.1:80"].update(scheduler="wlc"),
     "192.168.50.1:80 has scheduler wlc, not rr"),
    ("lvs1", 5, lambda w: w["kernel"].update({"net.ipv4.ip_forward": "0"}),
     "net.ipv4.ip_forward is 0, not 1"),
    ("lvs1", 5, lambda w: w["kernel"].update({"net.ipv4.conf.eth2.rp_filter": "2"}),
     "net.ipv4.conf.eth2.rp_filter is 2, not 0"),
    ("lvs1", 6, lambda w: give(w, "eth3"), "eth3 (VMnet13) has not its address 192.168.200.251/24"),
    ("lvs1", 6, lambda w: give(w, "eth3", "192.168.200.251/24", "172.16.0.1/16"),
     "eth3 (VMnet13) has 172.16.0.1/16, which nobody gave it"),
    ("lvs1", 6, lambda w: unset(w, "links", "eth2"), "eth2 (VMnet12) does not exist"),
    ("lvs1", 6, lambda w: w["links"]["eth2"].update(carrier=False),
     "eth2 (VMnet12) has no carrier"),
    ("lvs1", 6, lambda w: w["links"]["eth2"].update(up=False, carrier=False),
     "eth2 (VMnet12) is down: systemd-networkd did not bring it up"),
    ("lvs1", 6, lambda w: unset(w, "answers", "eth3"),
     "eth3 (VMnet13): nobody answers for 192.168.200.10, 192.168.200.20"),
    ("rs1", 3, lambda w: w["rules"].pop(), "no rule `from 192.168.200.0/24 lookup LVS2`"),
    ("rs1", 3, lambda w: w["rules"][1].update(table="101"),
     "no rule `from 192.168.100.0/24 lookup LVS1`"),
    ("rs1", 3, lambda w: w["rules"].append({"src": "192.168.9.0", "srclen": 24, "table": "LVS1"}),
     "table LVS1 has more than one rule"),
    ("rs1", 4, lambda w: w["routes"]["LVS1"].pop(),
     "table LVS1: no route default via 192.168.100.1 dev eth1"),
    ("rs1", 4, lambda w: w["routes"]["LVS2"].append({"dst": "10.0.0.0/8", "dev": "eth0"}),
     "table LVS2 has 3 routes, not 2"),
    ("rs1", 6, lambda w: unset(w, "answers", "eth1"),
     "eth1 (VMnet12): nobody answers for 192.168.100.1"),
    ("rs1", 7, lambda w: w.update(pages=lambda _: "rs2"), "http, 127.0.0.1:80: answered by rs2"),
    ("rs1", 7, lambda w: w.update(pages=lambda _: TimeoutError()),
     "http, 127.0.0.1:80: no answer within 1.5 s"),
    ("client", 1, lambda w: w["answers"].clear(),
     "nobody answers for 192.168.50.1; nobody answers for 192.168.50.2"),
    ("client", 1, lambda w: w["answers"].update(vmnet1=["aa", "bb"]),
     "2 machines answer for 192.168.50.1: aa, bb; 2 machines answer for 192.168.50.2: aa, bb"),
    ("client", 7, lambda w: give(w, "vmnet1", "192.168.50.7/24"),
     "no interface has 192.168.50.100/24 (VMnet1)"),
    ("client", 7, lambda w: w.update(pages=lambda url: "rs1" if "50.2" in url else OSError("no")),
     "http://192.168.50.1:80/: no"),
    ("client", 7, lambda w: w.update(pages=lambda _: "stranger"),
     "http://192.168.50.1:80/: answered by stranger; http://192.168.50.2:80/: answered"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "item", "break_it", "words"), BROKEN)
def test_a_broken_world_is_red(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    node: str,
    item: int,
    break_it: Callable[[World], Any],
    words: str,
) -> None:
    world = WORLDS[node]()
    break_it(world)
    found = examine(lab, monkeypatch, node, world)[item]
    assert words in "; ".join(problem for finding in found for problem in finding.problems)
    assert all(finding.as_dict()["hint"] for finding in found if finding.problems)


def test_the_kernels_ipvs_table_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The format of ip_vs_info_seq_show in net/netfilter/ipvs/ip_vs_ctl.c."""
    table = tmp_path / "ip_vs"
    table.write_text(
        "IP Virtual Server version 1.2.1 (size=4096)\n"
        "Prot LocalAddress:Port Scheduler Flags\n"
        "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n"
        "TCP  C0A83201:0050 rr \n"
        "  -> C0A8640A:0050      Masq    1      0          3         \n"
        "  -> C0A86414:0050      Masq    0      0          0         \n"
        "TCP  [fd00:0050:0000:0000:0000:0000:0000:0001]:0050 rr \n"
        "  -> [fd00:0100:0000:0000:0000:0000:0000:0010]:0050      Masq    1      0          0\n"
        "UDP  [fd00:0050:0000:0000:0000:0000:0000:0002]:0035 wrr ops \n"
        "FWM  00000010 wlc persistent 300 FFFFFFFF\n"
        "  -> C0A8640A:0000      Masq    1      0          0         \n"
    )
    monkeypatch.setattr(
        LABCHECK, "Path", lambda path: table if path == "/proc/net/ip_vs" else Path(path)
    )
    assert LABCHECK.ipvs_table() == {
        "192.168.50.1:80": {
            "scheduler": "rr",
            "real_servers": {
                "192.168.100.10:80": ("Masq", True),
                "192.168.100.20:80": ("Masq", False),
            },
        },
        "[fd00:50::1]:80": {
            "scheduler": "rr",
            "real_servers": {"[fd00:100::10]:80": ("Masq", True)},
        },
        "[fd00:50::2]:53/udp": {"scheduler": "wrr", "real_servers": {}},
        "mark 16": {"scheduler": "wlc", "real_servers": {"192.168.100.10:0": ("Masq", True)}},
    }


def test_a_check_that_cannot_run_is_a_problem(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("no such program: ip")

    monkeypatch.setattr(LABCHECK, "links", fail)
    facts = node_facts.expectations(lab)["nodes"]["lvs1"]
    found = {finding.item: finding.problems for finding in LABCHECK.examine("lvs1", facts)}
    assert found[1] == found[6] == ["cannot be checked: no such program: ip"]


def command(tmp_path: Path, lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    expected = tmp_path / "checklist.json"
    expected.write_text(node_facts.text(lab))
    return subprocess.run(
        [sys.executable, str(PROGRAM), "--expect", str(expected), *words],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_machine_that_is_not_in_the_lab_is_reported(tmp_path: Path, lab: Lab) -> None:
    done = command(tmp_path, lab, "--node", "stranger")
    assert done.returncode == 2
    assert done.stderr == (
        "labcheck: this machine is stranger; the lab has lvs1, lvs2, rs1, rs2: has it its seed?\n"
    )


def test_a_missing_list_is_reported(tmp_path: Path, lab: Lab) -> None:
    done = command(tmp_path, lab, "--expect", "/nowhere.json")
    assert done.returncode == 2
    assert done.stderr.startswith("labcheck: /nowhere.json cannot be read: ")


def test_it_runs_here_and_says_what_is_wrong(tmp_path: Path, lab: Lab) -> None:
    """This host is no director: every item is red, as JSON and as text without colours."""
    done = command(tmp_path, lab, "--node", "lvs1", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [finding["item"] for finding in found] == [1, 2, 5, 6]
    assert not found[0]["ok"] and not found[1]["ok"] and not found[3]["ok"]
    text = command(tmp_path, lab, "--node", "lvs1")
    assert text.stdout.startswith("lvs1 (director)\n ✗ 1 VRRP addresses where they belong: VI_1 ")
    assert "\033" not in text.stdout


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_colours_unless_it_wants_none(
    tmp_path: Path, lab: Lab, no_color: str
) -> None:
    expect = tmp_path / "expect.json"
    expect.write_text(node_facts.text(lab))
    ours, theirs = pty.openpty()
    words: list[str | Path] = [sys.executable, PROGRAM, "--expect", expect, "--node", "lvs1"]
    subprocess.run(words, stdout=theirs, env=os.environ | {"NO_COLOR": no_color}, timeout=60)
    os.close(theirs)
    assert (b"\033[31;1m" in os.read(ours, 1 << 16)) == (not no_color)
    os.close(ours)


def test_every_interface_has_somebody_to_ask(lab: Lab, wide_lab: Lab) -> None:
    for this in (lab, wide_lab):
        for facts in node_facts.expectations(this)["nodes"].values():
            for expected in facts["interfaces"].values():
                assert expected["neighbours"]


# --- how services are asked


def dns_answer(name: bytes, code: int = 0, answers: int = 1) -> bytes:
    """What a DNS server says to `QUERY`: RFC 1035, section 4.1."""
    header = LABCHECK.QUERY[:2] + struct.pack("!HHHHH", 0x8000 | code, 1, answers, 0, 0)
    data = bytes([len(name)]) + name
    record = b"\xc0\x0c" + struct.pack("!HHIH", 16, 3, 0, len(data)) + data
    return bytes(header + LABCHECK.QUESTION + (record if answers else b""))


def test_the_name_of_a_dns_server() -> None:
    assert LABCHECK.server_name(dns_answer(b"ns1")) == "ns1"
    whole = dns_answer(b"ns1").replace(b"\xc0\x0c", LABCHECK.QUESTION[:-4])
    assert LABCHECK.server_name(whole) == "ns1"


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (b"", "it answers something that is not DNS"),
        (b"HTTP/1.1 400 Bad Request", "it answers something that is not DNS"),
        (dns_answer(b"ns1", code=5), "it answers with DNS error 5"),
        (dns_answer(b"", answers=0), "it answers without its name"),
        (dns_answer(b""), "it answers without its name"),
        (dns_answer(b"a\x1b[2J"), "it answers without its name"),
        *[
            (dns_answer(b"ns1")[:cut], "it answers without its name")
            for cut in range(12, len(dns_answer(b"ns1")) - 3)
        ],
    ],
)
def test_what_is_no_dns_server_s_name(message: bytes, says: str) -> None:
    found = LABCHECK.server_name(message)
    assert isinstance(found, OSError)
    assert str(found) == says


@contextlib.contextmanager
def serving(reply: bytes) -> Iterator[str]:
    """Something that answers one connection so, and where it is."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    ("probe", "reply", "name"),
    [
        ("http", b"HTTP/1.1 200 OK\r\nX-Real-Server: rs1\r\n\r\n", "rs1"),
        ("dns", struct.pack("!H", len(dns_answer(b"ns1"))) + dns_answer(b"ns1"), "ns1"),
    ],
)
def test_a_service_is_asked_for_its_name(probe: str, reply: bytes, name: str) -> None:
    with serving(reply) as place:
        assert LABCHECK.PROBES[probe](place) == name


@pytest.mark.parametrize("probe", ["http", "dns", "tcp"])
def test_nobody_serves(probe: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place = f"127.0.0.1:{closed.getsockname()[1]}"
    assert isinstance(LABCHECK.PROBES[probe](place), ConnectionRefusedError)


def test_a_connection_is_enough_for_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = f"127.0.0.1:{listening.getsockname()[1]}"
        assert LABCHECK.PROBES["tcp"](place) == LABCHECK.NAMELESS


def test_every_probe_of_a_role_is_known_on_a_node() -> None:
    ways = {*get_args(Probe), "dns-udp"}
    assert ways == set(LABCHECK.PROBES) == set(LABCHECK.SHOWN) == set(LABCHECK.BY_HAND)
