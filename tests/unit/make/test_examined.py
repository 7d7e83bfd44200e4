"""What `verify` refuses never leaves `images` with status 0; what passed is not looked at again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lvslab.cli import main
from lvslab.core.code import reached
from lvslab.core.errors import StageError
from lvslab.core.events import Event, StageDone, StageFailed, StageProgress, silent
from lvslab.core.files import sha256_file
from lvslab.formats import seed_iso
from lvslab.make import Pipeline, examined
from lvslab.model.lab import Lab
from lvslab.render import node_seed
from lvslab.verify import Outcome

EPOCH = 1_700_000_000


@pytest.fixture
def out(lab: Lab, tmp_path: Path) -> Path:
    """A folder with the seeds of two nodes."""
    folder = tmp_path / "out"
    folder.mkdir()
    for node in ("lvs1", "rs1"):
        seed_iso.write_iso(node_seed(lab, node), folder / f"{node}.iso", epoch=EPOCH)
    return folder


def sums(folder: Path) -> dict[Path, str]:
    return {path: sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_only_what_is_new_is_looked_at(lab: Lab, out: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    first = examined.examine(lab, out, sums(out), tmp_path, events.append)
    assert {f.artifact for f in first} == {"lvs1.iso", "rs1.iso"}
    assert {f.outcome for f in first} == {Outcome.PASS}
    assert isinstance(events[-1], StageDone)
    events.clear()
    assert examined.examine(lab, out, sums(out), tmp_path, events.append) == []
    assert events == []
    seed_iso.write_iso(node_seed(lab, "rs1"), out / "rs1.iso", epoch=EPOCH + 1)
    again = examined.examine(lab, out, sums(out), tmp_path, events.append)
    assert {f.artifact for f in again} == {"rs1.iso"}
    assert [e.note for e in events if isinstance(e, StageProgress)] == ["rs1.iso"]


def test_what_is_refused_is_refused_again(lab: Lab, out: Path, tmp_path: Path) -> None:
    """The second run makes nothing again, and must not end well for that."""
    (out / "rs1.iso").write_bytes(bytes(100_000))
    events: list[Event] = []
    for _ in range(2):
        with pytest.raises(StageError) as caught:
            examined.examine(lab, out, sums(out), tmp_path, events.append)
        said = caught.value
        assert said.where == "rs1.iso"
        assert said.message.startswith("what was made is refused: seed-label: it is not an ISO")
        assert said.status == 4
        assert isinstance(events[-1], StageFailed)


@pytest.mark.parametrize("what", ["lab", "rules", "memory"])
def test_another_lab_and_other_rules_look_again(
    lab: Lab, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    examined.examine(lab, out, sums(out), tmp_path, silent)
    other = lab
    if what == "lab":
        other = lab.model_copy(update={"login": lab.login.model_copy(update={"user": "pupil"})})
    elif what == "rules":
        monkeypatch.setattr(examined, "source_digest", lambda modules: "other")
    else:
        (tmp_path / "notes/verified.json").write_text("{broken")
    assert examined.examine(other, out, sums(out), tmp_path, silent) != []


def test_the_rules_and_what_they_read_with_count() -> None:
    wanted = {"lvslab.verify.seeds.volume", "lvslab.verify.rules", "lvslab.formats.vmx"}
    assert wanted <= set(reached(examined.RULES))


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_images_ends_with_status_4_for_what_verify_refuses(
    lab: Lab,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    broken: bool,
) -> None:
    """A refused artifact is not signed; the same build with a right one is, and ends with 0."""
    if broken:
        (out / "rs1.iso").write_bytes((out / "lvs1.iso").read_bytes())
    everything = {f"seeds/{path.name}": path for path in out.iterdir()}
    monkeypatch.setattr(Pipeline, "all", lambda this: everything)
    monkeypatch.setattr("lvslab.make.host_programs.versions", lambda stages: {})
    monkeypatch.setattr("lvslab.core.programs.ensure", lambda *words: None)
    monkeypatch.setenv("LVSLAB_CACHE", str(tmp_path / "cache"))
    words = ["images", "--json", "--out", str(tmp_path / "artifacts")]
    for _ in range(2):
        assert main.main(words) == (4 if broken else 0)
        shown = capsys.readouterr()
        assert ("rs1.iso: what was made is refused: seed-node" in shown.err) == broken
        last = json.loads(shown.out.splitlines()[-1])
        assert (last["event"], last["status"]) == ("end", 4 if broken else 0)
