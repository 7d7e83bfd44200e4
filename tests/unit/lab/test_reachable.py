"""Whether VXLAN passes between ends: what others of the same machine try is theirs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pytest

from lvslab.core.procs import run
from lvslab.lab.libvirt.fabric import Fabric
from lvslab.lab.libvirt.reachable import End, deaf
from lvslab.lab.namespace import Namespace
from lvslab.model.lab import Lab

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here"),
]


def test_another_network_of_this_machine_may_try_the_same_lab(lab: Lab) -> None:
    here, there = (Namespace(f"lvp{os.getpid()}-{name}") for name in ("here", "there"))
    stranger = end(there, lambda: None)
    tried: list[object] = []
    ours = end(here, lambda: tried.append(deaf(Fabric(lab), [stranger])))
    try:
        here.create()
        there.create()
        assert deaf(Fabric(lab), [ours]) == []
    finally:
        here.remove()
        there.remove()
    assert tried == [[]]


def test_one_attempt_follows_another_at_once(lab: Lab) -> None:
    """A VXLAN number is free again when an attempt has ended, and not when the kernel likes."""
    place = Namespace(f"lvp{os.getpid()}-again")
    try:
        place.create()
        for _ in range(10):
            assert deaf(Fabric(lab), [end(place, lambda: None)]) == []
    finally:
        place.remove()


def end(place: Namespace, meanwhile: Callable[[], object]) -> End:
    """An end in a namespace; something happens before it sends."""

    def ask(argv: Sequence[str], *, what: str) -> str:
        if what == "trying VXLAN":
            meanwhile()
        with place.inside():
            return run(argv, what=what)

    return End("this machine", "192.0.2.1", ask)
