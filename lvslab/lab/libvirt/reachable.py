"""Whether VXLAN passes between all ends of a lab: a frame is sent from each and heard by each.

It takes a device in a namespace of its own on each end, which is removed at once, or by the end
itself if nobody does it. The name of this namespace holds the network in which it was made: others
of the same machine may try the same lab in networks of their own. The frame is the question for an
address that nobody has, in a network for tests of networks (RFC 2544). Who sent it, the receiving
device has learned (RFC 7348, section 4.1).
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lvslab.core.errors import LabError
from lvslab.core.together import each
from lvslab.lab.libvirt.fabric import PORT, Fabric, known_peers
from lvslab.lab.network import Asking

_SECONDS = 4.0
_PAUSE = 0.3
_FORGOTTEN_SECONDS = 60
_NOBODY = "198.18.0.250"
# What removes the places of all probes of a lab in this network, also those of a killed command.
# A device goes first: the kernel ends a namespace, and frees its VXLAN number, some time later.
_GONE = (
    'for old in $(ip netns list | grep -o "^${all}[0-9]*"); do '
    'ip -n "$old" link del "$device" 2>/dev/null; ip netns del "$old"; done'
)


@dataclass(frozen=True)
class End:
    """An end: how it is called, its address for the others, and what runs programs there."""

    label: str
    address: str
    ask: Asking


@dataclass(frozen=True)
class _Trial:
    """One attempt: its device, and what tells its namespaces from those of all others."""

    device: str
    number: int

    def run(self, end: End, script: str, what: str) -> str:
        """Run a script on an end, in which `$place` is the namespace of this attempt's device.

        `$all` is how the places of all attempts begin that try this lab in the end's network, and
        `$device` is how the device is called there.
        """
        names = f"device={self.device} && all=$device-$(stat -Lc %i /proc/self/ns/net)- && "
        names += f"place=${{all}}{self.number} && "
        return end.ask(["sh", "-c", f"{names}{{ {script}; }}"], what=what)


def deaf(fabric: Fabric, ends: Sequence[End]) -> list[tuple[End, End]]:
    """Pairs of ends of which the first hears nothing from the second.

    Raises LabError if an end cannot make such a device.
    """
    trial = _Trial(fabric.probe, time.monotonic_ns())
    by_label = {end.label: end for end in ends}

    def on_all(script: Callable[[End], str], what: str) -> None:
        each(by_label, lambda label: trial.run(by_label[label], script(by_label[label]), what))

    def make(end: End) -> str:
        number = ends.index(end) + 1
        lines = [
            'ip netns add "$place"',
            f'ip link add "$device" netns "$place" {fabric.probe_kind(end.address)}',
            f'ip -n "$place" address add 198.18.0.{number}/24 dev "$device"',
            'ip -n "$place" link set "$device" up',
        ]
        others = [other.address for other in ends if other != end]
        lines += [f'bridge -n "$place" {line}' for line in fabric.probe_peers(others)]
        later = f'(sleep {_FORGOTTEN_SECONDS}; ip netns del "$place") >/dev/null 2>&1 &'
        return f"{_GONE}; {later} {' && '.join(lines)}"

    send = f"ip netns exec \"$place\" bash -c 'echo > /dev/udp/{_NOBODY}/9'"
    try:
        on_all(make, "making a device to try VXLAN")
        on_all(lambda _: send, "trying VXLAN")
        heard = each(by_label, lambda label: _heard(trial, by_label[label], len(ends) - 1))
    finally:
        with contextlib.suppress(LabError):
            on_all(lambda _: _GONE, "removing what tried VXLAN")
    return [
        (end, other)
        for end in ends
        for other in ends
        if other != end and other.address not in heard[end.label]
    ]


def opened(pair: tuple[End, End]) -> str:
    """What to open for a pair of ends."""
    end, other = pair
    return (
        f"{end.label}: nothing from {other.label} arrives at UDP port {PORT}; open it there for "
        f"{other.address}"
    )


def _heard(trial: _Trial, end: End, count: int) -> set[str]:
    """From whom an end's device has learned something, once it is all, or after a while."""
    deadline = time.monotonic() + _SECONDS
    while True:
        script = 'bridge -n "$place" -json fdb show dev "$device"'
        entries = json.loads(trial.run(end, script, "asking who was heard") or "[]")
        heard = {entry["dst"] for entry in entries if "dst" in entry and not _is_ours(entry)}
        if len(heard) >= count or time.monotonic() > deadline:
            return heard
        time.sleep(_PAUSE)


def _is_ours(entry: dict[str, str]) -> bool:
    """Whether an entry was made, and not learned."""
    return bool(known_peers([{"ifname": "", **entry}]))
