"""Work on several things at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def each(names: Iterable[str], work: Callable[[str], Result]) -> dict[str, Result]:
    """Name to what `work` returned for it; the first error is raised after all have ended."""
    wanted = list(names)
    if not wanted:
        return {}
    with ThreadPoolExecutor(len(wanted)) as pool:
        futures = {name: pool.submit(work, name) for name in wanted}
    return {name: future.result() for name, future in futures.items()}
