"""connection-sync's loop: when it asks the other director, and whom it answers.

The clock is the test's: it runs only while the program waits for a packet, so nothing sleeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.programs import loaded
from tests.unit.roles.test_connection_sync import PROGRAM

ROUND = 0.25  # seconds that the program waits for a packet
OTHER = ("192.168.100.252", 8849)
Step = Callable[[], bytes | None]
"""What happens while the program waits: the packet that comes, None if there is none."""


class Over(BaseException):
    """The test's script has ended; the loop itself has no end."""


class Wire:
    """A socket that plays a script, a step for each wait, and keeps when the program asked."""

    def __init__(self, sync: ModuleType, script: Iterable[Step]) -> None:
        self.sync = sync
        self.script: Iterator[Step] = iter(script)
        self.now = 1000.0
        self.asked: list[float] = []
        self.slept: list[float] = []

    def clock(self) -> SimpleNamespace:
        """What the program takes for the module `time`."""
        return SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)

    def sendto(self, packet: bytes, to: tuple[str, int]) -> None:
        assert (packet, to) == (self.sync.QUESTION, (self.sync.GROUP, self.sync.OWN_PORT))
        self.asked.append(self.now)

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[str, int]]:
        step = next(self.script, None)
        if step is None:
            raise Over
        self.now += ROUND
        packet = step()
        if packet is None:
            raise TimeoutError
        return packet, OTHER


def nothing() -> None:
    return None


def wait(seconds: float) -> list[Step]:
    return [nothing] * round(seconds / ROUND)


class Director:
    """The program on a director: its files, its threads, and what it did."""

    def __init__(self, sync: ModuleType, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.sync, self.patch = sync, patch
        self.pid, self.network = folder / "checkers.pid", folder / "state" / "arp_VMnet12"
        self.network.parent.mkdir()
        self.network.write_text("0\n")
        self.threads = [True]  # what each look at the kernel's threads finds; the last one stays
        self.looked: list[float] = []
        self.answered: list[float] = []
        patch.setattr(sync, "CHECKERS", str(self.pid))
        patch.setattr(sync, "STATE", f"{self.network.parent}/")
        patch.setattr(sync.sys, "argv", ["connection-sync", "eth2", "50"])

    def writes(self, pid: str) -> Step:
        """keepalived's new checker process has filled the table."""
        return partial(self._now, self.pid, pid)

    def hears(self, silent: str) -> Step:
        """arp-watch says whether a network is silent."""
        return partial(self._now, self.network, silent)

    def _now(self, file: Path, text: str) -> None:
        file.write_text(text)

    def runs(self, script: Iterable[Step]) -> Wire:
        wire = Wire(self.sync, script)

        def keep_threads(interface: str, sync_id: int, group: str) -> bool:
            assert (interface, sync_id, group) == ("eth2", 50, self.sync.GROUP)
            self.looked.append(wire.now)
            return self.threads.pop(0) if len(self.threads) > 1 else self.threads[0]

        def answer(to: Wire, group: str, sync_id: int) -> None:
            assert (to, group, sync_id) == (wire, self.sync.GROUP, 50)
            self.answered.append(wire.now)

        self.patch.setattr(self.sync, "time", wire.clock())
        self.patch.setattr(self.sync, "opened", lambda interface, group: wire)
        self.patch.setattr(self.sync, "keep_threads", keep_threads)
        self.patch.setattr(self.sync, "answer", answer)
        with pytest.raises(Over):
            self.sync.main()
        return wire

    def asks(self, *script: Step) -> list[float]:
        """The seconds after the script's first step at which it asks, long after its start."""
        calm = wait(2 * self.sync.ASK_SECONDS)
        wire = self.runs([*calm, *script])
        begun = 1000.0 + 2 * self.sync.ASK_SECONDS
        return [at - begun for at in wire.asked if at >= begun]


@pytest.fixture
def director(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Director:
    return Director(loaded(PROGRAM), monkeypatch, tmp_path)


TEN_SECONDS = [ROUND * number for number in range(1, 41)]


def test_it_asks_for_ten_seconds_when_both_threads_run(director: Director) -> None:
    director.threads = [False, False, True]
    wire = director.runs(wait(20))
    assert director.looked == [1000.0, 1001.0, 1002.0, 1012.0]
    assert wire.asked == [1002.0 + ROUND * number for number in range(40)]


def test_it_asks_when_keepalived_has_filled_the_table_again(director: Director) -> None:
    director.pid.write_text("711\n")
    assert director.asks(director.writes("902\n"), *wait(20)) == TEN_SECONDS


def test_it_asks_when_keepalived_comes_back_after_it_had_ended(director: Director) -> None:
    director.pid.write_text("711\n")
    ended: Step = director.pid.unlink
    came = director.asks(ended, *wait(5), director.writes("902\n"), *wait(20))
    assert came == [5.25 + after for after in TEN_SECONDS]


def test_it_does_not_ask_while_the_same_process_or_none_fills_the_table(
    director: Director,
) -> None:
    director.pid.write_text("711\n")
    assert director.asks(director.writes("711\n"), *wait(5), director.pid.unlink, *wait(5)) == []


def test_it_does_not_ask_on_a_director_where_keepalived_never_ran(director: Director) -> None:
    assert director.asks(*wait(10)) == []


def test_it_asks_when_a_network_answers_again_and_not_when_it_falls_silent(
    director: Director,
) -> None:
    assert director.asks(director.hears("1\n"), *wait(5)) == []
    came = director.asks(*wait(1), director.hears("0\n"), *wait(20))
    assert came == [1 + after for after in TEN_SECONDS]


def test_it_answers_a_question_once_a_second_and_nothing_else(director: Director) -> None:
    question: bytes = director.sync.QUESTION

    def asked() -> bytes:
        return question

    def strange() -> bytes:
        return b"lvslab: which time is it?"

    director.runs([strange, asked, asked, asked, strange, asked, asked])
    assert director.answered == [1000.5, 1001.5]


def test_it_goes_on_after_an_error_of_the_network(director: Director) -> None:
    def broken() -> None:
        raise OSError("Network is unreachable")

    director.pid.write_text("711\n")
    wire = director.runs([*wait(20), broken, director.writes("902\n"), *wait(20)])
    assert wire.slept == [1]
    assert [at for at in wire.asked if at > 1010] == [
        1021.5 + after - ROUND for after in TEN_SECONDS
    ]
