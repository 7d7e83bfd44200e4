"""Experiments on QEMU's machines without a system: real probes, servers, adverts, checkpoints."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lvslab.cli import main
from lvslab.core.errors import StageError
from lvslab.core.waiting import until
from lvslab.lab import checkpoint, faults, wire
from lvslab.lab.cluster import Cluster
from lvslab.lab.sources import Settings
from lvslab.measure import connections, experiments, failover, watchers
from lvslab.measure.experiments import experiment as kit
from lvslab.measure.experiments.experiment import Experiment
from lvslab.measure.probe import Prober
from lvslab.model.load import load_lab
from tests.bare import Adverts, BareLab, bare_lab, owner_mac
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here"),
]

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareLab]:
    with bare_lab(load_lab(ROOT / "lab.yaml"), tmp_path_factory.mktemp("f")) as this:
        cluster = this.cluster
        cluster.boot(this.artifacts, this.cache, Settings())
        with cluster.namespace.inside():
            for name in cluster.lab.virtual_servers:
                address = f"{cluster.lab.endpoint(name)[0]}/24"
                subprocess.run(["ip", "address", "add", address, "dev", "vmnet1"], check=True)
        adverts = Adverts(cluster)
        yield this
        adverts.end()


@pytest.fixture
def served(booted: BareLab, monkeypatch: pytest.MonkeyPatch) -> BareLab:
    """The lab whose every virtual server answers, with less patience for what is not there."""
    monkeypatch.setattr(watchers, "_SYNC_SECONDS", 0.1)
    monkeypatch.setattr(watchers, "_ESTABLISHED", 20)
    monkeypatch.setattr(watchers, "_SLOW_PER_SERVER", 5)
    monkeypatch.setattr(watchers, "_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(connections, "_BYTE_SECONDS", 0.05)
    for name in booted.cluster.lab.virtual_servers:
        if name not in booted.webs:
            booted.serve(name)
    for changed in (booted.guests.ill, booted.guests.dead, booted.guests.said):
        changed.clear()
    return booted


# --- connections


def test_connections_that_echo_are_alive_and_die_with_their_server(served: BareLab) -> None:
    cluster = served.cluster
    with cluster.namespace.inside():
        command = [sys.executable, "-c", connections.ECHO_SERVER, "8080"]
        echo = subprocess.Popen(command)
    try:
        web1 = cluster.lab.virtual_servers["web1"].model_copy(update={"port": 8080})
        lab = cluster.lab.model_copy(update={"virtual_servers": {"web1": web1}})

        def opened() -> connections.Connections | None:
            try:
                return connections.Connections(lab, cluster.namespace, "web1", 7)
            except ConnectionRefusedError:  # it is still starting
                return None

        there = until(opened, 20)
        assert there is not None
        with there:
            assert there.alive() == 7
            echo.kill()
            echo.wait()
            assert there.alive(1) == 0
    finally:
        echo.kill()
        echo.wait()


def test_half_requests_wait_for_their_last_bytes_and_die_with_their_server(
    served: BareLab,
) -> None:
    lab, namespace = served.cluster.lab, served.cluster.namespace
    whole = connections.HalfRequests(lab, namespace, 6)
    assert whole.finish(10) == 6
    whole.close()
    half = connections.HalfRequests(lab, namespace, 6)
    served.end_service("web2")
    assert half.finish(5) == 3
    half.close()
    with pytest.raises(StageError, match="connection 2 of 6 was not opened: .*refused"):
        connections.HalfRequests(lab, namespace, 6)


def test_slow_requests_that_nobody_takes_are_missing(served: BareLab) -> None:
    lab, namespace = served.cluster.lab, served.cluster.namespace
    assert connections.web_servers(lab) == [("192.168.50.1", 80), ("192.168.50.2", 80)]

    def missing() -> int:
        slow = connections.SlowRequests(lab, namespace, 6)
        time.sleep(0.5)
        return slow.end()

    assert missing() == 0
    served.end_service("web2")
    assert missing() == 3


# --- watchers


def watched(watcher: watchers.Watcher, seconds: float = 0.0, moved: float = 0.0) -> list[str]:
    with contextlib.closing(watcher):
        watcher.before()
        watcher.struck(time.monotonic())
        time.sleep(seconds)
        return watcher.after(moved)


def test_a_neighbour_that_sends_to_another_director_is_told(served: BareLab) -> None:
    cluster, guests = served.cluster, served.guests
    assert watched(watchers.Neighbours(cluster, 0), 0.5) == []
    mac = cluster.lab.mac("lvs2", "eth2")
    entry = {"dst": "192.168.100.1", "lladdr": mac, "state": ["STALE"]}
    guests.said["ip"] = json.dumps([entry])
    found = watched(watchers.Neighbours(cluster, 0), 0.5)
    assert [text.partition(" (")[0] for text in found] == [
        f"{node} sends 192.168.100.1 to {mac}, not to lvs1" for node in ("rs1", "rs2")
    ]


def test_neighbours_that_do_not_answer_or_were_asked_too_late_are_told(served: BareLab) -> None:
    served.guests.dead.add("rs1")
    found = watched(watchers.Neighbours(served.cluster, 0), 0.3)
    assert [text.partition(":")[0] for text in found] == ["rs1 was not asked for its neighbours"]
    served.guests.dead.clear()
    late = watched(kit.neighbours_after_moves(served.cluster), 0.1, moved=time.monotonic())
    assert late == ["the addresses came back too late to ask the neighbours"]
    assert isinstance(kit.neighbours(3)(served.cluster), watchers.Neighbours)


def test_a_table_that_was_empty_or_that_nobody_looked_at_is_told(served: BareLab) -> None:
    guests = served.guests
    tables = watchers.Tables(served.cluster)
    assert watched(tables) == []
    guests.said["cat"] = "empty: real servers of each service: [0, 2]\n"
    says = "a table was empty 1 times: empty: real servers of each service: [0, 2]"
    assert watched(tables) == [f"lvs1: {says}", f"lvs2: {says}"]
    guests.said |= {"cat": "", "systemctl": "failed\n"}
    says = "nobody looked at the table (failed)"
    assert watched(tables) == [f"lvs1: {says}", f"lvs2: {says}"]
    guests.said.clear()
    tables.before()
    guests.dead.add("lvs2")
    (problem,) = tables.after(0)
    assert problem.startswith("lvs2 was not asked for its table: the node does not answer")


def test_established_connections_that_die_are_told_unless_their_server_was_broken(
    served: BareLab,
) -> None:
    assert watched(watchers.Established(served.cluster, frozenset())) == []
    all_well = watchers.Established(served.cluster, frozenset())
    one_broken = watchers.Established(served.cluster, frozenset({"rs1"}))

    def connections_to_web1() -> str:
        words = [
            "ss",
            "-Hnt",
            "state",
            "established",
            "src",
            str(served.cluster.lab.endpoint("web1")[0]),
        ]
        with served.cluster.namespace.inside():
            return subprocess.check_output(words, text=True)

    served.guests.said["ss"] = connections_to_web1
    with contextlib.closing(all_well), contextlib.closing(one_broken):
        all_well.before()
        one_broken.before()
        served.end_service("web1")
        assert all_well.after(0) == ["10 of 20 established connections are alive"]
        assert one_broken.after(0) == []


def test_the_fault_waits_until_every_director_knows_the_connections(
    served: BareLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "_SYNC_SECONDS", 20)
    watcher, looks = watchers.Established(served.cluster, frozenset()), 0

    def table() -> str:
        nonlocal looks
        looks += 1
        assert watcher._open is not None
        known = sorted(watcher._open.ports)[: 20 if looks > 3 else 19]
        lines = [f"TCP C0A86401 {port:04X} C0A86403 0050 C0A83201 0050 ESTABL" for port in known]
        return "\n".join(["Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State", *lines, ""])

    served.guests.said["cat"] = table
    start = time.monotonic()
    assert watched(watcher) == []
    assert looks >= 4, "both directors were asked until each knew all"
    assert time.monotonic() - start < 20


def test_slow_clients_that_were_not_connected_are_told(served: BareLab) -> None:
    assert watched(watchers.SlowClients(served.cluster), 0.4) == []
    served.end_service("web1")
    red = watched(watchers.SlowClients(served.cluster), 0.4)
    assert red == ["5 slow clients were not connected"]


# --- experiments


def test_the_steps_of_experiments_do_what_they_say(
    served: BareLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that need no system: each is the fault of an experiment of `lab failover`."""
    cluster, guests = served.cluster, served.guests
    known = experiments.everything(cluster.lab)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    guests.said |= {"date": "1000", "cat": "retry 1\n", "sh": "", "tee": ""}
    guests.done.clear()
    known["clock"].fault(cluster)
    sets = [done[3] for done in guests.done if done[1:3] == ("date", "--set")]
    assert sets == ["@4600", "@-2600"]
    guests.done.clear()
    known["reload-changed"].fault(cluster)
    assert [done[1] for done in guests.done] == ["cat", "tee", "systemctl"]
    guests.done.clear()
    known["both-on-one"].fault(cluster)
    assert [done[3].partition(" >")[0] for done in guests.done] == ["echo 1", "echo 0"]
    known["hiccup"].fault(cluster)
    assert cluster.node_state("lvs1") == "running"
    crash = known["crash"]
    crash.fault(cluster)
    assert [str(fault) for fault in faults.broken(cluster)] == ["lvs1 is off"]
    known["comeback"].fault(cluster)
    assert faults.broken(cluster) == []


