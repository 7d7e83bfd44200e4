"""How a lesson is graded: who is asked what, what hides what, and when it has passed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lvslab.core.errors import StageError
from lvslab.lab import checklist
from lvslab.lab.cluster import Cluster
from lvslab.lessons import grade
from lvslab.lessons.lesson_folder import Lesson
from lvslab.model.lab import Lab
from lvslab.model.lesson import CLIENT


def finding(priority: str, says: str = "it is", ok: bool = True, **more: str) -> dict[str, Any]:
    return {"title": "t", "ok": ok, "says": says, "priority": priority, **more}


def shown(found: list[grade.Judged]) -> list[tuple[str, str, str]]:
    return [(judged.machine, judged.says, judged.because) for judged in found]


def test_findings_are_shown_from_the_wires_upwards_and_the_client_last() -> None:
    said = {
        CLIENT: [finding("service", "c1"), finding("link", "c2")],
        "lvs1": [finding("service", "a1"), finding("link", "a2")],
        "rs1": [finding("address", "b1"), finding("link", "b2")],
    }
    assert [judged.says for judged in grade.together(said)] == ["a2", "b2", "c2", "b1", "a1", "c1"]


def test_what_fails_below_hides_what_the_client_sees() -> None:
    said = {
        "lvs1": [finding("service", "c", ok=False), finding("address", "b", ok=False)],
        "rs1": [finding("address", "other", ok=False)],
        CLIENT: [
            finding("link", "wire", ok=False),
            finding("address", "same height", ok=False),
            finding("service", "far"),
            finding("service", "known", because="x"),
        ],
    }
    found = shown(grade.together(said))
    assert (CLIENT, "wire", "") in found
    assert (CLIENT, "same height", "") in found, "it stands beside the fault, not on it"
    assert (CLIENT, "far", "lvs1: b") in found, "the lowest that fails, and the first of these"
    assert (CLIENT, "known", "x") in found, "labcheck itself has said why"
    assert ("lvs1", "c", "") in found, "only the client stands on others"


def test_without_a_fault_nothing_is_hidden() -> None:
    said = {"lvs1": [finding("link")], CLIENT: [finding("service", "far", ok=False)]}
    assert shown(grade.together(said)) == [("lvs1", "it is", ""), (CLIENT, "far", "")]
    assert grade.together({}) == []


def test_it_has_passed_if_all_was_looked_at_and_holds() -> None:
    def passed(*findings: dict[str, Any]) -> bool:
        return grade.passed([grade.Judged("lvs1", **each) for each in findings])

    assert passed(finding("link"), finding("service"))
    assert not passed(finding("link"), finding("service", ok=False))
    assert not passed(finding("link"), finding("service", because="lvs1: it is 0"))


def judged(
    monkeypatch: pytest.MonkeyPatch, lab: Lab, says: dict[str, str | Exception]
) -> tuple[list[grade.Judged], dict[str, list[str]]]:
    """What is judged if labcheck says this, and with which words it was asked."""
    asked: dict[str, list[str]] = {}

    def labcheck(cluster: Cluster, machine: str, words: list[str]) -> str:
        asked[machine] = list(words)
        answer = says.get(machine, "[]")
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(checklist, "labcheck", labcheck)
    cluster = SimpleNamespace(state=SimpleNamespace(folder=Path("/state")))
    lesson = SimpleNamespace(lab=lab)
    return grade.judge(cast(Cluster, cluster), cast(Lesson, lesson)), asked


def test_each_machine_is_asked_and_the_client_is_given_the_lesson(
    monkeypatch: pytest.MonkeyPatch, lab: Lab
) -> None:
    says: dict[str, str | Exception] = {"rs1": json.dumps([finding("link", "here")])}
    found, asked = judged(monkeypatch, lab, says)
    assert shown(found) == [("rs1", "here", "")]
    client = ["--lesson", "--lesson-file", "/state/client-lesson.json"]
    assert asked == {**{name: ["--lesson"] for name in lab.nodes}, CLIENT: client}


def test_a_machine_that_does_not_answer_fails_below_all_others(
    monkeypatch: pytest.MonkeyPatch, lab: Lab
) -> None:
    says: dict[str, str | Exception] = {
        "lvs1": StageError("it is off", hint="start it"),
        "rs1": "not JSON",
        CLIENT: json.dumps([finding("address", "far")]),
    }
    found, _ = judged(monkeypatch, lab, says)
    assert shown(found) == [
        ("lvs1", "it is off", ""),
        ("rs1", "labcheck gave no findings", ""),
        (CLIENT, "far", "lvs1: it is off"),
    ]
    assert [(j.ok, j.priority, j.title) for j in found[:2]] == [
        (False, "link", "the machine answers")
    ] * 2
    assert found[0].hint == "start it"
