"""A damaged cache: whatever is broken in it, the artifacts are right and the user is warned."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lvslab.build.mirror import Mirrors
from lvslab.build.packer import PINNED
from lvslab.build.pool import Pool
from lvslab.cli.main import main
from lvslab.core import digests
from lvslab.core.contents import Contents, walk
from lvslab.core.digests import PERIOD_DAYS, state
from lvslab.core.errors import CheckFailed, StageError
from lvslab.core.events import Event, Note
from lvslab.core.files import sha256_file
from lvslab.core.stages import Stages, finished, record_of
from lvslab.lab import base_disks
from tests.small import Small
from tests.strategies import variants
from tests.unit.build.test_pool import Mirror, mirror, package, pool
from tests.unit.core.test_contents import swap
from tests.unit.core.test_stages import writes

pytestmark = pytest.mark.slow

__all__ = ["mirror"]
WORDS = ("images", "--role", "director", "--per-node")


def rot(folder: Path, name: str, offset: int = 5) -> None:
    """Change a byte of a stage's file as a bad disk does: its size, inode and times stay."""
    record = Contents.load(record_of(folder))
    assert record is not None
    swap(folder / name, offset)
    there = dict(walk(folder))
    entries = {n: replace(entry, state=state(there[n])) for n, entry in record.entries.items()}
    replace(record, entries=entries).save(record_of(folder))


def whole(folder: Path) -> dict[str, str]:
    """The artifacts in a folder with their sums; the report has times of its own."""
    files = [path for path in folder.rglob("*") if path.is_file() and "log" not in path.parts]
    return {
        str(path.relative_to(folder)): sha256_file(path)
        for path in files
        if path.name not in ("build.json", "SHA256SUMS", ".lock")
    }


class Build:
    """The verb `images` on a small disk, and what it said."""

    def __init__(self, small: Small, capsys: pytest.CaptureFixture[str]) -> None:
        self.cache, self.out = small.options.cache, small.options.out
        self.capsys = capsys
        self(status=0)
        self.right = whole(self.out)
        assert len(self.right) > 6

    def __call__(self, *words: str, status: int = 0) -> str:
        assert main([*WORDS, "--out", str(self.out), *words]) == status
        return self.capsys.readouterr().err

    def stage(self, name: str) -> Path:
        (folder,) = (f for f in finished(self.cache) if f.parent.name == name)
        return folder

    def demand_fixed(self, said: str, *warnings: str) -> None:
        """The artifacts are right, these warnings and no others were given, and never again."""
        assert [line for line in said.splitlines() if line.startswith("warning: ")] == [
            f"warning: {warning}" for warning in warnings
        ]
        assert whole(self.out) == self.right
        assert "warning" not in self()
        subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=self.out, check=True)


@pytest.fixture
def build(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Build:
    small.stand_in_for_the_verb(monkeypatch)
    return Build(small, capsys)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (lambda file: os.truncate(file, 100), "{} has 100 bytes, not {}"),
    "a byte": (swap, "{} has other content"),
    "gone": (Path.unlink, "{} is gone"),
}
STAGES = {
    "seeds": "lvs1.iso",
    "vmdk-director": "director-disk1.vmdk",
    "ova-director": "director.ova",
    "ova-lvs1": "lvs1.ova",
}


@pytest.mark.parametrize(
    ("name", "kind"),
    variants(
        ("ova-director", "cut short"),
        *((name, "a byte") for name in STAGES),
        ("seeds", "gone"),
    ),
)
def test_a_damaged_file_is_reported_and_made_again(build: Build, name: str, kind: str) -> None:
    damage, said = DAMAGE[kind]
    file = build.stage(name) / STAGES[name]
    size = file.stat().st_size
    damage(file)
    fault = said.format(STAGES[name], size)
    shown = f"the cache is damaged: {name.replace('-', ' ')}: {fault}; this stage is made again"
    build.demand_fixed(build(), shown)


