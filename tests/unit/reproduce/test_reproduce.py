"""Two builds compared: equal ones are equal, and every kind of planted difference is named."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lvslab import reproduce as check
from lvslab.build import lockfile as locks
from lvslab.build.bake import Circumstances
from lvslab.build.disk import SECTOR, layout
from lvslab.cli.main import main
from lvslab.core.errors import InputError, StageError
from lvslab.core.events import Event, StageDone, silent
from lvslab.core.places import DATA
from lvslab.formats import ova, seed_iso, vmdk
from lvslab.make import Built, Options, Profile, provenance
from lvslab.make.report import FORM, lock_table
from lvslab.make.trees import LOCK
from lvslab.model.lab import Lab
from lvslab.render import node_seed
from lvslab.render.ovf import OvfDisk, ovf
from lvslab.reproduce import Build, Conditions, Reproduced, again, choose, compare, conditions
from lvslab.reproduce.place import first_difference
from tests import appliance

EPOCH = 1_700_000_000
DISK_MIB = 96
STAGES = {
    "common tree": "tree.tar",
    "seeds": "lvs1.iso",
    "bake director": "changes.jsonl",
    "final tree director": "tree.tar",
    "disk director": "disk.raw",
    "vmdk director": "director-disk1.vmdk",
    "ova director": "director.ova",
    "bundle": "lab.zip",
    "bill director": "director.cdx.json",
}


def tree(path: Path, **changes: Any) -> None:
    """A small tree; `changes` may set text, mode, mtime, the order, or one more member."""
    names = ["./etc", "./etc/motd", "./etc/hosts"]
    if changes.get("more"):
        names.append("./etc/random-seed")
    if changes.get("reverse"):
        names[1:] = names[:0:-1]
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            data = changes.get("text", "hello\n").encode()
            info.mtime, info.mode = EPOCH, 0o644
            if name == "./etc":
                info.type, data = tarfile.DIRTYPE, b""
            if name == "./etc/motd":
                info.mode = changes.get("mode", 0o644)
                info.mtime = changes.get("mtime", EPOCH)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sparse disk of our layout, with an ext4 that has two files."""
    folder = tmp_path_factory.mktemp("disk")
    for name in ("etc/motd", "var/log"):
        (folder / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "root" / name).write_bytes(name.encode() * 3000)
    root = layout(DISK_MIB)[-1]
    size = f"{root.sectors // 2}k"
    appliance.run("mke2fs", "-q", "-t", "ext4", "-d", folder / "root", folder / "part", size)
    path = folder / "disk.raw"
    with path.open("wb") as file:
        file.truncate(DISK_MIB << 20)
        file.seek(root.start * SECTOR)
        file.write((folder / "part").read_bytes())
    return path


def make_vmdk(raw: Path, target: Path) -> OvfDisk:
    written = vmdk.write_stream_optimized(raw, target)
    return OvfDisk(target.name, written.size, written.capacity, written.populated)


@pytest.fixture
def twins(tmp_path: Path, lab: Lab, disk: Path) -> tuple[Path, Path]:
    """The folders of two equal builds, each with a cache and build.json."""
    for name in ("first", "second"):
        places = {
            stage: tmp_path / name / "stages" / stage.replace(" ", "-") / f"id-{name}" / file
            for stage, file in STAGES.items()
        }
        for place in places.values():
            place.parent.mkdir(parents=True)
        tree(places["common tree"])
        seed_iso.write_iso(node_seed(lab, "lvs1"), places["seeds"], epoch=EPOCH)
        places["bake director"].write_text(f"a host key that is {name}'s alone\n")
        tree(places["final tree director"])
        places["disk director"].write_bytes(b"")
        os.truncate(places["disk director"], DISK_MIB << 20)
        copy_sparse(disk, places["disk director"])
        image = places["vmdk director"]
        text = ovf(lab, "director", [make_vmdk(disk, image)], version="1")
        ova.write(places["ova director"], "director.ovf", text, [image], EPOCH)
        with zipfile.ZipFile(places["bundle"], "w") as bundle:
            bundle.writestr(zipfile.ZipInfo("README"), "hello")
        places["bill director"].write_text('{\n "components": []\n}\n')
        report(tmp_path / name)
    return tmp_path / "first", tmp_path / "second"


def copy_sparse(source: Path, target: Path) -> None:
    appliance.run("cp", "--sparse=always", source, target)


