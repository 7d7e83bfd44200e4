"""What a rule is: a named check of an artifact, and who would refuse the artifact and how.

A rule is refused or advice. Refused: a broken rule breaks the specification, or an importer does
not accept the file. Advice: the style of this lab, or only some importers have trouble; it is a
warning for others' files, and a failure for the lab's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Generic, TypeVar

from lvslab.formats.vmdk import VmdkError

Subject = TypeVar("Subject")


class Outcome(StrEnum):
    """What became of a check."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"
    DEFECT = "defect"  # of the rule itself: nothing is known of the artifact


class Level(StrEnum):
    """What a broken rule means in a file that others made."""

    REFUSED = "refused"
    ADVICE = "advice"


class Refused(Exception):
    """The artifact breaks the rule; the message is the sentence that is shown."""


class Unreadable(Exception):
    """The part that a rule looks at cannot be read; the rule that owns the part says why.

    If none does, `settled` makes a fault of it.
    """


class Absent(Exception):
    """There is nothing that the rule could look at, and there need not be."""


@dataclass(frozen=True)
class Rule:
    """`what` must hold; `refused_by` names the importer that refuses otherwise, and its message."""

    id: str
    what: str
    refused_by: str
    level: Level = Level.REFUSED

    def to_dict(self) -> dict[str, str]:
        """The rule as JSON-able values."""
        return {
            "rule": self.id,
            "what": self.what,
            "refused_by": self.refused_by,
            "level": self.level.value,
        }


@dataclass(frozen=True)
class Finding:
    """What one rule says of one artifact; not `examined` if it could not be read.

    `error` is what a defect of the rule raised.
    """

    rule: Rule
    artifact: str
    outcome: Outcome
    sentence: str
    examined: bool = True
    error: Exception | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, str]:
        """The finding as JSON-able values."""
        return {
            "artifact": self.artifact,
            "outcome": self.outcome.value,
            "sentence": self.sentence,
            **self.rule.to_dict(),
        }


RULES: dict[str, Rule] = {}
"""Every rule by its id."""

Check = Callable[[Subject], str]


class RuleSet(Generic[Subject]):
    """The rules for one kind of artifact, in the order in which they are looked at."""

    def __init__(self) -> None:
        self._checks: list[tuple[Rule, Check[Subject]]] = []

    def rule(
        self, identity: str, what: str, refused_by: str, level: Level = Level.REFUSED
    ) -> Callable[[Check[Subject]], Check[Subject]]:
        """Register a check: it returns the sentence for pass and raises Refused for fail."""
        if identity in RULES:
            raise ValueError(f"two rules are called {identity}")
        RULES[identity] = Rule(identity, what, refused_by, level)

        def register(check: Check[Subject]) -> Check[Subject]:
            self._checks.append((RULES[identity], check))
            return check

        return register

    def advice(
        self, identity: str, what: str, refused_by: str
    ) -> Callable[[Check[Subject]], Check[Subject]]:
        """Register a check whose failure is a warning for others' files."""
        return self.rule(identity, what, refused_by, Level.ADVICE)

    def run(self, subject: Subject, artifact: str) -> list[Finding]:
        """All findings of these rules for `subject`, which is shown as `artifact`."""
        return [_judge(rule, check, subject, artifact) for rule, check in self._checks]

    def __iter__(self) -> Iterator[tuple[Rule, Check[Subject]]]:
        return iter(self._checks)


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
    except OSError:  # of this host, which says so itself
        raise
    except Exception as error:
        error.add_note(f"while {rule.id} looked at {artifact}")
        sentence = f"the rule itself failed ({type(error).__name__}: {error})"
        return Finding(rule, artifact, Outcome.DEFECT, sentence, examined=False, error=error)


def settled(findings: list[Finding], *, strict: bool) -> list[Finding]:
    """The findings of one file, weighed; `strict` for the lab's own, where advice must hold.

    What nobody could look at, and no rule faulted, is a failure.
    """
    faulted = any(
        f.outcome is Outcome.FAIL and (strict or f.rule.level is Level.REFUSED) for f in findings
    )
    return [_weighed(finding, strict, faulted) for finding in findings]


def _weighed(finding: Finding, strict: bool, faulted: bool) -> Finding:
    broken = finding.outcome is Outcome.FAIL or not (finding.examined or faulted)
    if not broken or finding.outcome is Outcome.DEFECT:
        return finding
    lenient = finding.rule.level is Level.ADVICE and not strict
    return replace(finding, outcome=Outcome.WARN if lenient else Outcome.FAIL)


def demand(condition: object, message: str) -> None:
    """Raise Refused with `message` unless `condition` holds."""
    if not condition:
        raise Refused(message)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Around calls of a library that reads what may be broken: all that it raises is Unreadable.

    A broken artifact breaks such readers in ways that nobody lists; our own code stays outside.
    """
    try:
        yield
    except (Refused, Unreadable, Absent, VmdkError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise Unreadable(f"{what} cannot be read ({type(error).__name__}: {error})") from None
