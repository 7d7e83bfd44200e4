"""How a run of an experiment is measured: times, moves, neighbours."""

from __future__ import annotations

import json

import pytest

from lvslab.measure import failover
from lvslab.measure.experiments import everything
from lvslab.measure.probe import Request
from lvslab.measure.watchers import wrong_entries
from lvslab.model.lab import Lab


def request(started: float, taken: float = 0.01, error: str = "", page: bool = False) -> Request:
    return Request(started, page, started + taken, "", error)


REFUSED = "ECONNREFUSED"


def test_healed_is_from_the_faults_end_to_the_last_lost_request() -> None:
    requests = [request(-2, error=REFUSED), request(0.1), request(0.7, error=REFUSED), request(0.9)]
    assert failover._healed(requests, 5) == pytest.approx(0.72)
    assert failover._healed(requests[:2], 5) == 0
    assert failover._healed([request(6, error=REFUSED)], 5) == 0, "after the watch"


def test_told_is_how_long_a_client_waited_until_refused() -> None:
    requests = [request(1, 0.8), request(2, 0.02, REFUSED), request(3, 0.9, "no answer")]
    assert failover._told(requests, 5) == pytest.approx(0.9)
    assert failover._told(requests[:2], 5) == pytest.approx(0.02)


def test_slowest_is_the_slowest_page_over_twice_the_quiet_median() -> None:
    quiet = [request(-1 + at / 10, 0.05, page=True) for at in range(9)]
    assert failover._slowest([*quiet, request(1, 0.3, page=True)], 5) == pytest.approx(0.2)
    assert failover._slowest([*quiet, request(1, 0.09, page=True), request(1, 0.5)], 5) == 0


def test_a_page_that_never_came_is_slower_than_any_other() -> None:
    """Also where the quiet pages are slow: a client gives up after 0.9 s."""
    quiet = [request(-1 + at / 10, 0.45, page=True) for at in range(9)]
    lost = request(1, 0.9, "no answer", page=True)
    assert failover._slowest([*quiet, lost], 15) == pytest.approx(14.1)


def heard(*adverts: tuple[float, str]) -> list[tuple[float, str, str]]:
    return [(at, "VI_1", node) for at, node in adverts]


def every_beat(node: str, start: float, end: float) -> list[tuple[float, str]]:
    return [(at / 10, node) for at in range(int(start * 10), int(end * 10), 2)]


def test_a_move_is_another_director_that_begins_to_advertise() -> None:
    away = heard(*every_beat("lvs1", -2, 0), *every_beat("lvs2", 0.8, 3), *every_beat("lvs1", 3, 5))
    assert failover._moves(away, "VI_1", 0) == [pytest.approx(0.8), pytest.approx(3)]
    assert failover._moves(away, "VI_2", 0) == []
    assert failover._last_move(away, 0) == pytest.approx(3)
    assert failover._last_move(away, 5) == 0


def test_two_that_advertise_side_by_side_and_one_that_is_late_are_no_moves() -> None:
    both = sorted(heard(*every_beat("lvs1", -2, 5), *every_beat("lvs2", -2, 0.4)))
    assert failover._moves(both, "VI_1", 0) == []
    late = heard(*every_beat("lvs1", -2, 0), *every_beat("lvs1", 0.8, 3))
    assert failover._moves(late, "VI_1", 0) == []


def entry(address: str, mac: str, state: str = "STALE") -> dict[str, object]:
    return {"dst": address, "lladdr": mac, "state": [state]}


def test_a_neighbour_that_names_another_director_is_wrong(lab: Lab) -> None:
    mine, other = lab.mac("lvs1", "eth1"), lab.mac("lvs2", "eth1")
    vip = str(lab.vrrp_instances["VI_1"].address)
    assert wrong_entries(lab, json.dumps([entry(vip, mine)])) == []
    (wrong,) = wrong_entries(lab, json.dumps([entry(vip, other)]))
    assert wrong == f"{vip} to {other}, not to lvs1"


def test_an_entry_that_knows_nobody_is_not_wrong(lab: Lab) -> None:
    vip = str(lab.vrrp_instances["VI_1"].address)
    assert wrong_entries(lab, json.dumps([{"dst": vip, "state": ["FAILED"]}])) == []
    assert wrong_entries(lab, "") == []


def test_every_fault_has_a_limit_that_its_protocols_can_keep(lab: Lab) -> None:
    for name, experiment in everything(lab).items():
        assert experiment.name == name
        assert experiment.limit >= experiment.bar, name
        assert set(experiment.owners) == set(lab.vrrp_instances)
