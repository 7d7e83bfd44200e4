"""The verbs of a running lab, on QEMU's machines without a system in them (see tests/bare.py)."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvslab.cli import main
from lvslab.core.errors import CheckFailed, InputError, StageError
from lvslab.core.events import Event, StageFailed, StageProgress, silent
from lvslab.core.waiting import until
from lvslab.lab import bringup, checklist, faults, network, warm
from lvslab.lab import checkpoint as checkpoints
from lvslab.lab.cluster import Cluster
from lvslab.lab.qemu.local import LocalEngine
from lvslab.lab.sources import Settings
from lvslab.model.load import load_lab
from tests.bare import SAYS, Adverts, BareLab, bare_lab
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here"),
]

Captured = pytest.CaptureFixture[str]
NODES = ["lvs1", "lvs2", "rs1", "rs2"]


def up(this: BareLab, *words: str) -> int:
    artifacts = ["--artifacts", str(this.artifacts), "--accelerator", "tcg"]
    return main.main(["lab", "up", "--name", this.name, *artifacts, *words])


def do(this: BareLab, verb: str, *words: str) -> int:
    return main.main(["lab", verb, "--name", this.name, *words])


def client_cards(cluster: Cluster) -> dict[str, str]:
    """The client's cards, which are the bridges, each with its MAC address."""
    with cluster.namespace.inside():
        there = {link["ifname"]: link["address"] for link in network.links()}
    return {bridge: there[bridge] for bridge in network.bridge_names(cluster.lab).values()}


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareLab]:
    with bare_lab(load_lab(ROOT / "lab.yaml"), tmp_path_factory.mktemp("b")) as this:
        assert up(this) == 0
        adverts = Adverts(this.cluster)
        yield this
        adverts.end()


@pytest.fixture
def running(booted: BareLab) -> BareLab:
    """The lab, whole, whatever the test before has left."""
    guests = booted.guests
    for changed in (guests.ill, guests.dead, guests.said):
        changed.clear()
    faults.heal(booted.cluster)
    guests.done.clear()
    return booted


# --- up


def test_a_second_up_starts_nothing_and_other_options_are_refused(
    running: BareLab, capsys: Captured
) -> None:
    assert up(running, "--json") == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (done,) = (one for one in said if one["event"] == "up")
    assert done["started"] == []
    assert up(running, "--hardware", "virtio") == 2
    assert "the lab already runs, started from another lab.yaml" in capsys.readouterr().err


def test_up_names_the_check_and_the_node_that_fail_with_its_last_lines(running: BareLab) -> None:
    running.guests.ill.add("rs2")
    where = running.artifacts, running.cache, Settings(accelerator="tcg")
    with pytest.raises(CheckFailed, match="rs2: 1 it is alive: it is not") as caught:
        bringup.up(running.cluster, *where, limits=bringup.Limits(settle_seconds=0))
    assert caught.value.hint == "look at its log"
    assert f"the console of rs2 ends with:\n    {SAYS}" in caught.value.message


def test_a_first_start_is_kept_and_the_next_lab_goes_on_from_it(running: BareLab) -> None:
    (kept,) = (running.cache / warm.FOLDER).iterdir()
    assert sorted(path.name for path in kept.glob("*-disk.qcow2")) == [
        f"{node}-disk.qcow2" for node in NODES
    ]
    assert list(checkpoints.names(running.cluster)) == [warm.CHECKPOINT]


def test_a_node_that_goes_off_while_it_boots_is_reported_with_how_far_it_came(
    running: BareLab,
) -> None:
    cluster, events = running.cluster, list[Event]()
    cluster.kill("rs1")
    with pytest.raises(StageError, match="did not boot .it is off and reached: kernel.") as caught:
        bringup.wait_for_boot(cluster, "rs1", bringup.Limits(), events.append)
    assert SAYS in caught.value.message and caught.value.where == "rs1"
    assert [type(event) for event in events[1:]] == [StageProgress, StageFailed]
    with pytest.raises(StageError, match="the node did not boot within 5 s"):
        cluster.wait_for_agents(["rs1"], 5)
    assert faults.start(cluster, "rs1")
    cluster.wait_for_agents(NODES, 10)


