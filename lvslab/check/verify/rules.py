"""What a rule is: a named check of an artifact, and who would refuse the artifact and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from lvslab.export.vmdk import VmdkError

Subject = TypeVar("Subject")


class Outcome(StrEnum):
    """What became of a check."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"


class Refused(Exception):
    """The artifact breaks the rule; the message is the sentence that is shown."""


class Unreadable(Exception):
    """The part that a rule looks at cannot be read; the rule that owns the part says why."""


@dataclass(frozen=True)
class Rule:
    """`what` must hold; `refused_by` names the importer that refuses otherwise, and its message."""

    id: str
    what: str
    refused_by: str


@dataclass(frozen=True)
class Finding:
    """What one rule says of one artifact."""

    rule: Rule
    artifact: str
    outcome: Outcome
    sentence: str

    def to_dict(self) -> dict[str, str]:
        """The finding as JSON-able values."""
        return {
            "artifact": self.artifact,
            "rule": self.rule.id,
            "outcome": self.outcome.value,
            "sentence": self.sentence,
            "what": self.rule.what,
            "refused_by": self.rule.refused_by,
        }


RULES: dict[str, Rule] = {}
"""Every rule by its id."""

Check = Callable[[Subject], str]


class RuleSet(Generic[Subject]):
    """The rules for one kind of artifact, in the order in which they are looked at."""

    def __init__(self) -> None:
        self._checks: list[tuple[Rule, Check[Subject]]] = []

    def rule(
        self, identity: str, what: str, refused_by: str
    ) -> Callable[[Check[Subject]], Check[Subject]]:
        """Register a check: it returns the sentence for pass and raises Refused for fail."""
        if identity in RULES:
            raise ValueError(f"two rules are called {identity}")
        RULES[identity] = Rule(identity, what, refused_by)

        def register(check: Check[Subject]) -> Check[Subject]:
            self._checks.append((RULES[identity], check))
            return check

        return register

    def run(self, subject: Subject, artifact: str) -> list[Finding]:
        """All findings of these rules for `subject`, which is shown as `artifact`."""
        return [Finding(rule, artifact, *_judge(check, subject)) for rule, check in self._checks]

    @property
    def ids(self) -> list[str]:
        """The ids of these rules."""
        return [rule.id for rule, _ in self._checks]


def _judge(check: Check[Subject], subject: Subject) -> tuple[Outcome, str]:
    try:
        return Outcome.PASS, check(subject)
    except Refused as refusal:
        return Outcome.FAIL, str(refusal)
    except VmdkError as error:
        return Outcome.FAIL, error.message
    except Unreadable as error:
        return Outcome.SKIP, f"not looked at: {error}"
    except Exception as error:  # a broken artifact breaks readers in ways that nobody lists
        return Outcome.FAIL, f"cannot be read ({type(error).__name__}: {error})"


def demand(condition: object, message: str) -> None:
    """Raise Refused with `message` unless `condition` holds."""
    if not condition:
        raise Refused(message)
