"""Experiments run on the live cluster, each from the same checkpoint, and judged."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from statistics import median

from lvslab.core.errors import StageError
from lvslab.core.events import Listener, StageDone, StageFailed, StageStarted, silent
from lvslab.core.waiting import until
from lvslab.lab import checklist, checkpoint, wire
from lvslab.lab.cluster import Cluster
from lvslab.lab.engine import Unsupported
from lvslab.measure.busy import HostWatch
from lvslab.measure.experiments import Experiment
from lvslab.measure.probe import BEAT_SECONDS, Prober, Request, View, view
from lvslab.measure.speech import streams
from lvslab.measure.watchers import Established, Watcher
from lvslab.model.lab import Lab

CHECKPOINT = "failover"
_BEFORE = 1.0  # seconds of calm that are probed before the fault
_CALM_LIMIT = 30.0
_MEDIAN_RUNS = 10  # the median of a few runs says nothing that their maximum does not
_STOPPED_SECONDS = 0.5  # without an advert: more than two intervals of the default lab
_NEVER = float("inf")
_LAST = 1.0  # the owners at the end are those heard in the last second
_SETTLE_SECONDS = 60.0
_AFTER_SECONDS = 3.0  # calm after what took long
_TAKEN_SECONDS = 0.5  # processor time within a second: a host does its own work besides
_TRIES = 5
# A TCP check sees the port of a web server that starts, and the first page may be late: its
# threads are still being made.
_COLD_SECONDS = 1.0
# All runs start from one checkpoint, with every timer of the guests at the same place: without a
# wait of another length before each fault, many runs would measure the same thing many times.
_PHASES_SECONDS = 2.0  # the longest period that matters: e1000 looks at its link every 2 s
_GOLDEN = 0.618  # its multiples spread evenly over 0 to 1
_WORDS = {
    "gap": "longest gap",
    "settled": "requests were lost for",
    "healed": "the last lost request after",
    "back": "the server answers after",
    "told": "longest wait until refused",
    "slowest": "slowest page over twice the quiet median",
}


@dataclass
class Run:
    """One run of one experiment: times are seconds after the fault.

    `watched` is how long the cluster was watched, `taken` the most processor time that others
    took on this host within a second. `owners` and `moves` have the instances whose network can be
    heard.
    """

    experiment: str
    watched: float
    taken: float
    views: dict[str, View]
    owners: dict[str, list[str]]
    moves: dict[str, int]
    takeover: float | None
    announced: float | None
    seen: list[str]
    problems: list[str]
    requests: dict[str, list[Request]] = field(repr=False)
    adverts: list[tuple[float, str, str]] = field(repr=False)
    announcements: list[tuple[float, str, str]] = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether the run was within every limit."""
        return not self.problems

    def measured(self, experiment: Experiment) -> float:
        """The figure that the experiment's limit bounds."""
        if experiment.measure == "back":
            server, never = experiment.server, self.watched
            return max(_first_answer(found, server, never) for found in self.requests.values())
        if experiment.measure == "gap":
            return max((self.views[name].gap for name in experiment.hits), default=0.0)
        measure = _MEASURES[experiment.measure]
        hit = [self.requests[name] for name in experiment.hits]
        return max((measure(found, self.watched) for found in hit), default=0.0)


