"""What an unquoted word of a YAML file is: a number only if it is written as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lvslab.core.places import DATA, EXAMPLES, LESSONS
from lvslab.model import source
from lvslab.model.problems import BadInput


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("+15", 15),
        ("9" * 18, 10**18 - 1),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("2e3", 2000.0),
        ("1e308", 1e308),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
    ],
)
def test_a_number_or_a_constant(text: str, value: Any) -> None:
    found = source._plain(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        "9" * 19,  # no number of ours is so long, and a float would not have all its digits
        "-" + "9" * 19,
        "007",
        "1e309",
        "1e9999",
        "0x10",
        "0o7",
        "1_000",
        "12:30",
        "yes",
        "off",
        ".",
        "1.2.3",
        "nan",
    ],
)
def test_everything_else_is_text(text: str) -> None:
    assert source._plain(text) == text


def read(node: yaml.Node | None) -> tuple[Any, ...]:
    """The data of a file's nodes, and the places of values and keys."""
    assert node is not None
    reader = source._Reader("x.yaml")
    return reader.value(node, ()), reader.values, reader.keys, reader.problems


FILES = [
    path for top in (DATA / "roles", LESSONS, EXAMPLES) for path in sorted(top.rglob("*.yaml"))
]


def test_libyaml_finds_what_pyyaml_finds() -> None:
    """Values, and the place of each."""
    assert len(FILES) > 30
    for path in FILES:
        text = path.read_text()
        quick, slow = source._Composer(text).get_single_node(), yaml.compose(text, yaml.BaseLoader)
        assert read(quick) == read(slow)
    moved = source._Composer("a:  1").get_single_node()
    assert read(moved) != read(yaml.compose("a: 1", yaml.BaseLoader))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name:\tlab\n", "indent with spaces, not with tabs"),  # libyaml takes it
        ("[" * 50_000, "nested too deeply"),  # libyaml's own composer ends the process
        ("a: [1\n", "expected ',' or ']', but got '<stream end>'"),
    ],
    ids=["tab", "deep", "words"],
)
def test_what_is_refused_is_refused_as_pyyaml_does(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(BadInput) as caught:
        source.read_source(tmp_path / "x.yaml")
    assert says in str(caught.value)
