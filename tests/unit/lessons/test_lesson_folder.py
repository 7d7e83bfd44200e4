"""lesson.yaml: what is right loads, what is wrong is said in full and in place."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from lvslab.core.errors import InputError
from lvslab.core.places import LESSONS
from lvslab.lessons.lesson_folder import load_lesson, names
from lvslab.lessons.variant import Variant
from lvslab.model.problems import BadInput
from lvslab.model.schema import lesson_schema
from tests.conftest import ROOT
from tests.unit.model.test_load import changed

BAD = ROOT / "tests/bad"
CASES = yaml.safe_load((BAD / "lesson-cases.yaml").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(BAD / "lessons/good", tmp_path / "good")
    return tmp_path


def change(folder: Path, changes: dict[str, str]) -> None:
    path = folder / "good/lesson.yaml"
    path.write_text(changed(path.read_text(), changes))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_a_bad_lesson_is_reported_in_full(case: dict[str, Any], folder: Path) -> None:
    change(folder, case["change"])
    with pytest.raises(BadInput) as caught:
        load_lesson("good", folder)
    place = str(folder / "good/lesson.yaml")
    said = [line.removeprefix(f"{place}:") for line in str(caught.value).splitlines()]
    assert said == case["says"]
    assert caught.value.status == 2


def test_a_good_lesson_loads(folder: Path) -> None:
    assert load_lesson("good", folder).file.hints == ("one", "two", "three")


def test_a_lesson_that_there_is_not() -> None:
    with pytest.raises(InputError, match="there is no lesson forwarding") as caught:
        load_lesson("forwarding")
    assert caught.value.hint.startswith("did you mean forwarding-off? the lessons are: ")


def test_a_lesson_without_a_sheet(folder: Path) -> None:
    (folder / "good/sheet.md").unlink()
    with pytest.raises(BadInput, match="there is no sheet; write what the student sees"):
        load_lesson("good", folder)


def test_an_edit_that_does_not_fit_its_file(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        _ = Variant.of(load_lesson("good", folder)).broken
    assert str(caught.value) == (
        "the lesson good, lvs1: /etc/x: 'a' is there 0 times, not once\n"
        "  to fix it: name enough of the text, or change the lesson"
    )


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ("put: {vrrp.x: 1}", "the lesson good: lab.yaml has no vrrp"),
        ("remove: [tables.LVS9]", "the lesson good: lab.yaml has no tables.LVS9 to remove"),
        ("put: {vrrp_instances.VI_1.router_id: no}", "the lesson good: the changed lab is none"),
    ],
)
def test_a_change_of_the_model_that_does_not_fit(folder: Path, patch: str, says: str) -> None:
    change(folder, {"broken:": f"broken:\n  model: [{{{patch}}}]"})
    with pytest.raises(InputError) as caught:
        _ = Variant.of(load_lesson("good", folder)).broken
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize("name", names())
def test_every_lesson_fits_the_schema_and_has_what_a_student_needs(name: str) -> None:
    data = yaml.safe_load((LESSONS / name / "lesson.yaml").read_text())
    Draft202012Validator(lesson_schema()).validate(data)
    lesson = load_lesson(name)
    assert lesson.file.questions
    assert lesson.sheet.startswith(f"# {lesson.file.title}\n")


def test_no_lesson_is_python() -> None:
    assert {path.name for path in LESSONS.rglob("*") if path.is_file()} == {
        "lesson.yaml",
        "sheet.md",
    }