@dataclass
class Verdict:
    """All runs of one experiment."""

    experiment: Experiment
    runs: list[Run]

    @property
    def figures(self) -> tuple[float, float, float]:
        """Smallest, median and largest measured figure, seconds."""
        values = sorted(run.measured(self.experiment) for run in self.runs)
        return values[0], median(values), values[-1]

    def lost(self, hit: bool) -> int:
        """Lost requests of all runs: of the virtual servers that were hit, or of the others."""
        return sum(
            seen.lost
            for run in self.runs
            for name, seen in run.views.items()
            if (name in self.experiment.hits) == hit
        )

    @property
    def servers(self) -> dict[str, int]:
        """Real server to how many pages it answered, in all runs and for all virtual servers."""
        found: Counter[str] = Counter()
        for run in self.runs:
            for seen in run.views.values():
                found.update(seen.servers)
        return dict(sorted(found.items()))

    @property
    def takeover(self) -> float | None:
        """When a new owner's advert was on the wire: the median of the runs that had one."""
        return _median(run.takeover for run in self.runs)

    @property
    def announced(self) -> float | None:
        """When the new owner's gratuitous ARP was on the wire: the median of such runs."""
        return _median(run.announced for run in self.runs)

    @property
    def problems(self) -> list[str]:
        """What was not kept, over all runs."""
        found = [problem for run in self.runs for problem in run.problems]
        bound = self.experiment.median
        enough = len(self.runs) >= _MEDIAN_RUNS
        if enough and bound is not None and self.figures[1] > bound:
            found.append(f"median {self.figures[1]:.2f} s, limit {bound:.2f} s")
        return list(dict.fromkeys(found))


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def perform(
    cluster: Cluster, chosen: list[Experiment], runs: int, listener: Listener = silent
) -> list[Verdict]:
    """Run each experiment `runs` times and judge; the cluster is whole again at the end.

    Each run starts from a checkpoint that is made here, from a cluster that passes the
    checklist. Raises StageError if it does not. An experiment that the engine refuses is left
    out; if it refuses all of them, Unsupported is raised.
    """
    findings = checklist.wait(cluster, _SETTLE_SECONDS)
    if bad := [finding for finding in findings if not finding.ok]:
        raise StageError(
            f"the cluster has a problem before the first experiment: {bad[0].node}: {bad[0].says}",
            hint="heal it first (lab heal, lab check)",
        )
    checkpoint.save(cluster, CHECKPOINT)
    verdicts, refused = [], None
    try:
        for experiment in chosen:
            try:
                verdicts.append(_perform(cluster, experiment, runs, listener))
            except Unsupported as error:
                refused = error
    finally:
        checkpoint.restore(cluster, CHECKPOINT)
    if refused and not verdicts:
        raise refused
    return verdicts


def _perform(cluster: Cluster, experiment: Experiment, runs: int, listener: Listener) -> Verdict:
    done = []
    for number in range(1, runs + 1):
        name = experiment.name if runs == 1 else f"{experiment.name} {number}/{runs}"
        start = time.monotonic()
        listener(StageStarted(name))
        try:
            run = undisturbed(cluster, experiment, phase=phase_of(number))
        except Unsupported as refused:
            said = f"left out: {refused.message}"
            listener(StageFailed(name, time.monotonic() - start, said))
            raise
        seconds = time.monotonic() - start
        if run.ok:
            listener(StageDone(name, seconds))
        else:
            listener(StageFailed(name, seconds, "; ".join(run.problems)))
        done.append(run)
    return Verdict(experiment, done)


def phase_of(number: int) -> float:
    """How long the run `number`, from 1, waits before its fault, in seconds, for `once`."""
    return (number - 1) * _GOLDEN % 1 * _PHASES_SECONDS


def undisturbed(
    cluster: Cluster, experiment: Experiment, start: str = CHECKPOINT, phase: float = 0
) -> Run:
    """`once`, and again if a run was over a limit while others took much of this host.

    A busy host only makes a run worse. So a run within every limit is never repeated, and a run
    over a limit on a quiet host is not repeated either. The last of a few tries counts.
    """
    for _ in range(_TRIES):
        run = once(cluster, experiment, start, phase)
        if run.ok or run.taken < _TAKEN_SECONDS:
            return run
    run.problems.append(
        f"others took {run.taken:.2f} s of this host's processors within a second, and much in "
        f"each of {_TRIES} runs: it is too busy to measure"
    )
    return run


def once(
    cluster: Cluster, experiment: Experiment, start: str = CHECKPOINT, phase: float = 0
) -> Run:
    """One run from the checkpoint `start`: calm, `phase` seconds more, fault, watch, judge."""
    lab = cluster.lab
    checkpoint.restore(cluster, start)
    prepare = experiment.prepare
    if prepare and not experiment.lasts:
        prepare(cluster)
    watchers = _watchers(cluster, experiment)

    with contextlib.ExitStack() as left:
        for watcher in watchers:
            left.callback(watcher.close)
        with (
            wire.listening(lab, cluster.namespace) as tap,
            Prober(lab, cluster.namespace) as probe,
            HostWatch(lambda: list(cluster.engine.processes().values())) as host,
        ):
            # One connection of 200 was reset when it was opened at such a moment (4 of 70 runs).
            _wait_for_calm(lab, probe, tap, experiment)
            for watcher in watchers:
                watcher.before()
            time.sleep(phase)
            zero = _break(cluster, experiment)
            for watcher in watchers:
                watcher.struck(zero)
            _watch(lab, experiment, tap)
            end = time.monotonic()
        moved = _last_move(wire.timeline(lab, tap.adverts()), zero)
        seen = [problem for watcher in watchers for problem in watcher.after(moved)]
    run = _timed(lab, experiment, probe.requests, tap, zero, end, seen)
    run.taken = host.taken
    run.problems = judge(experiment, run)
    return run


