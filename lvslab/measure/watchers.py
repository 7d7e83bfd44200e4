"""What is watched during an experiment beside requests and adverts."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter

from lvslab.core.errors import StageError
from lvslab.core.procs import program
from lvslab.core.waiting import until
from lvslab.lab.cluster import Cluster
from lvslab.measure.connections import HalfRequests, SlowRequests
from lvslab.model.lab import Lab
from lvslab.model.role import Kind


class Watcher:
    """Looks at a cluster during one run of an experiment; each step may be left out."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def before(self) -> None:
        """The checkpoint is restored, and nothing is broken yet: get ready for the fault."""

    def struck(self, zero: float) -> None:
        """The fault has been made; `zero` is time 0 of the experiment (monotonic seconds)."""

    def after(self, moved: float) -> list[str]:
        """The time of the watch is over: what was wrong, a sentence each.

        `moved` is when an address changed hands last (monotonic seconds); 0 if none did.
        """
        return []

    def close(self) -> None:
        """The run has ended, or something stopped it: nothing of the watch goes on."""


# --- who neighbours think owns an address

_PAUSE_SECONDS = 1.0
_TOLD_SECONDS = 1.0  # from a move until every neighbour must know
_KNOWN = {"REACHABLE", "STALE", "DELAY", "PROBE", "PERMANENT"}
_SHOW = ["ip", "-json", "neighbour", "show"]


class Neighbours(Watcher):
    """Nobody's ARP entry of a service address is wrong once all is well again.

    That is `since` seconds after time 0, and, if the addresses come home by themselves later
    (`after_moves`), not before one second after the last of them moved. Once a second
    the client and every real server are asked. Right is the owner while all is well.
    """

    def __init__(self, cluster: Cluster, since: float = 1.0, after_moves: bool = False) -> None:
        super().__init__(cluster)
        self._since, self._after_moves = since, after_moves
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def struck(self, zero: float) -> None:
        """Start looking."""
        self._first = zero + self._since
        self._looks: list[tuple[float, list[str]]] = []
        self._thread.start()

    def after(self, moved: float) -> list[str]:
        """The entries that were wrong."""
        self.close()
        first = max(self._first, moved + _TOLD_SECONDS) if self._after_moves else self._first
        looks = [wrong for at, wrong in self._looks if at >= first]
        found = Counter(what for wrong in looks for what in wrong)
        if not looks:
            return ["the addresses came back too late to ask the neighbours"]
        return [f"{what} ({count} of {len(looks)} looks)" for what, count in found.items()]

    def close(self) -> None:
        """Stop looking."""
        self._ended.set()
        if self._thread.ident:
            self._thread.join()

    def _look(self) -> None:
        nodes = [*self.cluster.lab.nodes_of(Kind.SERVER), ""]
        due = self._first
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            at = time.monotonic()
            wrong = self.cluster.each(nodes, self._wrong).values()
            self._looks.append((at, [what for each in wrong for what in each]))
            due += _PAUSE_SECONDS

    def _wrong(self, node: str) -> list[str]:
        try:
            text = self.cluster.run(node, _SHOW) if node else self._on_client()
        except StageError as error:
            return [f"{node} was not asked for its neighbours: {error.message}"]
        who = node or "the client"
        return [f"{who} sends {what}" for what in wrong_entries(self.cluster.lab, text)]

    def _on_client(self) -> str:
        with self.cluster.namespace.inside():
            return subprocess.check_output([program("ip"), *_SHOW[1:]], text=True)


def wrong_entries(lab: Lab, text: str) -> list[str]:
    """The entries of `ip -json neighbour` that name another than an address's first owner."""
    found = []
    entries = {entry["dst"]: entry for entry in json.loads(text or "[]")}
    for name, instance in lab.vrrp_instances.items():
        entry = entries.get(str(instance.address), {})
        owner = lab.owners(name)[0]
        right = lab.mac(owner, lab.directors_interface_on(instance.network))
        known = set(entry.get("state", [])) & _KNOWN
        if known and entry.get("lladdr") != right:
            found.append(f"{instance.address} to {entry.get('lladdr')}, not to {owner}")
    return found


# --- the directors' tables

_TABLES, _EMPTY = "lvslab-tables", "empty: "
_SEEN = f"/run/{_TABLES}"  # the journal may stop while a disk is full
# Written on a director: the moments at which a virtual server had no real server.
_LOOK_AT_TABLES = """\
import sys, time
expected = int(sys.argv[1])
while True:
    with open("/proc/net/ip_vs") as file:
        lines = [line.split() for line in file.read().splitlines()[3:]]
    servers = []
    for words in lines:
        if words[0] != "->":
            servers.append(0)
        elif int(words[3]):
            servers[-1] += 1
    if len(servers) != expected or 0 in servers:
        print(f"empty: real servers of each service: {servers}", flush=True)
    time.sleep(0.02)
"""


