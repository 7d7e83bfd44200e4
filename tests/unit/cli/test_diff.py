"""`diff`: what a bake did and what becomes of it, as a user reads it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from lvslab.build.changes import TreeChange, TreeEntry, base_entry, index, save
from lvslab.cli.main import main
from lvslab.core.files import only_one
from lvslab.formats import sums
from lvslab.make import Pipeline
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.render import role_files

BASE = {"./etc/machine-id": b"", "./etc/hostname": b"lab\n", "./etc/debian_version": b"Debian\n"}


class Baked:
    """A base tree and a bake of the director: a file of the role, an emptied, a base, a stray."""

    def __init__(self, folder: Path, lab: Lab, spec: RoleSpec) -> None:
        self.base, self.baked = folder / "tree.tar", folder / "bake"
        (self.baked / "blobs").mkdir(parents=True)
        with tarfile.open(self.base, "w") as tar:
            for name, data in BASE.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        self.own, file = next(iter(role_files(lab, spec).items()))
        changes = [
            TreeChange(self.own, "added", None, self.entry(file.content.encode(), file.mode)),
            self.changed("/etc/machine-id", b"0123456789abcdef"),
            self.changed("/etc/hostname", b"bake\n"),
            self.changed("/etc/debian_version", b"Debian, baked\n"),
        ]
        save(sorted(changes, key=lambda c: c.path), self.baked / "changes.jsonl")

    def entry(self, data: bytes, mode: int = 0o644) -> TreeEntry:
        digest = hashlib.sha256(data).hexdigest()
        (self.baked / "blobs" / digest).write_bytes(data)
        return TreeEntry("file", mode, 0, 0, sha256=digest)

    def changed(self, path: str, data: bytes) -> TreeChange:
        with tarfile.open(self.base) as tar:
            return TreeChange(path, "changed", base_entry(tar, index(tar)[path]), self.entry(data))


@pytest.fixture
def baked(
    tmp_path: Path, lab: Lab, specs: dict[str, RoleSpec], monkeypatch: pytest.MonkeyPatch
) -> Baked:
    made = Baked(tmp_path, lab, specs["director"])
    monkeypatch.setattr(Pipeline, "base_tree", lambda *_: made.base)
    monkeypatch.setattr(Pipeline, "changes", lambda *_: made.baked)
    monkeypatch.setenv("LVSLAB_CACHE", str(tmp_path / "cache"))
    return made


def test_no_build_is_beside_it(
    baked: Baked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with only_one(tmp_path / "cache/lock", "build"):
        assert main(["diff", "director"]) == 4
    assert f"another build is at work (process {os.getpid()})" in capsys.readouterr().err


def test_every_path_is_shown_with_its_rule(
    baked: Baked, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", "director"]) == 0
    said = capsys.readouterr().out
    assert f"keep       added    {baked.own}  (a file of the role)\n" in said
    assert "empty      changed  /etc/machine-id  (systemd makes a new one at the first" in said
    assert "base       changed  /etc/hostname  (the seed sets it)\n" in said
    stray = "undeclared changed  /etc/debian_version  (no rule)\n    --- base\n    +++ baked\n"
    assert stray in said
    assert "    +Debian, baked\n" in said
    assert said.endswith(
        "4 paths: 2 ship, 1 are not declared, the others are dropped or taken from base\n"
    )


def test_what_ships_is_shown_alone(baked: Baked, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "director", "--shipped", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    shown = {event["path"]: event["rule"] for event in events if event["event"] == "difference"}
    assert shown == {baked.own: "keep", "/etc/machine-id": "empty"}


def test_an_undeclared_change_ends_a_build_before_anything_is_placed(
    baked: Baked,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Through the verb and the stage of the final tree; no stage after it begins."""
    for name in ("tools", "packer", "common_tree"):
        monkeypatch.setattr(Pipeline, name, lambda *_: baked.base)
    out = tmp_path / "artifacts"
    assert main(["images", "--role", "director", "--out", str(out)]) == 4
    shown = capsys.readouterr().err
    assert "error: roles/director/role.yaml: the bake changed 1 path(s) that the role" in shown
    assert "changed /etc/debian_version" in shown
    assert sums.artifacts(out) == []
    made = {path.name for path in (tmp_path / "cache/stages").iterdir()}
    assert made <= {"seeds", "final-tree-director"}
    assert not list((tmp_path / "cache/stages").glob("final-tree-director/*"))
