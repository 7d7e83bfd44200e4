"""The checklist on the running lab: `labcheck` on each node and on the client, gathered."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lvslab.core.errors import StageError
from lvslab.core.places import ROLES
from lvslab.core.waiting import until
from lvslab.lab import wire
from lvslab.lab.cluster import Cluster
from lvslab.lab.network import bridge_names
from lvslab.render import node_facts

CLIENT = "client"
_PROGRAM = ROLES / "common/files/usr/local/bin/labcheck"
_ON_NODE = "/usr/local/bin/labcheck"
_SECONDS = 30
_PAUSE = 0.5


@dataclass(frozen=True)
class CheckResult:
    """What one item of the checklist came to on one machine."""

    node: str
    item: int
    title: str
    ok: bool
    says: str
    command: str = ""
    hint: str = ""
    note: str = ""


def check(cluster: Cluster) -> list[CheckResult]:
    """The findings of all nodes and of the client, asked at the same time."""
    machines = [*cluster.lab.nodes, CLIENT]
    with ThreadPoolExecutor(len(machines)) as pool:
        found = pool.map(lambda machine: _examine(cluster, machine), machines)
    return [finding for part in found for finding in part] + _ways_back(cluster)


def wait(cluster: Cluster, seconds: float) -> list[CheckResult]:
    """The findings as soon as all is well, or those of the last try after `seconds`."""
    return until(lambda: check(cluster), seconds, good=well, pause=_PAUSE)


def well(findings: list[CheckResult]) -> bool:
    """Whether every item holds everywhere."""
    return all(finding.ok for finding in findings)


def _examine(cluster: Cluster, machine: str) -> list[CheckResult]:
    try:
        text = labcheck(cluster, machine)
        return [CheckResult(node=machine, **values) for values in json.loads(text)]
    except StageError as error:
        return [CheckResult(machine, 0, "the node answers", False, error.message, "", error.hint)]
    except ValueError:
        says = f"labcheck gave no findings but {text!r}"
        return [CheckResult(machine, 0, "the node answers", False, says, "labcheck --json", "")]


def _ways_back(cluster: Cluster) -> list[CheckResult]:
    """Whether answers come past the director where the method says so, as the wire shows it.

    Nothing of services whose wire cannot be heard from where the client is.
    """
    lab, found = cluster.lab, []
    heard = cluster.namespace.heard(bridge_names(lab))
    direct = [
        name
        for name, this in lab.virtual_servers.items()
        if lab.answers_directly(name)
        and this.protocol == "TCP"
        and lab.vrrp_instances[this.instance].network in heard
    ]
    problems = []
    for name in direct:
        seen = wire.answerers(lab, cluster.namespace, name)
        if not seen:
            problems.append(f"{name}: nobody answers")
        problems += [
            f"{name}: {who} brings answers, and is none of its real servers"
            for who in sorted(seen - lab.real_servers(name).keys())
        ]
    if direct:
        found.append(
            CheckResult(
                CLIENT,
                8,
                "answers come straight from the real servers",
                not problems,
                "; ".join(problems) or f"no answer of {', '.join(direct)} passes a director",
                f"lab capture {lab.client_network} -o answers.pcap",
                "a real server that has not the service's address on lo answers nobody",
            )
        )
    return found


def labcheck(cluster: Cluster, machine: str, words: Sequence[str] = ()) -> str:
    """What `labcheck --json` says on a node or on the client, with further words.

    Raises StageError if it cannot be asked or ends badly.
    """
    if machine == CLIENT:
        return _on_client(cluster, words)
    if cluster.node_state(machine) == "off":
        raise StageError("the node is off", hint=f"start it: lab start {machine}")
    answer = cluster.ask(machine, [_ON_NODE, "--json", *words], timeout=_SECONDS)
    if answer.status not in (0, 1):
        raise StageError(f"labcheck ended with status {answer.status}: {answer.err.strip()}")
    return answer.out


def _on_client(cluster: Cluster, words: Sequence[str]) -> str:
    # no file: it would make the folder of a lab that has just ended again
    command = [sys.executable, str(_PROGRAM), "--json", "--node", CLIENT]
    command += ["--expect", "/dev/stdin", *words]
    with cluster.namespace.inside():
        try:
            done = subprocess.run(
                command,
                input=node_facts.text(cluster.lab),
                capture_output=True,
                text=True,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise StageError(f"labcheck did not end within {_SECONDS} s") from None
    if done.returncode not in (0, 1):
        raise StageError(f"labcheck ended with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout
