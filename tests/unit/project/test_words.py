"""Numbers and words of texts: no exponent in a rendered text, no phrase that is hard to read."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from lvslab.core.places import DATA
from lvslab.core.words import decimal
from lvslab.model import rules
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.render import node_seed
from lvslab.render.handout import handout
from lvslab.render.machine_files import role_files
from tests.conftest import ROLES
from tests.documents import documents
from tests.strategies import examples, labs

EXPONENT = re.compile(r"(?<![\w.:-])\d+(\.\d+)?e[-+]?\d+(?![\w-])", re.IGNORECASE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00001, "0.00001"),
        (1e-6, "0.000001"),
        (1e-7, "0"),
        (-1e-7, "0"),
        (0, "0"),
        (0.1 + 0.2, "0.3"),
        (8 * 0.21, "1.68"),
        (100, "100"),
        (3599.999, "3599.999"),
        (1234567.5, "1234567.5"),
        (1e22, "10000000000000000000000"),
    ],
)
def test_a_number_is_written_out(value: float, text: str) -> None:
    assert decimal(value) == text
    assert not EXPONENT.search(f" {text} ")


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e18, max_value=1e18))
def test_a_number_is_that_number(value: float) -> None:
    text = decimal(value)
    assert re.fullmatch(r"-?\d+(\.\d+)?", text)
    assert not re.search(r"\.\d*0$", text)
    assert abs(Decimal(text) - Decimal(value)) <= Decimal("0.0000005")


def test_whole_numbers_keep_their_zeros() -> None:
    assert decimal(1000, 0) == "1000"
    assert decimal(0.125, 2) == "0.12"


def texts_of(lab: Lab, specs: dict[str, RoleSpec]) -> dict[str, str]:
    """Every text that is rendered for the images, the seeds and the VMware folder."""
    found = dict(handout(lab))
    for role in ROLES:
        files = role_files(lab, specs[role])
        found |= {f"{role}{path}": file.content for path, file in files.items()}
    for node in lab.nodes:
        seed = node_seed(lab, node)
        found[node] = seed.user_data + seed.meta_data + seed.network_config
    return found


def with_times(lab: Lab, seconds: float) -> Lab:
    """The lab with one number for every time, whether or not the rules allow it."""
    vrrp = lab.directors.vrrp.model_copy(
        update={"advert_seconds": seconds, "preempt_delay_seconds": seconds}
    )
    track = lab.directors.track.model_copy(update={"interval_seconds": seconds})
    keys = ("connect_timeout_seconds", "delay_loop_seconds", "delay_before_retry_seconds")
    servers = {
        name: server.model_copy(
            update={"check": server.check.model_copy(update=dict.fromkeys(keys, seconds))}
        )
        for name, server in lab.virtual_servers.items()
    }
    directors = lab.directors.model_copy(update={"vrrp": vrrp, "track": track})
    return lab.model_copy(update={"directors": directors, "virtual_servers": servers})


@pytest.mark.parametrize("seconds", [0.00001, 1e-300, 0.01, 40.95, 3599.999, 1e15, 1e22])
@pytest.mark.parametrize("tracked", [True, False])
def test_no_text_holds_an_exponent(
    lab: Lab, specs: dict[str, RoleSpec], seconds: float, tracked: bool
) -> None:
    this = with_times(lab, seconds)
    track = this.directors.track.model_copy(update={"enabled": tracked})
    directors = this.directors.model_copy(update={"track": track})
    this = this.model_copy(update={"directors": directors})
    found = texts_of(this, specs)
    for name, text in found.items():
        assert not EXPONENT.search(text), name
    conf = found["director/etc/keepalived/keepalived.conf"]
    assert f"delay_loop {decimal(seconds)}\n" in conf
    assert f"advert_int {decimal(seconds)}\n" in conf
    assert (f"preempt_delay {decimal(seconds)}\n" in conf) == (not tracked)
    unit = "director/etc/systemd/system/lvslab-track.service"
    assert (f"arp-watch {decimal(seconds)} " in found.get(unit, "")) == tracked


@examples(5)
@given(this=labs(max_real_servers=40))
def test_no_text_of_a_random_lab_holds_one(specs: dict[str, RoleSpec], this: Lab) -> None:
    for name, text in texts_of(this, specs).items():
        assert not EXPONENT.search(text), name


def test_the_search_finds_an_exponent(lab: Lab) -> None:
    """The control: what the templates said before."""
    for value in (0.00001, 1e22):
        text = Environment().from_string('delay_loop {{ "%g" | format(value) }}\n')
        assert EXPONENT.search(text.render(value=value))
        assert EXPONENT.search(f"delay_loop {value}\n")
    assert not EXPONENT.search("00:50:56:01:0e:05 1e lvs1e5 f0e5-1 vmnet12 fd00:1e5::1e5")


def test_templates_have_one_way_to_write_a_number() -> None:
    """`%g`, and a number of seconds that no filter writes out, bring the exponent back."""
    places = [
        DATA / "roles",
        DATA / "cloud-init",
        DATA / "packer",
        DATA / "lvslab/render/templates",
    ]
    for template in (path for place in places for path in place.rglob("*.j2")):
        text = template.read_text()
        assert "%g" not in text, template
        for expression in re.findall(r"\{\{(.*?)\}\}", text, re.DOTALL):
            fraction = re.search(
                r"(advert|preempt_delay|interval|loop|timeout|retry)_seconds", expression
            )
            if fraction and "packer" not in str(template):
                assert re.search(r"\| (decimal|int)\b", expression), (template, expression)


def test_times_that_keepalived_counts_are_no_slip(lab: Lab) -> None:
    for seconds in (0.01, 0.123, 1, 59.999):
        told = [f.what for f in rules.check(with_times(lab, seconds))]
        assert not any("millisecond" in what for what in told)
    told = [f.what for f in rules.check(with_times(lab, 0.0105))]
    assert len([what for what in told if "a part of a millisecond" in what]) == 8


# --- words that a reader whose mother tongue is not English has to look up ----------------


HARD = re.compile(
    r"""
    \banew\b                                  # again
    | \bmend(s|ed|ing)?\b                     # fix; a fault of the lab: heal
    | \b(is|are|was|were|be|been)[ ]told\b    # is reported, is shown
    | ^(Is|Are|Was|Were)[ ]there\b[^?]*,       # if there is a difference, ...
    | \bshall\b                               # must, should
    | \bbut[ ]for\b                           # except
    | \botherwise[ ]than\b                    # different from
    | \bin[ ]vain\b | \bwithout[ ]a[ ]word\b
    | \breckon | \bbe[ ]it\b | \b(lest|albeit|thereof|whereof|thence|hitherto|aught)\b
    | \bst(ands?|ood)[ ]still\b               # is paused
    | \b(held|holds?)[ ][^.;,]*\bagainst\b    # is compared with
    | \blog-ins?\b                            # login
    | \bfree[ ]some[ ]room\b                  # disk space
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
"""Phrases that must not come back. Texts inside the images (roles/, cloud-init/) are not looked
at: each word there is part of an image's sum."""