def report(folder: Path, **more: Any) -> None:
    """Write build.json; the OVA is the one artifact."""
    made = folder / "stages/ova-director" / f"id-{folder.name}" / "director.ova"
    sum_ = hashlib.sha256(made.read_bytes()).hexdigest()
    data = {
        "form": FORM,
        "lab": {},
        "roles": {"director": "5"},
        "lock": {"sha256": "1"},
        "source": {"sha256": "2", "commit": ""},
        "tools": {"deflate": "0.8"},
        "stages": [{"name": stage, "id": f"id-{folder.name}"} for stage in STAGES],
        "artifacts": {"ova/director.ova": {"sha256": sum_, "size": made.stat().st_size}},
    }
    (folder / "build.json").write_text(json.dumps(data | more))


def stage(folder: Path, name: str) -> Path:
    return folder / "stages" / name.replace(" ", "-") / f"id-{folder.name}" / STAGES[name]


def load(folder: Path) -> Build:
    return Build.load(folder / "build.json", folder)


def differences(twins: tuple[Path, Path]) -> list[tuple[str, str, str]]:
    """Stage, file and lines of every difference, after the reports are written again."""
    for folder in twins:
        report(folder)
    found = compare(load(twins[0]), load(twins[1])).differences
    return [(row.stage, row.file, "\n".join(row.lines)) for row in found]


def test_equal_builds_are_equal_although_the_bakes_were_not(twins: tuple[Path, Path]) -> None:
    found = compare(load(twins[0]), load(twins[1]))
    assert (found.differences, found.notes) == ((), ())
    assert found.files == len(STAGES) - 1 + 1


def poke(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0xFF]))


