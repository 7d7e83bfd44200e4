"""The labs of a class on libvirt hosts: up, check and down, several at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from lvslab.core.errors import CheckFailed, InputError, LabError, StageError
from lvslab.core.events import (
    Event,
    Listener,
    LogLine,
    Note,
    StageDone,
    StageFailed,
    StageProgress,
    StageStarted,
)
from lvslab.core.together import each
from lvslab.deploy.hosts.seats import Seat
from lvslab.lab import base_disks, bringup, checklist
from lvslab.lab.cluster import Cluster
from lvslab.lab.libvirt import readiness
from lvslab.lab.libvirt.fabric import Fabric
from lvslab.lab.libvirt.libvirt_engine import LibvirtEngine
from lvslab.lab.libvirt.libvirt_host import Host
from lvslab.lab.libvirt.store import put_image
from lvslab.lab.libvirt.survey import Survey, survey
from lvslab.lab.network import bridge_names
from lvslab.lab.sources import Settings, source_of
from lvslab.lab.state import LabState, runtime_root
from lvslab.model.lab import Lab

AT_ONCE = 2
"""Labs of one host at a time: sshd allows ten sessions of one connection (sshd_config(5),
MaxSessions), and a lab of four nodes takes one for each."""

Work = Callable[[Seat, Listener], None]
Results = dict[str, LabError | None]
"""Student to what went wrong."""


@dataclass(frozen=True)
class Start:
    """How the labs of a class are started; `accelerators` by host.

    `power`: whether the nodes are started, or only their networks, disks and domains are made.
    """

    artifacts: Path
    cache: Path
    accelerators: Mapping[str, str]
    power: bool = True
    limits: bringup.Limits = field(default_factory=bringup.Limits)


def surveys(uris: Sequence[str]) -> tuple[dict[str, Survey], dict[str, LabError]]:
    """What each host says, and the errors of those that do not answer; all are asked at once."""

    def ask(uri: str) -> Survey | LabError:
        try:
            return survey(Host.of(uri))
        except LabError as error:
            return error

    found = each(uris, ask)
    there = {uri: this for uri, this in found.items() if isinstance(this, Survey)}
    return there, {uri: this for uri, this in found.items() if isinstance(this, LabError)}


def other_labs(ours: Sequence[str]) -> dict[str, int]:
    """The labs on other hosts that this machine knows and that are not `ours`: name to number.

    This machine has an end of each of their networks, too.
    """
    found = {}
    for path in sorted(runtime_root().glob("*/lab.json")):
        state = LabState(path.parent.name)
        if state.name not in ours and (state.load("settings") or {}).get("hosts"):
            found[state.name] = int(state.load("lab")["number"])
    return found


def demand_artifacts(lab: Lab, artifacts: Path) -> None:
    """Raise InputError if an image or a seed is missing."""
    for role in {node.role for node in lab.nodes.values()}:
        base_disks.demand_there(base_disks.ova(artifacts, role))
    for node in lab.nodes:
        base_disks.seed(artifacts, node)


def demand(
    seats: Sequence[Seat], accelerators: Mapping[str, str], there: Mapping[str, Survey]
) -> None:
    """Raise MissingError with all that the hosts lack, each asked once for all of its labs.

    Nodes that run need nothing more, and a lab of which something runs has been reached.
    """
    hosts = {uri: Host.of(uri) for uri in accelerators}
    needed, reaches = {}, []
    for uri, host in hosts.items():
        labs = [(this.lab, stopped(this, there[uri])) for this in seats if this.host == uri]
        needed[uri] = readiness.Needed(labs, accelerators[uri])
        fresh = [lab for lab, nodes in labs if len(nodes) == len(lab.nodes)]
        # who hears one lab's VXLAN hears that of all
        for lab in fresh[:1]:
            client, own = host.addresses()
            reaches.append(readiness.Reach(lab, {uri: own}, client))
    readiness.demand(needed, hosts)
    readiness.demand_reach(reaches, hosts)


def stopped(this: Seat, there: Survey) -> list[str]:
    """The nodes of a lab that its host does not run."""
    active = {
        domain.record.node
        for domain in there.domains
        if domain.record and domain.active and domain.lab == this.lab.name
    }
    return [node for node in this.lab.nodes if node not in active]


def up(seats: Sequence[Seat], start: Start, listener: Listener) -> Results:
    """Bring the images to the hosts, then start each lab until its checklist passes.

    What the hosts need is not looked for: see `demand`.
    """
    _bring_images(seats, start, listener)

    def work(this: Seat, tell: Listener) -> None:
        cluster = Cluster(this.lab)
        settings = Settings(accelerator=start.accelerators[this.host], hosts=(this.host,))
        with cluster.changing():
            missing = cluster.ready(start.artifacts, start.cache, settings, tell)
            if start.power:
                bringup.boot(cluster, missing, start.limits, tell)
                bringup.wait_for_checklist(cluster, start.limits, tell)
            elif missing:
                engine = cluster.engine
                assert isinstance(engine, LibvirtEngine)  # the settings have hosts
                machines = [cluster.machine(node) for node in missing]
                engine.define(machines, settings.accelerator, cluster.credentials())

    return side_by_side(seats, work, listener)


def _bring_images(seats: Sequence[Seat], start: Start, listener: Listener) -> None:
    """Each image goes to each host once, before labs that share it ask for it side by side."""
    first = seats[0]
    source = source_of(first.lab, start.artifacts, Settings(hosts=(first.host,)))
    disks = sorted(set(source.disks(start.cache, listener).values()))

    first_of = {this.host: this.lab.name for this in reversed(seats)}

    def bring(uri: str) -> None:
        host, began = Host.of(uri), time.monotonic()
        stage = f"images to {host.label}"
        listener(StageStarted(stage))
        for disk in disks:
            put_image(host, disk, first_of[uri])
        listener(StageDone(stage, time.monotonic() - began))

    each(first_of, bring)


def check(seats: Sequence[Seat], seconds: float, listener: Listener) -> Results:
    """The checklist of each lab, for so many seconds at most, and that nobody else hears it."""
    there, silent = surveys(list(dict.fromkeys(this.host for this in seats)))

    def work(this: Seat, tell: Listener) -> None:
        if this.host in silent:
            raise silent[this.host]
        wrong = apart(this, there)
        findings = checklist.wait(Cluster.running(this.lab.name), seconds)
        wrong += [
            f"{finding.node}: {finding.item} {finding.title}: {finding.says}"
            for finding in findings
            if not finding.ok
        ]
        if wrong:
            raise CheckFailed("\n  ".join(wrong), hint=f"lab check --name {this.lab.name}")

    return side_by_side(seats, work, listener)


def apart(this: Seat, there: Mapping[str, Survey]) -> list[str]:
    """Why the networks of a lab are not its own: what the hosts' devices say."""
    fabric, found = Fabric(this.lab), []
    own = {network.device: network for network in there[this.host].networks}
    for network in bridge_names(this.lab):
        device, bridge, vni = fabric.vxlan(network), fabric.bridge(network), fabric.vni(network)
        seen = own.get(device)
        if seen is None:
            found.append(f"{network}: {there[this.host].label} has no device {device}")
        elif (seen.vni, seen.bridge) != (vni, bridge):
            found.append(
                f"{network}: {device} has the number {seen.vni} on {seen.bridge or 'no bridge'}, "
                f"and must have {vni} on {bridge}"
            )
        found += [
            f"{network}: {other.device} on {host.label} has its number, {vni}: they hear each other"
            for uri, host in there.items()
            for other in host.networks
            if other.vni == vni and (uri, other.device) != (this.host, device)
        ]
    return found


