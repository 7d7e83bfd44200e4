"""Waiting for a condition: the one way to do it, in the product and in its tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def until(
    ask: Callable[[], Answer],
    seconds: float,
    *,
    good: Callable[[Answer], bool] = bool,
    pause: float = 0.2,
) -> Answer:
    """Ask again and again, with a pause of so many seconds, until the answer is good.

    Returns the first good answer, or the one that came after `seconds`: the last look is never
    earlier than that. So `until(there, 10)` is false only if it was not there after 10 seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        late = time.monotonic() >= deadline
        answer = ask()
        if late or good(answer):
            return answer
        time.sleep(pause)
