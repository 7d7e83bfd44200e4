"""What a client saw between two moments, from its requests."""

from __future__ import annotations

import pytest

from lvslab.measure.probe import Request, page_every, view
from lvslab.model.lab import Lab


def answered(started: float, taken: float, server: str = "") -> Request:
    return Request(started, bool(server), started + taken, server)


def lost(started: float) -> Request:
    return Request(started, False, started + 0.9, "", "no answer")


def test_the_gap_is_the_longest_time_without_an_answer() -> None:
    asked = [answered(0.0, 0.1), answered(0.2, 0.1), lost(0.4), lost(0.6), answered(0.8, 0.2)]
    seen = view([*asked, answered(1.1, 0.1)], 0.0, 1.3)
    assert (seen.total, seen.lost) == (6, 2)
    assert [seen.gap_start, seen.gap_end] == pytest.approx([0.3, 1.0])
    assert seen.gap == pytest.approx(0.7)
    assert seen.slowest == pytest.approx(0.2)


def test_answers_that_come_all_at_once_leave_a_gap() -> None:
    """Nothing was lost, and still nobody had an answer for two seconds."""
    seen = view([answered(at / 10, 2 - at / 10) for at in range(10)], 0.0, 2.5)
    assert seen.lost == 0
    assert seen.gap == pytest.approx(2.0)


def test_the_time_before_the_first_answer_and_after_the_last_counts() -> None:
    assert view([answered(1.0, 0.1)], 0.0, 1.5).gap == pytest.approx(1.1)
    assert view([answered(1.0, 0.1)], 0.9, 3.1).gap == pytest.approx(2.0)
    assert view([answered(1.0, 0.5)], 0.5, 1.2).gap == pytest.approx(0.7), "answered too late"


def test_who_asked_outside_the_time_is_not_seen() -> None:
    asked = [answered(at, 0.1, "rs1") for at in (0.9, 1.0, 1.5, 2.0, 2.1)]
    seen = view([*asked, lost(0.5), lost(2.5)], 1.0, 2.0)
    assert (seen.total, seen.lost, seen.servers) == (3, 0, {"rs1": 3})


def test_servers_are_counted_by_the_pages_that_they_answered() -> None:
    asked = [answered(0.1, 0.1, "rs1"), answered(0.2, 0.1, "rs2"), answered(0.3, 0.1, "rs1")]
    failed = Request(0.4, True, 0.5, "rs2", "500")
    assert view([*asked, answered(0.5, 0.1), failed], 0.0, 1.0).servers == {"rs1": 2, "rs2": 1}


def test_without_an_answer_the_whole_time_is_the_gap() -> None:
    for asked in ([], [lost(0.5)], [Request(0.5, False)]):
        seen = view(asked, 0.0, 2.0)
        assert (seen.gap, seen.gap_start, seen.gap_end, seen.slowest) == (2.0, 0.0, 2.0, 0.0)


@pytest.mark.parametrize(("servers", "every"), [(1, 10), (2, 11), (3, 10), (5, 11), (10, 11)])
def test_pages_do_not_all_come_from_one_server_of_a_round_robin(
    lab: Lab, servers: int, every: int
) -> None:
    nodes = {name: node for name, node in lab.nodes.items() if node.role == "director"}
    nodes |= {f"rs{number}": lab.nodes["rs1"] for number in range(servers)}
    assert page_every(lab.model_copy(update={"nodes": nodes})) == every
