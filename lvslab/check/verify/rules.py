"""What a rule is: a named check of an artifact, and who would refuse the artifact and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    """The part that a rule looks at cannot be read; the rule that owns the part says why.

    If none does, `settled` makes a failure of it.
    """


class Absent(Exception):
    """There is nothing that the rule could look at, and there need not be."""


@dataclass(frozen=True)
class Rule:
    """`what` must hold; `refused_by` names the importer that refuses otherwise, and its message."""

    id: str
    what: str
    refused_by: str


@dataclass(frozen=True)
class Finding:
    """What one rule says of one artifact; not `examined` if it could not be read."""

    rule: Rule
    artifact: str
    outcome: Outcome
    sentence: str
    examined: bool = True

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
        return [_judge(rule, check, subject, artifact) for rule, check in self._checks]

    @property
    def ids(self) -> list[str]:
        """The ids of these rules."""
        return [rule.id for rule, _ in self._checks]


def _judge(rule: Rule, check: Check[Subject], subject: Subject, artifact: str) -> Finding:
    try:
        return Finding(rule, artifact, Outcome.PASS, check(subject))
    except Refused as refusal:
        return Finding(rule, artifact, Outcome.FAIL, str(refusal))
    except VmdkError as error:
        return Finding(rule, artifact, Outcome.FAIL, error.message)
    except Unreadable as error:
        return Finding(rule, artifact, Outcome.SKIP, f"not looked at: {error}", examined=False)
    except Absent as error:
        return Finding(rule, artifact, Outcome.SKIP, str(error))
    except Exception as error:  # a broken artifact breaks readers in ways that nobody lists
        sentence = f"cannot be read ({type(error).__name__}: {error})"
        return Finding(rule, artifact, Outcome.FAIL, sentence)


def settled(findings: list[Finding]) -> list[Finding]:
    """The findings of a file: what nobody could look at, and no rule faulted, is a failure."""
    if any(finding.outcome is Outcome.FAIL for finding in findings):
        return findings
    return [f if f.examined else replace(f, outcome=Outcome.FAIL) for f in findings]


def demand(condition: object, message: str) -> None:
    """Raise Refused with `message` unless `condition` holds."""
    if not condition:
        raise Refused(message)
