"""The report of a self-test: what it was done with, each step, and nothing of a person."""

from __future__ import annotations

import getpass
import ipaddress
import platform
import re
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from lvslab import __version__
from lvslab.lab.vmrun.vmrun_program import Vmrun
from lvslab.lab.vmrun.vmrun_trial import TrialStep
from lvslab.model.lab import Lab

_LONGEST = 200
_MAC = re.compile(r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}\b")
_ADDRESS = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:]+)(?![\w:])")
# A path goes on to the end of its line, or to what vmrun puts behind it: it may have spaces.
_PATH = re.compile(r"(?:[A-Za-z]:\\|\\\\|(?<![\w.])~?/)[^\n\"',;]*")
_SHORTEST = 3  # a shorter name is also a part of words


def names_of_this_host() -> set[str]:
    """What people and machines are called here: the user, the home, the host."""
    home, host = Path.home(), socket.gethostname()
    return {getpass.getuser(), home.name, host, host.partition(".")[0], platform.node()}


def scrubbed(text: str, lab: Lab, names: Iterable[str]) -> str:
    """A message without paths, without names of this host, and with the lab's own addresses only.

    Each is replaced by a word in angle brackets, so that a reader sees that something was there.
    """
    own_macs = {lab.mac(node, i) for node, this in lab.nodes.items() for i in this.interfaces}
    networks = [cidr for network in lab.networks.values() for cidr in network.cidrs]

    def of_lab(found: re.Match[str]) -> str:
        try:
            address = ipaddress.ip_address(found[0])
        except ValueError:
            return found[0]
        return found[0] if any(address in network for network in networks) else "<address>"

    text = _PATH.sub("<path>", text)
    text = _MAC.sub(lambda found: found[0] if found[0].lower() in own_macs else "<mac>", text)
    text = _ADDRESS.sub(of_lab, text)
    for name in sorted(names, key=len, reverse=True):
        if len(name) >= _SHORTEST:
            text = re.sub(rf"(?i)(?<!\w){re.escape(name)}(?!\w)", "<name>", text)
    return " ".join(text.split())[:_LONGEST]


def report(vmrun: Vmrun, lab: Lab, node: str, outcomes: Iterable[TrialStep]) -> str:
    """The text that a user may send back."""
    system = "Windows (WSL)" if vmrun.windows else platform.system()
    lines = [
        f"lvslab {__version__}, self-test of vmrun on one {lab.nodes[node].role}",
        f"vmrun: {vmrun.version()}, -T {vmrun.product}",
        f"host: {system} {platform.machine()}, Python {'.'.join(map(str, sys.version_info[:3]))}",
        "",
    ]
    names = names_of_this_host()
    for outcome in outcomes:
        word = "ok" if outcome.ok else "FAILED" if outcome.tried else "not tried"
        lines.append(f"{word:<9} {outcome.seconds:6.1f} s  {outcome.step}")
        if outcome.says:
            lines.append(f"{'':>20}{scrubbed(outcome.says, lab, names)}")
    return "\n".join([*lines, ""])
