"""What is said of the time that a build still takes: never a sum, never more than is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvslab.core import durations
from lvslab.core.events import Expected, Forecast, Note, StageDone, StageFailed, StageStarted
from lvslab.core.forecast import Left, duration, remaining
from lvslab.core.stages import Stages
from tests.strategies import examples


def stage(seconds: float | None, *needs: str) -> Expected:
    return Expected(needs, seconds)


TWO_ROLES = {
    "tree": stage(10),
    "bake a": stage(60, "tree"),
    "bake b": stage(100, "tree"),
    "ova a": stage(5, "bake a"),
    "ova b": stage(5, "bake b"),
    "zip": stage(3, "ova a", "ova b"),
}


def left_of(stages: Mapping[str, Expected], jobs: int = 2, builds: int = 3) -> Left:
    return Left(Forecast("", None, builds, jobs, stages))


# --- how long


@pytest.mark.parametrize(("jobs", "seconds"), [(1, 183), (2, 118), (8, 118)])
def test_stages_run_side_by_side(jobs: int, seconds: float) -> None:
    assert remaining(TWO_ROLES, jobs, {}) == seconds


def test_what_runs_and_what_is_done_is_not_counted_again() -> None:
    rest = {name: TWO_ROLES[name] for name in ("bake b", "ova b", "zip")}
    assert remaining(rest, 2, {"bake b": 40.0}) == 68
    assert remaining(rest, 2, {"bake b": 400.0}) == 8, "the rest comes after it"
    assert remaining({}, 2, {}) == 0


def test_a_cached_stage_costs_nothing() -> None:
    """What is needed and is not to be made is there."""
    stages = {"bake b": stage(100, "tree", "tools"), "ova b": stage(5, "bake b")}
    assert remaining(stages, 1, {}) == 105


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Expected]:
    found: dict[str, Expected] = {}
    for number in range(draw(st.integers(0, 12))):
        needs = draw(st.lists(st.sampled_from(sorted(found)), max_size=3)) if found else []
        seconds = draw(st.none() | st.integers(0, 500))
        found[f"s{number}"] = stage(seconds, *needs)
    return found


def longest_path(stages: Mapping[str, Expected]) -> float:
    ends: dict[str, float] = {}
    for name, this in stages.items():
        ends[name] = max((ends[need] for need in this.needs), default=0) + (this.seconds or 0)
    return max(ends.values(), default=0)


@examples(40)
@given(graphs(), st.integers(1, 4))
def test_it_is_between_the_longest_path_and_the_sum(stages: dict[str, Expected], jobs: int) -> None:
    whole = sum(this.seconds or 0 for this in stages.values())
    path = longest_path(stages)
    found = remaining(stages, jobs, {})
    assert max(path, whole / jobs) <= found <= whole / jobs + path
    assert remaining(stages, 1, {}) == whole
    assert remaining(stages, 99, {}) == path


def test_stages_that_need_each_other_do_not_wait_for_ever() -> None:
    assert remaining({"a": stage(1, "b"), "b": stage(1, "a"), "c": stage(7)}, 2, {}) == 7


# --- in words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "5 s"),
        (5.1, "10 s"),
        (60, "1 min"),
        (61, "1 min 10 s"),
        (100, "1 min 40 s"),
        (599.5, "10 min"),
        (601, "11 min"),
        (3600, "1 h"),
        (3900, "1 h 5 min"),
    ],
)
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@given(st.floats(0, 1e6))
def test_words_never_promise_less_than_the_time(seconds: float) -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    words = duration(seconds).split()
    said = sum(int(n) * units[unit] for n, unit in zip(words[::2], words[1::2], strict=True))
    assert seconds <= said <= seconds + max(60, 5)


def test_it_counts_down_and_stops_where_a_stage_takes_longer() -> None:
    left = left_of(TWO_ROLES)
    assert left.text(0) == "about 2 min left (from 3 earlier builds)"
    left.see(StageStarted("tree"), 100)
    left.see(Note("something else"), 101)
    assert left.seconds(108) == 110
    left.see(StageDone("tree", 9), 109)
    left.see(StageStarted("bake a"), 109)
    left.see(StageStarted("bake b"), 109)
    assert left.text(109) == "about 1 min 50 s left (from 3 earlier builds)"
    assert left.text(169) == "about 50 s left (from 3 earlier builds)"
    assert left.text(179) == "longer than before: at least 40 s left", "bake a is late"
    left.see(StageDone("bake a", 70), 179)
    assert left.text(179) == "about 40 s left (from 3 earlier builds)"
    assert left.text(400) == "longer than before: at least 10 s left"
    for name in ("bake b", "ova a", "ova b"):
        left.see(StageDone(name, 1), 401)
    left.see(StageStarted("zip"), 401)
    assert left.text(403) == "about 5 s left (from 3 earlier builds)"
    assert left.text(410) == "longer than before"
    left.see(StageDone("zip", 9), 410)
    assert left.text(410) == ""


@pytest.mark.parametrize(("seconds", "late"), [(60, 68.1), (0.1, 2.2)])
def test_a_stage_is_late_when_that_is_no_chance(seconds: float, late: float) -> None:
    left = left_of({"bake": stage(seconds)})
    left.see(StageStarted("bake"), 0)
    assert left.text(late - 0.2) == "about 5 s left (from 3 earlier builds)"
    assert left.text(late) == "longer than before"


def test_what_is_not_known_is_said() -> None:
    assert left_of({"a": stage(None)}).text(0) == (
        "no estimate yet: first build of these stages on this host"
    )
    assert left_of({"a": stage(None)}).seconds(0) is None
    known = {"a": stage(None), "b": stage(10, "a")}
    assert left_of(known, builds=1).text(0) == (
        "at least 10 s left (from 1 earlier build; 1 stage is new on this host)"
    )
    two = known | {"c": stage(None)}
    assert left_of(two).text(0).endswith("; 2 stages are new on this host)")


def test_without_a_forecast_nothing_is_said_and_what_began_before_it_counts() -> None:
    left = Left()
    left.see(StageStarted("tree"), 0)
    left.see(StageStarted("other"), 0)
    left.see(StageFailed("other", 1, "no"), 1)
    assert (left.text(5), left.seconds(5)) == ("", None)
    left.see(Forecast("", None, 3, 2, TWO_ROLES), 6)
    assert left.seconds(6) == 112


def test_a_stage_that_turns_out_to_be_cached_is_no_longer_expected() -> None:
    left = left_of(TWO_ROLES)
    left.see(StageDone("bake b", 0, cached=True), 0)
    assert left.seconds(0) == 78


# --- what is kept


def test_the_newest_time_of_each_name_is_kept(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    durations.add(stages, 1, {"bake": 60, "tree": 1})
    durations.add(stages, 2, {"bake": 85.12345})
    known = durations.load(stages)
    assert known == {"bake": (2, 85.123), "tree": (1, 1.0)}
    assert durations.builds(known, ["bake", "tree", "ova"]) == 2
    assert durations.builds(known, ["bake"]) == 1
    assert durations.builds(known, ["ova"]) == 0


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    durations.add(stages, 1, {"used again": 1, "old": 1})
    durations.add(stages, 2, {f"stage {n}": 1 for n in range(durations.NAMES - 2)})
    assert {"old", "used again"} <= durations.load(stages).keys()
    durations.add(stages, 3, {"used again": 1, "new": 1})
    known = durations.load(stages)
    assert len(known) == durations.NAMES
    assert "old" not in known
    assert known["used again"] == (3, 1.0)


GOOD = {"tree": [1, 2.5]}
BAD: tuple[object, ...] = (
    5,
    None,
    [],
    [1],
    "text",
    ["x", "y"],
    [1, float("nan")],
    [1, 2, 3],
    [None, 2],
    {"x": 1},
)


@pytest.mark.parametrize("row", BAD)
def test_a_row_of_another_form_is_left_out(tmp_path: Path, row: object) -> None:
    stages = Stages(tmp_path)
    stages.note(durations.NOTE, GOOD | {"bake": row})
    assert durations.load(stages) == {"tree": (1, 2.5)}
    durations.add(stages, 2, {"bake": 3})
    assert durations.load(stages) == {"tree": (1, 2.5), "bake": (2, 3.0)}


@pytest.mark.parametrize("value", [None, 5, [], "text", [["bake", [1, 2]]]])
def test_a_note_of_another_form_is_no_error(tmp_path: Path, value: object) -> None:
    Stages(tmp_path).note(durations.NOTE, value)
    assert durations.load(Stages(tmp_path)) == {}


@pytest.mark.parametrize("text", ["", "{", "\0\0", json.dumps(GOOD)])
def test_a_damaged_note_is_no_error(tmp_path: Path, text: str) -> None:
    stages = Stages(tmp_path)
    durations.add(stages, 1, {"bake": 3})
    (tmp_path / f"notes/{durations.NOTE}.json").write_text(text)
    assert durations.load(stages) == {}


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no folder")
    durations.add(Stages(tmp_path), 1, {"bake": 3})
    assert durations.load(Stages(tmp_path)) == {}
