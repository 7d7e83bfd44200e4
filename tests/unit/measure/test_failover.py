"""How a run of an experiment is measured: times, moves, neighbours."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from lvslab.core.errors import StageError
from lvslab.core.events import StageDone, StageFailed, StageStarted
from lvslab.lab import checklist, checkpoint
from lvslab.lab.checklist import CheckResult
from lvslab.lab.cluster import Cluster
from lvslab.measure import failover
from lvslab.measure.experiments import everything
from lvslab.measure.experiments.experiment import Experiment
from lvslab.measure.failover import Run, Verdict
from lvslab.measure.probe import Request, view
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


# --- one run against its limits


def fault(**values: Any) -> Experiment:
    """An experiment that hits web1 and may cost it a second."""
    usual: dict[str, Any] = {
        "name": "f",
        "summary": "",
        "fault": lambda cluster: None,
        "hits": frozenset({"web1"}),
        "limit": 1.0,
        "bar": 0.5,
        "owners": {"VI_1": "lvs2", "VI_2": "lvs1"},
    }
    return Experiment(**{**usual, **values})


def run_of(
    web1: list[Request] | None = None, web2: list[Request] | None = None, **values: Any
) -> Run:
    """Five seconds after the fault; what is not given went well."""
    well = [request(at / 10) for at in range(-10, 50)]
    requests = {"web1": well if web1 is None else web1, "web2": well if web2 is None else web2}
    views = {name: view(asked, 0, 4.9) for name, asked in requests.items()}
    run = Run(
        experiment="f",
        watched=5.0,
        taken=0.0,
        views=views,
        owners={"VI_1": ["lvs2"], "VI_2": ["lvs1"]},
        moves={"VI_1": 1, "VI_2": 0},
        takeover=None,
        announced=None,
        seen=[],
        problems=[],
        requests=requests,
        adverts=[],
        announcements=[],
    )
    return replace(run, **values)


def silent(start: float, end: float, server: str = "") -> list[Request]:
    """Ten requests a second, of which those between two moments were lost."""
    moments = [at / 10 for at in range(-10, 50)]
    asked = [request(at, error=REFUSED if start <= at < end else "") for at in moments]
    return [replace(one, server=server if one.answered else "") for one in asked]


def test_a_run_that_kept_every_limit_has_no_problem() -> None:
    assert failover.judge(fault(), run_of(silent(0.5, 1.3))) == []
    exact = run_of(silent(0.5, 1.3)).views["web1"].gap
    assert failover.judge(fault(limit=exact), run_of(silent(0.5, 1.3))) == [], "the limit is kept"


def test_a_run_over_its_limits_says_each_in_a_sentence() -> None:
    run = run_of(
        silent(0.5, 2.5),
        silent(1.0, 1.2),
        owners={"VI_1": ["lvs1", "lvs2"], "VI_2": []},
        moves={"VI_1": 2, "VI_2": 1},
        seen=["a table was empty"],
    )
    assert failover.judge(fault(), run) == [
        "longest gap 2.10 s, limit 1.00 s",
        "web2 lost 2 of 50 requests and should lose none",
        "VI_1 is advertised by lvs1 and lvs2, not lvs2",
        "VI_1 moved 2 times",
        "VI_2 is advertised by nobody, not lvs1",
        "a table was empty",
    ]
    assert "VI_1 moved 2 times" not in failover.judge(fault(moves=2), run)


def test_a_server_that_is_back_may_warm_up_for_a_second() -> None:
    back = fault(measure="back", server="rs1", limit=3.0)
    warm = run_of(silent(0.0, 0.9, "rs1"), silent(-1, -1, "rs1"))
    assert failover.judge(back, warm) == []
    cold = run_of(silent(0.0, 1.6, "rs1"), silent(-1, -1, "rs1"))
    assert failover.judge(back, cold) == ["requests were lost for 1.52 s, limit 1.00 s"]
    other = fault(measure="gap", limit=3.0)
    assert failover.judge(other, cold) == [], "only of a server that is back"


def test_back_is_when_the_server_answers_for_every_service() -> None:
    back = fault(measure="back", server="rs1")
    run = run_of(silent(0.0, 0.8, "rs1"), silent(0.0, 2.0, "rs1"))
    assert run.measured(back) == pytest.approx(2.0)
    never = run_of(silent(0.0, 0.8, "rs1"), silent(0.0, 2.0, "rs2"))
    assert never.measured(back) == 5.0, "the whole time that was watched"
    at_once = [replace(request(at), server="rs1") for at in (-0.5, 0.0, 0.1)]
    assert run_of(at_once, at_once).measured(back) == pytest.approx(0.1), "an answer from before"


def test_settled_is_from_the_first_lost_request_to_the_last() -> None:
    settled = fault(measure="settled")
    assert run_of(silent(0.5, 1.3)).measured(settled) == pytest.approx(0.72)
    assert run_of(silent(0.5, 0.6)).measured(settled) == pytest.approx(0.02)
    assert run_of(silent(-0.5, 0.0)).measured(settled) == 0, "before the fault"
    assert run_of(silent(0.0, 0.1)).measured(settled) == pytest.approx(0.02)
    assert run_of(web2=silent(0.5, 1.3)).measured(settled) == 0, "of another virtual server"


@pytest.mark.parametrize("measure", ["gap", "settled", "healed", "told", "slowest"])
def test_a_fault_that_hits_nobody_measures_nothing(measure: str) -> None:
    assert run_of(silent(0.5, 1.3)).measured(fault(measure=measure, hits=frozenset())) == 0


def test_times_are_counted_from_the_fault() -> None:
    after = failover._after(100.0, Request(101.0, True, 101.5, "rs1"))
    assert (after.started, after.ended, after.server) == (1.0, 1.5, "rs1")
    assert not failover._after(100.0, Request(101.0, True)).answered, "it has not ended"


def test_the_takeover_is_the_first_advert_of_a_director_that_is_new() -> None:
    before = [(-0.4, "VI_1", "lvs1"), (-0.3, "VI_2", "lvs2"), (-0.1, "VI_1", "lvs1")]
    after = [(0.1, "VI_2", "lvs2"), (0.7, "VI_1", "lvs2"), (0.9, "VI_1", "lvs1")]
    assert failover._first_new([*before, *after]) == 0.7
    assert failover._first_new([*before, (0.1, "VI_1", "lvs1")]) is None
    assert failover._first_new([(-0.4, "VI_1", "lvs1"), (-0.2, "VI_1", "lvs2")]) is None
    assert failover._first_new([(0.5, "VI_1", "lvs1")]) is None, "nobody was heard before it"


def test_the_announcement_is_the_new_owner_s_for_an_address_that_was_hit(lab: Lab) -> None:
    vip, other = (str(lab.vrrp_instances[name].address) for name in ("VI_1", "VI_2"))
    mine, old = lab.mac("lvs2", "eth1"), lab.mac("lvs1", "eth1")
    experiment = fault(owners=dict.fromkeys(lab.vrrp_instances, "lvs2"))
    assert lab.virtual_servers["web1"].instance == "VI_1"
    heard = [(-0.5, vip, mine), (0.2, vip, old), (0.4, other, mine), (0.8, vip, mine)]
    assert failover._first_announced(lab, experiment, [*heard, (0.9, vip, mine)]) == 0.8
    assert failover._first_announced(lab, experiment, heard[:3]) is None


# --- many runs


def test_figures_are_of_all_runs() -> None:
    runs = [run_of(silent(0.5, 0.5 + length)) for length in (0.9, 0.3, 0.6, 2.0, 0.1)]
    figures = Verdict(fault(measure="settled"), runs).figures
    assert list(figures) == pytest.approx([0.02, 0.52, 1.92])


def test_the_median_is_judged_from_ten_runs_on() -> None:
    slow, quick = run_of(silent(0.5, 1.3)), run_of(silent(0.5, 0.6))
    bounded = fault(measure="settled", median=0.5)
    assert Verdict(bounded, [slow] * 9).problems == []
    assert Verdict(bounded, [slow] * 10).problems == ["median 0.72 s, limit 0.50 s"]
    assert Verdict(bounded, [slow] * 4 + [quick] * 6).problems == []
    assert Verdict(fault(measure="settled"), [slow] * 10).problems == []
    exact = Verdict(bounded, [slow] * 10).figures[1]
    assert Verdict(fault(measure="settled", median=exact), [slow] * 10).problems == []


def test_a_problem_of_many_runs_is_said_once() -> None:
    runs = [run_of(problems=["b"]), run_of(problems=["a", "b"]), run_of()]
    verdict = Verdict(fault(), runs)
    assert verdict.problems == ["b", "a"]
    assert [run.ok for run in runs] == [False, False, True]


def test_lost_requests_are_counted_for_those_that_were_hit_and_for_the_others() -> None:
    runs = [run_of(silent(0.5, 1.0), silent(0.5, 0.7)), run_of(silent(0.5, 0.8))]
    verdict = Verdict(fault(), runs)
    assert (verdict.lost(True), verdict.lost(False)) == (8, 2)


def test_pages_are_counted_by_server_over_all_runs() -> None:
    one = [replace(request(1), server="rs2"), replace(request(2), server="rs1")]
    two = [replace(request(1), server="rs2")]
    assert Verdict(fault(), [run_of(one, two), run_of(two, [])]).servers == {"rs1": 1, "rs2": 3}
    assert list(Verdict(fault(), [run_of(one, two)]).servers) == ["rs1", "rs2"]


def test_a_takeover_is_the_median_of_the_runs_that_had_one() -> None:
    runs = [run_of(takeover=t, announced=a) for t, a in ((0.7, None), (None, None), (0.9, None))]
    verdict = Verdict(fault(), [*runs, run_of(takeover=0.8, announced=1.1)])
    assert (verdict.takeover, verdict.announced) == (0.8, 1.1)
    assert Verdict(fault(), [run_of()]).takeover is None


def test_runs_begin_at_moments_that_are_spread_over_two_seconds() -> None:
    """No two of twenty are nearer than 0.05 s: the guests' timers are at another place in each."""
    phases = sorted(failover.phase_of(number) for number in range(20))
    assert phases[0] == 0 and 1.8 < phases[-1] < 2
    gaps = [after - before for before, after in pairwise(phases)]
    assert min(gaps) > 0.05 and max(gaps) < 0.2