PLANTED: dict[str, tuple[dict[str, Any], str]] = {
    "clock": ({"text": "built at 12:00\n"}, "+built at 12:00"),
    "random": ({"more": True}, "/etc/random-seed\n    only in the second"),
    "mode": ({"mode": 0o600}, "/etc/motd\n    mode: 0644 -> 0600"),
    "time": ({"mtime": EPOCH + 9}, f"/etc/motd\n    mtime: {EPOCH} -> {EPOCH + 9}"),
    "order": ({"reverse": True}, "the order of the members: /etc/motd -> /etc/hosts"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_tree_that_differs_is_shown_by_path(twins: tuple[Path, Path], kind: str) -> None:
    changes, shown = PLANTED[kind]
    tree(stage(twins[1], "final tree director"), **changes)
    ((where, file, lines),) = differences(twins)
    assert (where, file) == ("final tree director", "tree.tar")
    assert shown in lines


def test_the_first_stage_that_differs_comes_first(twins: tuple[Path, Path]) -> None:
    stage(twins[1], "bill director").write_text("{}\n")
    tree(stage(twins[1], "common tree"), text="other\n")
    assert [row[0] for row in differences(twins)] == ["common tree", "bill director"]


def content_at(disk: Path, content: bytes) -> int:
    return disk.read_bytes().index(content)


@pytest.mark.parametrize(
    ("offset", "shown"),
    [
        (lambda disk: content_at(disk, b"etc/motdetc/motd") + 5000, "the content of /etc/motd"),
        (lambda disk: content_at(disk, b"var/logvar/log") + 1, "the content of /var/log"),
        (lambda disk: layout(DISK_MIB)[-1].start * SECTOR + 1024 + 0x30, "the file system's own"),
        (lambda disk: 2 << 20, "partition EFI system, byte 0"),
        (lambda disk: 0, "the boot sector or the partition table"),
    ],
)
def test_a_disk_that_differs_is_shown_by_what_is_there(
    twins: tuple[Path, Path], offset: Callable[[Path], int], shown: str
) -> None:
    place = stage(twins[1], "disk director")
    poke(place, offset(place))
    ((where, _, lines),) = differences(twins)
    assert where == "disk director"
    assert f"first at byte {offset(stage(twins[0], 'disk director'))}" in lines
    assert shown in lines


@pytest.mark.slow
def test_an_inode_that_differs_is_shown_by_its_path(twins: tuple[Path, Path]) -> None:
    first, second = (stage(folder, "disk director") for folder in twins)
    root = layout(DISK_MIB)[-1].start * SECTOR
    image = twins[1] / "part"
    image.write_bytes(second.read_bytes()[root:])
    appliance.run("debugfs", "-w", "-R", "sif /etc/motd mtime 20200101", image)
    data = bytearray(first.read_bytes())
    data[root : root + image.stat().st_size] = image.read_bytes()
    # Only the inode itself: debugfs also touches the superblock.
    data[: root + 8192] = first.read_bytes()[: root + 8192]
    second.write_bytes(data)
    ((_, _, lines),) = differences(twins)
    assert "the inode of /etc/motd" in lines


def test_a_vmdk_that_differs_is_shown_by_path_or_descriptor(twins: tuple[Path, Path]) -> None:
    raw, image = stage(twins[1], "disk director"), stage(twins[1], "vmdk director")
    poke(raw, content_at(raw, b"etc/motdetc/motd"))
    make_vmdk(raw, image)
    copy_sparse(stage(twins[0], "disk director"), raw)
    ((where, _, lines),) = differences(twins)
    assert (where, "the content of /etc/motd" in lines) == ("vmdk director", True)
    data = stage(twins[0], "vmdk director").read_bytes()
    image.write_bytes(data.replace(b"toolsInstallType", b"toolsInstallTypo", 1))
    ((_, _, lines),) = differences(twins)
    assert "the descriptor differs" in lines
    assert "toolsInstallTypo" in lines


def test_an_ova_that_differs_is_shown_by_member(twins: tuple[Path, Path], lab: Lab) -> None:
    image, target = stage(twins[1], "vmdk director"), stage(twins[1], "ova director")
    described = OvfDisk(image.name, image.stat().st_size, DISK_MIB << 20, 1)
    text = ovf(lab, "director", [described], version="2")
    ova.write(target, "director.ovf", text, [image], EPOCH)
    found = differences(twins)
    assert [row[:2] for row in found] == [
        ("ova director", "director.ova"),
        ("artifacts", "ova/director.ova"),
    ]
    assert "director.ovf\n" in found[0][2]
    assert "director.mf\n" in found[0][2]
    ova.write(target, "director.ovf", text, [image], EPOCH + 1)
    assert "its header in the archive differs" in differences(twins)[0][2]


def test_a_seed_that_differs_is_shown_by_file(twins: tuple[Path, Path], lab: Lab) -> None:
    seed_iso.write_iso(node_seed(lab, "lvs2"), stage(twins[1], "seeds"), epoch=EPOCH)
    ((where, _, lines),) = differences(twins)
    assert where == "seeds"
    assert "meta-data" in lines
    assert "lvs2" in lines
    seed_iso.write_iso(node_seed(lab, "lvs1"), stage(twins[1], "seeds"), epoch=EPOCH + 1)
    assert "first at byte" in differences(twins)[0][2]


def test_a_zip_and_a_text_that_differ_are_shown(twins: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(stage(twins[1], "bundle"), "w") as bundle:
        bundle.writestr(zipfile.ZipInfo("README"), "hallo")
        bundle.writestr(zipfile.ZipInfo("more"), "")
    stage(twins[1], "bill director").write_text('{\n "components": [1]\n}\n')
    rows = differences(twins)
    assert rows[0][2] == "README: its content differs\nmore: only in the second"
    assert '+ "components": [1]' in rows[1][2]


def test_a_file_that_only_one_build_has_is_a_difference(twins: tuple[Path, Path]) -> None:
    (stage(twins[0], "vmdk director").parent / "more").write_text("x")
    assert differences(twins) == [("vmdk director", "more", "only in the first build")]


def test_of_a_published_build_the_sums_alone_are_compared(twins: tuple[Path, Path]) -> None:
    for folder in twins:
        report(folder)
    only = Build.load(twins[0] / "build.json")
    assert compare(only, load(twins[1])).differences == ()
    stage(twins[1], "ova director").write_bytes(b"not the OVA")
    report(twins[1])
    (found,) = compare(only, load(twins[1])).differences
    assert (found.stage, found.file) == ("artifacts", "ova/director.ova")


def test_inputs_that_differ_are_reported(twins: tuple[Path, Path]) -> None:
    report(twins[0], source={"sha256": "9", "commit": "abc"})
    report(twins[1], tools={"deflate": "0.9"}, lock={"sha256": "3"})
    assert compare(load(twins[0]), load(twins[1])).notes == (
        "source 9 -> 2 (git checkout abc)",
        "lock 1 -> 3",
        "deflate 0.8 -> 0.9",
    )


def test_a_role_alone_leaves_out_what_all_roles_share(twins: tuple[Path, Path]) -> None:
    build = load(twins[0]).only(["director"])
    assert "bundle" not in build.stages()
    assert list(build.report["artifacts"]) == ["ova/director.ova"]
    with pytest.raises(InputError, match="has no role real-server"):
        load(twins[0]).only(["real-server"])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"artifacts": {}}'])
def test_what_is_not_a_build_json_is_the_users_mistake(tmp_path: Path, text: str) -> None:
    (tmp_path / "build.json").write_text(text)
    with pytest.raises(InputError, match=r"this is not a build\.json"):
        Build.load(tmp_path / "build.json")


@pytest.mark.parametrize("size", [0, 1, 5 << 20])
def test_the_first_byte_that_differs_is_found(tmp_path: Path, size: int) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(bytes(size))
    two.write_bytes(bytes(size))
    assert first_difference(one, two) is None
    two.write_bytes(bytes(size) + b"more")
    assert first_difference(one, two) == size
    one.write_bytes(bytes(size) + b"mort")
    assert first_difference(one, two) == size + 3


def test_holes_are_zeros(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.write_bytes(b"")
        os.truncate(path, 64 << 20)
    with two.open("r+b") as file:
        file.seek(40 << 20)
        file.write(bytes(4096))
    assert first_difference(one, two) is None
    poke(two, (40 << 20) + 7)
    assert first_difference(one, two) == first_difference(two, one) == (40 << 20) + 7


def test_every_condition_differs_or_says_why_not(tmp_path: Path) -> None:
    conditions = choose(tmp_path, jobs=2)
    assert len(conditions.shown) >= 13
    for row in conditions.shown:
        assert row.why_not or row.first != row.second, row.name
    assert conditions.jobs != 2
    usual = vars(Circumstances())
    assert all(usual[name] != value for name, value in vars(conditions.circumstances).items())
    varied = {row.name: not row.why_not for row in conditions.shown}
    assert varied["user"] == (conditions.user is not None)
    assert varied["host name"] == (conditions.host_name is not None)


def test_the_locale_is_another_one_to_programs_too(tmp_path: Path) -> None:
    """As C's setlocale(3) sees it, which does not know what is not installed."""
    chosen = choose(tmp_path, jobs=2)
    code = "import locale, time; print(locale.setlocale(locale.LC_ALL, ''), time.timezone)"

    def seen(environment: dict[str, str]) -> list[str]:
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.split()

    usual = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    (row,) = (row for row in chosen.shown if row.name == "locale")
    first, second = seen(usual | {"LC_ALL": row.first}), seen(usual | chosen.environment)
    assert first[0] != second[0]
    assert (second[0], second[1]) == (row.second, str(-14 * 3600))


@pytest.mark.parametrize(
    ("installed", "asked", "chosen"),
    [
        ("C POSIX", {}, ("C", "C", "this host has no other locale")),
        ("C C.utf8 POSIX", {}, ("C", "C.UTF-8", "")),
        ("C C.utf8 POSIX", {"LANG": "C.UTF-8"}, ("C.UTF-8", "C", "")),
        ("C C.utf8 POSIX", {"LANG": "de_DE.UTF-8"}, ("C", "C.UTF-8", "")),
        ("C C.utf8 tr_TR.utf8", {"LC_ALL": "C.UTF-8"}, ("C.UTF-8", "tr_TR.UTF-8", "")),
        ("C C.utf8 tr_TR.utf8", {"LANG": "tr_TR.UTF-8"}, ("tr_TR.UTF-8", "C.UTF-8", "")),
    ],
)
def test_only_a_locale_that_is_installed_is_another(
    monkeypatch: pytest.MonkeyPatch,
    installed: str,
    asked: dict[str, str],
    chosen: tuple[str, str, str],
) -> None:
    monkeypatch.setattr(conditions, "run", lambda *_, **__: installed.replace(" ", "\n"))
    assert conditions._locales(asked) == chosen


@pytest.mark.parametrize("planted", [False, True])
def test_the_verb_ends_with_what_was_found(
    twins: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    planted: bool,
) -> None:
    def found(*_: object) -> Reproduced:
        result = compare(load(twins[0]), load(twins[1]))
        return Reproduced(choose(tmp_path, 2).shown, result, (1.0, 2.0, 0.5))

    if planted:
        tree(stage(twins[1], "final tree director"), text="built at 12:00\n")
    monkeypatch.setattr("lvslab.reproduce.reproduce", found)
    monkeypatch.setenv("LVSLAB_CACHE", str(tmp_path / "cache"))
    words = ["reproduce", "--from", str(twins[0] / "build.json"), "--work", str(tmp_path)]
    assert main(words) == (1 if planted else 0)
    said = capsys.readouterr()
    assert "time zone" in said.out
    if planted:
        assert "final tree director: tree.tar differs" in said.out
        assert "+built at 12:00" in said.out
        assert "the first is tree.tar of the stage final tree director" in said.err
    else:
        assert "9 files are the same, byte for byte" in said.out
    assert not list(tmp_path.glob("lvslab-reproduce-*"))
    assert main([*words, "--json"]) == (1 if planted else 0)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (compared,) = (event for event in events if event["event"] == "compared")
    assert compared["differences"] == (1 if planted else 0)
    assert compared["ratio"] is None


@pytest.mark.parametrize(
    ("seconds", "cached", "said"),
    [
        ((100.0, 110.0), False, "the first build took 100 s, the second build took 110 s, both "
         "2.10 times the first"),
        ((5.0, 110.0), True, "the first build took 5 s, the second build took 110 s"),
    ],
)  # fmt: skip
def test_both_builds_are_timed(
    twins: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seconds: tuple[float, float],
    cached: bool,
    said: str,
) -> None:
    """A first build that found a stage in the cache measures nothing."""
    report(twins[0], stages=[{"name": "tools", "id": "1", "cached": cached}])
    report(twins[1], stages=[{"name": "tools", "id": "1", "cached": False}])
    clock = [0.0]

    def images(*_: object) -> Built:
        clock[0] += seconds[0]
        return Built([], twins[0] / "build.json", Profile([], 0, {}), None)

    def rebuild(*_: object) -> Build:
        clock[0] += seconds[1]
        return load(twins[1])

    monkeypatch.setattr(check, "images", images)
    monkeypatch.setattr(again, "rebuild", rebuild)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr("lvslab.cli.common.Session.ensure", lambda *_: None)
    monkeypatch.setenv("LVSLAB_CACHE", str(tmp_path / "cache"))
    assert main(["reproduce", "--work", str(tmp_path)]) == 0
    assert f"{said}\n" in capsys.readouterr().out


def test_the_second_build_s_error_is_the_verb_s(tmp_path: Path) -> None:
    events: list[Event] = []
    again._told({"event": "StageDone", "stage": "tools", "seconds": 1.0}, events.append)
    assert events == [StageDone("tools (again)", 1.0)]
    said = {"event": "error", "message": "no room", "where": "tools", "hint": "make some"}
    with pytest.raises(StageError, match="no room") as caught:
        again._told(said, events.append)
    assert caught.value.where == "tools (again)"


def test_what_was_asked_for_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = {"buildDefinition": {"externalParameters": {"perNode": True}}}
    first = Build(
        {
            "lab": {}, "roles": {}, "artifacts": {}, "stages": [],
            "lock": lock_table(locks.load(LOCK)), "provenance": {"predicate": parameters},
        }
    )  # fmt: skip
    monkeypatch.setattr(again, "_follow", lambda *_: None)
    monkeypatch.setattr(Build, "load", lambda *_: first)
    work, options = tmp_path / "second", Options(tmp_path / "cache", tmp_path / "out")
    work.mkdir()
    again.rebuild(first, DATA, work, options, Conditions((), jobs=3), silent)
    request = json.loads((work / "request.json").read_text())
    assert request["per_node"]
    assert request["jobs"] == 3
    assert (work / "checkout/packages.lock").read_bytes() == LOCK.read_bytes()


@pytest.mark.slow
def test_a_checkout_s_copy_is_the_same_source(tmp_path: Path) -> None:
    again._copy_checkout(DATA, tmp_path / "copy")
    assert provenance.source(tmp_path / "copy").sha256 == provenance.source(DATA).sha256


def test_folders_cores_and_clock_look_otherwise_to_the_second_build(tmp_path: Path) -> None:
    started = time.time()
    for name in "abc":
        (tmp_path / name).touch()
    with again._otherwise(7):
        with os.scandir(tmp_path) as entries:
            assert [entry.name for entry in entries] == ["c", "b", "a"]
        assert [path.name for path in tmp_path.iterdir()] == ["c", "b", "a"]
        assert os.cpu_count() == 7
        assert time.time() > started + 400 * 86400
    assert time.time() < started + 86400
    assert os.cpu_count() != 7
