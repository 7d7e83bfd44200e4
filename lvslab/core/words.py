"""Numbers as texts, the same wherever one is written."""

from __future__ import annotations


def decimal(value: float, places: int = 6) -> str:
    """A finite number as people and keepalived write it: no exponent, no idle zeros.

    Six places after the point are keepalived's own resolution (`read_timer`, microseconds).
    It and systemd refuse `1e-05`, which `%g` and `str` make of a small number.
    """
    text = f"{value:.{places}f}"
    if places:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
