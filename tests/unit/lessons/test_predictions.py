"""Answers to a lesson's questions, computed from the lab."""

from __future__ import annotations

from typing import Any

import pytest

from lvslab.core.errors import InputError
from lvslab.lessons.lesson_folder import load_lesson
from lvslab.lessons.predictions import accepted, answer, is_right, predictions
from lvslab.model.lab import Lab
from lvslab.model.lesson import Question


def question(**values: Any) -> Question:
    data = {"ask": "?", "because": "so", **values}
    return Question.model_validate(data)


OWNER = {"instance": "VI_1"}


@pytest.mark.parametrize(
    ("values", "right"),
    [
        ({"owner": OWNER}, "lvs1"),
        ({"owner": {**OWNER, "without": ("lvs1",)}}, "lvs2"),
        ({"owner": {**OWNER, "without": ("lvs1", "lvs2")}}, "nobody"),
        # 3 x 0.21 + (256 - 100) / 256 x 0.21
        ({"takeover": {**OWNER, "without": ("lvs1",)}}, "0.76"),
        ({"servers": {"virtual_server": "web1"}}, "2"),
        ({"servers": {"virtual_server": "web1", "without": ("rs1",)}}, "1"),
        ({"gateway": {"table": "LVS2"}}, "192.168.200.1"),
        ({"choices": ("yes", "no"), "choice": 2}, "no"),
    ],
)
def test_answers_follow_from_the_lab(lab: Lab, values: dict[str, Any], right: str) -> None:
    assert answer(question(**values), lab) == right


def test_another_lab_has_other_answers(lab: Lab) -> None:
    data = lab.model_dump(mode="json")
    data["directors"]["vrrp"]["advert_seconds"] = 1.0
    data["vrrp_instances"]["VI_1"]["priorities"] = {"lvs1": 90, "lvs2": 128}
    other = Lab.model_validate(data)
    assert answer(question(owner=OWNER), other) == "lvs2"
    assert answer(question(takeover={**OWNER, "without": ("lvs2",)}), other) == "3.65"


def test_a_number_may_be_off_by_the_tolerance(lab: Lab) -> None:
    this = question(takeover={**OWNER, "without": ("lvs1",)}, tolerance=0.1)
    said = {text: is_right(this, lab, text) for text in ("0.76", "0.66", "0.86", "0.6", "1", "")}
    assert said == {"0.76": True, "0.66": True, "0.86": True, "0.6": False, "1": False, "": False}


def test_what_is_accepted_as_an_answer() -> None:
    lesson = load_lesson("router-ids")
    assert accepted(lesson, "owner", "2") == "lvs2"
    assert accepted(lesson, "owner", " lvs1 ") == "lvs1"
    assert accepted(lesson, "wait", "0.75") == "0.75"
    for name, given, says in (
        ("owner", "rs1", "'rs1' is none of the choices"),
        ("wait", "soon", "'soon' is not a number"),
        ("when", "1", "there is no question when"),
    ):
        with pytest.raises(InputError, match=says):
            accepted(lesson, name, given)


def test_what_nobody_answered_is_not_right() -> None:
    found = predictions(load_lesson("router-ids"), {"owner": "lvs1"})
    assert [(p.name, p.given, p.ok) for p in found] == [
        ("owner", "lvs1", True),
        ("wait", "", False),
    ]
