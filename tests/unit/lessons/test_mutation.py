"""Every lesson, proven by mutation: what it breaks is what its checks see, and nothing else is.

The rendered texts go to a simulated cluster (`tests/simulated`), and labcheck looks at that.
"""

from __future__ import annotations

from functools import cache

import pytest

from lvslab.lessons.lesson_folder import Lesson, load_lesson, names
from lvslab.lessons.variant import Variant
from lvslab.model.lesson import LabFault
from tests.simulated.cluster import Simulated
from tests.simulated.grading import declared, failing, findings, solve

NAMES = names()


@cache
def lesson_of(name: str) -> Lesson:
    return load_lesson(name)


@cache
def variant_of(name: str) -> Variant:
    return Variant.of(lesson_of(name))


def broken(name: str) -> Simulated:
    variant = variant_of(name)
    return Simulated(variant, variant.broken, variant.lesson.file.broken.faults)


@pytest.mark.parametrize("name", NAMES)
def test_the_healthy_lab_passes_the_checklist(name: str) -> None:
    variant = variant_of(name)
    found = failing(findings(Simulated(variant, variant.healthy), variant.lesson))
    items = {m: {i for i in bad if isinstance(i, int)} for m, bad in found.items()}
    assert {m: bad for m, bad in items.items() if bad} == {}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_broken_fails_exactly_what_is_declared(name: str) -> None:
    lesson = lesson_of(name)
    found = failing(findings(broken(name), lesson))
    for machine, items in lesson.file.wavers.items():
        found[machine] = found.get(machine, set()) - set(items)
    assert {m: bad for m, bad in found.items() if bad} == declared(lesson.file)
    assert found, "nothing is red"


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_passes_all(name: str) -> None:
    lesson, simulated = lesson_of(name), broken(name)
    solve(simulated, lesson, lesson.file.solution)
    assert failing(findings(simulated, lesson)) == {}


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_is_still_right_after_a_boot(name: str) -> None:
    lesson, simulated = lesson_of(name), broken(name)
    solve(simulated, lesson, lesson.file.solution)
    for machine in simulated.machines.values():
        machine.boot()
    assert failing(findings(simulated, lesson)) == {}


STEPS = [(name, place) for name in NAMES for place in range(len(lesson_of(name).file.solution))]


@pytest.mark.parametrize(("name", "left_out"), STEPS)
def test_a_step_that_is_left_out_turns_the_grade_red(name: str, left_out: int) -> None:
    lesson, simulated = lesson_of(name), broken(name)
    steps = [s for place, s in enumerate(lesson.file.solution) if place != left_out]
    solve(simulated, lesson, steps)
    assert failing(findings(simulated, lesson)), lesson.file.solution[left_out].says


UNRELATED = [
    LabFault(kind="cut", node="lvs1", interface="eth1"),
    LabFault(kind="silent", node="lvs2", interface="eth1"),
    LabFault(kind="cut", node="rs2", interface="eth1"),
    LabFault(kind="deaf", node="lvs2", interface=None),
]


@pytest.mark.parametrize("fault", UNRELATED, ids=lambda f: f"{f.kind} {f.node}")
@pytest.mark.parametrize("name", NAMES)
def test_another_fault_does_not_turn_it_green(name: str, fault: LabFault) -> None:
    """Nor does it turn the lesson's own checks green: what it hides, it does not pass."""
    lesson, simulated = lesson_of(name), broken(name)
    simulated.faults.append(fault)
    found = findings(simulated, lesson)
    own = {(m, f["title"]) for m, these in found.items() for f in these if not f["ok"]}
    red = {(check.machine, check.name) for check in lesson.file.checks if check.starts == "red"}
    assert failing(found) != {}
    assert red <= own


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_is_seen_when_the_lesson_is_solved(name: str) -> None:
    lesson, simulated = lesson_of(name), broken(name)
    solve(simulated, lesson, lesson.file.solution)
    simulated.faults.append(UNRELATED[0])
    assert failing(findings(simulated, lesson)) != {}