def outage(this: BareLab, seconds: float) -> Experiment:
    """The client's first virtual server does not answer for a while."""
    lab = this.cluster.lab

    def fault(cluster: Cluster) -> None:
        this.end_service("web1")
        time.sleep(seconds)
        this.serve("web1")

    return Experiment(
        "outage", "nobody serves web1", fault, frozenset({"web1"}), 30, 0.0,
        kit.home(lab), seconds=0.2, breaks=None,
    )  # fmt: skip


def takeover(this: BareLab) -> Experiment:
    """A director loses its power; the other one is heard at once."""
    lab = this.cluster.lab
    return Experiment(
        "takeover", "lvs1 is off", lambda c: c.kill("lvs1"), frozenset({"web1"}), 5, 0.0,
        kit.owners_without(lab, "lvs1"), seconds=10, slow=True,
        prepare=lambda c: None, lasts=0.1, zero="end",
    )  # fmt: skip


def test_experiments_are_made_shown_drawn_and_judged(
    served: BareLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured
) -> None:
    """One that keeps its limits, one that takes over, and the same outage with less allowed."""
    monkeypatch.setattr(failover, "_AFTER_SECONDS", 1.2)  # the last second tells the owners
    monkeypatch.setattr(failover, "_TAKEN_SECONDS", 99.0)  # this host may be as busy as it likes
    good = outage(served, 0.5)
    bad = replace(good, name="strict", hits=frozenset(), owners=takeover(served).owners)
    chosen = {this.name: this for this in (good, takeover(served), bad)}
    monkeypatch.setattr(experiments, "everything", lambda lab: chosen)
    picture = tmp_path / "failover.svg"
    words = ["--name", served.name, "--svg", str(picture)]
    assert main.main(["lab", "failover", *words]) == 1
    shown = capsys.readouterr()
    lines = {line.split()[0]: line for line in shown.out.splitlines() if line.strip()}
    assert lines["outage"].endswith("✓") and "rs1 " in lines["outage"]
    assert lines["takeover"].endswith("✓")
    assert lines["strict"].endswith("✗")
    assert "VI_1 is advertised by lvs1, not lvs2" in shown.out
    assert "web1 lost " in shown.out and "and should lose none" in shown.out
    assert "1 of 3 faults are over their limit; strict: " in shown.err
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert list(checkpoint.names(served.cluster)) == [failover.CHECKPOINT]
    assert faults.broken(served.cluster) == []


