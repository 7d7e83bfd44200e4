"""Rules of times: what keepalived and the track script can count."""

from __future__ import annotations

from collections.abc import Iterator

from lvslab.core.words import decimal
from lvslab.model.lab import Lab
from lvslab.model.problems import Place, Violation, dotted
from lvslab.model.rules.registry import rule

_TINY = 1e-6
"""A part of a millisecond that comes from binary fractions, not from who wrote the number."""


def _times(lab: Lab) -> Iterator[tuple[Place, float]]:
    """Every time in seconds that may have a fraction, except the adverts', which VRRP bounds."""
    vrrp: Place = ("directors", "vrrp")
    yield (*vrrp, "preempt_delay_seconds"), lab.directors.vrrp.preempt_delay_seconds
    yield ("directors", "track", "interval_seconds"), lab.directors.track.interval_seconds
    for name, server in lab.virtual_servers.items():
        for key, value in server.check:
            if key.endswith("_seconds"):
                yield ("virtual_servers", name, "check", key), value


@rule
def times_are_whole_milliseconds(lab: Lab) -> Iterator[Violation]:
    """Nobody times a check to a part of a millisecond: such a number is a slip."""
    for path, seconds in _times(lab):
        milliseconds = seconds * 1000
        if abs(milliseconds - round(milliseconds)) > _TINY:
            what = f"{dotted(path)} is {decimal(seconds, 9)} s, a part of a millisecond"
            yield Violation(path, what, "write seconds in steps of 0.001")
