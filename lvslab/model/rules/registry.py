"""Where rules register, and how they are asked.

Most rules are also true of a part of a lab: two networks that overlap do so whatever else is
there. Those that miss something (no director at all) are only asked of a whole lab, so that an
entry which could not be read does not cause a second, false message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lvslab.model.lab import Lab
from lvslab.model.names import name_findings
from lvslab.model.problems import Violation

LabRule = Callable[[Lab], Iterator[Violation]]

RULES: list[LabRule] = []
RULES_OF_A_WHOLE_LAB: list[LabRule] = []
WARNINGS: list[LabRule] = []


def rule(function: LabRule) -> LabRule:
    """Registers a rule that is true of a part of a lab as well."""
    RULES.append(function)
    return function


def rule_of_a_whole_lab(function: LabRule) -> LabRule:
    """Registers a rule that says something is missing."""
    RULES_OF_A_WHOLE_LAB.append(function)
    return function


def warning(function: LabRule) -> LabRule:
    """Registers what `validate` warns of: a lab that is right, and trouble somewhere."""
    WARNINGS.append(function)
    return function


def check(lab: Lab) -> list[Violation]:
    """Everything that is wrong with a lab that was not read from a file."""
    return name_findings(lab.model_dump(mode="json"), lab.roles) or rule_findings(lab)


def rule_findings(lab: Lab, *, whole: bool = True) -> list[Violation]:
    """What the rules say of a lab whose names all point to something."""
    rules = RULES + RULES_OF_A_WHOLE_LAB if whole else RULES
    return [finding for each in rules for finding in each(lab)]


def warning_findings(lab: Lab) -> list[Violation]:
    """What is to be known of a lab that keeps the rules."""
    return [finding for each in WARNINGS for finding in each(lab)]