def down(seats: Sequence[Seat], listener: Listener) -> Results:
    """End each lab; nothing of it is left on its host, nor here."""

    def work(this: Seat, tell: Listener) -> None:
        cluster = Cluster.known(this.lab.name) or _unknown(this)
        with cluster.changing():
            cluster.down()

    return side_by_side(seats, work, listener)


def _unknown(this: Seat) -> Cluster:
    """A lab that another machine has started, or an `up` that did not come far."""
    cluster = Cluster(this.lab)
    cluster.state.create(this.lab.nodes)
    cluster.state.save("settings", vars(Settings(hosts=(this.host,))))
    return cluster


# --- side by side


def side_by_side(seats: Sequence[Seat], work: Work, listener: Listener) -> Results:
    """Do `work` on all labs, some of each host at the same time. One that fails stops no other.

    To the listener each student is one stage, whose note says where the lab's own stages are.
    """
    with ExitStack() as stack:
        pools = {
            host: stack.enter_context(ThreadPoolExecutor(AT_ONCE))
            for host in {this.host for this in seats}
        }
        futures = {
            this.student: pools[this.host].submit(_one, this, work, listener) for this in seats
        }
        try:
            return {student: future.result() for student, future in futures.items()}
        except BaseException:
            for pool in pools.values():
                pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one(this: Seat, work: Work, listener: Listener) -> LabError | None:
    start = time.monotonic()
    listener(StageStarted(this.student))
    try:
        work(this, _Teller(this.student, listener))
    except LabError as error:
        listener(StageFailed(this.student, time.monotonic() - start, error.message))
        return error
    listener(StageDone(this.student, time.monotonic() - start))
    return None


