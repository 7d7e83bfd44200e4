"""`lab watch` on QEMU's machines without a system: real frames, power, cables, locks, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lvslab.cli import main
from lvslab.cli.lab.watch import bound
from lvslab.core.errors import InputError
from lvslab.core.waiting import until
from lvslab.lab import faults
from lvslab.lab.sources import Settings
from lvslab.model.load import load_lab
from lvslab.watch import buttons, senses
from lvslab.watch.collector import Collector
from lvslab.watch.scene import Scene, after
from tests.bare import Adverts, BareLab, bare_lab
from tests.conftest import ROOT
from tests.watching import Page, events

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here"),
]

Captured = pytest.CaptureFixture[str]
TABLE = """\
TCP  192.168.50.1:80   {0} 0 0 0 0
  -> 192.168.100.10:80 {0} 0 0 0 0
"""


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareLab]:
    with bare_lab(load_lab(ROOT / "lab.yaml"), tmp_path_factory.mktemp("w")) as this:
        cluster = this.cluster
        cluster.boot(this.artifacts, this.cache, Settings())
        with cluster.namespace.inside():
            address = f"{cluster.lab.endpoint('web1')[0]}/24"
            subprocess.run(["ip", "address", "add", address, "dev", "vmnet1"], check=True)
        this.serve("web1")
        adverts = Adverts(cluster)
        yield this
        adverts.end()


@pytest.fixture
def running(booted: BareLab) -> BareLab:
    for changed in (booted.guests.ill, booted.guests.dead, booted.guests.said):
        changed.clear()
    faults.heal(booted.cluster)
    return booted


class Watched:
    """What a collector tells, as the scene."""

    def __init__(self) -> None:
        self.scene = Scene()

    def take(self, sights: Any) -> None:
        for sight in sights:
            self.scene = after(self.scene, sight)

    def __getitem__(self, key: str) -> Any:
        return self.scene.shown.get(key)

    def sees(self, what: Callable[[], object], seconds: float = 20) -> bool:
        return bool(until(what, seconds, pause=0.05))


@contextmanager
def watching(this: BareLab) -> Iterator[Watched]:
    seen = Watched()
    with Collector(this.name, seen.take):
        yield seen


def test_the_wire_the_client_and_the_power_are_seen(running: BareLab) -> None:
    with watching(running) as seen:
        assert seen.sees(lambda: seen["holders/VI_1"] == ["lvs1"])
        assert seen.sees(lambda: (seen["beat/VI_3"] or [0])[0] > 3)
        assert seen["holders/VI_3"] == ["lvs2"]
        assert seen.sees(lambda: any(cell[3] for cell in strip(seen, "web1")))
        assert all(cell[1] == 0 for cell in strip(seen, "web2")), "nobody serves it here"
        assert seen.sees(lambda: sum(cell[2] for cell in strip(seen, "web2")) > 0)
        before = time.monotonic()
        running.cluster.kill("lvs1")
        assert seen.sees(lambda: seen["node/lvs1"] == "off")
        assert seen.sees(lambda: seen["holders/VI_1"] == ["lvs2"])
        assert time.monotonic() - before < 10
        assert seen.sees(lambda: (seen["arp/VI_1"] or [0, ""])[1] == "lvs2")


def strip(seen: Watched, service: str) -> list[Any]:
    return [v for key, v in seen.scene.shown.items() if key.startswith(f"second/{service}/")]


def test_cables_and_pauses_are_seen_and_healed(running: BareLab) -> None:
    with watching(running) as seen:
        faults.cut(running.cluster, "lvs1", "eth1")
        faults.cut(running.cluster, "rs1", "eth2", silent=True)
        running.cluster.pause("rs2")
        assert seen.sees(lambda: seen["node/rs2"] == "paused")
        assert seen.sees(lambda: seen["wire/lvs1/eth1"] == "carrier")
        assert seen["wire/rs1/eth2"] == "silent"
        faults.heal(running.cluster)
        assert seen.sees(lambda: seen["broken"] == [] and seen["node/rs2"] == "running")


def test_connections_are_counted_and_a_change_stops_the_counting(
    running: BareLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So `lab failover` is not disturbed: nothing is run in a node while somebody changes it."""
    monkeypatch.setattr(senses.InTables, "every", 0.3)
    start = time.monotonic()
    running.guests.said["ipvsadm"] = lambda: TABLE.format(int((time.monotonic() - start) * 50))
    with watching(running) as seen:
        assert seen.sees(lambda: 40 < (seen["server/rs1"] or {"all": 0})["all"] < 140)
        with running.cluster.changing():
            assert seen.sees(lambda: seen["busy"] is True)
            time.sleep(0.5)  # a look that had begun
            running.guests.done.clear()
            time.sleep(1)
            assert running.guests.done == []
        assert seen.sees(lambda: seen["busy"] is False)
        assert seen.sees(lambda: bool(running.guests.done)), "the control: it goes on"


def test_the_checklist_is_asked_some_time_after_a_change(
    running: BareLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senses, "_SETTLE_SECONDS", 0.5)
    with watching(running) as seen:
        assert seen.sees(lambda: seen["check"])
        assert (seen["check"]["ok"], seen["check"]["all"]) == (5, 5)
        running.guests.ill.add("rs1")
        faults.cut(running.cluster, "lvs1", "eth1")
        assert seen.sees(lambda: seen["check"]["ok"] == 4)
        assert [bad["node"] for bad in seen["check"]["bad"]] == ["rs1"]


