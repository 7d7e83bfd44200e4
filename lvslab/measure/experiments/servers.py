"""Real servers: one that dies and returns, all of them, and clients that are slow."""

from __future__ import annotations

from lvslab.lab import faults
from lvslab.lab.cluster import Cluster
from lvslab.measure.connections import web_servers
from lvslab.measure.experiments.experiment import (
    ALLOWANCE,
    Experiment,
    everyone,
    heal,
    health_check,
    home,
    real_servers,
)
from lvslab.measure.watchers import SlowClients
from lvslab.model.lab import Lab
from lvslab.model.role import Service

_PATIENCE = 60
# Start the service and end as soon as it serves (HTTP: a page), so that its own start is not
# counted.
_SERVING = """\
import socket, subprocess, sys, time, urllib.request
unit, probe, address, port = sys.argv[1:]
subprocess.run(["systemctl", "--no-block", "start", unit], check=True)
while True:
    try:
        if probe == "http":
            host = "[" + address + "]" if ":" in address else address
            urllib.request.urlopen("http://" + host + ":" + port, timeout=20).close()
        else:
            socket.create_connection((address, int(port)), timeout=20).close()
        break
    except OSError:
        time.sleep(0.02)
"""


def experiments(lab: Lab) -> list[Experiment]:
    """All experiments of this kind."""
    return [*_one(lab), *_all(lab), *([_slow(lab)] if web_servers(lab) else [])]


def _one(lab: Lab) -> list[Experiment]:
    server, unit = real_servers(lab)[0], _service(lab).unit
    at_home, detect = home(lab), _detect(lab)
    delay = health_check(lab).delay_loop_seconds
    broken = frozenset({server})

    def stop(cluster: Cluster) -> None:
        faults.stop_service(cluster, server, unit)

    return [
        Experiment(
            "server-crash", f"{server} loses its power", lambda c: c.kill(server), everyone(lab),
            max(2.0, detect + ALLOWANCE), detect, at_home, "settled", seconds=6, breaks=broken,
        ),
        Experiment(
            "server-stop", f"{unit} of {server} is stopped", stop,
            everyone(lab), 2.0, delay, at_home, "settled", seconds=6, breaks=broken,
        ),
        Experiment(
            "server-return", f"{unit} of {server} is back",
            heal(server), everyone(lab), 3.0, delay, at_home, "back",
            prepare=stop, seconds=6, server=server,
        ),
    ]  # fmt: skip


def _all(lab: Lab) -> list[Experiment]:
    servers, at_home, check = real_servers(lab), home(lab), health_check(lab)
    unit = _service(lab).unit

    def stop(cluster: Cluster) -> None:
        cluster.each(servers, lambda s: cluster.run(s, ["systemctl", "stop", unit]))

    return [
        Experiment(
            "servers-stop", f"{unit} has stopped on every real server: clients are refused at once",
            stop, everyone(lab), 0.3, 0.0, at_home, "told", seconds=5, zero="end", breaks=None,
        ),
        Experiment(
            "servers-return", f"{unit} was dead on every real server, and is back on {servers[0]}",
            lambda c: _start(c, servers[0]), everyone(lab), 1.0, check.delay_loop_seconds,
            at_home, "healed", prepare=stop, lasts=3, zero="end", breaks=None,
        ),
    ]  # fmt: skip


def _slow(lab: Lab) -> Experiment:
    return Experiment(
        "slow-clients", "200 clients for each real server send one byte a second",
        lambda c: None, everyone(lab), 0.2, 0.0, home(lab), "slowest", seconds=15, breaks=None,
        watchers=(SlowClients,),
    )  # fmt: skip


def _detect(lab: Lab) -> float:
    """Seconds until a real server that does not answer is taken out, at most."""
    check = health_check(lab)
    return (
        check.delay_loop_seconds
        + check.connect_timeout_seconds * (check.retry + 1)
        + check.delay_before_retry_seconds * check.retry
    )


def _service(lab: Lab) -> Service:
    """What the first virtual server serves."""
    return lab.service(next(iter(lab.virtual_servers)))


def _start(cluster: Cluster, server: str) -> None:
    lab, this = cluster.lab, _service(cluster.lab)
    port = lab.port_of(next(iter(lab.virtual_servers)))
    address = next(iter(lab.nodes[server].addresses.values()))
    words = ["python3", "-c", _SERVING, this.unit, this.probe, str(address), str(port)]
    cluster.run(server, words, timeout=_PATIENCE)
