"""`lab`: the cluster in QEMU. The table of its verbs; each is imported when it is used."""

from __future__ import annotations

import importlib

import click

from lvslab.cli.base import epilog, everywhere

VERBS = {
    "up": "power:up",
    "down": "power:down",
    "status": "look:status",
    "check": "look:check",
    "ssh": "reach:ssh",
    "console": "reach:console",
    "client": "reach:client",
    "capture": "reach:capture",
    "kill": "fault:kill",
    "pause": "fault:pause",
    "start": "fault:start",
    "cut": "fault:cut",
    "split": "fault:split",
    "stop-service": "fault:stop_service",
    "heal": "fault:heal",
    "save": "keep:save",
    "restore": "keep:restore",
    "failover": "measure:failover",
}


class LabVerbs(click.Group):
    """The group whose commands are imported on use, shown in the table's order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs' names."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module; None if there is no such verb."""
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        return command


@click.command(
    "lab",
    cls=LabVerbs,
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
    """The whole cluster on this machine, in QEMU, from the artifacts.

    It lives in a network namespace of its own: nothing reaches a real network. Root is not
    needed where ordinary users may have namespaces.
    """