WORDS_OF_CODE = re.compile(r"is told, found\.problems")
"""What only looks like such a phrase: code."""


def hard_phrases(text: str) -> list[str]:
    """The phrases of a text that are hard to read; a phrase may continue in the next line."""
    joined = re.sub(r"(?<=\w)\n[ #]*(?=\w)", " ", WORDS_OF_CODE.sub("", text))
    return [match[0] for match in HARD.finditer(joined)]


def texts_for_people() -> list[str]:
    """The files that people read, by their paths: documents, messages, comments, tests' names."""
    found = {DATA / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "lab.yaml")}
    for folder in ("docs", "lvslab", "tests", "bench"):
        for ending in ("md", "py", "txt", "yaml", "j2"):
            found |= set((DATA / folder).rglob(f"*.{ending}"))
    # what is on a node, too
    for folder in ("cloud-init", "examples", "lessons", "packer", "roles"):
        found |= {path for path in (DATA / folder).rglob("*") if path.is_file()}
    names = (path.relative_to(DATA).as_posix() for path in sorted(found))
    return [name for name in names if not name.startswith("tests/golden/") and name != THIS]


THIS = "tests/unit/project/test_words.py"


def test_no_phrase_is_hard_to_read() -> None:
    names = texts_for_people()
    assert {
        "README.md",
        "docs/failover.md",
        "lvslab/core/errors.py",
        "tests/bad/lab-cases.yaml",
    } <= {*names}
    found = {name: hard_phrases((DATA / name).read_text()) for name in names}
    assert {name: phrases for name, phrases in found.items() if phrases} == {}


@pytest.mark.parametrize(
    "text",
    [
        "the stage is made anew",
        "how to mend it",
        "and nobody is\ntold",
        "Is there a difference, it says in which stage",
        "all that apt shall see",
        "all but for the last",
        "wired otherwise than lvs1",
        "a client that waits in vain",
        "dropped without a word",
        "lvs1 stands still",
        "it is held against the record",
        "the log-in",
        "free some room",
        "# the sum is\n    # told",
    ],
)
def test_a_phrase_that_is_hard_to_read_is_found(text: str) -> None:
    """The control: what the texts said before."""
    assert hard_phrases(text) != []


def test_plain_words_are_not_hard() -> None:
    text = "recommended amendments; it is fixed again; is there a node? what is behind the shell"
    assert hard_phrases(text) == []


def test_the_glossary_has_the_words_of_the_project() -> None:
    """Each row is a term and its meaning; every document that needs one leads to the glossary."""
    text = (DATA / "docs/glossary.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", text, flags=re.MULTILINE)
    terms = {term for row, _ in rows for term in row.split(", ")}
    assert terms >= {
        "director", "real server", "virtual server", "VIP", "VRRP instance", "sync group", "advert",
        "preemption", "gratuitous ARP", "split brain", "policy routing", "routing table", "seed",
        "bake", "stage", "pool", "lock", "checkpoint", "experiment", "bar", "limit", "control",
        "watcher", "checklist", "handout", "bundle", "rule", "fault", "heal",
    }  # fmt: skip
    meanings = [meaning for term, meaning in rows if term not in ("term", "---")]
    assert all(meaning.endswith((".", ".)")) for meaning in meanings)
    for path in documents():
        assert "glossary.md" in path.read_text() or path.name == "glossary.md", path.name