@dataclass
class _Teller:
    """The listener of one lab: its stages become the note of its student's."""

    student: str
    listener: Listener
    stages: dict[str, StageProgress] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        match event:
            case StageProgress():
                self._show(event.stage, event)
            case StageStarted():
                self._show(event.stage, StageProgress(event.stage, 0, 1))
            case StageDone():
                last = self.stages.get(event.stage, StageProgress(event.stage, 1, 1))
                self._show(event.stage, StageProgress(event.stage, last.total, last.total))
            case Note():
                self.listener(Note(f"{self.student}: {event.text}", event.level))
            case LogLine():
                self.listener(LogLine(f"{self.student} {event.source}", event.text))

    def _show(self, stage: str, now: StageProgress) -> None:
        self.stages[stage] = now
        known = list(self.stages.values())
        running = [f"{one.stage} {one.note}".strip() for one in known if one.done < one.total]
        done, total = sum(one.done for one in known), sum(one.total for one in known)
        self.listener(StageProgress(self.student, done, total, note=", ".join(running)))


def judge(outcome: Results, what: str) -> None:
    """Raise if a lab failed: CheckFailed if all that failed only did not pass a check."""
    bad = {student: error for student, error in outcome.items() if error}
    if not bad:
        return
    only_checks = all(isinstance(error, CheckFailed) for error in bad.values())
    kind = CheckFailed if only_checks else StageError
    raise kind(
        f"{len(bad)} of {len(outcome)} labs are not {what}: {', '.join(bad)}",
        hint="the lines above say why; the same command again goes on from here",
    )


def demand_answers(errors: Mapping[str, LabError]) -> None:
    """Raise for hosts that do not answer, all of them."""
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        raise StageError("\n".join(str(error) for error in errors.values()))


def demand_hosts(uris: Sequence[str]) -> None:
    """Raise InputError if no host is named, or one in two ways: its memory would count twice."""
    if not uris:
        raise InputError(
            "no host is named, and the class has none yet",
            where="--host",
            hint="name one: --host qemu+ssh://root@HOST/system",
        )
    seen: dict[str, str] = {}
    for uri in uris:
        first = seen.setdefault(urlsplit(uri).netloc.rpartition("@")[2], uri)
        if first != uri:
            raise InputError(
                f"this host is named in two ways: {first} and {uri}",
                where="--host",
                hint="name it as when the class was brought up",
            )
