"""The verb `images` on a small disk: what is foreseen, what is kept, and where the time went."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from lvslab.cli.main import main
from lvslab.core import durations
from lvslab.core.errors import StageError
from lvslab.core.events import Event, Expected, Forecast, StageDone, StageStarted
from lvslab.core.stages import Stages
from lvslab.make import Options, forecast, watched
from lvslab.make.chart import NAME
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.reproduce import Build, compare
from lvslab.verify import Outcome, verify
from tests.small import Small

pytestmark = pytest.mark.slow

WORDS = ("images", "--role", "director", "--jobs", "1")
NEW = "no estimate yet: first build of these stages on this host"


class Verb:
    """`images` for one role, a stage after the other, and what it says."""

    def __init__(self, small: Small, capsys: pytest.CaptureFixture[str]) -> None:
        self.cache, self.out = small.options.cache, small.options.out
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[str, str]:
        """Standard output and standard error."""
        assert main([*WORDS, "--out", str(self.out), *words]) == 0
        said = self._capsys.readouterr()
        return said.out, said.err

    def events(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self(*words, "--json")[0].splitlines()]

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "build.json").read_text())
        return found


class AtOnce(Thread):
    """Ends before anything else goes on: these stages are made faster than they are foreseen."""

    def start(self) -> None:
        super().start()
        self.join()


@pytest.fixture
def images(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Verb:
    small.stand_in_for_the_verb(monkeypatch)
    monkeypatch.setattr("lvslab.make.foresight.Thread", AtOnce)
    return Verb(small, capsys)


def test_the_second_build_knows_what_the_first_took(images: Verb, tmp_path: Path) -> None:
    plan, _ = images("--dry-run")
    assert plan.splitlines()[-1] == NEW
    (event,) = (e for e in images.events("--dry-run") if e["event"] == "forecast")
    assert list(event["stages"]) == ["vmdk director", "ova director", "seeds", "verify"]
    assert event["seconds"] is None

    _, said = images()
    assert said.count(NEW) == 1
    assert said.splitlines()[:2] == ["… vmdk director", NEW]
    known = durations.load(Stages(images.cache))
    assert {"seeds", "vmdk director", "ova director", "verify"} == known.keys()
    took = {stage["name"]: stage["seconds"] for stage in images.report()["stages"]}
    assert known["vmdk director"][1] == took["vmdk director"]

    plan, _ = images("--dry-run")
    assert "would run" not in plan
    assert "left" not in plan, "what is cached costs nothing"
    assert "forecast" not in {event["event"] for event in images.events()}

    plan, _ = images("--dry-run", "--per-node")
    assert "2 stages are new on this host" in plan.splitlines()[-1]
    (folder,) = (images.cache / "stages/ova-director").glob("*[!s]")
    (folder / "director.ova").unlink()
    _, said = images()
    assert "about 5 s left (from 1 earlier build)" in said.splitlines()
    again = durations.load(Stages(images.cache))
    assert again["ova director"] != known["ova director"]
    assert again["seeds"] == known["seeds"]


def test_a_profile_is_shown_and_drawn_and_has_a_sum(images: Verb) -> None:
    shown, _ = images("--profile")
    table = shown.splitlines()[-7:]
    assert table[0].split() == ["stage", "start", "seconds", "share", "of", "the", "time"]
    assert [line[2:16].strip() for line in table[1:4]] == [
        "vmdk director", "ova director", "seeds"
    ]  # fmt: skip
    assert [line[0] for line in table[1:4]] == ["*", "*", "*"]
    assert all(line.split()[-2] == "made" and line.endswith("%") for line in table[1:4])
    assert table[-1].endswith(f"/{NAME}")

    root = ET.fromstring((images.out / NAME).read_text())
    words = [text.text for text in root.findall("{http://www.w3.org/2000/svg}text")]
    assert {"seeds", "vmdk director", "ova director"} <= set(words)
    starts = [stage["start"] for stage in images.report()["stages"]]
    assert all(0 <= start < images.report()["seconds"] for start in starts)
    assert starts == sorted(starts), "one after the other: each needs the one before"

    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=images.out, check=True)
    findings = {f.rule.id: f.outcome for f in verify(images.out) if f.rule.id.startswith("sums-")}
    assert findings["sums-complete"] == findings["sums-match"] == Outcome.PASS
    (images.out / NAME).write_text("another")
    findings = {f.rule.id: f.outcome for f in verify(images.out) if f.rule.id.startswith("sums-")}
    assert findings["sums-match"] == Outcome.FAIL


def test_a_profile_is_no_result(images: Verb, tmp_path: Path) -> None:
    """Builds that differ only in times are equal; the next build removes an old chart."""
    images("--profile")
    first = Build.load(images.out / "build.json")
    rows = [e for e in images.events("--profile") if e["event"] == "profile"]
    assert [row["cached"] for row in rows] == [True, True, True]
    assert NAME not in images.report()["artifacts"]
    second = Build.load(images.out / "build.json")
    assert first.report["stages"] != second.report["stages"]
    assert compare(first, second).differences == ()
    images()
    assert not (images.out / NAME).exists()
    assert NAME not in (images.out / "SHA256SUMS").read_text()
    own = images.out / NAME
    own.write_text("not of a build")
    images()
    assert own.read_text() == "not of a build"


def test_what_follows_from_a_missing_stage_is_foreseen(
    lab: Lab, specs: dict[str, RoleSpec], tmp_path: Path
) -> None:
    options = Options(tmp_path, tmp_path / "out", jobs=2)
    durations.add(Stages(tmp_path), 1, {"bake director": 100, "bundle": 4, "vmdk director": 7})
    durations.add(Stages(tmp_path), 2, {"bake real-server": 60, "bill director": 1})
    planned = [("common tree", True), ("bake director", False)]
    found = forecast(lab, specs, options, planned)
    assert list(found.stages) == [
        "bake director",
        "final tree director",
        "disk director",
        "vmdk director",
        "ova director",
        "bill director",
        "base director",
        "vmware folders",
        "packed director",
        "bundle",
        "verify",
    ]
    assert found.seconds == 100 + 7 + 4, "the bill is made beside the disk"
    assert (found.builds, found.jobs) == (2, 2)
    assert found.text.startswith("at least 2 min left (from 2 earlier builds; ")
    nothing = forecast(lab, specs, options, [("common tree", True)])
    assert (dict(nothing.stages), nothing.text) == ({}, "")


@pytest.mark.parametrize("error", [StageError("no"), OSError("gone")])
def test_a_forecast_that_fails_is_not_told(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """And a build that fails keeps what it has finished."""

    def breaks(*_: object) -> None:
        raise error

    monkeypatch.setattr("lvslab.make.foresight.plan", breaks)
    said: list[Event] = []
    events: list[Event] = [
        StageStarted("a"),
        StageDone("a", 2),
        StageDone("b", 0, cached=True),
        StageStarted("c"),
    ]
    options = Options(tmp_path, tmp_path / "out")
    with pytest.raises(ZeroDivisionError), watched(lab, {}, options, said.append) as listener:
        for event in events:
            listener(event)
        raise ZeroDivisionError
    assert said == events
    known = durations.load(Stages(tmp_path))
    assert {name: seconds for name, (_, seconds) in known.items()} == {"a": 2.0}


def test_a_build_has_one_forecast(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreseen = Forecast("soon", 1, 1, 1, {"a": Expected(())})
    monkeypatch.setattr("lvslab.make.foresight.plan", lambda *_: ())
    monkeypatch.setattr("lvslab.make.foresight.forecast", lambda *_: foreseen)
    said: list[Event] = []
    with watched(lab, {}, Options(tmp_path, tmp_path / "out"), said.append) as listener:
        listener(StageDone("tools", 0, cached=True))
        assert said == [StageDone("tools", 0, cached=True)]
        for name in "ab":
            listener(StageStarted(name))
    assert said.count(foreseen) == 1
