"""labcheck and its lessons, run in the simulated cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from lvslab.lessons.grade import Judged, together
from lvslab.lessons.lesson_folder import Lesson, edited
from lvslab.lessons.variant import LESSON_FILE, lesson_text
from lvslab.model.lesson import CLIENT, Step
from lvslab.render import node_facts
from tests.programs import ROOT, loaded
from tests.simulated.cluster import Simulated

FILES = ROOT / "roles/common/files/usr/local"
LABCHECK = loaded(FILES / "bin/labcheck")
LESSON = loaded(FILES / "lib/lvslab/lesson")


def findings(simulated: Simulated, lesson: Lesson) -> list[Judged]:
    """What `labcheck --lesson --json` says on all machines, put together."""
    simulated.changed()
    expected = json.loads(node_facts.text(lesson.lab))
    found = {}
    for machine in [*lesson.lab.nodes, CLIENT]:
        facts = LABCHECK.facts_of(expected, machine)
        text = (
            lesson_text(lesson, CLIENT)
            if machine == CLIENT
            else simulated.machines[machine].files.get(LESSON_FILE, lesson_text(lesson, machine))
        )
        with answering(simulated, machine):
            items = [finding.as_dict() for finding in LABCHECK.examine(machine, facts)]
        own = LESSON.own(json.loads(text), lambda words, m=machine: ran(simulated, m, words))
        found[machine] = LESSON.graded(items, own)
    return together(found)


def solve(simulated: Simulated, lesson: Lesson, steps: Sequence[Step]) -> None:
    """Do steps of the solution."""
    for step in steps:
        machine = simulated.machines[step.node]
        if step.path:
            old = machine.files.get(step.path, "")
            machine.files[step.path] = edited(old, step, lesson.name)
        if step.run:
            machine.run(step.run)
        if step.heal:
            place = (step.node, step.heal)
            simulated.faults = [f for f in simulated.faults if (f.node, f.interface) != place]
    simulated.changed()


@contextmanager
def answering(simulated: Simulated, machine: str) -> Iterator[None]:
    """labcheck's questions to the machine that it runs on are answered by the simulation."""
    with pytest.MonkeyPatch.context() as patch:
        asked = Asked(simulated, machine)
        patch.setattr(LABCHECK, "links", asked.links)
        patch.setattr(LABCHECK, "ip_json", asked.ip_json)
        patch.setattr(LABCHECK, "ipvs_table", lambda: simulated.table(machine))
        patch.setattr(LABCHECK, "sysctl", lambda key: simulated.machines[machine].sysctl(key))
        patch.setattr(LABCHECK, "neighbour_answers", asked.arp_answers)
        patch.setitem(LABCHECK.PROBES, "http", asked.page)
        yield


class Asked:
    """What labcheck's own functions would find on a machine."""

    def __init__(self, simulated: Simulated, machine: str) -> None:
        self.simulated, self.machine = simulated, machine

    def links(self) -> dict[str, dict[str, Any]]:
        lab = self.simulated.lab
        if self.machine == CLIENT:
            hosts = list(map(str, lab.hosts_on(lab.client_network)))
            return {lab.client_network.lower(): link(hosts)}
        here = self.simulated.holders[self.machine]
        found = {
            interface: link(addresses, self.simulated.carrier(self.machine, interface))
            for interface, addresses in here.items()
        }
        return {"eth0": link(["10.0.2.15/24"]), "tunl0": link([]), **found}

    def ip_json(self, *words: str) -> list[dict[str, Any]]:
        machine = self.simulated.machines[self.machine]
        if words == ("rule",):
            pairs = [(prefix.split("/"), table) for prefix, table in machine.rules]
            return [{"src": p[0], "srclen": int(p[1]), "table": table} for p, table in pairs]
        assert words[:3] == ("route", "show", "table"), words
        return [
            {"dst": route.to, "dev": route.dev, **({"gateway": route.via} if route.via else {})}
            for route in machine.tables.get(words[3], [])
        ]

    def arp_answers(
        self, interface: str, _mac: bytes, targets: list[str], patience: float = 0.0
    ) -> list[str]:
        lab = self.simulated.lab
        if self.machine == CLIENT:
            network = lab.client_network
        else:
            network = self.simulated.machines[self.machine].interfaces[interface]
            if not self.simulated.connected(self.machine, interface):
                return []
        found = {a for t in targets for a in self.simulated.answers(self.machine, network, t)}
        return sorted(found) if patience else sorted(found)[:1]

    def page(self, place: str) -> str | OSError:
        if self.machine == CLIENT:
            return self.simulated.visit(place)
        return self.simulated.page(self.machine)


def link(addresses: list[str], carrier: bool = True) -> dict[str, Any]:
    return {"mac": bytes(6), "up": True, "carrier": carrier, "addresses": addresses}


def ran(simulated: Simulated, machine: str, words: Sequence[str]) -> str:
    """The output of a command of a lesson's own check."""
    if machine != CLIENT:
        return simulated.machines[machine].run(words)
    assert words[0] == "curl", f"the simulated client does not know {words[0]}"
    [place] = set(re.findall(r"http://([\d.]+)/", " ".join(words)))
    size = min(1500, 100 + sum(map(len, words)))
    told = []
    for _ in re.findall("http://", " ".join(words)):
        answer = simulated.visit(f"{place}:80", size)
        named = isinstance(answer, str)
        told.append(f"HTTP/1.1 200 OK\nX-Real-Server: {answer}" if named else f"curl: {answer!r}")
    return "\n".join(told)
