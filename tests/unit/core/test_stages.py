"""A stage is whole or absent, made once, and survives anything that kills the one who makes it."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lvslab.core.errors import StageError
from lvslab.core.events import Event, StageDone, StageFailed
from lvslab.core.files import (
    SCRATCH,
    atomic,
    mounts_below,
    only_one,
    remove,
    scratch,
    sync,
    write_atomic,
)
from lvslab.core.procs import run
from lvslab.core.stages import NotYetMade, Stages, digest


def writes(text: str) -> Callable[..., None]:
    def make(folder: Path, progress: Callable[..., None]) -> None:
        (folder / "result").write_text(text)

    return make


def refuses(folder: Path, progress: Callable[..., None]) -> None:
    raise AssertionError("this stage must not run")


def test_a_stage_runs_once_and_is_found_again_by_its_inputs(tmp_path: Path) -> None:
    first = Stages(tmp_path).run("tree", {"a": 1}, writes("one"))
    again = Stages(tmp_path).run("tree", {"a": 1}, refuses)
    other = Stages(tmp_path).run("tree", {"a": 2}, writes("two"))
    assert (first, (other / "result").read_text()) == (again, "two")


def test_changed_code_makes_a_changed_stage(tmp_path: Path) -> None:
    plain = Stages(tmp_path).run("tree", {}, writes("x"))
    assert Stages(tmp_path).run("tree", {}, writes("x"), code=["lvslab.core.files"]) != plain


def test_the_order_of_keys_does_not_matter() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


def test_the_stage_last_used_is_the_newest(tmp_path: Path) -> None:
    older = Stages(tmp_path).run("tree", {"a": 1}, writes("one"))
    newer = Stages(tmp_path).run("tree", {"a": 2}, writes("two"))
    os.utime(older, (1, 1))
    assert older.stat().st_mtime < newer.stat().st_mtime
    Stages(tmp_path).run("tree", {"a": 1}, refuses)
    assert older.stat().st_mtime >= newer.stat().st_mtime


def test_a_failed_stage_leaves_nothing_and_is_reported(tmp_path: Path) -> None:
    events: list[Event] = []

    def breaks(folder: Path, progress: Callable[..., None]) -> None:
        (folder / "half").write_text("half")
        raise StageError("no")

    with pytest.raises(StageError, match=r"^tree: no"):
        Stages(tmp_path, events.append).run("tree", {}, breaks)
    assert [type(event) for event in events][-1] is StageFailed
    assert not list(tmp_path.rglob("half"))


def test_a_stage_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[list[str], bool]] = []

    def noting(folder: Path) -> None:
        named = any((tmp_path / "stages").rglob("result"))
        synced.append(([path.name for path in folder.iterdir()], named))
        sync(folder)

    monkeypatch.setattr("lvslab.core.stages.sync", noting)
    Stages(tmp_path).run("tree", {}, writes("one"))
    Stages(tmp_path).run("tree", {}, refuses)
    assert synced == [(["result"], False)]


def test_what_the_disk_did_not_take_is_not_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def syncfs(self, _handle: int) -> int:
            ctypes.set_errno(errno.EIO)
            return -1

    monkeypatch.setattr("lvslab.core.files._LIBC", Broken())
    with pytest.raises(StageError, match="Input/output error"):
        Stages(tmp_path).run("tree", {}, writes("one"))
    assert not list(tmp_path.rglob("result"))


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    def fills(folder: Path, progress: Callable[..., None]) -> None:
        with Path("/dev/full").open("w") as full:
            full.write("x")

    with pytest.raises(StageError) as caught:
        Stages(tmp_path).run("disk", {}, fills)
    assert "No space left on device" in caught.value.message
    assert "clean shows what earlier builds left" in caught.value.hint


def test_a_disk_that_a_program_finds_full_is_explained(tmp_path: Path) -> None:
    def fills(folder: Path, progress: Callable[..., None]) -> None:
        run(["dd", "if=/dev/zero", "of=/dev/full", "count=1"], what="copying")

    with pytest.raises(StageError, match="copying: dd ended with status 1") as caught:
        Stages(tmp_path).run("disk", {}, fills)
    assert "clean shows what earlier builds left" in caught.value.hint


def test_two_threads_may_write_one_file(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=10)
    failed: list[BaseException] = []

    def writer(text: str) -> None:
        try:
            with atomic(tmp_path / "note") as temporary:
                temporary.write_text(text)
                both.wait()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=writer, args=(text,)) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert (tmp_path / "note").read_text() in ("one", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


def test_two_threads_that_need_one_stage_make_it_once(tmp_path: Path) -> None:
    made: list[int] = []
    events: list[Event] = []

    def slow(folder: Path, progress: Callable[..., None]) -> None:
        made.append(1)
        time.sleep(0.1)

    stages = Stages(tmp_path, events.append)
    threads = [threading.Thread(target=lambda: stages.run("tree", {}, slow)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 == sum(isinstance(event, StageDone) for event in events)


def test_a_dry_run_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotYetMade):
        Stages(tmp_path, dry=True).run("tree", {}, refuses)


def test_killed_in_the_middle_the_next_run_makes_it_whole(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import sys, time
        from pathlib import Path
        from lvslab.core.stages import Stages
        def make(folder, progress):
            (folder / "half").write_text("half")
            print("at it", flush=True)
            time.sleep(60)
        Stages(Path({str(tmp_path)!r})).run("tree", {{}}, make)
        """
    )
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at it\n"
        process.send_signal(signal.SIGKILL)
    stages = Stages(tmp_path)
    stages.sweep()
    folder = stages.run("tree", {}, writes("whole"))
    assert [path.name for path in folder.iterdir()] == ["result"]
    assert not list((tmp_path / "tmp").iterdir())


