"""The page of `lab failover`: small, alone, and it shows what was lost."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree

from lvslab.measure import experiments, timeline
from lvslab.measure.failover import Run, Verdict
from lvslab.measure.failover_page import page
from lvslab.measure.probe import Request, view
from lvslab.model.lab import Lab

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
BEAT = 0.01


def run(lab: Lab, name: str, lost: range = range(0)) -> Run:
    """Six seconds of a hundred requests a second; those numbers of web1's were lost."""
    requests = {}
    for server in lab.virtual_servers:
        requests[server] = [
            Request(at := number * BEAT - 1, True, at + 0.005, "rs1") for number in range(600)
        ]
    for number in lost:
        requests["web1"][number].error = "no answer"
    adverts = [(t / 5, i, "lvs2") for t in range(-5, 25) for i in lab.vrrp_instances]
    views = {server: view(asked, -0.5, 5) for server, asked in requests.items()}
    owners = {instance: ["lvs2"] for instance in lab.vrrp_instances}
    moves = dict.fromkeys(owners, 0)
    return Run(name, 5, 0.0, views, owners, moves, 0.7, 0.7, [], [], requests, adverts, [])


def verdicts(lab: Lab, lost: range = range(0)) -> list[Verdict]:
    return [
        Verdict(experiment, [run(lab, experiment.name, lost)])
        for experiment in experiments.everything(lab).values()
    ]


def test_all_faults_make_a_page_below_200_kb(lab: Lab) -> None:
    text = page(lab, verdicts(lab, range(100, 160)), NOW)
    assert len(text.encode()) < 200_000
    for name in experiments.everything(lab):
        assert f'id="{name}"' in text


def test_it_needs_no_other_file_and_runs_nothing(lab: Lab) -> None:
    text = page(lab, verdicts(lab), NOW)
    assert "default-src 'none'" in text
    assert not re.search(r"<(script|img|link|iframe)|url\(|https?://(?!www\.w3\.org)", text)


def test_a_broken_limit_is_shown_in_words_that_are_escaped(lab: Lab) -> None:
    (crash,) = [each for each in verdicts(lab) if each.experiment.name == "crash"]
    crash.runs[0].problems.append("too <late>")
    text = page(lab, [crash], NOW)
    assert "too &lt;late&gt;" in text and "✗" in text and "1 over a limit" in text
    assert "✗" not in page(lab, verdicts(lab), NOW)


def colours(lab: Lab, lost: range) -> dict[str, float]:
    """How many pixels of each colour the lanes of requests and adverts have."""
    experiment = experiments.everything(lab)["crash"]
    root = ElementTree.fromstring(
        timeline.draw_one(lab, Verdict(experiment, [run(lab, "crash", lost)]))
    )
    found: dict[str, float] = {}
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        wide = sum(map(float, re.findall(r"h([\d.]+)", path.get("d", ""))))
        found[path.get("fill", "")] = found.get(path.get("fill", ""), 0) + wide
    return found


def test_what_was_lost_is_as_long_as_it_took(lab: Lab) -> None:
    """860 pixels are six seconds: what 60 requests in a row lost is a tenth of them."""
    whole, broken = colours(lab, range(0)), colours(lab, range(200, 260))
    red = timeline._BAD
    assert red not in whole
    assert abs(broken[red] - 86) < 4
    assert abs(whole[timeline._GOOD] - broken[timeline._GOOD] - 86) < 4
