"""The state of the live picture: what was seen so far, as values under keys.

`after` is a pure function: a scene and a sight in, the next scene out. What pages show is `shown`,
a flat map of JSON-able values. No key is ever removed while a lab is up, so a page that puts
every change over what it has, shows what a page shows that is opened now. Rings bound it: a
second of a service's strip has the place of the second 60 s before it, and a line of the log the
place of the line `LINES` before it. These are the keys:

| key | value |
|---|---|
| `lab` | names and addresses, `up`, the buttons, and `epoch`: how many labs were seen |
| `clock` | monotonic seconds |
| `busy` | whether a verb changes the lab |
| `node/NODE` | `running`, `off`, `paused` or `disk full` |
| `wire/NODE/INTERFACE` | the kind of its fault, or an empty text |
| `broken` | what is broken, a sentence each |
| `holders/INSTANCE` | the directors that advertise its address |
| `beat/INSTANCE`, `arp/INSTANCE` | how many adverts and gratuitous ARPs, and whose the last was |
| `second/SERVICE/PLACE` | the second, answered, lost, answers by real server, holders |
| `server/NODE` | connections a second: of all services, and of each |
| `check` | the checklist: how many items hold, and those that do not |
| `line/PLACE` | number, wall clock, and a sentence of the log |
| `unseen/SENSE` | why a sense sees nothing, or an empty text |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lvslab.model.lab import Lab
from lvslab.model.role import Kind
from lvslab.watch import buttons
from lvslab.watch.sights import (
    Advertised,
    Announced,
    Asked,
    ChangeSeen,
    ChecklistSeen,
    FaultsSeen,
    LabCame,
    LabWent,
    Looked,
    PowerSeen,
    Pressed,
    Sight,
    TableSeen,
    Tick,
)

SECONDS = 60
"""How long a strip is."""

LINES = 40
"""How many lines of the log are kept."""

_BAD_SHOWN = 12
_MISSED = 2.5  # adverts; a backup waits for more than three before it takes over
# The kernel brings its counters up to date every 2 s (ip_vs_est.c, "2-second" estimation): over a
# few seconds, what was counted in them may be half or twice as much. A look each 4 s, over two.
_RATE_SECONDS = 9.0
_LATE = 0.15  # how much later than it was sent an advert may be seen here


@dataclass(frozen=True)
class Scene:
    """What was seen so far: `shown` for the pages, and what is needed to go on from here."""

    lab: Lab | None = None
    wall: float = 0.0
    shown: Mapping[str, Any] = field(default_factory=lambda: {"lab": {"up": False, "epoch": 0}})
    heard: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By instance and director: when its last advert came."""
    last: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """By instance: whose advert was the last, and when it came."""
    counted: Mapping[str, tuple[TableSeen, ...]] = field(default_factory=dict)
    """By director: its counters at the last looks, the oldest first."""
    rates: Mapping[str, Mapping[tuple[str, str], float]] = field(default_factory=dict)
    """By director: connections a second of each service and real server."""
    lines: int = 0

    def putting(self, values: Mapping[str, Any]) -> Scene:
        """The scene with other values under keys."""
        return replace(self, shown={**self.shown, **values})

    def saying(self, at: float, text: str) -> Scene:
        """The scene with one more line in its log."""
        line = [self.lines, round(self.wall + at, 2), text]
        said = self.putting({f"line/{self.lines % LINES}": line})
        return replace(said, lines=self.lines + 1)