@pytest.mark.parametrize(
    ("taken", "problems", "tries"),
    [([0.9], [[]], 1), ([0.49], [["late"]], 1), ([0.5, 0.1], [["late"], ["late"]], 2),
     ([0.9, 0.9], [["late"], []], 2)],
)  # fmt: skip
def test_a_run_is_made_again_only_if_it_was_over_a_limit_on_a_busy_host(
    monkeypatch: pytest.MonkeyPatch, taken: list[float], problems: list[list[str]], tries: int
) -> None:
    runs = [run_of(taken=t, problems=p) for t, p in zip(taken, problems, strict=True)]
    left = iter(runs)
    monkeypatch.setattr(failover, "once", lambda *_: next(left))
    cluster = object.__new__(Cluster)
    assert failover.undisturbed(cluster, fault()) is runs[tries - 1]
    assert list(left) == []
    assert not any("too busy" in problem for problem in runs[-1].problems)


def test_a_host_that_stays_busy_is_named_after_five_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [run_of(taken=0.8, problems=["late"]) for _ in range(9)]
    left, asked = iter(runs), []

    def once(cluster: Cluster, experiment: Experiment, start: str, phase: float) -> Run:
        asked.append((start, phase))
        return next(left)

    monkeypatch.setattr(failover, "once", once)
    run = failover.undisturbed(object.__new__(Cluster), fault())
    assert asked == [("failover", 0)] * 5
    assert run is runs[4]
    assert run.problems == [
        "late",
        "others took 0.80 s of this host's processors within a second, and much in each of 5 "
        "runs: it is too busy to measure",
    ]


