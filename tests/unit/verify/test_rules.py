"""The rules as such: a defect is reported as one, list and page have all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lvslab.cli import main
from lvslab.core.events import silent
from lvslab.core.files import sha256_file
from lvslab.formats import seed_iso
from lvslab.formats.vmdk import VmdkError
from lvslab.make import examined
from lvslab.model.lab import Lab
from lvslab.render import node_seed
from lvslab.verify import RULES, Finding, Outcome, Rule, verify
from lvslab.verify.rules import Refused, RuleSet, Unreadable, reading, settled
from lvslab.verify.seeds import volume as seeds
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "verify.md"


# --- a defect of a rule -------------------------------------------------------------------


@pytest.fixture
def iso(lab: Lab, tmp_path: Path) -> Path:
    seed_iso.write_iso(node_seed(lab, "rs1"), tmp_path / "rs1.iso", epoch=1)
    return tmp_path / "rs1.iso"


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A rule of seeds whose code is wrong."""

    def wrong(subject: object) -> str:
        return f"{None + 1}"  # type: ignore[operator]

    checks = [(rule, wrong if rule.id == "seed-node" else check) for rule, check in seeds.SEED]
    monkeypatch.setattr(seeds.SEED, "_checks", checks)
    monkeypatch.setenv("LVSLAB_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("defect")
@pytest.mark.parametrize("strict", [False, True])
def test_a_defect_is_not_a_finding_about_the_artifact(lab: Lab, iso: Path, strict: bool) -> None:
    findings = verify(iso, lab if strict else None)
    assert {f.outcome for f in findings} == {Outcome.PASS, Outcome.DEFECT}
    (found,) = (f for f in findings if f.outcome is Outcome.DEFECT)
    assert found.rule.id == "seed-node"
    assert found.sentence.startswith("the rule itself failed (TypeError: ")
    assert isinstance(found.error, TypeError)


@pytest.mark.usefixtures("defect")
def test_a_defect_ends_with_status_4_and_the_log(
    iso: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["verify", str(iso)]) == 4
    said = capsys.readouterr().err
    assert "the rule seed-node could not look at rs1.iso: the rule itself failed (TypeError" in said
    assert "this is a defect of lvslab: please report it with the log" in said
    assert "broken" not in said
    log = Path(said.rpartition("full log:")[2].strip())
    assert "Traceback" in log.read_text()
    assert "while seed-node looked at rs1.iso" in log.read_text()


@pytest.mark.usefixtures("defect")
def test_a_defect_beside_a_refusal_is_still_reported(
    iso: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody knows what the rule would have said: the check is not done."""
    iso.write_bytes(iso.read_bytes().replace(b"cidata  ", b"config-2"))
    assert main.main(["verify", "--json", str(iso)]) == 4
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    outcomes = {line["rule"]: line["outcome"] for line in lines if line["event"] == "finding"}
    assert (outcomes["seed-label"], outcomes["seed-node"]) == ("fail", "defect")


@pytest.mark.usefixtures("defect")
def test_a_defect_does_not_let_a_build_end_well(lab: Lab, iso: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError) as caught:
        examined.examine(lab, tmp_path, {iso: sha256_file(iso)}, tmp_path, silent)
    assert caught.value.__notes__ == ["while seed-node looked at rs1.iso"]


def test_without_the_defect_it_ends_well(iso: Path) -> None:
    assert main.main(["verify", str(iso)]) == 0


def test_what_a_reader_raises_is_of_the_artifact() -> None:
    """And what the host says, or a rule, is not made into another thing."""
    with pytest.raises(Unreadable, match=r"it cannot be read \(KeyError: 1\)"), reading("it"):
        raise KeyError(1)
    with pytest.raises(Unreadable, match="EOFError"), reading("it"):
        raise EOFError("early")
    with pytest.raises(PermissionError), reading("it"):
        raise PermissionError(13, "denied", "/a")
    for error in (Refused("no"), VmdkError("inflate", "no")):
        with pytest.raises(type(error)), reading("it"):
            raise error


def test_a_defect_stays_one_beside_a_failure() -> None:
    rule = Rule("some-rule", "it can be read", "nobody")
    broken = Finding(rule, "a", Outcome.DEFECT, "the rule itself failed", examined=False)
    failed = Finding(rule, "a", Outcome.FAIL, "it is broken")
    assert settled([broken, failed], strict=True) == [broken, failed]


def test_an_error_of_the_host_is_not_a_defect() -> None:
    rules: RuleSet[object] = RuleSet()

    @rules.rule("only-for-this-test", "it can be read", "nobody")
    def _denied(subject: object) -> str:
        raise PermissionError(13, "denied", "/a")

    del RULES["only-for-this-test"]
    with pytest.raises(PermissionError):
        rules.run(None, "a")


# --- the list -----------------------------------------------------------------------------


def test_the_list_has_every_rule_with_who_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["verify", "--list"]) == 0
    shown = capsys.readouterr().out
    for rule in RULES.values():
        assert (
            f"{rule.id} ({rule.level.value}): {rule.what}\n    if not:   {rule.refused_by}" in shown
        )
    assert main.main(["verify", "--list", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["rule"] for line in lines if line["event"] == "rule"] == list(RULES)
    assert {line["level"] for line in lines if line["event"] == "rule"} == {"refused", "advice"}


# --- the page -----------------------------------------------------------------------------


def sections(text: str) -> dict[str, str]:
    """The sections of the page by their headings, each without line breaks but before a list."""
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    bodies = (re.split(r"^## ", body, flags=re.MULTILINE)[0] for body in parts[2::2])
    return dict(zip(parts[1::2], bodies, strict=True))


def faults(text: str) -> list[str]:
    """What the page lacks: a section for each rule, with the rule's own words, and no other."""
    found = sections(text)
    missing = [f"no section: {name}" for name in RULES if name not in found]
    more = [f"no such rule: {name}" for name in found if name not in RULES]
    wrong = []
    for name in RULES.keys() & found.keys():
        rule, words = RULES[name], " ".join(found[name].split())
        head = f"**{rule.level.value}:** {rule.what}. **If not:** {rule.refused_by}. **Why:** "
        if not words.startswith(head):
            wrong.append(f"{name}: does not begin {head!r}")
        rest = re.fullmatch(r"(.{15,}?) - bad: (.{3,}) - good: (.{3,})", words[len(head) :])
        if rest is None or rest[2] == rest[3]:
            wrong.append(f"{name}: not why, a bad and a good example")
    return missing + more + wrong


def test_the_page_has_a_section_for_each_rule() -> None:
    text = PAGE.read_text()
    assert faults(text) == []
    assert len(re.findall(r"^### ", text, flags=re.MULTILINE)) == len(RULES)


def test_a_page_that_lacks_something_is_noticed() -> None:
    text = PAGE.read_text()
    assert faults(text.replace("### tar-format\n", "### tar-formats\n")) == [
        "no section: tar-format",
        "no such rule: tar-formats",
    ]
    for old, new in ((RULES["tar-format"].what.split()[0], "Each"), ("- bad: ", "- wrong: ")):
        start = text.index("### tar-format")
        broken = text[:start] + text[start:].replace(old, new, 1)
        assert any(fault.startswith("tar-format: ") for fault in faults(broken))