def after(scene: Scene, sight: Sight) -> Scene:
    """The scene when a sight was seen; before a lab was seen, and after it went, little counts."""
    if isinstance(sight, LabCame):
        return _came(scene, sight)
    if scene.lab is None or not scene.shown["lab"]["up"]:
        return scene
    rule = _RULES[type(sight)]
    return rule(scene, scene.lab, sight)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What a page that shows `before` must put over it to show `now`."""
    return {key: value for key, value in now.items() if key not in before or before[key] != value}


def _came(scene: Scene, sight: LabCame) -> Scene:
    lab = sight.lab
    shown = {
        "lab": {"up": True, "epoch": scene.shown["lab"]["epoch"] + 1, **_facts(lab)},
        "clock": round(sight.at, 1),
        "busy": False,
        "broken": [],
        **{f"node/{node}": "running" for node in lab.nodes},
        **{f"holders/{instance}": [] for instance in lab.vrrp_instances},
    }
    return Scene(lab, sight.wall, shown).saying(sight.at, f"the lab {lab.name} is up")


def _facts(lab: Lab) -> dict[str, Any]:
    """What pages need to know of a lab besides its drawing."""
    return {
        "name": lab.name,
        "nodes": {node: str(lab.kind_of(node)) for node in lab.nodes},
        "instances": {
            name: {
                "address": str(this.address),
                "network": this.network,
                "directors": lab.owners(name),
            }
            for name, this in lab.vrrp_instances.items()
        },
        "services": {
            name: {
                "address": lab.endpoint(name)[0],
                "port": lab.endpoint(name)[1],
                "instance": this.instance,
                "servers": list(lab.real_servers(name)),
            }
            for name, this in lab.virtual_servers.items()
        },
        "buttons": [
            {"key": key, "node": button.node, "words": button.words, "does": button.does}
            for key, button in buttons.offered(lab).items()
        ],
    }


def _went(scene: Scene, lab: Lab, sight: LabWent) -> Scene:
    gone = scene.saying(sight.at, f"the lab {lab.name} is gone")
    return gone.putting({"lab": {**gone.shown["lab"], "up": False}})


def _advertised(scene: Scene, lab: Lab, sight: Advertised) -> Scene:
    beats, _ = scene.shown.get(f"beat/{sight.instance}", (0, ""))
    heard = dict(scene.heard.get(sight.instance, {}))
    if sight.gives_up:
        heard.pop(sight.node, None)
    else:
        heard[sight.node] = sight.at
    scene = replace(scene, heard={**scene.heard, sight.instance: heard})
    scene = scene.putting({f"beat/{sight.instance}": [beats + 1, sight.node]})
    scene = _held(scene, lab, sight.instance, sight.at)
    return replace(scene, last={**scene.last, sight.instance: (sight.node, sight.at)})


def _held(scene: Scene, lab: Lab, instance: str, at: float) -> Scene:
    """Who has an instance's address: the directors whose adverts are not overdue."""
    patience = _MISSED * lab.directors.vrrp.advert_seconds + _LATE
    heard = {n: t for n, t in scene.heard.get(instance, {}).items() if at - t <= patience}
    key, before = f"holders/{instance}", scene.shown[f"holders/{instance}"]
    if sorted(heard) == before:
        return scene
    scene = scene.putting({key: sorted(heard)})
    address = lab.vrrp_instances[instance].address
    whose, when = scene.last.get(instance, ("", at))
    for node in sorted(heard.keys() - set(before)):
        text = f"{node} has {address}"
        if whose not in ("", node):
            text += f", {at - when:.2f} s after the last advert of {whose}"
        scene = scene.saying(at, text)
    if not heard:
        scene = scene.saying(at, f"nobody has {address}")
    return scene


def _announced(scene: Scene, _lab: Lab, sight: Announced) -> Scene:
    count, _ = scene.shown.get(f"arp/{sight.instance}", (0, ""))
    return scene.putting({f"arp/{sight.instance}": [count + 1, sight.node]})


def _asked(scene: Scene, lab: Lab, sight: Asked) -> Scene:
    second = int(sight.at)
    key = f"second/{sight.service}/{second % SECONDS}"
    there = scene.shown.get(key)
    if there is not None and there[0] > second:
        return scene  # an answer of a minute ago
    if there is None or there[0] != second:
        there = [second, 0, 0, {}, []]
    _, answered, lost, servers, _ = there
    if sight.server:
        servers = {**servers, sight.server: servers.get(sight.server, 0) + 1}
    holders = scene.shown[f"holders/{lab.virtual_servers[sight.service].instance}"]
    counts = [answered + sight.answered, lost + (not sight.answered)]
    return scene.putting({key: [second, *counts, servers, holders]})


def _power_seen(scene: Scene, lab: Lab, sight: PowerSeen) -> Scene:
    for node in lab.nodes:
        key, state = f"node/{node}", scene.shown[f"node/{node}"]
        if node in sight.on and state == "off":
            scene = scene.putting({key: "running"}).saying(sight.at, f"{node} is switched on")
        elif node not in sight.on and state != "off":
            rate = f"server/{node}"
            scene = scene.putting({key: "off", **({rate: None} if rate in scene.shown else {})})
            scene = _silent(scene.saying(sight.at, f"{node} is off"), lab, node, sight.at)
    return scene


def _silent(scene: Scene, lab: Lab, node: str, at: float) -> Scene:
    """A node that is off has no address any more, and passes no connection."""
    rates = {other: found for other, found in scene.rates.items() if other != node}
    counted = {other: seen for other, seen in scene.counted.items() if other != node}
    scene = replace(scene, rates=rates, counted=counted)
    for instance, heard in scene.heard.items():
        left = {other: seconds for other, seconds in heard.items() if other != node}
        scene = replace(scene, heard={**scene.heard, instance: left})
        scene = _held(scene, lab, instance, at)
    return scene


