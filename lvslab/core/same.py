"""Objects that never change as keys of `functools.lru_cache`, without a look at what is in them."""

from __future__ import annotations

from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Same(Generic[Thing]):
    """A key that is equal to another one of the very same `thing` only.

    A frozen model with dictionaries in it has no hash, and one of all its values would take long.
    """

    def __init__(self, thing: Thing) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.thing is self.thing

    def __hash__(self) -> int:
        return id(self.thing)
