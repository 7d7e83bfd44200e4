"""arp-watch: when a network counts as silent, and when as alive again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.neighbour import beside
from tests.programs import loaded

PROGRAM = ROOT / "roles/director/files/usr/local/lib/lvslab/arp-watch"
FALL, RISE, SETTLE, INTERVAL = 3, 2, 5.0, 0.4
SETTLED = 14  # rounds: the first of them is where the time of SETTLE begins


class Clock:
    """A clock that runs only when it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, its files in a folder of the test's."""
    module = loaded(PROGRAM)
    monkeypatch.setattr(module, "STATE", f"{tmp_path}/")
    monkeypatch.setattr(module.time, "monotonic", clock)
    return module


def network(watch: ModuleType) -> Any:
    return watch.Network(SETTLE, "arp_VMnet12", "eth2", "192.168.100.10,192.168.100.20")


def says(tmp_path: Path) -> str:
    """What keepalived reads."""
    return (tmp_path / "arp_VMnet12").read_text()


def rounds(clock: Clock, this: Any, *heard: bool) -> None:
    for answer in heard:
        clock.now += INTERVAL
        this.judge(answer, FALL, RISE)


@pytest.fixture
def settled(watch: ModuleType, clock: Clock) -> Any:
    """A network that is alive, long after the boot."""
    this = network(watch)
    rounds(clock, this, *[True] * SETTLED)
    return this


def test_a_network_is_silent_until_the_boot_has_settled(
    watch: ModuleType, clock: Clock, tmp_path: Path
) -> None:
    this = network(watch)
    rounds(clock, this, *[True] * (SETTLED - 1))
    assert says(tmp_path) == "1\n"
    rounds(clock, this, True)
    assert says(tmp_path) == "0\n"


def test_only_three_silent_rounds_in_a_row_count(
    settled: Any, clock: Clock, tmp_path: Path
) -> None:
    rounds(clock, settled, False, False, True, False, False)
    assert says(tmp_path) == "0\n"
    rounds(clock, settled, False)
    assert says(tmp_path) == "1\n"


def test_a_network_that_comes_and_goes_stays_silent_until_it_has_settled(
    settled: Any, clock: Clock, tmp_path: Path
) -> None:
    """Or a loose cable would move the addresses again and again."""
    rounds(clock, settled, *[False] * FALL)
    for _ in range(5):
        rounds(clock, settled, *[True] * (SETTLED - 1), False)
    assert says(tmp_path) == "1\n"
    rounds(clock, settled, *[True] * SETTLED)
    assert says(tmp_path) == "0\n"


def test_one_answer_is_not_enough_to_be_back(
    watch: ModuleType, clock: Clock, tmp_path: Path
) -> None:
    """Not even where nothing has to settle."""
    this = watch.Network(0.0, "arp_VMnet12", "eth2", "192.168.100.10")
    rounds(clock, this, True, False, True)
    assert says(tmp_path) == "1\n"
    rounds(clock, this, True)
    assert says(tmp_path) == "0\n"


def test_without_a_link_it_is_silent_at_once(
    watch: ModuleType, settled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "linked", lambda wire, interface: True)
    settled.look(None)
    assert says(tmp_path) == "0\n"
    monkeypatch.setattr(watch, "linked", lambda wire, interface: False)
    settled.look(None)
    assert says(tmp_path) == "1\n"


def test_a_watch_that_is_started_again_keeps_what_it_knew(
    watch: ModuleType, settled: Any, tmp_path: Path
) -> None:
    """Or a restart of the watch alone would move the addresses."""
    network(watch)
    assert says(tmp_path) == "0\n"


def test_the_adverts_group_is_joined_and_not_left(watch: ModuleType) -> None:
    """On the loopback, whose groups the kernel shows as it shows a card's."""
    member = watch.join("lo")
    assert "120000E0" in Path("/proc/net/igmp").read_text()  # 224.0.0.18 in this host's order
    member.close()
    assert watch.join("none-such") is None


