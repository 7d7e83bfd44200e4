"""A pytest plugin: what was skipped is counted by reason, and only allowed reasons are.

`--allowed-skips FILE` names the reasons, one a line (# begins a comment). Any other skip ends the
run with status 1. Without the option all skips are allowed, and shown all the same.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest


class Skips:
    """What one run skipped: how often for each reason."""

    def __init__(self, allowed: set[str] | None) -> None:
        self.allowed = allowed
        self.reasons: Counter[str] = Counter()

    @property
    def refused(self) -> list[str]:
        """The reasons that are not on the list."""
        return [] if self.allowed is None else sorted(self.reasons.keys() - self.allowed)

    def _count(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):  # an expected failure has none
            self.reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._count(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._count(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.refused and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("skipped")
        for reason, count in sorted(self.reasons.items()):
            verdict = "  (NOT ALLOWED)" if reason in self.refused else ""
            terminalreporter.line(f"{count:4}  {reason}{verdict}")
        terminalreporter.line(f"{self.reasons.total():4}  in all")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--allowed-skips", type=Path, metavar="FILE", help="fail if a test skips for another reason"
    )


def pytest_configure(config: pytest.Config) -> None:
    file: Path | None = config.getoption("--allowed-skips")
    allowed = None if file is None else read(file)
    config.pluginmanager.register(Skips(allowed), "skips")


def read(file: Path) -> set[str]:
    """The reasons in a file, one a line."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return {line for line in lines if line and not line.startswith("#")}