def _break(cluster: Cluster, experiment: Experiment) -> float:
    """Make the fault; time 0 of the experiment (monotonic seconds)."""
    if experiment.prepare and experiment.lasts:
        experiment.prepare(cluster)
        time.sleep(experiment.lasts)
    zero = time.monotonic()
    experiment.fault(cluster)
    return time.monotonic() if experiment.zero == "end" else zero


def _watchers(cluster: Cluster, experiment: Experiment) -> list[Watcher]:
    watchers = [watcher(cluster) for watcher in experiment.watchers]
    if experiment.breaks is not None and streams(cluster.lab):
        watchers.append(Established(cluster, experiment.breaks))
    return watchers


def _watch(lab: Lab, experiment: Experiment, tap: wire.Tap) -> None:
    """For the experiment's seconds, or until its owners have come home and a little longer."""
    wanted = {instance: [owner] for instance, owner in experiment.owners.items()}

    def home() -> bool:
        return wire.owners(lab, tap.adverts(), time.monotonic() - _LAST) == wanted

    seconds = experiment.seconds
    if experiment.slow:
        until(home, seconds)
        seconds = _AFTER_SECONDS
    time.sleep(seconds)


def _wait_for_calm(lab: Lab, probe: Prober, tap: wire.Tap, experiment: Experiment) -> None:
    """Until a second has passed without a lost or slow request and without a second owner.

    Machines that go on from a checkpoint are slow at first, and a backup that hears nothing for so
    long takes an address for a moment. Raises StageError if calm does not come.
    """
    start = time.monotonic()

    def calm() -> bool:
        now = time.monotonic()
        recent = [
            request
            for requests in probe.requests.values()
            for request in requests
            if now - _BEFORE <= request.started <= now - 0.3
        ]
        owners = wire.owners(lab, tap.adverts(), now - _BEFORE).values()
        return (
            now - start >= _BEFORE
            and bool(recent)
            and all(request.answered for request in recent)
            and all(len(advertising) < 2 for advertising in owners)
        )

    if not until(calm, _CALM_LIMIT, pause=0.1):
        raise StageError(
            f"the cluster did not become calm within {_CALM_LIMIT:.0f} s",
            where=experiment.name,
            hint="is this host too busy? lab check shows what is wrong",
        )


def _timed(
    lab: Lab,
    experiment: Experiment,
    requests: dict[str, list[Request]],
    tap: wire.Tap,
    fault: float,
    end: float,
    seen: list[str],
) -> Run:
    """All times become seconds after the fault."""
    asked = {name: [_after(fault, one) for one in found] for name, found in requests.items()}
    heard = [n for n, instance in lab.vrrp_instances.items() if instance.network in tap.networks]
    owners = wire.owners(lab, tap.adverts(), end - _LAST)
    timeline = [(at - fault, name, node) for at, name, node in wire.timeline(lab, tap.adverts())]
    announced = [(a.seconds - fault, str(a.address), a.mac) for a in tap.announcements()]
    seconds = end - fault
    start = 0.0 if experiment.lasts else -_BEFORE / 2
    return Run(
        experiment.name,
        seconds,
        0.0,
        {name: view(found, start, seconds) for name, found in asked.items()},
        {name: owners[name] for name in heard},
        {name: len(_moves(timeline, name, 0)) for name in heard},
        _first_new(timeline),
        _first_announced(lab, experiment, announced),
        seen,
        [],
        asked,
        timeline,
        announced,
    )


def judge(experiment: Experiment, run: Run) -> list[str]:
    """How the run was over its limits, a sentence each."""
    found = []
    measured = run.measured(experiment)
    if measured > experiment.limit:
        words = _WORDS[experiment.measure]
        found.append(f"{words} {measured:.2f} s, limit {experiment.limit:.2f} s")
    if experiment.measure == "back" and (cold := _cold(experiment, run)) > _COLD_SECONDS:
        found.append(f"requests were lost for {cold:.2f} s, limit {_COLD_SECONDS:.2f} s")
    for name, seen in run.views.items():
        if name not in experiment.hits and seen.lost:
            found.append(f"{name} lost {seen.lost} of {seen.total} requests and should lose none")
    for instance, owner in experiment.owners.items():
        heard = run.owners.get(instance, [owner])  # a wire that nobody hears says nothing
        if heard != [owner]:
            found.append(
                f"{instance} is advertised by {' and '.join(heard) or 'nobody'}, not {owner}"
            )
        if run.moves.get(instance, 0) > experiment.moves:
            found.append(f"{instance} moved {run.moves[instance]} times")
    return found + run.seen