def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


def test_sweep_leaves_what_somebody_works_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lab up` and `diff` make stages without the build's lock."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with subprocess.Popen(["sleep", "60"]) as other:
        alive = [
            tmp_path / f"tmp/lab-disk-0123-{other.pid}",
            tmp_path / f"temporary/{SCRATCH}x-{other.pid}",
            tmp_path / f"temporary/mine-{gone()}",
        ]
        dead = [tmp_path / f"tmp/tree-0123-{gone()}", tmp_path / f"temporary/{SCRATCH}x-{gone()}"]
        for folder in (*alive, *dead):
            folder.mkdir(parents=True)
        Stages(tmp_path).sweep()
        other.kill()
    assert [folder.exists() for folder in (*alive, *dead)] == [True] * 3 + [False] * 2


def test_a_stage_that_is_made_again_removes_what_a_killed_run_left_of_it(tmp_path: Path) -> None:
    made = Stages(tmp_path / "first").run("tree", {}, writes("x"))
    (tmp_path / "second/tmp").mkdir(parents=True)
    left, other = (
        tmp_path / "second/tmp" / f"{name}-{gone()}"
        for name in (f"tree-{made.name[:16]}", "disk-1")
    )
    left.mkdir()
    other.mkdir()
    Stages(tmp_path / "second").run("tree", {}, writes("x"))
    assert (left.exists(), other.exists()) == (False, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_removing_never_goes_through_a_mount(tmp_path: Path) -> None:
    host, folder = tmp_path / "host", tmp_path / "a folder"
    host.mkdir()
    (host / "mine").touch()
    (folder / "in").mkdir(parents=True)
    subprocess.run(["mount", "-o", "bind", host, folder / "in"], check=True)
    try:
        assert mounts_below(folder) == [f"{folder}/in"]
        with pytest.raises(StageError) as caught:
            remove(folder)
    finally:
        subprocess.run(["umount", folder / "in"], check=True)
    assert str(caught.value) == (
        f"{folder}: file systems are mounted in a folder that is to be removed: {folder}/in\n"
        f"  to fix it: umount {folder}/in"
    )
    assert (host / "mine").exists()
    remove(folder)
    assert not folder.exists()


def test_what_belongs_to_another_id_of_the_user_is_removed_by_mmdebstrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    program = tmp_path / "mmdebstrap"
    program.write_text('#!/bin/sh\n[ "$1" = --unshare-helper ] || exit 1\nshift\nexec "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    really = shutil.rmtree

    def refuses(path: Path) -> None:
        if list(path.glob("*")):
            raise PermissionError
        really(path)

    monkeypatch.setattr(shutil, "rmtree", refuses)
    remove(tree)
    assert not tree.exists()


def test_an_interrupt_is_not_hidden_by_a_folder_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(path: Path) -> None:
        raise PermissionError(path)

    def interrupted(folder: Path, progress: Callable[..., None]) -> None:
        monkeypatch.setattr(shutil, "rmtree", refuses)
        with scratch(folder):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path).run("tree", {}, interrupted)
    monkeypatch.undo()
    (left,) = (tmp_path / "tmp").glob("tree-*")
    assert list(left.glob(f"{SCRATCH}*-{os.getpid()}"))


def test_an_atomic_write_shows_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomic(target, "old")
    with pytest.raises(RuntimeError), atomic(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (target.read_text(), [p.name for p in tmp_path.iterdir()]) == ("old", ["file"])


def test_a_second_build_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    with (
        only_one(tmp_path / "lock", "build"),
        pytest.raises(StageError, match=f"another build is at work .process {os.getpid()}"),
        only_one(tmp_path / "lock", "build"),
    ):
        pass
    with only_one(tmp_path / "lock", "build"):
        pass
