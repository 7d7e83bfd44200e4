"""Whatever is in lab.yaml, it is a lab or an error says what is wrong: never a traceback."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lvslab.model import load
from tests.strategies import examples

ROOT = Path(__file__).parents[3]
GOOD = yaml.safe_load((ROOT / "tests" / "bad" / "lab.yaml").read_text())
TEXT = (ROOT / "tests" / "bad" / "lab.yaml").read_text()
WORDS = st.sampled_from(
    ["lvs1", "rs1", "VI_1", "VI_4", "VG1", "LVS1", "VMnet1", "VMnet13", "eth1", "own", "rr"]
    + ["192.168.50.1", "192.168.50.0/24", "10.0.0.0/8", "0.0.0.0/0", "255.255.255.255", "", "{"]
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), WORDS)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)
)
MANY = examples(150)


def judged(path: Path) -> None:
    """Loads a lab; if it is bad, every problem is a place in the file and two sentences."""
    try:
        load.load_lab(path)
    except load.BadInput as error:
        lines = path.read_text().count("\n") + 1
        assert error.problems
        for problem in error.problems:
            assert 1 <= problem.line <= lines
            assert problem.column >= 1
            assert problem.what
            assert problem.right


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """The article's lab with up to three values, keys or entries changed, added or gone."""
    data = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        here = data
        while True:
            steps = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not steps:
                break
            step = draw(st.sampled_from(steps))
            deeper = isinstance(here[step], dict | list) and here[step]
            if deeper and draw(st.integers(0, 3)):
                here = here[step]
                continue
            change = draw(st.sampled_from(["value", "gone", "key"]))
            if change == "value":
                here[step] = draw(VALUES)
            elif change == "gone":
                del here[step]
            elif isinstance(here, dict):
                here[draw(WORDS)] = here.pop(step)
            break
    return data


@MANY
@given(mutated())
def test_a_mutated_lab(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    judged(path)


@MANY
@given(
    st.integers(0, len(TEXT) - 1),
    st.integers(0, 4),
    st.text("{}[]:,&*!|>'\"% \n\t-#?<a1", max_size=3),
)
def test_a_mutated_text(
    tmp_path_factory: pytest.TempPathFactory, start: int, length: int, new: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_text(TEXT[:start] + new + TEXT[start + length :])
    judged(path)