def test_a_node_that_does_not_answer_is_named(
    running: BareLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senses.InTables, "every", 0.3)
    running.guests.dead.add("lvs2")
    with watching(running) as seen:
        assert seen.sees(lambda: "does not answer" in (seen["unseen/connections"] or ""))
        running.guests.dead.clear()
        assert seen.sees(lambda: seen["unseen/connections"] == "")


def test_buttons_do_what_they_say_and_others_are_refused(running: BareLab) -> None:
    cluster = running.cluster
    assert buttons.press(running.name, "lvs1: cut eth1") == "the cable of lvs1 eth1 is pulled"
    assert buttons.press(running.name, "rs1: silence eth2") == "rs1 eth2 loses all frames"
    assert buttons.press(running.name, "rs2: pause") == "rs2 is paused"
    assert buttons.press(running.name, "split lvs1 lvs2") == "lvs1 and lvs2 do not hear each other"
    assert buttons.press(running.name, "rs1: stop apache2") == "apache2 is stopped on rs1"
    kinds = {fault.kind for fault in faults.broken(cluster)}
    assert kinds == {"carrier", "silent", "paused", "multicast", "service"}
    assert buttons.press(running.name, "rs2: start") == "rs2 is started"
    assert buttons.press(running.name, "lvs1: heal") == "lvs1 is healed"
    assert buttons.press(running.name, "lvs1: kill") == "lvs1 loses its power"
    assert cluster.node_state("lvs1") == "off"
    assert buttons.press(running.name, "heal") == "everything is healed"
    assert faults.broken(cluster) == []
    with pytest.raises(InputError, match="there is no button rm"):
        buttons.press(running.name, "rm")


# --- the verb


@contextmanager
def watch(this: BareLab, *words: str) -> Iterator[tuple[Page, str, subprocess.Popen[str]]]:
    """The verb on a free port: its page and token."""
    command = this.verb("watch", "--port", "0", "--json", *words)
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        port = int(said["url"].rsplit(":", 1)[1].strip("/"))
        yield Page(port, None, None), said["token"], process  # type: ignore[arg-type]
    finally:
        process.kill()
        process.communicate()


def test_the_verb_serves_the_lab_takes_orders_and_ends_with_ctrl_c(running: BareLab) -> None:
    with watch(running) as (page, token, process):
        with events(page.port) as sent:
            _, state = next(sent)
            while state.get("holders/VI_1") != ["lvs1"]:
                kind, change = next(sent)
                state = change if kind == "state" else state | change
            assert page.ask("/press", "POST", "rs2: pause", X_Lab_Token=token)[0].status == 200
            while state["node/rs2"] != "paused":
                state |= next(sent)[1]
            with running.cluster.changing():
                answer, body = page.ask("/press", "POST", "heal", X_Lab_Token=token)
            assert answer.status == 409 and b"change of the lab" in body
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        assert process.stderr is not None and process.stderr.read() == ""


def test_sigterm_ends_it_too(running: BareLab) -> None:
    with watch(running) as (page, _, process):
        assert page.ask("/")[0].status == 200
        process.terminate()
        assert process.wait(20) == 143


def test_a_port_that_is_taken_is_reported(running: BareLab, capsys: Captured) -> None:
    with watch(running) as (page, _, _process):
        assert main.main(["lab", "watch", "--name", running.name, "--port", str(page.port)]) == 2
    err = capsys.readouterr().err
    assert f"port {page.port} cannot be used: Address already in use" in err
    assert "perhaps another `lab watch` is open" in err


def test_without_a_lab_there_is_nothing_to_watch(capsys: Captured) -> None:
    assert main.main(["lab", "watch", "--name", "nobody", "--port", "0"]) == 2
    assert "the lab nobody is not running" in capsys.readouterr().err


AGAIN = """\
import os, sys
os.geteuid = lambda: 1000
from lvslab.cli.lab.watch import bound
with bound(0) as wire:
    print(wire.getsockname()[1], flush=True)
    if len(sys.argv) == 2:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], "again"])
"""


def test_the_socket_goes_along_when_the_command_starts_again(tmp_path: Path) -> None:
    """As it does for an ordinary user, who gets a network of its own."""
    program = tmp_path / "again.py"
    program.write_text(AGAIN)
    command = [sys.executable, str(program), "first"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    first, again = done.stdout.split()
    assert first == again


def test_the_socket_is_on_loopback_only() -> None:
    with bound(0) as wire:
        assert wire.getsockname()[0] == "127.0.0.1"


# --- the last test ends the lab


def test_a_lab_that_ends_is_gone_leaves_nothing_and_comes_back(running: BareLab) -> None:
    cluster = running.cluster
    with watching(running) as seen:
        assert seen.sees(lambda: seen["holders/VI_1"] == ["lvs1"])
        assert main.main(["lab", "down", "--name", running.name]) == 0
        assert seen.sees(lambda: seen["lab"]["up"] is False)
        time.sleep(1)
        assert not cluster.state.folder.exists() and not cluster.namespace.exists()
        cluster.boot(running.artifacts, running.cache, Settings())
        assert seen.sees(lambda: seen["lab"]["up"] and seen["lab"]["epoch"] == 2)
        assert seen["node/lvs1"] == "running"
