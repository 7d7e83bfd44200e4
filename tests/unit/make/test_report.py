"""build.json: small, readable, and enough to build the same again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lvslab.build import lockfile as locks
from lvslab.cli.main import main
from lvslab.core.errors import InputError
from lvslab.make import Artifact, Options, Pipeline
from lvslab.make.report import FORM, lock_of, lock_table, report, role_sums, text
from lvslab.make.trees import LOCK
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.reproduce import Build, again, compare
from tests.small import Small
from tests.unit.make.test_stage_inputs import Recorder

pytestmark = pytest.mark.slow

LIMIT = 150_000  # bytes, for the default lab


@pytest.fixture
def values(
    lab: Lab, specs: dict[str, RoleSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The report of a whole build of the default lab, an OVA of each node included."""
    monkeypatch.setattr("lvslab.make.host_programs.versions", lambda stages: {})
    pipeline = Pipeline(lab, specs, Options(tmp_path / "cache", tmp_path, per_node=True))
    pipeline.stages = recorder = Recorder(tmp_path / "cache")
    recorder.seen = {}
    names = [*pipeline.all(), *(f"vmware/{node}/{node}.vmdk" for node in lab.nodes)]
    artifacts = [Artifact(tmp_path / name, 12_345_678, "a" * 64) for name in names]
    return report(pipeline, artifacts, 1.0)


def test_it_is_small_for_the_default_lab(values: Mapping[str, Any]) -> None:
    assert len(values["stages"]) > 20
    shares = {key: len(text({key: value})) for key, value in values.items()}
    assert len(text(values)) <= LIMIT, shares


def test_no_script_is_in_it(values: Mapping[str, Any]) -> None:
    for stage in values["stages"]:
        for key, value in stage["inputs"].items():
            assert len(str(value)) <= 80, (stage["name"], key)
    assert "#!/" not in text(values)


def test_a_long_input_would_be_seen(values: dict[str, Any]) -> None:
    values["stages"][0]["inputs"]["script"] = "#!/bin/sh\n" * 10_000
    assert len(text(values)) > LIMIT


def test_its_text_is_json_with_an_entry_a_line(values: Mapping[str, Any]) -> None:
    shown = text(values)
    assert json.loads(shown) == json.loads(json.dumps(values))
    lines = shown.splitlines()
    assert sum('"ova director"' in line for line in lines) == 1
    for package in locks.load(LOCK).packages[:3]:
        (row,) = (line for line in lines if line.lstrip().startswith(f'["{package.name}"'))
        assert package.path in row


def test_the_lock_in_it_is_the_lock(values: Mapping[str, Any], tmp_path: Path) -> None:
    kept = json.loads(text(values))["lock"]
    assert lock_of(kept, "here") == locks.load(LOCK)
    locks.save(lock_of(kept, "here"), tmp_path / "lock")
    assert (tmp_path / "lock").read_bytes() == LOCK.read_bytes()


def short_row(table: dict[str, Any]) -> None:
    table["packages"][3] = table["packages"][3][:-1]


def far_group(table: dict[str, Any]) -> None:
    table["groups"]["base"].append(99_999)


def no_columns(table: dict[str, Any]) -> None:
    del table["columns"]


@pytest.mark.parametrize("damage", [short_row, far_group, no_columns])
def test_a_damaged_lock_is_reported(damage: Any) -> None:
    table = json.loads(json.dumps(lock_table(locks.load(LOCK))))
    damage(table)
    with pytest.raises(InputError, match="the lock in it is damaged") as caught:
        lock_of(table, "build.json")
    assert caught.value.where == "build.json"


def test_another_role_is_another_sum(specs: dict[str, RoleSpec]) -> None:
    spec = specs["director"]
    other = {"director": spec.model_copy(update={"summary": "another"})}
    assert role_sums(other) != role_sums({"director": spec})
    assert role_sums(specs)["director"] == role_sums({"director": spec})["director"]


def test_another_form_is_refused_with_its_commit(tmp_path: Path) -> None:
    data: dict[str, Any] = {"artifacts": {}, "stages": [], "lab": {}, "roles": {}, "lock": {}}
    data["source"] = {"sha256": "1", "commit": "abc"}
    (tmp_path / "build.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="has form 1, and this lvslab reads form 2") as caught:
        Build.load(tmp_path / "build.json")
    assert caught.value.hint == "check out the commit abc, then try again"
    (tmp_path / "build.json").write_text(json.dumps(data | {"form": FORM}))
    assert Build.load(tmp_path / "build.json").report["form"] == FORM


def test_a_role_that_differs_is_reported(values: dict[str, Any]) -> None:
    first = Build(json.loads(text(values)))
    other = values | {"roles": values["roles"] | {"director": "0" * 64}}
    assert compare(first, first).notes == ()
    was = values["roles"]["director"]
    assert compare(first, replace(first, report=other)).notes == (
        f"role director {was} -> {'0' * 64}",
    )


def test_what_it_says_is_built_again(
    small: Small,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The verb with --from, on a small disk; the second build is in this process."""
    small.stand_in(monkeypatch)
    monkeypatch.setattr("lvslab.cli.common.Session.ensure", lambda *_: None)
    monkeypatch.setattr("lvslab.make.host_programs.versions", lambda stages: {})
    out, published = tmp_path / "out", tmp_path / "published/build.json"
    assert main(["images", "--role", "director", "--per-node", "--out", str(out)]) == 0
    published.parent.mkdir()
    published.write_bytes((out / "build.json").read_bytes())
    asked = []

    def follow(_words: object, checkout: Path, work: Path, *_: object) -> None:
        request = json.loads((work / "request.json").read_text())
        assert (checkout / "packages.lock").read_bytes() == LOCK.read_bytes()
        asked.append(request)
        umask = os.umask(0o022)
        try:
            again._build(request)
        finally:
            os.umask(umask)

    monkeypatch.setattr(again, "_follow", follow)
    words = ["reproduce", "--from", str(published), "--work", str(tmp_path)]
    assert main(words) == 0, capsys.readouterr().err
    assert "files are the same, byte for byte" in capsys.readouterr().out
    assert asked[0]["roles"] == ["director"]
    assert asked[0]["per_node"]
    data = json.loads(published.read_text())
    data["artifacts"]["ova/lvs1.ova"]["sha256"] = "0" * 64
    published.write_text(json.dumps(data))
    assert main(words) == 1
    assert "the first is ova/lvs1.ova of the stage artifacts" in capsys.readouterr().err
