"""Keys of the very same object, and of no other that is equal to it."""

from __future__ import annotations

from functools import lru_cache

from lvslab.core.same import Same


def test_only_the_very_same_object_is_the_same_key() -> None:
    asked: list[dict[str, int]] = []

    @lru_cache(maxsize=2)
    def total(of: Same[dict[str, int]]) -> int:
        asked.append(of.thing)
        return sum(of.thing.values())

    one, equal = {"a": 1}, {"a": 1}
    assert [total(Same(one)), total(Same(one)), total(Same(equal))] == [1, 1, 1]
    assert [thing is one for thing in asked] == [True, False]
    assert Same(one) != one
    # What is kept holds its object: the id of one that is gone could be that of another.
    for number in range(100):
        assert total(Same({"a": number})) == number
