"""How mistakes are shown: places, lists, order."""

from __future__ import annotations

from lvslab.model.problems import BadInput, Problem, dotted, listed


def test_a_path_is_shown_as_it_is_written() -> None:
    assert dotted(("nodes", "lvs1", "addresses", "eth1")) == "nodes.lvs1.addresses.eth1"
    assert dotted(("sync_groups", "VG1", 0, "a")) == "sync_groups.VG1[0].a"
    assert dotted(()) == ""


def test_a_long_list_is_cut_and_says_how_many_there_are() -> None:
    assert listed(range(16)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15"
    assert listed(range(17)) == (
        "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, … (17 in all)"
    )
    assert listed(["a", "b"], 2) == "a, b"
    assert listed("abc", 2) == "a, b, … (3 in all)"
    assert listed([]) == ""


def test_problems_are_said_once_in_the_order_of_their_places() -> None:
    problems = [
        Problem("b.yaml", 1, 1, "what", "right"),
        Problem("a.yaml", 10, 2, "what", "right"),
        Problem("a.yaml", 2, 9, "what", "right"),
        Problem("a.yaml", 0, 0, "whole", "right"),
        Problem("a.yaml", 2, 9, "what", "right"),
    ]
    assert str(BadInput(problems)).splitlines() == [
        "a.yaml: whole; right",
        "a.yaml:2:9: what; right",
        "a.yaml:10:2: what; right",
        "b.yaml:1:1: what; right",
    ]
