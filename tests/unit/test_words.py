"""Numbers as texts: no rendered text holds an exponent, whatever lab.yaml says."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import Environment

from lvslab.core.words import decimal
from lvslab.model import rules
from lvslab.model.lab import Lab, Role
from lvslab.model.role import RoleSpec
from lvslab.render import node_seed
from lvslab.render.files import role_files
from lvslab.render.handout import handout
from lvslab.render.texts import ROOT
from tests.strategies import labs

EXPONENT = re.compile(r"(?<![\w.-])\d+(\.\d+)?e[-+]?\d+(?![\w-])", re.IGNORECASE)


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


def texts_of(lab: Lab, specs: dict[Role, RoleSpec]) -> dict[str, str]:
    """Every text that is rendered for the images, the seeds and the VMware folder."""
    found = dict(handout(lab))
    for role in Role:
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
    lab: Lab, specs: dict[Role, RoleSpec], seconds: float, tracked: bool
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


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(this=labs(max_real_servers=40))
def test_no_text_of_a_random_lab_holds_one(specs: dict[Role, RoleSpec], this: Lab) -> None:
    for name, text in texts_of(this, specs).items():
        assert not EXPONENT.search(text), name


def test_the_search_finds_an_exponent(lab: Lab) -> None:
    """The control: what the templates said before."""
    for value in (0.00001, 1e22):
        text = Environment().from_string('delay_loop {{ "%g" | format(value) }}\n')
        assert EXPONENT.search(text.render(value=value))
        assert EXPONENT.search(f"delay_loop {value}\n")
    assert not EXPONENT.search("00:50:56:01:0e:05 1e lvs1e5 f0e5-1 vmnet12")


def test_templates_have_one_way_to_write_a_number() -> None:
    """`%g`, and a number of seconds that no filter writes out, bring the exponent back."""
    places = [
        ROOT / "roles",
        ROOT / "cloud-init",
        ROOT / "packer",
        ROOT / "lvslab/render/templates",
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