def test_a_boot_is_followed_while_the_agent_does_not_answer_and_to_its_limit(
    running: BareLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bringup, "_PAUSE", 0.1)
    running.guests.dead.add("lvs2")
    with pytest.raises(StageError, match="it is running and reached: kernel"):
        limits = bringup.Limits(boot_seconds=0.3)
        bringup.wait_for_boot(running.cluster, "lvs2", limits, silent)
    threading.Timer(0.3, running.guests.dead.clear).start()
    bringup.wait_for_boot(running.cluster, "lvs2", bringup.Limits(5), silent)


# --- status and check


def test_status_shows_nodes_owners_adverts_and_faults(running: BareLab, capsys: Captured) -> None:
    assert do(running, "cut", "lvs1", "eth2", "--silent") == 0
    assert do(running, "pause", "rs1") == 0
    running.guests.dead.add("rs2")
    capsys.readouterr()
    assert do(running, "status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "lvs1   director     running   eth1 192.168.50.251/24, eth1 192.168.50.1/24, "
        "eth2 192.168.100.251/24, eth2 192.168.100.1/24, eth3 192.168.200.251/24"
    )
    assert lines[2].split() == ["rs1", "real-server", "paused"]
    assert lines[3].split(maxsplit=2)[2].strip() == "running, no answer"
    (line,) = (line for line in lines if line.startswith("VI_4"))
    assert "held by lvs2" in line and "adverts heard from lvs2" in line and "belongs" not in line
    assert "IPVS on lvs1 (method, weight, active, inactive)" in lines
    assert "broken: rs1 is paused" in lines
    assert "broken: lvs1 eth2: frames dropped, link up" in lines
    assert lines[-1].startswith("checkpoints: up (")
    assert do(running, "heal") == 0
    assert capsys.readouterr().out.splitlines() == [
        "healed: rs1 is paused", "healed: lvs1 eth2: frames dropped, link up",
    ]  # fmt: skip


def test_an_instance_that_moved_is_shown_with_the_director_that_it_belongs_to(
    running: BareLab, capsys: Captured
) -> None:
    assert do(running, "kill", "lvs2") == 0
    until(lambda: "lvs2" not in running.cluster.engine.processes(), 5)
    assert do(running, "status", "--json") == 0
    out = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[0] == "{"]
    (found,) = (one for one in out if one["event"] == "status")
    (moved,) = (one for one in found["instances"] if one["name"] == "VI_3")
    assert (moved["expected"], moved["held_by"]) == ("lvs2", [])
    assert moved["advertised_by"][-1] == "lvs1"
    assert found["broken"] == ["lvs2 is off"]
    assert do(running, "start", "lvs2") == 0
    assert capsys.readouterr().out.endswith("lvs2 runs\n")


def test_check_is_red_for_each_machine_that_fails_or_does_not_answer(
    running: BareLab, capsys: Captured
) -> None:
    assert do(running, "check", "--wait", "0") == 0
    assert "all 5 checks pass" in capsys.readouterr().out
    running.guests.ill.add("rs1")
    running.guests.dead.add("rs2")
    running.cluster.kill("lvs1")
    assert do(running, "check", "--wait", "0") == 1
    shown = capsys.readouterr()
    assert "3 of 5 checks fail" in shown.err
    assert "✗ 0 lvs1   the node answers: the node is off" in shown.out
    assert "      look at: start it: lab start lvs1" not in shown.out  # no program shows it
    assert "✗ 0 rs2    the node answers: the node does not answer" in shown.out
    shown_by = "      shown by: ps\n      look at: look at its log\n"
    assert f"✗ 1 rs1    it is alive: it is not\n{shown_by}" in shown.out
    assert do(running, "heal", "lvs1") == 0


@pytest.mark.parametrize(
    ("program", "seconds", "says"),
    [
        ("import sys; sys.stderr.write('oh'); sys.exit(3)", 30, "labcheck ended with status 3: oh"),
        ("print('nonsense')", 30, "labcheck gave no findings but 'nonsense\\n'"),
        ("import time; time.sleep(60)", 0.3, "labcheck did not end within 0.3 s"),
    ],
)
def test_a_client_that_cannot_be_checked_is_a_finding(
    running: BareLab,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    program: str,
    seconds: float,
    says: str,
) -> None:
    broken = tmp_path / "labcheck"
    broken.write_text(program)
    monkeypatch.setattr(checklist, "_PROGRAM", broken)
    monkeypatch.setattr(checklist, "_SECONDS", seconds)
    found = [one for one in checklist.check(running.cluster) if one.node == checklist.CLIENT]
    assert [(one.ok, one.says) for one in found] == [(False, says)]


