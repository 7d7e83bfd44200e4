"""When the checklist is asked again."""

from __future__ import annotations

import pytest

from lvslab.lab import checklist, faults
from lvslab.lab.checklist import CheckResult
from lvslab.lab.cluster import Cluster
from lvslab.lab.faults import Fault
from lvslab.model.lab import Lab
from lvslab.watch import senses
from lvslab.watch.senses import Attention, ByChecklist, Damage


def test_a_fault_that_came_while_the_checklist_was_asked_has_it_asked_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look at the faults may have begun before the checklist, and have ended after it."""
    cluster, attention = Cluster(lab), Attention()
    damage, by_checklist = Damage(cluster, attention), ByChecklist(cluster, attention)
    asked: list[str] = []

    def broken(_: Cluster) -> list[Fault]:
        list(by_checklist.look())
        return [Fault("carrier", "lvs1", "eth1")]

    def check(_: Cluster) -> list[CheckResult]:
        asked.append("all")
        return []

    monkeypatch.setattr(senses, "_SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(checklist, "check", check)
    monkeypatch.setattr(faults, "broken", broken)
    list(damage.look())
    list(by_checklist.look())
    assert len(asked) == 2
    list(by_checklist.look())
    assert len(asked) == 2, "the control: nothing has happened since"
