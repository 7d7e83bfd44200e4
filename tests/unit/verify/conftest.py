"""The sentences of findings, in tests/golden/findings/: a file for each module, in it each case."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import pytest
import yaml

from lvslab.verify import Finding, Outcome
from tests.conftest import GOLDEN

Sentences = dict[str, list[str]]
Pinned = Callable[[Iterable[Finding]], None]


@pytest.fixture(scope="module")
def sentences(request: pytest.FixtureRequest) -> Iterator[Sentences]:
    """What is said in each case of a module; `--update-golden` writes it when all have run."""
    path = GOLDEN / "findings" / f"{request.path.stem.removeprefix('test_')}.yaml"
    if not request.config.getoption("--update-golden"):
        yield yaml.safe_load(path.read_text("utf-8"))
        return
    found: Sentences = {}
    yield found
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(found, allow_unicode=True, width=1000), "utf-8")


def lasting(finding: Finding) -> str:
    """A sentence without what is another on another host.

    That is a library's words, a sum, and how long a compressed disk is. What follows from another
    finding (`skip`) is named without its reason.
    """
    head = f"{finding.outcome.value} {finding.rule.id}"
    if finding.outcome is Outcome.SKIP:
        return head
    said = re.sub(r"\((\w+): .*?\)$", r"(\1)", finding.sentence, flags=re.DOTALL)
    said = re.sub(r"(not well-formed): .*", r"\1", said)
    said = re.sub(r"\b[0-9a-f]{64}\b", "SUM", said)
    if "bytes" in said or finding.rule.id.startswith("vmdk-"):
        said = re.sub(r"\b\d{2,}\b", "NUMBER", said)
    return f"{head}: {said}"


@pytest.fixture
def pinned(request: pytest.FixtureRequest, sentences: Sentences) -> Pinned:
    """Compare what findings say that do not pass with what this case is known to say."""

    def compare(findings: Iterable[Finding]) -> None:
        said = [lasting(finding) for finding in findings if finding.outcome is not Outcome.PASS]
        if request.config.getoption("--update-golden"):
            sentences[request.node.name] = said
        assert said == sentences[request.node.name], "pytest --update-golden writes it again"

    return compare