def test_a_node_whose_labcheck_cannot_run_is_a_finding(running: BareLab) -> None:
    running.guests.said["/usr/local/bin/labcheck"] = "no JSON"
    findings = {one.node: one for one in checklist.check(running.cluster)}
    assert findings["rs1"].says == "labcheck gave no findings but 'no JSON'"
    assert findings[checklist.CLIENT].ok


# --- faults


def test_a_pulled_cable_stays_out_when_the_node_starts_again(
    running: BareLab, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    cluster, links = running.cluster, list[bool]()
    plug = LocalEngine.plug

    def heard(self: LocalEngine, node: str, interface: str, connected: bool) -> None:
        if (node, interface) == ("rs1", "eth1"):
            links.append(connected)
        plug(self, node, interface, connected)

    monkeypatch.setattr(LocalEngine, "plug", heard)
    assert do(running, "cut", "rs1", "eth1") == 0
    assert capsys.readouterr().out == "rs1 eth1 is cut\n"
    assert do(running, "kill", "rs1") == 0
    assert do(running, "start", "rs1") == 0
    assert [str(fault) for fault in faults.broken(cluster)] == ["rs1 eth1: cable pulled"]
    with pytest.raises(InputError, match="a broken cluster is not saved: rs1 eth1: cable pulled"):
        checkpoints.save(cluster, "x")
    capsys.readouterr()
    assert do(running, "heal", "rs1", "eth1") == 0
    assert do(running, "heal", "rs1", "eth1") == 0
    out = capsys.readouterr().out
    assert out == "healed: rs1 eth1: cable pulled\nnothing was broken\n"
    assert links == [False, False, True]


def test_two_deaf_directors_are_a_split_that_heals(running: BareLab, capsys: Captured) -> None:
    assert do(running, "split", "lvs1", "lvs2") == 0
    deaf = [fault for fault in faults.broken(running.cluster) if fault.kind == "multicast"]
    assert [fault.node for fault in deaf] == ["lvs1"] * 3 + ["lvs2"] * 3
    assert do(running, "heal") == 0
    assert do(running, "split", "lvs1", "rs1") == 2
    assert "rs1 is not a director" in capsys.readouterr().err
    assert faults.broken(running.cluster) == []


def test_a_stopped_service_is_a_fault_until_it_is_started(
    running: BareLab, capsys: Captured
) -> None:
    assert do(running, "stop-service", "rs2", "apache2") == 0
    assert capsys.readouterr().out == "apache2 is stopped on rs2\n"
    assert do(running, "heal", "rs2") == 0
    assert capsys.readouterr().out == "healed: rs2: apache2 stopped\n"
    assert running.guests.done == [
        ("rs2", "systemctl", "stop", "apache2"), ("rs2", "systemctl", "start", "apache2"),
    ]  # fmt: skip


def test_a_paused_node_continues_and_what_does_not_exist_is_refused(
    running: BareLab, capsys: Captured
) -> None:
    assert do(running, "pause", "lvs1") == 0
    assert running.cluster.node_state("lvs1") == "paused"
    assert do(running, "start", "lvs1") == 0
    assert running.cluster.node_state("lvs1") == "running"
    assert capsys.readouterr().out == "lvs1 is paused\nlvs1 runs\n"
    assert do(running, "cut", "lvs1", "eth0") == 2
    assert "lvs1 has no interface eth0 on a lab network" in capsys.readouterr().err


# --- save and restore


def test_restore_brings_back_every_node_and_heals_what_no_checkpoint_holds(
    running: BareLab, capsys: Captured
) -> None:
    cluster = running.cluster
    assert do(running, "save", "whole") == 0
    assert do(running, "cut", "lvs1", "eth1") == 0
    assert do(running, "cut", "lvs2", "eth3", "--silent") == 0
    assert do(running, "kill", "rs2") == 0
    assert do(running, "restore", "whole") == 0
    assert "whole restored, the checklist passes" in capsys.readouterr().out
    assert faults.broken(cluster) == []
    assert do(running, "restore", "never") == 2
    assert "the checkpoints are: up, whole" in capsys.readouterr().err


# --- into the lab


def test_a_restore_in_which_a_node_does_not_go_on_is_made_again(
    running: BareLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    guests, cluster = running.guests, running.cluster
    checkpoints.save(cluster, "y")
    real = Cluster.answers
    tries: list[bool] = []

    def answers(cluster: Cluster, node: str, timeout: float) -> bool:
        """A node that is dead lives again the next time."""
        tries.append(real(cluster, node, timeout))
        if node in guests.dead:
            guests.dead.clear()
        return tries[-1]

    monkeypatch.setattr(Cluster, "answers", answers)
    monkeypatch.setattr(checkpoints, "_ANSWER_SECONDS", 5.0)
    checkpoints.restore(cluster, "y")
    assert tries == [True] * len(cluster.lab.nodes), "the control: all went on"
    tries.clear()
    guests.dead.add("rs1")
    checkpoints.restore(cluster, "y")
    assert tries.count(False) == 1 and len(tries) == 2 * len(cluster.lab.nodes)


def test_the_client_is_inside_the_namespace_and_its_status_is_the_verb_s(
    running: BareLab,
) -> None:
    words = running.verb("client", "--", "sh", "-c", "ip -br address show vmnet1; exit 7")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout.split()[:3] == ["vmnet1", "UP", "192.168.50.100/24"]


def test_ssh_goes_to_the_port_of_its_node_and_an_unknown_node_is_refused(running: BareLab) -> None:
    words = running.cluster.ssh_command("rs1", ["true"])
    assert words[words.index("-p") + 1] == "2203"
    done = subprocess.run(
        running.verb("ssh", "lvs9"), cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "there is no node lvs9" in done.stderr


def test_a_capture_has_the_adverts_of_its_network(
    running: BareLab, tmp_path: Path, capsys: Captured
) -> None:
    assert do(running, "capture", "VMnet9") == 2
    assert "the lab has: VMnet1, VMnet12, VMnet13" in capsys.readouterr().err
    file = tmp_path / "vmnet1.pcap"
    words = running.verb("capture", "VMnet1", "-o", str(file))
    tcpdump = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        router = bytes([0x31, 51])
        assert until(lambda: file.exists() and router in file.read_bytes(), 20)
    finally:
        tcpdump.send_signal(signal.SIGINT)
        tcpdump.wait(10)


def test_a_console_without_a_terminal_prints_what_the_node_said(
    running: BareLab, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    with open(os.devnull) as nothing:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", nothing)
        assert do(running, "console", "rs1") == 0
    assert SAYS in capsys.readouterr().out


def test_a_console_joins_the_terminal_and_the_node_until_the_key_that_leaves(
    running: BareLab,
) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        words = running.verb("console", "rs1")
        os.chdir(ROOT)
        os.execv(words[0], words)
    shown = b""

    def see(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            shown += os.read(terminal, 4096)

    see(b"Ctrl-] closes it")
    assert until(lambda: not termios.tcgetattr(terminal)[3] & termios.ECHO, 10), "not raw"
    os.write(terminal, b"~")
    see(b"~")  # the node itself sent it back
    os.write(terminal, b"\x1d")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    os.close(terminal)


# --- down: the last test ends the lab


def test_down_leaves_nothing_and_a_new_lab_goes_on_from_the_first_start(
    running: BareLab, capsys: Captured
) -> None:
    cluster = running.cluster
    cards = client_cards(cluster)
    assert do(running, "down") == 0
    assert not cluster.state.folder.exists() and not cluster.namespace.exists()
    assert Cluster.known(running.name) is None
    assert up(running) == 0
    shown = capsys.readouterr()
    assert "the nodes go on from a checkpoint of" in shown.err
    clocks = [done[0] for done in running.guests.done if done[1] == "date"]
    assert sorted(clocks) == NODES
    (kept,) = (running.cache / warm.FOLDER).iterdir()
    assert cluster.state.key.read_bytes() == (kept / "key").read_bytes()
    # a node that goes on answers the card that it knew (half a minute over IPv6, else to nobody)
    assert client_cards(cluster) == cards
    assert cards["vmnet1"] == "00:50:56:c0:00:01"