def test_faults_are_listed_without_a_lab_and_an_unknown_one_is_refused(
    served: BareLab, capsys: Captured
) -> None:
    assert main.main(["lab", "failover", "--list"]) == 0
    out = capsys.readouterr().out
    assert "crash " in out and "stun-long" in out and " (long)" in out
    assert main.main(["lab", "failover", "--name", served.name, "earthquake"]) == 2
    assert "there is no fault earthquake" in capsys.readouterr().err


def test_a_cluster_that_is_ill_before_the_first_fault_is_not_measured(
    served: BareLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "_SETTLE_SECONDS", 0)
    served.guests.ill.add("rs2")
    with pytest.raises(StageError, match="a problem before the first experiment: rs2: it is not"):
        failover.perform(served.cluster, [], 1)


def test_a_cluster_that_does_not_become_calm_is_not_measured(
    served: BareLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "_CALM_LIMIT", 0)
    checkpoint.save(served.cluster, "calm")
    served.end_service("web2")
    with pytest.raises(StageError, match="the cluster did not become calm within 0 s"):
        failover.once(served.cluster, outage(served, 0), start="calm")


def test_a_cluster_in_which_two_advertise_is_not_calm(
    served: BareLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "_CALM_LIMIT", 1.5)
    lab, namespace = served.cluster.lab, served.cluster.namespace
    instance = lab.vrrp_instances["VI_1"]

    def waits_for_calm(tap: wire.Tap) -> None:
        with Prober(lab, namespace) as probe:
            failover._wait_for_calm(lab, probe, tap, outage(served, 0))

    with wire.listening(lab, namespace) as tap:
        waits_for_calm(tap)
        assert tap.adverts(), "somebody was heard"
        heard = tap.adverts
        backup = owner_mac(lab, lab.owners("VI_1")[1], "VI_1").hex(":")

        def of_both() -> list[wire.Advert]:
            ours = [a for a in heard() if a.router_id == instance.router_id]
            return [*heard(), *(replace(advert, mac=backup) for advert in ours)]

        monkeypatch.setattr(tap, "adverts", of_both)
        with pytest.raises(StageError, match="the cluster did not become calm"):
            waits_for_calm(tap)


def test_of_a_run_that_stops_early_nothing_goes_on(served: BareLab) -> None:
    cluster = served.cluster
    checkpoint.save(cluster, "calm")
    threads = threading.active_count()

    def breaks(_: Cluster) -> None:
        raise StageError("the node does not answer")

    slow = replace(
        outage(served, 0), fault=breaks, breaks=frozenset(), watchers=(kit.neighbours(0),)
    )
    with pytest.raises(StageError, match="does not answer"):
        failover.once(cluster, slow, start="calm")
    with cluster.namespace.inside():
        words = ["ss", "-Hnt", "state", "established", "dst", "192.168.50.0/24"]
        assert subprocess.check_output(words, text=True) == ""
    assert threading.active_count() == threads
