"""Three lessons in the real lab: started, failed, hinted, solved, graded, by their verbs.

One changes a setting of the kernel, one what systemd-networkd reads, one what keepalived reads. All
lessons are tried by bench/lessons.py.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvslab.core.places import default_cache
from lvslab.core.waiting import until
from lvslab.lab import bringup
from lvslab.lab.cluster import Cluster
from lvslab.lab.sources import Settings
from lvslab.lessons.lesson_folder import load_lesson
from lvslab.lessons.predictions import answer
from lvslab.model.lab import Lab
from tests.examples import LIMITS
from tests.programs import build_py

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def booted(lab: Lab, built: Path) -> Iterator[Cluster]:
    """The lab; it goes on from the checkpoint of test_cluster.py, if that ran before."""
    cluster = Cluster(lab.model_copy(update={"name": "lesson-test"}))
    try:
        bringup.up(cluster, built, default_cache(), Settings(origin="vmware"), limits=LIMITS)
        yield cluster
    finally:
        with cluster.changing():
            cluster.down()


def lesson(cluster: Cluster, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    return build_py("lesson", verb, "--name", cluster.lab.name, *words)


@pytest.mark.parametrize(
    ("name", "red"),
    [
        ("forwarding-off", "lvs1   ip_forward is 1: net.ipv4.ip_forward is 0, not 1"),
        ("missing-rule", "rs1    ip rule, by table name: no rule `from 192.168.100.0/24"),
        (
            "router-ids",
            "lvs2   VRRP addresses where they belong: VI_1 (192.168.50.1/24 on eth1) is",
        ),
    ],
)
def test_a_lesson_from_its_start_to_its_grade(booted: Cluster, name: str, red: str) -> None:
    this = load_lesson(name)
    started = lesson(booted, "start", name)
    assert started.returncode == 0, started.stderr
    for question, asked in this.file.questions.items():
        assert lesson(booted, "answer", question, answer(asked, this.lab)).returncode == 0

    def is_red() -> bool:
        done = lesson(booted, "check", "--wait", "0")
        return done.returncode == 1 and f"✗ {red}" in done.stdout

    assert until(is_red, 60, pause=1.0), lesson(booted, "check", "--wait", "0").stdout
    assert lesson(booted, "hint").stdout == f"1 of 3: {this.file.hints[0]}\n"
    solved = lesson(booted, "solve")
    assert solved.returncode == 0, solved.stdout + solved.stderr
    graded = lesson(booted, "check", "--wait", "30")
    assert graded.returncode == 0, graded.stdout + graded.stderr
    report = json.loads(lesson(booted, "report", "--json").stdout.splitlines()[0])
    assert report["passed"] and len(report["hints"]) == 1
    assert report["predicted"] == len(this.file.questions)


def test_labcheck_on_the_nodes_grades_and_gives_hints(booted: Cluster) -> None:
    assert lesson(booted, "start", "forwarding-off").returncode == 0
    title = load_lesson("forwarding-off").file.title
    answered = booted.ask("lvs1", ["labcheck", "--lesson"], timeout=60)
    assert answered.status == 1 and answered.out.startswith(title), answered
    assert "✗ ip_forward is 1: net.ipv4.ip_forward is 0, not 1" in answered.out
    for number in (1, 2):
        hints = booted.run("lvs1", ["labcheck", "--hint"]).splitlines()
        assert len(hints) == number and hints[-1].startswith(f"{number} of 3: ")
    user = ["runuser", "-u", booted.lab.login.user, "--", "labcheck", "--hint"]
    assert "try sudo labcheck --hint" in booted.ask("lvs1", user).err
    assert lesson(booted, "reset").returncode == 0
