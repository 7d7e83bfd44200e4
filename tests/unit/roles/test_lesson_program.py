"""labcheck --lesson and --hint, as they are on a node."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lvslab.lessons.lesson_folder import load_lesson
from lvslab.lessons.variant import lesson_text
from lvslab.model.lab import Lab
from lvslab.render import node_facts
from tests.programs import loaded
from tests.unit.roles.test_labcheck import PROGRAM

LESSON = loaded(PROGRAM.parents[1] / "lib/lvslab/lesson")
PLAIN = {"expect": None, "refuse": None, "least": None, "most": None}


@pytest.mark.parametrize(
    ("wanted", "output", "ok"),
    [
        ({"expect": "^b$"}, "a\nb\n", True),
        ({"expect": "^b$"}, "a\n", False),
        ({"refuse": "drop"}, "accept", True),
        ({"refuse": "drop"}, "drop", False),
        ({"expect": "a", "refuse": "b"}, "a b", False),
        ({"least": 2}, "it is 2.0 s", True),
        ({"least": 2}, "it is 1.9 s", False),
        ({"most": 0.5}, "0.49", True),
        ({"most": 0.5}, "0.51", False),
        ({"least": -2, "most": 0}, "-1", True),
        ({"least": 0}, "no number", False),
    ],
)
def test_what_is_expected_of_an_output(wanted: dict[str, Any], output: str, ok: bool) -> None:
    assert LESSON.holds({**PLAIN, **wanted}, output) is ok


def finding(item: int, ok: bool, says: str = "") -> dict[str, Any]:
    return {"item": item, "title": str(item), "ok": ok, "says": says}


def test_what_stands_on_something_that_fails_is_not_looked_at() -> None:
    found = [finding(7, True), finding(5, False, "0, not 1"), finding(6, True)]
    graded = LESSON.graded(found, [{**finding(0, False), "priority": "address"}])
    assert [(f["item"], f["because"]) for f in graded] == [
        (6, ""),
        (5, ""),
        (0, ""),
        (7, "0, not 1"),
    ]
    assert not LESSON.well(graded)
    assert all(f["because"] == "" for f in LESSON.graded([finding(7, False), finding(6, True)], []))


def test_every_item_of_the_checklist_has_a_priority() -> None:
    assert set(LESSON.ITEMS) == set(range(1, 9))
    assert set(LESSON.ITEMS.values()) == set(LESSON.PRIORITIES)


def test_hints_are_opened_one_at_a_time_and_each_lesson_begins_with_the_first(
    tmp_path: Path,
) -> None:
    place = str(tmp_path / "state/hints")
    one, other = (
        {"lesson": "a", "hints": ["x", "y", "z"]},
        {"lesson": "b", "hints": ["u", "v", "w"]},
    )
    assert LESSON.next_hint(one, place) == ["1 of 3: x"]
    assert LESSON.next_hint(one, place) == ["1 of 3: x", "2 of 3: y"]
    assert [len(LESSON.next_hint(one, place)) for _ in range(2)] == [3, 3]
    assert LESSON.next_hint(other, place) == ["1 of 3: u"]


def test_a_command_that_cannot_run_is_red() -> None:
    assert LESSON.ask(["/nowhere"]).startswith("cannot be run: ")
    assert LESSON.ask([sys.executable, "-c", "print(1)"]) == "1\n"


# --- the whole program


def typed(tmp_path: Path, lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "list.json").write_text(node_facts.text(lab))
    argv = [sys.executable, str(PROGRAM), "--expect", str(tmp_path / "list.json")]
    argv += ["--lesson-file", str(tmp_path / "lesson.json"), "--node", "lvs1", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done


def test_a_machine_without_a_lesson(tmp_path: Path, lab: Lab) -> None:
    for word in ("--lesson", "--hint"):
        done = typed(tmp_path, lab, word)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.endswith("No such file or directory: this machine has no lesson\n")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"title": 1}', "\xff"])
def test_a_lesson_that_is_damaged(tmp_path: Path, lab: Lab, text: str) -> None:
    (tmp_path / "lesson.json").write_text(text, "latin-1")
    for word in ("--lesson", "--hint"):
        done = typed(tmp_path, lab, word)
        assert (done.returncode, done.stdout) == (2, "")
        assert "it is damaged (" in done.stderr


def test_this_host_is_no_director(tmp_path: Path, lab: Lab) -> None:
    """Everything is red here; what stands on the links is not looked at."""
    lesson = load_lesson("forwarding-off")
    (tmp_path / "lesson.json").write_text(lesson_text(lesson, "lvs1"))
    done = typed(tmp_path, lab, "--lesson", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [f["item"] for f in found] == [6, 1, 5, 0, 2]
    assert found[0]["because"] == "" and found[1]["because"] == found[0]["says"]
    shown = typed(tmp_path, lab, "--lesson").stdout
    assert shown.startswith(f"{lesson.file.title}\n ? Which director holds ")
    assert " · VRRP addresses where they belong: not looked at, because eth1 (VMnet1) " in shown
    assert shown.endswith("labcheck --hint gives a hint\n")


def test_no_solution_is_on_a_node() -> None:
    lesson = load_lesson("router-ids")
    for machine in lesson.lab.nodes:
        text = lesson_text(lesson, machine)
        assert not any(step.says in text for step in lesson.file.solution)
