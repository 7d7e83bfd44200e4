"""What must hold between the values of a lab.

A rule is a small function that yields findings. It may take for granted that names point to
something and that each value for itself is right (`names`, `explain`).
"""

from lvslab.model.rules import families, login, networks, nodes, services, times, vrrp
from lvslab.model.rules.registry import (
    RULES,
    RULES_OF_A_WHOLE_LAB,
    WARNINGS,
    check,
    rule_findings,
    warning_findings,
)

__all__ = [
    "RULES",
    "RULES_OF_A_WHOLE_LAB",
    "WARNINGS",
    "check",
    "families",
    "login",
    "networks",
    "nodes",
    "rule_findings",
    "services",
    "times",
    "vrrp",
    "warning_findings",
]
