"""What an unquoted word of a YAML file is: a number only if it is written as one."""

from __future__ import annotations

from typing import Any

import pytest

from lvslab.model import source


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
