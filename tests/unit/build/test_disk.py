"""A raw disk out of a tree, made by the locked tools, and what a bake changed on it."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from lvslab.build import changes, disk
from lvslab.build.tools import Tools
from lvslab.core.errors import StageError
from lvslab.core.files import sha256_file
from lvslab.core.procs import program
from lvslab.make import Pipeline

pytestmark = pytest.mark.slow

SIZE_MIB = 160
FILES = {"./etc/hostname": b"lvs1\n", "./etc/noise": hashlib.shake_128(b"x").digest(1 << 20)}


@pytest.fixture(scope="module")
def tools(pipeline: Pipeline) -> Tools:
    return pipeline.tools()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        folder = tarfile.TarInfo("./etc")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid = len(data), 0o640, 70000
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("./etc/link")
        link.type, link.linkname, link.mode = tarfile.SYMTYPE, "hostname", 0o777
        tar.addfile(link)
    return path


def made(tools: Tools, tree: Path, name: str, seed: str = "a") -> Path:
    path = tree.parent / name
    disk.make(tree, path, tools=tools, size_mib=SIZE_MIB, seed=seed, progress=lambda *_: None)
    return path


def on(tools: Tools, path: Path, *commands: str) -> str:
    """Commands of debugfs on the disk's root file system."""
    root = disk.layout(SIZE_MIB)[2]
    image = f"{path}?offset={root.start * disk.SECTOR}"
    return "".join(tools("debugfs", "-w", "-R", command, image) for command in commands)


def found(path: Path, tree: Path) -> list[changes.TreeChange]:
    blobs = tree.parent / "blobs"
    blobs.mkdir(exist_ok=True)
    offset = disk.layout(SIZE_MIB)[2].start * disk.SECTOR
    return changes.read(path, offset, tree, blobs, lambda *_: None)


def test_the_same_tree_and_seed_make_the_same_bytes(tools: Tools, tree: Path) -> None:
    seeds = {"first": "a", "second": "a", "third": "another"}
    first, second, third = (sha256_file(made(tools, tree, *each)) for each in seeds.items())
    assert first == second != third


def test_others_read_the_partitions_and_what_is_in_them(tools: Tools, tree: Path) -> None:
    path = made(tools, tree, "disk")
    said = subprocess.check_output([program("sfdisk"), "--json", path])
    table = json.loads(said)["partitiontable"]
    assert [part["name"] for part in table["partitions"]] == ["BIOS boot", "EFI system", "lvslab"]
    subprocess.run([program("sfdisk"), "--verify", path], check=True, stdout=subprocess.DEVNULL)
    esp = f"{path}@@{disk.layout(SIZE_MIB)[1].start * disk.SECTOR}"
    assert "BOOTX64  EFI" in subprocess.check_output(["mdir", "-i", esp, "::/EFI/BOOT"], text=True)
    assert on(tools, path, "cat /etc/hostname") == "lvs1\n"
    copy = path.with_name("copy")
    disk.clone(path, copy)
    assert sha256_file(copy) == sha256_file(path)
    assert copy.stat().st_blocks * 512 < SIZE_MIB << 19, "the holes are filled"


def test_a_tree_that_does_not_fit_says_what_to_raise(
    tools: Tools, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FILES, "./etc/large", bytes(range(256)) * (SIZE_MIB << 12))
    with tarfile.open(tree, "a") as tar:
        info = tarfile.TarInfo("./etc/large")
        info.size = SIZE_MIB << 20
        tar.addfile(info, io.BytesIO(FILES["./etc/large"]))
    with pytest.raises(StageError, match="Could not allocate block") as caught:
        made(tools, tree, "full")
    assert caught.value.hint == "the tree does not fit: raise disk.size_mib in lab.yaml"


def test_what_was_changed_on_a_disk_is_found_and_nothing_else(tools: Tools, tree: Path) -> None:
    path = made(tools, tree, "disk")
    assert found(path, tree) == []
    new = tree.parent / "new"
    new.write_bytes(b"baked\n")
    on(
        tools, path, "rm /etc/hostname", f"write {new} /etc/new", "mknod fifo p",
        "sif /etc/noise mode 0100755", "sif /etc/noise ctime 20260101",
    )  # fmt: skip
    seen = {change.path: change for change in found(path, tree)}
    assert {name: change.what for name, change in seen.items()} == {
        "/etc/hostname": "removed",
        "/etc/new": "added",
        "/fifo": "added",
        "/etc/noise": "changed",
    }
    entry, old, noise = seen["/etc/new"].new, seen["/etc/noise"].old, seen["/etc/noise"].new
    assert entry is not None and old is not None and noise is not None
    assert (tree.parent / "blobs" / entry.sha256).read_bytes() == b"baked\n"
    assert (old.mode, noise.mode, noise.uid) == (0o640, 0o755, 70000)
    kept = tree.parent / "changes.json"
    changes.save(list(seen.values()), kept)
    assert changes.load(kept) == list(seen.values())


def test_a_disk_that_was_not_shut_down_is_refused(tools: Tools, tree: Path) -> None:
    path = made(tools, tree, "disk")
    on(tools, path, "ssv state 0")
    with pytest.raises(StageError, match="was not shut down cleanly"):
        found(path, tree)
