"""connection-sync: what a director tells another, byte by byte as the kernel's threads do."""

from __future__ import annotations

import socket
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT
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
    monkeypatch.setattr(sync, "GROUP", "127.0.0.1")
    with (
        socket.socket(type=socket.SOCK_DGRAM) as kernel,
        socket.socket(type=socket.SOCK_DGRAM) as wire,
    ):
        kernel.bind(("127.0.0.1", 0))
        kernel.settimeout(5)
        monkeypatch.setattr(sync, "KERNEL_PORT", kernel.getsockname()[1])
        sync.answer(wire, 50)
        assert kernel.recv(4096)[4] == 2


def test_silent_networks_are_those_that_arp_watch_names(
    sync: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"arp_VMnet1": "0\n", "arp_VMnet12": "1\n", "leaving": "1\n"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sync, "STATE", f"{tmp_path}/")
    assert sync.silent_networks() == {"arp_VMnet12"}
