"""The chart of a build: every stage is in it, inside the frame, and nothing of it is markup."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvslab.core.stages import StageRecord
from lvslab.make.chart import Profile, draw
from lvslab.render.picture import ORANGE
from tests.strategies import examples

SVG = "{http://www.w3.org/2000/svg}"
BLUE, GREY = "#1f6feb", "#9aa5b1"


def record(name: str, start: float, seconds: float, cached: bool = False) -> StageRecord:
    return StageRecord(name, "0" * 64, start, seconds, cached, {})


NEEDS = {
    "bake a": ("tree",),
    "bake b": ("tree",),
    "ova a": ("bake a",),
    "ova b": ("bake b",),
    "zip": ("ova a", "ova b"),
}
ROLES = [
    record("tools", 0, 2, cached=True),
    record("tree", 0, 10),
    record("bake a", 10, 60),
    record("ova a", 70, 5),
    record("bake b", 10.1, 100),
    record("ova b", 110.1, 5),
    record("zip", 115.2, 3),
]


def profile(
    records: Sequence[StageRecord] = ROLES,
    seconds: float = 120,
    needs: Mapping[str, Sequence[str]] = NEEDS,
) -> Profile:
    return Profile(records, seconds, needs)


Box = tuple[float, float, float, float, str]


def bars(root: ET.Element) -> list[Box]:
    """Left, top, width, height and colour of each stage's bar, in order."""
    found: list[Box] = []
    for rect in root.findall(f"{SVG}rect"):
        box = [rect.attrib[name] for name in ("x", "y", "width", "height") if name in rect.attrib]
        if len(box) == 4 and box[3] == "13":
            left, top, width, height = map(float, box)
            found.append((left, top, width, height, rect.attrib["fill"]))
    return found


def words(root: ET.Element) -> list[str]:
    return [text.text or "" for text in root.findall(f"{SVG}text")]


# --- what the end waited for


def test_the_end_waits_for_the_slower_role() -> None:
    assert profile().critical == {"tree", "bake b", "ova b", "zip"}
    other = [record("bake b", 10.1, 20) if r.name == "bake b" else r for r in ROLES]
    other = [record("ova b", 30.2, 5) if r.name == "ova b" else r for r in other]
    late = [record("zip", 75, 3) if r.name == "zip" else r for r in other]
    assert profile(late).critical == {"tree", "bake a", "ova a", "zip"}


def test_with_one_job_the_end_waits_for_everything() -> None:
    names = ["tree", "bake a", "bake b", "ova b", "ova a", "zip"]
    one = [record(name, 10.0 * number, 9.9) for number, name in enumerate(names)]
    assert profile(one).critical == set(names)


def test_a_build_without_stages() -> None:
    assert profile([], 0).critical == frozenset()
    assert ET.fromstring(draw(profile([], 0))).tag == f"{SVG}svg"


def test_the_share_is_that_of_the_whole_build() -> None:
    this = profile()
    assert [round(this.share(row), 2) for row in this.rows[:3]] == [0.02, 0.08, 0.5]
    assert profile([record("x", 0, 0)], 0).share(record("x", 0, 0)) == 0
    assert [row.name for row in this.rows][:4] == ["tools", "tree", "bake a", "bake b"]


# --- the picture


def test_each_stage_has_a_bar_that_begins_and_ends_with_it() -> None:
    root = ET.fromstring(draw(profile()))
    found = bars(root)
    rows = profile().rows
    assert len(found) == len(rows)
    (zero, *_), unit = found[0], found[3][2] / 100
    for (left, _, width, _, _), row in zip(found, rows, strict=True):
        assert left == pytest.approx(zero + row.start * unit, abs=0.2)
        assert width == pytest.approx(row.seconds * unit, abs=0.2)
    colours = {row.name: box[4] for row, box in zip(rows, found, strict=True)}
    assert colours["tools"] == GREY
    assert colours["bake a"] == BLUE
    assert colours["bake b"] == ORANGE
    shown = words(root)
    assert {"100.0 s", "cached", "bake a", "0 s", "120 s"} <= set(shown)
    assert shown[0] == "120.0 s: 7 stages, 6 of them made"


RECORDS = st.lists(
    st.builds(
        record,
        st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=30),
        st.floats(0, 5000),
        st.floats(0, 5000),
        st.booleans(),
    ),
    max_size=40,
    unique_by=lambda this: this.name,
)


def overlapping(boxes: Sequence[Box]) -> list[tuple[Box, Box]]:
    ordered = sorted(boxes, key=lambda box: box[1])
    return [
        (one, other)
        for one, other in zip(ordered, ordered[1:], strict=False)
        if one[1] + one[3] > other[1]
    ]


@examples(40)
@given(RECORDS, st.floats(0, 20000))
def test_any_build_can_be_drawn(records: list[StageRecord], seconds: float) -> None:
    this = profile(records, seconds, {})
    root = ET.fromstring(draw(this))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    found = bars(root)
    assert len(found) == len(records)
    assert overlapping(found) == []
    for left, top, wide, high, _ in found:
        assert left >= 0
        assert left + wide + 40 <= width, "the figure behind it has room"
        assert top + high <= height
    labels = [e.text or "" for e in root if e.attrib.get("text-anchor") == "end"]
    assert labels == [row.name for row in this.rows]
    ticks = root.findall(f"{SVG}line")
    assert 1 <= len(ticks) <= 11
    last = max(records, key=lambda r: r.start + r.seconds, default=None)
    assert last is None or last.name in this.critical


def test_bars_in_one_row_would_be_found() -> None:
    box = (0.0, 10.0, 5.0, 13.0, BLUE)
    assert overlapping([box, (0.0, 30.0, 5.0, 13.0, BLUE)]) == []
    assert overlapping([box, (9.0, 12.0, 5.0, 13.0, BLUE)])


def test_no_name_is_markup() -> None:
    name = "<script>&\"'</svg>"
    root = ET.fromstring(draw(profile([record(name, 0, 1)], 1)))
    assert name in words(root)
    with pytest.raises(ET.ParseError):  # the control: as it is, it would end the picture
        ET.fromstring(draw(profile([record("x_y_z", 0, 1)], 1)).replace("x_y_z", name))


def test_names_have_room() -> None:
    long = "ova a-node-with-a-rather-long-name-in-some-lab"
    (left, *_), *_ = bars(ET.fromstring(draw(profile([record(long, 0, 1)], 1))))
    (short, *_), *_ = bars(ET.fromstring(draw(profile([record("x", 0, 1)], 1))))
    assert left > short + 200