def test_what_a_bad_disk_did_is_seen_when_all_is_read(build: Build) -> None:
    shown = []
    for name, file in sorted(STAGES.items()):
        rot(build.stage(name), file)
        what = f"{name.replace('-', ' ')}: {file} has other content"
        shown.append(f"warning: the cache is damaged: {what}; this stage is made again")
    assert "warning" not in build()  # the cheap look cannot see it
    said = build("--check-cache").splitlines()
    assert sorted(line for line in said if line.startswith("warning")) == sorted(shown)
    assert whole(build.out) == build.right
    assert "warning" not in build("--check-cache")


def test_what_a_bad_disk_did_never_leaves_the_cache(build: Build) -> None:
    """It is not seen cheaply, but what is copied is read."""
    rot(build.stage("ova-director"), "director.ova")
    (build.out / "ova/director.ova").unlink()
    said = build(status=4)
    assert "the cache is damaged: director.ova has other content than when it was made" in said
    assert "to fix it: python3 build.py images --check-cache makes it again" in said
    assert not (build.out / "ova/director.ova").exists()
    assert "this stage is made again" in build("--check-cache")
    assert whole(build.out) == build.right


def test_all_is_read_after_a_week(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    rot(build.stage("ova-director"), "director.ova")
    assert "warning" not in build()
    later = time.time() + PERIOD_DAYS * 86400 + 60
    monkeypatch.setattr(time, "time", lambda: later)
    build.demand_fixed(
        build(),
        "the cache is damaged: ova director: director.ova has other content; "
        "this stage is made again",
    )


RECORD: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "cut short": lambda path: os.truncate(path, 100),
    "a byte": lambda path: swap(path, 90),
    "no text": lambda path: path.write_bytes(b"\xff" * 100),
}


@pytest.mark.parametrize("kind", variants(*RECORD))
def test_a_damaged_record_makes_its_stage_again(build: Build, kind: str) -> None:
    RECORD[kind](record_of(build.stage("ova-director")))
    build.demand_fixed(
        build(),
        "the cache is damaged: ova director: the record of its sums is missing or damaged; "
        "this stage is made again",
    )


@pytest.mark.parametrize("kind", variants(*RECORD))
def test_a_damaged_memory_of_sums_costs_time_only(build: Build, kind: str) -> None:
    RECORD[kind](build.cache / "digests.json")
    build.demand_fixed(build())


def test_many_damaged_files_are_counted(tmp_path: Path) -> None:
    def many(folder: Path, progress: object) -> None:
        for number in range(5):
            (folder / str(number)).write_text("x")

    said: list[Event] = []
    folder = Stages(tmp_path).run("tree", {}, many)
    for path in folder.iterdir():
        path.write_text("changed")
    Stages(tmp_path, said.append).run("tree", {}, many)
    assert [event.text for event in said if isinstance(event, Note)] == [
        "the cache is damaged: tree: 0 has 7 bytes, not 1, 1 has 7 bytes, not 1, "
        "2 has 7 bytes, not 1 and 2 more; this stage is made again"
    ]


def test_a_dry_run_says_it_and_touches_nothing(build: Build) -> None:
    file = build.stage("ova-director") / "director.ova"
    swap(file)
    broken = sha256_file(file)
    assert main([*WORDS, "--dry-run"]) == 0
    said = build.capsys.readouterr()
    assert "would run  ova director" in said.out
    assert "director.ova has other content; this stage would be made again" in said.err
    assert sha256_file(file) == broken


def test_what_another_made_meanwhile_is_taken_with_its_own_record(tmp_path: Path) -> None:
    """Two processes that make one stage at the same time: `lab up` twice."""

    other = tmp_path / "other"

    def slower(folder: Path, progress: object) -> None:
        shutil.copytree(Stages(other).run("tree", {}, writes("theirs")), final)
        (folder / "result").write_text("ours, which comes too late")

    final = tmp_path / Stages(other).run("tree", {}, writes("theirs")).relative_to(other)
    assert Stages(tmp_path).run("tree", {}, slower) == final
    said: list[Event] = []
    Stages(tmp_path, said.append).run("tree", {}, writes("a third"))
    assert (final / "result").read_text() == "theirs"
    assert not [event for event in said if isinstance(event, Note)]