def _faults_seen(scene: Scene, lab: Lab, sight: FaultsSeen) -> Scene:
    states = {fault.node: fault.kind for fault in sight.broken if not fault.what}
    wires = {(fault.node, fault.what): fault.kind for fault in sight.broken if fault.what}
    values: dict[str, Any] = {}
    for node, this in lab.nodes.items():
        # whether a node is off is seen sooner by its power
        if scene.shown[f"node/{node}"] != "off" and states.get(node) != "off":
            values[f"node/{node}"] = states.get(node, "running")
        for interface in this.interfaces:
            values[f"wire/{node}/{interface}"] = wires.get((node, interface), "")
    before, now = scene.shown["broken"], [str(fault) for fault in sight.broken]
    known = {f"{node} is off" for node in lab.nodes}  # its power has said it
    for text in now:
        if text not in before and text not in known:
            scene = scene.saying(sight.at, text)
    for text in before:
        if text not in now and text not in known:
            scene = scene.saying(sight.at, f"healed: {text}")
    return scene.putting({**values, "broken": now})


def _table_seen(scene: Scene, lab: Lab, sight: TableSeen) -> Scene:
    known = scene.counted.get(sight.director, ())
    recent = [old for old in known if 0 < sight.at - old.at < _RATE_SECONDS]
    if recent and any(sight.connections.get(p, n) < n for p, n in recent[-1].connections.items()):
        before, kept = recent[-1], [sight]  # the director counts from 0 again
    else:
        before, kept = (recent or [sight])[0], [*recent, sight]
    scene = replace(scene, counted={**scene.counted, sight.director: tuple(kept)})
    if before is sight:
        return scene
    seconds = sight.at - before.at
    rates = {
        pair: max(0, count - before.connections.get(pair, count)) / seconds
        for pair, count in sight.connections.items()
    }
    scene = replace(scene, rates={**scene.rates, sight.director: rates})
    return scene.putting({f"server/{node}": _rate_of(scene, node) for node in _servers(lab)})


def _servers(lab: Lab) -> Iterable[str]:
    return lab.nodes_of(Kind.SERVER)


def _rate_of(scene: Scene, node: str) -> dict[str, Any] | None:
    """Connections a second of a real server, by all directors; None if no table has it."""
    services: dict[str, float] = {}
    for rates in scene.rates.values():
        for (service, server), rate in rates.items():
            if server == node:
                services[service] = services.get(service, 0.0) + rate
    if not services:
        return None
    rounded = {service: round(rate, 1) for service, rate in services.items()}
    return {"all": round(sum(services.values()), 1), "services": rounded}


def _checklist_seen(scene: Scene, _lab: Lab, sight: ChecklistSeen) -> Scene:
    bad = [finding for finding in sight.findings if not finding.ok]
    before = scene.shown.get("check")
    shown = [
        {"node": f.node, "item": f.item, "title": f.title, "says": f.says, "hint": f.hint}
        for f in bad[:_BAD_SHOWN]
    ]
    good, total = len(sight.findings) - len(bad), len(sight.findings)
    scene = scene.putting(
        {"check": {"at": round(sight.at), "ok": good, "all": total, "bad": shown}}
    )
    if before is None or (before["ok"], before["all"]) != (good, total):
        words = f"all {total} checks pass" if not bad else f"{len(bad)} of {total} checks fail"
        scene = scene.saying(sight.at, words)
    return scene


def _change_seen(scene: Scene, _lab: Lab, sight: ChangeSeen) -> Scene:
    return scene.putting({"busy": sight.busy})


def _looked(scene: Scene, _lab: Lab, sight: Looked) -> Scene:
    key = f"unseen/{sight.sense}"
    if scene.shown.get(key, "") == sight.problem:
        return scene
    return scene.putting({key: sight.problem})


def _pressed(scene: Scene, _lab: Lab, sight: Pressed) -> Scene:
    return scene.saying(sight.at, f"button: {sight.words}")


def _tick(scene: Scene, lab: Lab, sight: Tick) -> Scene:
    for instance in lab.vrrp_instances:
        scene = _held(scene, lab, instance, sight.at)
    return scene.putting({"clock": round(sight.at, 1)})


_Rule = Callable[[Scene, Lab, Any], Scene]
_RULES: dict[type[Any], _Rule] = {
    LabWent: _went,
    Advertised: _advertised,
    Announced: _announced,
    Asked: _asked,
    PowerSeen: _power_seen,
    FaultsSeen: _faults_seen,
    TableSeen: _table_seen,
    ChecklistSeen: _checklist_seen,
    ChangeSeen: _change_seen,
    Looked: _looked,
    Pressed: _pressed,
    Tick: _tick,
}