def _cold(experiment: Experiment, run: Run) -> float:
    """From the first lost request to the last, while a server that is back warms up."""
    hit = (run.requests[name] for name in experiment.hits)
    return max((_settled(requests, run.watched) for requests in hit), default=0.0)


def _after(fault: float, request: Request) -> Request:
    """A request with its times as seconds after the fault."""
    ended = request.ended - fault if request.ended else 0.0
    return replace(request, started=request.started - fault, ended=ended)


def _first_answer(requests: list[Request], server: str, never: float) -> float:
    """When a server answered first; `never` if it did not."""
    mine = (r.started for r in requests if r.server == server and r.started > 0)
    return min(mine, default=never)


def _lost(requests: list[Request], seconds: float) -> list[Request]:
    return [r for r in requests if not r.answered and 0 <= r.started <= seconds]


def _settled(requests: list[Request], seconds: float) -> float:
    """From the first lost request after the fault to the last; 0 if none was lost."""
    lost = [request.started for request in _lost(requests, seconds)]
    return max(lost) - min(lost) + BEAT_SECONDS if lost else 0.0


def _healed(requests: list[Request], seconds: float) -> float:
    """From time 0 to the last lost request; 0 if none was lost."""
    return max((r.started + BEAT_SECONDS for r in _lost(requests, seconds)), default=0.0)


def _told(requests: list[Request], seconds: float) -> float:
    """How long a client waited at most until it was refused."""
    return max((r.ended - r.started for r in _lost(requests, seconds)), default=0.0)


def _slowest(requests: list[Request], seconds: float) -> float:
    """The slowest page after time 0 less twice the median of the pages before; 0 at least.

    A lost page takes the whole time that was watched: nobody knows when it would have come.
    """
    pages = [r for r in requests if r.page]
    quiet = [r.ended - r.started for r in pages if r.started < 0]
    later = [
        r.ended - r.started if r.answered else seconds for r in pages if 0 <= r.started <= seconds
    ]
    return max(0.0, max(later, default=0.0) - 2 * median(quiet or [0.0]))


_MEASURES: dict[str, Callable[[list[Request], float], float]] = {
    "settled": _settled,
    "healed": _healed,
    "told": _told,
    "slowest": _slowest,
}


def _moves(timeline: list[tuple[float, str, str]], instance: str, after: float) -> list[float]:
    """When a director began to advertise an instance, after a moment.

    One that was heard within the time that a backup waits has not stopped: two that
    advertise at the same time, as after a split brain, are not moves.
    """
    heard: dict[str, float] = {}
    last, moves = "", []
    for at, name, node in timeline:
        if name != instance:
            continue
        stopped = at - heard.get(node, -_NEVER) > _STOPPED_SECONDS
        if at > after and node != last and stopped:
            moves.append(at)
        heard[node], last = at, node
    return moves


def _last_move(timeline: list[tuple[float, str, str]], after: float) -> float:
    """When the last instance moved; 0 if none did."""
    names = {name for _, name, _ in timeline}
    return max((at for name in names for at in _moves(timeline, name, after)), default=0.0)


def _first_announced(
    lab: Lab, experiment: Experiment, announced: list[tuple[float, str, str]]
) -> float | None:
    """When the owner at the end first announced an address that the fault had hit."""
    wanted = set()
    for name in experiment.hits:
        instance = lab.virtual_servers[name].instance
        owner = experiment.owners[instance]
        this = lab.vrrp_instances[instance]
        mac = lab.mac(owner, lab.directors_interface_on(this.network))
        wanted.add((str(this.address), mac))
    found = (at for at, address, mac in announced if at > 0 and (address, mac) in wanted)
    return min(found, default=None)


def _first_new(timeline: list[tuple[float, str, str]]) -> float | None:
    """When a director was first heard that was new to its instance."""
    owner: dict[str, str] = {}
    for at, instance, node in timeline:
        if at > 0 and owner.get(instance, node) != node:
            return at
        owner[instance] = node
    return None
