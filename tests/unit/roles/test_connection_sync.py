"""connection-sync: what a director tells another, byte by byte as the kernel's threads do."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT
from tests.neighbour import beside
from tests.programs import loaded

PROGRAM = ROOT / "roles/director/files/usr/local/lib/lvslab/connection-sync"
HEADING = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"
TABLE = HEADING + (
    "TCP C0A83264 8D3E C0A83201 0050 C0A8640A 0050 ESTABLISHED     899\n"
    "TCP C0A83264 8D40 C0A83201 0050 C0A86414 0050 TIME_WAIT       119\n"
    "TCP C0A83264 8D42 C0A83202 0050 C0A8C80A 0050 ESTABLISHED     640\n"
    "UDP C0A83264 8D44 C0A83201 0035 C0A8640A 0035 UDP             299\n"
)


@pytest.fixture(scope="module")
def sync() -> ModuleType:
    return loaded(PROGRAM)


def test_established_connections_to_addresses_held_here_are_reported(sync: ModuleType) -> None:
    packed = list(sync.connections(TABLE, {"192.168.50.1"}))
    assert [one.hex() for one in packed] == [
        "00" "06" "0024" "00000000" "0001" "8d3e" "0050" "0050" "00000000" "00000383"
        "c0a83264" "c0a83201" "c0a8640a"
    ]  # fmt: skip
    assert list(sync.connections(TABLE, set())) == []
    assert list(sync.connections(HEADING, {"192.168.50.1"})) == []


IPV6 = (
    "TCP fd00:0050:0000:0000:0000:0000:0000:0100 8D46 fd00:0050:0000:0000:0000:0000:0000:0001 0050 "
    "fd00:0100:0000:0000:0000:0000:0000:0010 0050 ESTABLISHED     899\n"
)


def test_ipv6_connections_are_reported_as_the_kernel_reports_them(sync: ModuleType) -> None:
    """struct ip_vs_sync_v6: its first byte says STYPE_F_INET6."""
    packed = list(sync.connections(TABLE + IPV6, {"fd00:50::1"}))
    assert [one.hex() for one in packed] == [
        "01" "06" "0048" "00000000" "0001" "8d46" "0050" "0050" "00000000" "00000383"
        "fd000050000000000000000000000100" "fd000050000000000000000000000001"
        "fd000100000000000000000000000010"
    ]  # fmt: skip
    assert list(sync.connections(IPV6, {"192.168.50.1", "fd00:50::2"})) == []


def test_a_message_holds_both_families_and_is_never_too_long(sync: ModuleType) -> None:
    both = list(sync.connections(TABLE + IPV6, {"192.168.50.2", "fd00:50::1"})) * 30
    found = list(sync.messages(both, 50))
    assert b"".join(message[8:] for message in found) == b"".join(both)
    assert sum(message[4] for message in found) == len(both)
    assert all(int.from_bytes(message[2:4], "big") == len(message) <= 1472 for message in found)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here")
@pytest.mark.parametrize("group", ["224.0.0.81", "ff02::81"])
def test_two_directors_hear_each_other_in_either_family(group: str) -> None:
    """One asks and the other hears it, on a wire of two network namespaces; not itself."""
    said = beside(
        ["192.168.100.252/24 dev eth1", "fd00:100::252/64 dev eth1 nodad"],
        ["192.168.100.251/24 dev eth1", "fd00:100::251/64 dev eth1 nodad"],
        *("sh", "-eu", "-c", ASK_AND_HEAR, "sh", sys.executable, HEAR, group),
    )
    assert said.split() == ["other", "silence"]


ASK_AND_HEAR = """\
nsenter --net --target $OTHER "$1" -c "$2" "$3" ask & asking=$!
"$1" -c "$2" "$3" hear
wait $asking
"""

HEAR = f"""\
import sys, time
from pathlib import Path
from tests.programs import loaded
sync = loaded(Path("{PROGRAM}"))
group, what = sys.argv[1:]
wire = sync.opened("eth1", group)
wire.settimeout(20 if what == "hear" else 0.3)
if what == "ask":
    for _ in range(20):
        wire.sendto(sync.QUESTION, (group, sync.OWN_PORT))
        time.sleep(0.1)
try:
    print("other" if wire.recvfrom(99)[0] == sync.QUESTION else "strange", flush=True)
except TimeoutError:
    print("silence", flush=True)
"""


def test_a_message_is_one_of_the_kernels_protocol(sync: ModuleType) -> None:
    (packed,) = sync.connections(TABLE, {"192.168.50.2"})
    (message,) = sync.messages([packed], 50)
    assert message == bytes.fromhex("0032002c01010000") + packed


def test_many_connections_take_several_messages(sync: ModuleType) -> None:
    (packed,) = sync.connections(TABLE, {"192.168.50.2"})
    found = list(sync.messages([packed] * 200, 50))
    assert [message[4] for message in found] == [40, 40, 40, 40, 40]
    assert {len(message) for message in found} == {8 + 40 * 36}
    assert all(int.from_bytes(message[2:4], "big") == len(message) for message in found)


def test_an_answer_goes_to_the_kernels_port(
    sync: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "table").write_text(TABLE)
    monkeypatch.setattr(sync, "TABLE", str(tmp_path / "table"))
    monkeypatch.setattr(sync, "held_addresses", lambda: {"192.168.50.1", "192.168.50.2"})
    with (
        socket.socket(type=socket.SOCK_DGRAM) as kernel,
        socket.socket(type=socket.SOCK_DGRAM) as wire,
    ):
        kernel.bind(("127.0.0.1", 0))
        kernel.settimeout(5)
        monkeypatch.setattr(sync, "KERNEL_PORT", kernel.getsockname()[1])
        sync.answer(wire, "127.0.0.1", 50)
        assert kernel.recv(4096)[4] == 2


def test_silent_networks_are_those_that_arp_watch_names(
    sync: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"arp_VMnet1": "0\n", "arp_VMnet12": "1\n", "leaving": "1\n"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sync, "STATE", f"{tmp_path}/")
    assert sync.silent_networks() == {"arp_VMnet12"}
