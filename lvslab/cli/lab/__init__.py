"""`lab`: the cluster in QEMU. The table of its verbs; each is imported when it is used."""

from __future__ import annotations

import click

from lvslab.cli.common import Verbs, epilog, everywhere

VERBS = {
    "up": "lvslab.cli.lab.power:up",
    "down": "lvslab.cli.lab.power:down",
    "status": "lvslab.cli.lab.look:status",
    "check": "lvslab.cli.lab.look:check",
    "watch": "lvslab.cli.lab.watch:watch",
    "ssh": "lvslab.cli.lab.reach:ssh",
    "console": "lvslab.cli.lab.reach:console",
    "client": "lvslab.cli.lab.reach:client",
    "capture": "lvslab.cli.lab.reach:capture",
    "kill": "lvslab.cli.lab.fault:kill",
    "pause": "lvslab.cli.lab.fault:pause",
    "start": "lvslab.cli.lab.fault:start",
    "cut": "lvslab.cli.lab.fault:cut",
    "split": "lvslab.cli.lab.fault:split",
    "stop-service": "lvslab.cli.lab.fault:stop_service",
    "heal": "lvslab.cli.lab.fault:heal",
    "move": "lvslab.cli.lab.hosts:move",
    "adopt": "lvslab.cli.lab.hosts:adopt",
    "save": "lvslab.cli.lab.keep:save",
    "restore": "lvslab.cli.lab.keep:restore",
    "failover": "lvslab.cli.lab.measure:failover",
    "selftest": "lvslab.cli.lab.selftest:selftest",
}


@click.command(
    "lab",
    cls=Verbs,
    verbs=VERBS,
    epilog=epilog(
        """
        lab up
        lab check
        lab kill lvs1
        lab heal
        lab down
        """
    ),
)
@everywhere
def lab() -> None:
    """Run the whole cluster on this host, in QEMU, from the artifacts.

    It runs in its own network namespace, so nothing reaches a real network. It does not need
    root on a host where ordinary users may create namespaces.
    """