# --- what is placed


@pytest.mark.parametrize("kind", variants(*DAMAGE))
def test_a_damaged_artifact_is_reported_and_placed_again(build: Build, kind: str) -> None:
    file = build.out / "ova/director.ova"
    DAMAGE[kind][0](file)
    fault = "is gone" if kind == "gone" else "is not what was built"
    build.demand_fixed(build(), f"{file} {fault}; it is placed again")


def test_an_artifact_that_a_bad_disk_changed_is_seen_when_all_is_read(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = build.out / "ova/director.ova"
    before = digests.state(file.stat())
    swap(file)
    inode = file.stat().st_ino
    really = digests.state
    monkeypatch.setattr(
        digests, "state", lambda stat: before if stat.st_ino == inode else really(stat)
    )
    assert "warning" not in build()
    shown = f"{file} is not what was built; it is placed again"
    build.demand_fixed(build("--check-cache"), shown)


# --- a cache that cannot be written


@pytest.fixture
def read_only(build: Build) -> Iterator[Build]:
    """The cache on a file system that takes no writes."""
    subprocess.run(["mount", "--bind", build.cache, build.cache], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", build.cache], check=True)
        yield build
    finally:
        subprocess.run(["umount", build.cache], check=True)


needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@needs_mounts
def test_a_cache_that_cannot_be_written_is_used(read_only: Build) -> None:
    shutil.rmtree(read_only.out)
    said = read_only("--check-cache")
    assert f"warning: the cache ({read_only.cache}) cannot be written: what it has is used" in said
    assert whole(read_only.out) == read_only.right


@needs_mounts
def test_damage_that_cannot_be_fixed_ends_the_build(build: Build) -> None:
    swap(build.stage("ova-director") / "director.ova")
    shutil.rmtree(build.out)
    subprocess.run(["mount", "--bind", build.cache, build.cache], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", build.cache], check=True)
        said = build(status=4)
    finally:
        subprocess.run(["umount", build.cache], check=True)
    assert "the cache is damaged: ova director: director.ova has other content" in said
    assert "Read-only file system" in said
    assert "set LVSLAB_CACHE to a folder that you may write" in said
    assert not whole(build.out)
    build.demand_fixed(
        build(),
        "the cache is damaged: ova director: director.ova has other content; "
        "this stage is made again",
    )


# --- the rest of the cache


def test_packages_are_read_too(tmp_path: Path, mirror: Mirror) -> None:
    good, cut, absent = (package(text, f"pool/{text.decode()}.deb") for text in (b"a", b"b", b"c"))
    for item in (good, cut):
        mirror.answers[f"/{item.path}"] = (item.path[5:6].encode(), 1)
    pool(tmp_path, mirror.url).get([good, cut])
    said: list[Event] = []
    listening = Pool(tmp_path, Mirrors({"debian": (mirror.url,)}), listener=said.append)
    swap(listening.path(cut), 0)
    assert listening.check([good, cut, absent]) == 1
    assert said == [
        Note(
            "the cache is damaged: b.deb has other content; it is fetched when needed "
            f"({listening.path(cut)})",
            "warning",
        )
    ]
    assert not listening.path(cut).exists()
    assert listening.get([cut])[0].read_bytes() == b"b"


def test_a_damaged_package_without_network_is_named(tmp_path: Path, mirror: Mirror) -> None:
    mirror.answers[f"/{package(b'a').path}"] = (b"a", 1)
    (path,) = pool(tmp_path, mirror.url).get([package(b"a")])
    swap(path, 0)
    with pytest.raises(StageError, match="a_1_amd64.deb is damaged in the cache and --offline"):
        pool(tmp_path, offline=True).get([package(b"a")])


def test_check_cache_reads_what_this_build_does_not_use(build: Build) -> None:
    other = Stages(build.cache).run("lab disk director", {"ova": "1"}, writes("a raw disk"))
    rot(other, "result")
    kept = build.cache / "pool" / PINNED.sha256[:2] / f"{PINNED.sha256}.deb"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"not Packer")
    said = build("--check-cache")
    assert (
        "warning: the cache is damaged: lab-disk-director: result has other content; "
        "it is made again when it is used"
    ) in said
    assert "packer_1.6.6+ds2-1+b1_amd64.deb has other content; it is fetched when needed" in said
    assert "the whole cache was read: " in said
    assert "0 packages are sound" in said
    assert not kept.exists()
    again = Stages(build.cache).run("lab disk director", {"ova": "1"}, writes("a raw disk"))
    assert (again / "result").read_text() == "a raw disk"
    assert build("--check-cache").count("warning") == 0


@pytest.fixture
def disks(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A node's VMDK over its base in a folder of artifacts, and the raw disk that both are."""
    raw, out = tmp_path / "raw", tmp_path / "artifacts"
    base, child = out / "base.vmdk", out / "child.vmdk"
    out.mkdir()
    raw.write_bytes(b"from the base".ljust(1 << 20, b"\0"))
    subprocess.run(["qemu-img", "convert", "-O", "vmdk", raw, base], check=True)
    create = ["qemu-img", "create", "-q", "-f", "vmdk", "-F", "vmdk"]
    subprocess.run([*create, "-b", base, child], check=True)
    lines = [f"{sha256_file(path)}  {path.name}\n" for path in (base, child)]
    (out / "SHA256SUMS").write_text("".join(lines))
    return raw, base, child


def test_a_damaged_raw_disk_of_the_lab_is_made_again(
    disks: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    raw, _, child = disks
    said: list[Event] = []
    flat = base_disks.flat_disk(child, "lvs1", tmp_path / "cache", said.append)
    os.truncate(flat, 4096)
    again = base_disks.flat_disk(child, "lvs1", tmp_path / "cache", said.append)
    assert again.read_bytes() == raw.read_bytes()
    assert [event.text for event in said if isinstance(event, Note)] == [
        "the cache is damaged: lab disk lvs1: disk.raw has 4096 bytes, not 1048576; "
        "this stage is made again"
    ]


def test_a_damaged_base_is_not_run(disks: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, base, child = disks
    with child.open("ab") as file:
        file.write(b"the node was run")
    base_disks.flat_disk(child, "lvs1", tmp_path / "cache")
    swap(base, base.stat().st_size - 1)
    with pytest.raises(CheckFailed, match="this file is not the one that was built") as caught:
        base_disks.flat_disk(child, "lvs1", tmp_path / "cache")
    assert caught.value.where == str(base)
    assert caught.value.hint == "python3 build.py images puts the right one there"


def test_a_damaged_ova_is_not_run(build: Build) -> None:
    ova = build.out / "ova/director.ova"
    base_disks.base_disk(ova, build.cache)
    swap(ova)
    with pytest.raises(CheckFailed, match="this file is not the one that was built"):
        base_disks.base_disk(ova, build.cache)


def test_the_note_of_a_probe_that_was_damaged_is_none(tmp_path: Path) -> None:
    Stages(tmp_path).note("acceleration", "kvm")
    assert Stages(tmp_path).noted("acceleration") == "kvm"
    (tmp_path / "notes/acceleration.json").write_text("{")
    assert Stages(tmp_path).noted("acceleration") is None


def test_inputs_in_the_report_are_short(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    inputs = {
        "text": "a\nscript",
        "long": "x" * 1000,
        "many": ["a"] * 9,
        "epoch": 5,
        "id": "a" * 64,
    }
    stages.run("tree", inputs, writes("x"))
    (record,) = stages.records
    assert len(json.dumps(record.inputs)) < 500
    assert record.inputs["epoch"] == 5
    assert record.inputs["id"] == "a" * 64
    other = Stages(tmp_path)
    other.run("tree", inputs | {"many": ["a"] * 8 + ["b"]}, writes("x"))
    differing = {key for key in inputs if other.records[0].inputs[key] != record.inputs[key]}
    assert differing == {"many"}
