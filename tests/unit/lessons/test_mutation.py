"""Every lesson, proven by mutation: what it breaks is what its checks see, and nothing else is.

The rendered texts go to a simulated cluster (`tests/simulated`), and labcheck looks at that.
"""

from __future__ import annotations

from functools import cache

import pytest

from lvslab.lessons.lesson_folder import Lesson, load_lesson, names
from lvslab.lessons.rehearsal import declared, failing, without_wavering
from lvslab.lessons.variant import Variant
from lvslab.model.lesson import CLIENT, LabFault
from tests.simulated.cluster import Simulated
from tests.simulated.grading import findings, solve

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
    assert found, "nothing is red"
    assert without_wavering(found, lesson.file) == declared(lesson.file)


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
    """Nor does it turn a check of a node green. (What a client sees may be well again: the fault
    may move an address to a director that is not broken.)"""
    lesson, simulated = lesson_of(name), broken(name)
    simulated.faults.append(fault)
    found = findings(simulated, lesson)
    own = {(judged.machine, judged.title) for judged in found if not judged.ok}
    checks = [check for check in lesson.file.checks if check.starts == "red"]
    red = {(check.machine, check.name) for check in checks if check.machine != CLIENT}
    assert failing(found) != {}
    assert red <= own


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_is_seen_when_the_lesson_is_solved(name: str) -> None:
    lesson, simulated = lesson_of(name), broken(name)
    solve(simulated, lesson, lesson.file.solution)
    simulated.faults.append(UNRELATED[0])
    assert failing(findings(simulated, lesson)) != {}


# --- the controls: the proof itself can fail


def test_a_lesson_that_declares_too_much_or_too_little_is_noticed() -> None:
    lesson, simulated = lesson_of("forwarding-off"), broken("forwarding-off")
    found = failing(findings(simulated, lesson))
    assert found == declared(lesson.file)
    for fails in ({}, {"lvs1": (5,)}, {**lesson.file.fails, "lvs2": (1,)}):
        assert declared(lesson.file.model_copy(update={"fails": fails})) != found


def test_a_command_that_the_simulated_node_does_not_know_is_an_error() -> None:
    simulated = broken("forwarding-off")
    with pytest.raises(AssertionError, match="does not know the command ethtool eth1"):
        simulated.machines["lvs1"].run(["ethtool", "eth1"])


def test_a_repair_that_does_not_survive_a_boot_is_red() -> None:
    lesson, simulated = lesson_of("forwarding-off"), broken("forwarding-off")
    simulated.machines["lvs1"].run(["sysctl", "-w", "net.ipv4.ip_forward=1"])
    assert failing(findings(simulated, lesson)) == {"lvs1": {"forwarding comes back at boot"}}


def test_every_kind_of_breaking_is_used_and_there_are_enough_lessons() -> None:
    files = [lesson_of(name).file for name in NAMES]
    assert len(NAMES) >= 16
    for kind in ("model", "texts", "units", "running", "faults"):
        assert any(getattr(file.broken, kind) for file in files), kind