# --- all experiments


class Stage:
    """What `perform` does to a cluster and says of it, in order; its runs are not real."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *problems: str) -> None:
        self.problems, self.done, self.phases = list(problems), list[object](), list[float]()
        self.findings = [CheckResult("lvs1", 1, "t", True, "fine")]
        self.fails = ""
        monkeypatch.setattr(checklist, "wait", lambda cluster, seconds: self.findings)
        monkeypatch.setattr(checkpoint, "save", lambda _, name: self.done.append(f"save {name}"))
        monkeypatch.setattr(checkpoint, "restore", lambda _, name: self.done.append("restore"))
        monkeypatch.setattr(failover, "undisturbed", self.run)

    def run(self, cluster: Cluster, experiment: Experiment, phase: float) -> Run:
        self.phases.append(phase)
        if experiment.name == self.fails:
            raise StageError("gone")
        return run_of(problems=list(self.problems))

    def perform(self, runs: int) -> list[Verdict]:
        chosen = [fault(), fault(name="g")]
        return failover.perform(object.__new__(Cluster), chosen, runs, self.hear)

    def hear(self, event: object) -> None:
        assert isinstance(event, StageStarted | StageDone | StageFailed)
        if not isinstance(event, StageStarted):
            assert 0 <= event.seconds < 1
        words = event.message if isinstance(event, StageFailed) else ""
        self.done.append(" ".join([type(event).__name__, event.stage, words]).strip())


def test_each_experiment_is_run_so_often_and_the_cluster_is_whole_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch)
    verdicts = stage.perform(2)
    assert [(v.experiment.name, len(v.runs)) for v in verdicts] == [("f", 2), ("g", 2)]
    assert stage.phases == [failover.phase_of(number) for number in (1, 2, 1, 2)]
    names = [f"{name} {number}/2" for name in "fg" for number in (1, 2)]
    heard = [f"{kind} {name}" for name in names for kind in ("StageStarted", "StageDone")]
    assert stage.done == ["save failover", *heard, "restore"]


def test_a_run_over_a_limit_has_failed_and_the_next_one_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch, "late", "lost")
    assert [verdict.problems for verdict in stage.perform(1)] == [["late", "lost"]] * 2
    assert stage.done[1:5] == [
        "StageStarted f",
        "StageFailed f late; lost",
        "StageStarted g",
        "StageFailed g late; lost",
    ]


def test_a_cluster_that_an_experiment_left_is_whole_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.fails = "g"
    with pytest.raises(StageError, match="gone"):
        stage.perform(1)
    assert stage.done[-2:] == ["StageStarted g", "restore"]


def test_a_cluster_with_a_problem_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.findings += [CheckResult(node, 2, "t", False, "down") for node in ("rs1", "rs2")]
    with pytest.raises(StageError, match="before the first experiment: rs1: down"):
        stage.perform(1)
    assert stage.done == []