class Tables(Watcher):
    """No director's IPVS table is ever without a real server, looked at every 20 ms."""

    def before(self) -> None:
        """Start a program that looks at the table on each director."""
        output = f"--property=StandardOutput=truncate:{_SEEN}"
        words = ["systemd-run", f"--unit={_TABLES}", output, "python3", "-c", _LOOK_AT_TABLES]
        expected = str(len(self.cluster.lab.virtual_servers))
        self._directors = list(self.cluster.lab.nodes_of(Kind.DIRECTOR))

        def start(node: str) -> None:
            self.cluster.ask(node, ["systemctl", "stop", _TABLES])  # of a run that was killed
            self.cluster.run(node, [*words, expected])

        self.cluster.each(self._directors, start)

    def after(self, moved: float) -> list[str]:
        """What the programs have seen."""
        found = self.cluster.each(self._directors, self._seen)
        return [problem for problems in found.values() for problem in problems]

    def _seen(self, node: str) -> list[str]:
        try:
            state = self.cluster.ask(node, ["systemctl", "is-active", _TABLES]).out.strip()
            log = self.cluster.run(node, ["cat", _SEEN])
        except StageError as error:
            return [f"{node} was not asked for its table: {error.message}"]
        if state != "active":
            return [f"{node}: nobody looked at the table ({state})"]
        lines = [line for line in log.splitlines() if line.startswith(_EMPTY)]
        return [f"{node}: a table was empty {len(lines)} times: {lines[0]}"] if lines else []


# --- connections that are open when the fault comes

_ESTABLISHED = 200
# A connection is known to every director at the latest then: each second the kernel looks
# whether it has news of 2 s or more, and sends it (IPVS_SYNC_CHECK_PERIOD and
# IPVS_SYNC_FLUSH_TIME, net/netfilter/ipvs/ip_vs_sync.c). With much news it is known at once.
_SYNC_SECONDS = 3.5
_TABLE = "/proc/net/ip_vs_conn"


class Established(Watcher):
    """Connections that are in the middle of a request before the fault and end it after.

    They are some seconds old then: those of the last three seconds die with their director.
    """

    def __init__(self, cluster: Cluster, breaks: frozenset[str]) -> None:
        super().__init__(cluster)
        self._breaks = breaks
        self._open: HalfRequests | None = None

    def before(self) -> None:
        """Open them, and wait until every director knows them all."""
        self._open = HalfRequests(self.cluster.lab, self.cluster.namespace, _ESTABLISHED)
        ports = self._open.ports
        directors = list(self.cluster.lab.nodes_of(Kind.DIRECTOR))

        def known_by(director: str) -> bool:
            lines = self.cluster.run(director, ["cat", _TABLE]).splitlines()[1:]
            return ports <= {int(line.split()[2], 16) for line in lines}

        until(lambda: all(self.cluster.each(directors, known_by).values()), _SYNC_SECONDS)
        # Only now: a server says that it has a connection once the question has come.
        held = sum(self._held_by(server, ports) for server in self._breaks)
        self._expected = _ESTABLISHED - held

    def _held_by(self, server: str, ports: set[int]) -> int:
        """How many of the connections, known by the client's ports, a real server has."""
        lines = self.cluster.run(server, ["ss", "-Hnt", "state", "established"]).splitlines()
        peers = {int(line.split()[3].rpartition(":")[2]) for line in lines}
        return len(peers & ports)

    def after(self, moved: float) -> list[str]:
        """Whether each got its answer, except those of real servers that were broken."""
        answered = self._open.finish() if self._open else 0
        if answered >= self._expected:
            return []
        return [f"{answered} of {self._expected} established connections are alive"]

    def close(self) -> None:
        """Close them."""
        if self._open:
            self._open.close()


_SLOW_PER_SERVER = 200


class SlowClients(Watcher):
    """During the experiment many clients send their requests slowly.

    They are the experiment's fault, so that they start after the quiet time, all must be
    connected, and they end with it.
    """

    _slow: SlowRequests | None = None

    def struck(self, zero: float) -> None:
        """Start them."""
        servers = len(self.cluster.lab.nodes_of(Kind.SERVER))
        self._slow = SlowRequests(
            self.cluster.lab, self.cluster.namespace, _SLOW_PER_SERVER * servers
        )

    def after(self, moved: float) -> list[str]:
        """Whether each of them was there for the time."""
        missing = self._slow.end() if self._slow else 0
        return [f"{missing} slow clients were not connected"] if missing else []

    def close(self) -> None:
        """End them."""
        if self._slow:
            self._slow.end()
