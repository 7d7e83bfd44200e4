"""The verbs of lessons in a running lab, on QEMU's machines without a system (see tests/bare.py).

What a lesson does to the nodes is seen in what their agents were asked to run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lvslab.cli import main
from lvslab.lab import checklist, checkpoint, faults, warm
from lvslab.lessons import course
from lvslab.lessons.attempt import attempt_in
from lvslab.model.load import load_lab
from tests.bare import ILL, WELL, BareLab, bare_lab
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here"),
]

Captured = pytest.CaptureFixture[str]
GOOD = {
    "item": 6, "title": "each interface on its network", "ok": True, "says": "they are",
    "priority": "link", "because": "", "command": "ip address", "hint": "", "note": "",
}  # fmt: skip
BAD = {**GOOD, "item": 5, "title": "ip_forward is 1", "ok": False, "says": "it is 0"}
BAD |= {"priority": "address", "hint": "sysctl --system"}
SERVICE = {**GOOD, "item": 7, "title": "the client reaches every VIP", "priority": "service"}


def client_says(folder: Path, finding: dict[str, Any]) -> None:
    (folder / "labcheck-of-client").write_text(f"print({json.dumps([finding])!r})\n")


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareLab]:
    folder = tmp_path_factory.mktemp("b")
    with bare_lab(load_lab(ROOT / "lab.yaml"), folder) as this:
        artifacts = ["--artifacts", str(this.artifacts), "--accelerator", "tcg"]
        assert main.main(["lab", "up", "--name", this.name, *artifacts]) == 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checklist, "_PROGRAM", folder / "labcheck-of-client")
            client_says(folder, SERVICE)
            yield this


@pytest.fixture
def running(booted: BareLab) -> BareLab:
    guests = booted.guests
    guests.said.clear()
    names = ("install", "rm", "networkctl", "/usr/lib/systemd/systemd-sysctl", "sysctl")
    guests.said.update(dict.fromkeys(names, ""))
    guests.said["/usr/local/bin/labcheck"] = json.dumps([GOOD])
    faults.heal(booted.cluster)
    guests.done.clear()
    return booted


def do(*words: str) -> int:
    return main.main(["lesson", *words])


def start(this: BareLab, name: str) -> int:
    return do("start", name, "--name", this.name)


def test_a_start_goes_back_and_breaks_what_the_lesson_names(
    running: BareLab, capsys: Captured
) -> None:
    faults.cut(running.cluster, "rs1", "eth1")
    assert start(running, "forwarding-off") == 0
    said = capsys.readouterr().out
    assert said.startswith("# One of the two addresses answers nobody\n")
    assert "? holder: Which director holds" in said and "    2 lvs2\n" in said
    assert faults.broken(running.cluster) == []
    changed = [words for words in running.guests.done if words[1] == "install"]
    settings = "/etc/sysctl.d/60-lvslab.conf"
    assert [words[0] for words in changed if words[-1] == settings] == ["lvs1"]
    lessons = [words[0] for words in changed if words[-1] == "/etc/lvslab/lesson.json"]
    assert sorted(lessons) == ["lvs1", "lvs2", "rs1", "rs2"]
    assert ("lvs1", "/usr/lib/systemd/systemd-sysctl") in running.guests.done
    assert not any(words[1] == "networkctl" for words in running.guests.done)


def test_systemd_is_reloaded_only_for_units_that_it_knows(running: BareLab) -> None:
    running.guests.said.update({"systemctl": "", "env": ""})
    assert start(running, "firewall-112") == 0
    did = [words[1:] for words in running.guests.done if words[0] == "lvs2"]
    enabled = ("env", "SYSTEMCTL_SKIP_SYSV=1", "systemctl", "enable", "--now", "--no-reload")
    assert (*enabled, "lvslab-guard.service") in did
    assert not any(words[0] == "systemctl" for words in did)
    running.guests.done.clear()
    assert start(running, "no-sync-group") == 0
    did = [words[1:] for words in running.guests.done if words[0] == "lvs1"]
    assert did.index(("systemctl", "daemon-reload")) > did.index(
        ("rm", "-f", "/etc/systemd/system/lvslab-track.service")
    )


def test_the_whole_course_of_a_lesson(running: BareLab, capsys: Captured, tmp_path: Path) -> None:
    running.guests.said["/usr/local/bin/labcheck"] = json.dumps([BAD, GOOD])
    assert start(running, "forwarding-off") == 0
    assert do("check") == 2  # the questions come first
    assert "first predict: Which director holds 192.168.50.1" in capsys.readouterr().err
    assert do("answer", "holder", "lvs7") == 2
    assert do("answer", "holder", "1") == 0
    assert do("answer", "other", "no") == 0
    capsys.readouterr()
    assert do("check", "--wait", "0") == 1
    said = capsys.readouterr()
    assert "192.168.50.1 while this lesson is broken? lvs1: right; the setting is none" in said.out
    assert "Does 192.168.50.2 answer? no: it is yes; its director is lvs2" in said.out
    assert "✗ lvs1   ip_forward is 1: it is 0\n      shown by: ip address" in said.out
    hidden = "· client the client reaches every VIP: not looked at, because lvs1: it is 0"
    assert hidden in said.out
    assert "4 of 9 checks fail; first: lvs1: it is 0" in said.err
    assert do("answer", "holder", "lvs2") == 2
    assert "the answers are known since the first check" in capsys.readouterr().err
    assert [do("hint") for _ in range(4)] == [0] * 4
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 of 3: ")
    page = tmp_path / "report.html"
    assert do("report", "--html", str(page)) == 0
    text = capsys.readouterr().out
    assert "NOT PASSED: 4 of 9 checks hold, 1 of 2 predictions were right,\n3 of 3 hints" in text
    assert "it is <b>yes</b>" in page.read_text()


def test_a_solution_is_done_and_graded(running: BareLab, capsys: Captured) -> None:
    running.guests.said["cat"] = "net.ipv4.ip_forward = 0\n"
    assert start(running, "forwarding-off") == 0
    running.guests.done.clear()
    assert do("solve", "--show") == 0
    assert running.guests.done == []
    assert do("solve") == 0
    assert "solved: every check holds" in capsys.readouterr().out
    done = [words[:2] for words in running.guests.done if words[1] != "/usr/local/bin/labcheck"]
    assert done == [("lvs1", "cat"), ("lvs1", "install"), ("lvs1", "sysctl")]
    assert attempt_in(running.cluster).shown
    for question, answer in (("holder", "lvs1"), ("other", "yes")):
        assert do("answer", question, answer) == 0
    assert do("check", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[0] == "{"]
    assert [line["event"] for line in lines[-8:]] == ["prediction"] * 2 + ["check"] * 5 + ["end"]
    assert do("report") == 0
    assert "PASSED: 5 of 5 checks hold, 2 of 2" in capsys.readouterr().out


def test_a_step_that_does_not_fit_what_the_student_wrote_says_so(
    running: BareLab, capsys: Captured
) -> None:
    running.guests.said["cat"] = "# I have changed it all\n"
    assert start(running, "forwarding-off") == 0
    assert do("solve") == 2
    assert "'net.ipv4.ip_forward = 0' is there 0 times, not once" in capsys.readouterr().err


def test_reset_ends_the_lesson(running: BareLab, capsys: Captured) -> None:
    assert start(running, "router-ids") == 0
    assert do("reset") == 0
    for verb in ("check", "hint", "report", "reset"):
        assert do(verb) == 2
    assert "no lab is in a lesson" in capsys.readouterr().err
    assert do("hint", "--name", running.name) == 2
    assert f"the lab {running.name} is in no lesson" in capsys.readouterr().err


def test_without_a_checkpoint_a_healthy_lab_is_saved_first(
    running: BareLab, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = checkpoint.names(running.cluster)
    others = {name: at for name, at in names.items() if name != warm.CHECKPOINT}
    running.cluster.state.save("checkpoints", others)
    monkeypatch.setattr(checklist, "_PROGRAM", tmp_path / "labcheck-of-client")
    client_says(tmp_path, WELL)
    monkeypatch.setattr(course, "_SECONDS", 0.0)
    running.guests.said["/usr/local/bin/labcheck"] = json.dumps([ILL])
    assert start(running, "missing-rule") == 1
    assert "a lesson starts from a healthy lab: lvs1: it is not" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(checklist, "_PROGRAM", tmp_path / "labcheck-of-client")
    running.guests.said["/usr/local/bin/labcheck"] = json.dumps([WELL])
    assert start(running, "missing-rule") == 0
    assert warm.CHECKPOINT in checkpoint.names(running.cluster)
    assert ("rs1", "networkctl", "reload") in running.guests.done


def test_a_lesson_of_an_example_needs_that_example(running: BareLab, capsys: Captured) -> None:
    assert start(running, "vip-32") == 2
    assert "vip-32 starts from the example letter, and another lab runs" in capsys.readouterr().err
    assert start(running, "arp-flux") == 2


@pytest.mark.slow
def test_a_lesson_is_of_the_lab_that_runs(running: BareLab, capsys: Captured) -> None:
    """One whose addresses and times are others than those of the default lab."""
    own = running.cluster.lab.model_dump(mode="json")
    text = json.dumps(own).replace("192.168.50.", "10.7.8.").replace("192.168.100.", "10.7.9.")
    other = json.loads(text)
    other["directors"]["vrrp"]["advert_seconds"] = 1.0
    running.cluster.state.save("lab", other)
    try:
        assert start(running, "missing-rule") == 0
        assert "in on 10.7.9.10?" in capsys.readouterr().out
        assert start(running, "router-ids") == 0
        assert do("answer", "wait", "3.61") == do("answer", "owner", "lvs1") == 0
        assert do("check", "--wait", "0", "--json") == 0
        assert '"right": "3.61"' in capsys.readouterr().out
    finally:
        running.cluster.state.save("lab", own)


def test_a_node_that_does_not_answer_is_red(running: BareLab, capsys: Captured) -> None:
    assert start(running, "missing-rule") == 0
    assert do("answer", "gateway", "192.168.100.1") == do("answer", "servers", "2") == 0
    running.guests.said["/usr/local/bin/labcheck"] = "no JSON"
    assert do("check", "--wait", "0") == 1
    assert "✗ rs1    the machine answers: labcheck gave no findings" in capsys.readouterr().out


def test_a_rehearsal_says_what_is_not_as_declared(running: BareLab, capsys: Captured) -> None:
    running.guests.said["cat"] = "net.ipv4.ip_forward = 0\n"
    words = ("rehearse", "forwarding-off", "--name", running.name, "--wait", "0")
    assert do(*words) == 1
    said = capsys.readouterr()
    assert "✗ lvs1: 5 holds, and should fail\n" in said.out
    assert "forwarding-off is not as it says: client: 7 holds, and should fail" in said.err
    assert do("report", "--name", running.name) == 2