def test_ipv6_s_groups_are_joined_before_an_address_comes(watch: ModuleType) -> None:
    """Or each move of an address set the card up again: it hears nothing for a second."""
    coming = [watch.packed("fd00:50::ab:1"), watch.packed("fd00:51::ab:1")]
    member = watch.join6("lo", coming)
    joined = Path("/proc/net/igmp6").read_text()
    assert "ff020000000000000000000000000012" in joined  # the adverts'
    assert joined.count("ff0200000000000000000001ffab0001") == 1  # both are asked for in one
    member.close()
    assert watch.join6("none-such", coming) is None


def test_a_network_of_ipv6_is_alive_by_another_s_answer(watch: ModuleType) -> None:
    this = watch.Network(SETTLE, "arp_VMnet12", "eth2", "fd00:100::10", "fd00:100::1")
    this.own = b"\x00\x50\x56\x00\x01\x03"
    assert this.addresses == [] and [a.hex() for a in this.coming] == ["fd000100" + "0" * 23 + "1"]

    def says_it_has(mac: bytes, address: str) -> bytes:
        head = bytes([watch.ADVERTISEMENT, 0, 0, 0, 0x60, 0, 0, 0])
        return head + bytes(watch.packed(address)) + b"\x02\x01" + mac

    def hears(*messages: bytes) -> bool:
        this.socket6 = Wire(list(messages))
        heard: bool = this.answered()
        return heard

    other = b"\x00\x50\x56\x00\x01\x0a"
    assert hears(b"short", says_it_has(other, "fd00:100::10"))
    assert not hears()
    assert not hears(says_it_has(this.own, "fd00:100::10"))
    assert not hears(says_it_has(other, "fd00:100::99"))


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here")
@pytest.mark.parametrize(("address", "alive"), [("fd00:50::10", True), ("fd00:50::11", False)])
def test_a_neighbour_is_asked_in_a_real_network(address: str, alive: bool, tmp_path: Path) -> None:
    """An address of the neighbour's, and one that nobody has."""
    said = beside(
        ["fd00:50::10/64 dev eth1 nodad"],
        ["fd00:50::100/64 dev eth1 nodad"],
        *(sys.executable, "-c", WATCH, address, str(tmp_path)),
    )
    assert said.split() == [str(alive)]


WATCH = f"""\
import sys, time
from pathlib import Path
from tests.programs import loaded
watch = loaded(Path("{PROGRAM}"))
address, folder = sys.argv[1:]
watch.STATE = folder + "/"
this = watch.Network(0.0, "arp_VMnet1", "eth1", address)
heard = False
for _ in range(20):
    this.ask()
    time.sleep(0.1)
    heard = heard or this.answered()
print(heard)
"""


def test_a_director_s_own_answer_and_a_stranger_s_count_for_nothing(watch: ModuleType) -> None:
    this = network(watch)
    this.own = b"\x00\x50\x56\x00\x01\x03"
    real, stranger = b"\xc0\xa8\x64\x0a", b"\xc0\xa8\x64\x63"

    def reply(mac: bytes, address: bytes, kind: int = 2) -> bytes:
        packed: bytes = watch.PACKET.pack(1, 0x0800, 6, 4, kind, mac, address, bytes(6), bytes(4))
        return packed

    def hears(*packets: bytes) -> bool:
        this.socket = Wire(list(packets))
        heard: bool = this.answered()
        return heard

    other = b"\x00\x50\x56\x00\x01\x0a"
    assert hears(b"short", reply(other, real))
    assert not hears()
    assert not hears(reply(this.own, real))
    assert not hears(reply(other, stranger))
    assert not hears(reply(other, real, kind=1))


class Wire:
    """A socket that has these packets and no more."""

    def __init__(self, packets: list[bytes]) -> None:
        self.packets = packets

    def recv(self, _size: int) -> bytes:
        if not self.packets:
            raise BlockingIOError
        return self.packets.pop(0)
