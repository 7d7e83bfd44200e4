"""`build.py images` as a user runs it: what comes out, a second run, a kill, a guest that dies."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from lvslab.build.bake import Bake
from lvslab.core.errors import StageError
from lvslab.core.events import silent
from lvslab.core.places import default_cache
from lvslab.core.waiting import until
from lvslab.formats import seed_iso
from lvslab.make import Options, Pipeline
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.render import assert_script
from lvslab.render.texts import Seed
from tests.conftest import ROLES

pytestmark = pytest.mark.vm
ROOT = Path(__file__).resolve().parents[2]


def images(cache: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lvslab.cli", "images", "--out", str(out), *words],
        cwd=ROOT,
        env=os.environ | {"LVSLAB_CACHE": str(cache)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_artifacts_have_the_names_of_the_design(built: Path, lab: Lab) -> None:
    there = {path.relative_to(built).as_posix() for path in built.rglob("*")}
    wanted = {"ova/director.ova", "ova/real-server.ova", "build.json", "SHA256SUMS"}
    wanted |= {f"seeds/{node}.iso" for node in lab.nodes}
    wanted |= {f"vmware/{node}/{node}.vmx" for node in lab.nodes}
    assert wanted <= there


def test_the_sums_are_right(built: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=built, check=True)


def test_the_report_says_what_was_built_from_what(built: Path) -> None:
    report = json.loads((built / "build.json").read_text())
    ova = (built / "ova/director.ova").read_bytes()
    assert report["artifacts"]["ova/director.ova"] == {
        "size": len(ova),
        "sha256": hashlib.sha256(ova).hexdigest(),
    }
    assert {"bake director", "bake real-server"} <= {stage["name"] for stage in report["stages"]}
    assert report["peak_memory_mib"] > 0


def test_an_ova_is_small(built: Path) -> None:
    for role in ROLES:
        assert (built / f"ova/{role}.ova").stat().st_size <= 200_000_000


def test_a_second_run_makes_nothing_again_and_needs_no_network(built: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*.*") if path.is_file()}
    with images(default_cache(), built, "--offline", "--json") as process:
        assert process.stdout is not None
        events = [json.loads(row) for row in process.stdout.read().splitlines()]
    assert process.returncode == 0
    assert all(event["cached"] for event in events if event["event"] == "stage-done")
    after = {path: path.stat().st_mtime_ns for path in before}
    changed = {path.name for path in before if before[path] != after[path]}
    assert changed <= {"build.json", "SHA256SUMS", ".lock"}


def sharing(cache: Path, folder: Path, without: str) -> Path:
    """A cache with the finished stages of another, except those whose name begins so."""
    for name in ("pool", "notes"):
        if (cache / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(cache / name)
    (folder / "stages").mkdir(parents=True)
    for stage in (cache / "stages").iterdir():
        if not stage.name.startswith(without):
            (folder / "stages" / stage.name).symlink_to(stage)
    return folder


def programs_at_work_in(folder: Path) -> list[str]:
    """The command lines that name a folder, this test's own processes left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in line:
            found.append(line)
    return found


def demand_no_program_in(folder: Path) -> None:
    """Within the moment that the kernel takes to end a machine and free its memory."""
    left = until(lambda: programs_at_work_in(folder), 20, good=lambda found: not found)
    assert left == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_ended_build_leaves_no_machine_behind(
    built: Path, tmp_path: Path, number: signal.Signals
) -> None:
    cache = sharing(default_cache(), tmp_path / "cache", without="bake")
    with images(cache, tmp_path / "out", "--role", "director") as process:

        def bakes() -> bool:
            return any("qemu-system" in line for line in programs_at_work_in(cache))

        assert until(lambda: bakes() or process.poll() is not None, 120), "no machine was started"
        assert process.poll() is None, process.communicate()
        process.send_signal(number)
        process.communicate()
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    demand_no_program_in(cache)
    assert not list((tmp_path / "out").rglob("*.ova"))


def test_a_guest_that_dies_is_shown_at_once_with_its_own_words(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    """A tree with a kernel and nothing to start: SSH never comes."""
    bare = tmp_path / "tree" / "bare.tar"
    bare.parent.mkdir()
    with tarfile.open(pipeline.common_tree()) as source, tarfile.open(bare, "w") as tar:
        for member in source:
            if member.name.startswith("./boot") or member.name in ("./vmlinuz", "./initrd.img"):
                tar.addfile(member, source.extractfile(member) if member.isreg() else None)
    work, logs = tmp_path / "work", tmp_path / "logs"
    work.mkdir()
    bake = Bake(
        role="director",
        disk=pipeline.disk("bare disk", bare),
        packer=pipeline.packer(),
        accelerator=pipeline.accelerator(),
        epoch=pipeline.lock.epoch,
        assertions="#!/bin/sh\n",
        seed=lambda key: Seed("#cloud-config\n", "instance-id: x\n", "version: 2\n"),
        write_seed=lambda texts, path: seed_iso.write_iso(texts, path, epoch=0),
        logs=logs,
    )
    start = time.monotonic()
    with pytest.raises(StageError) as caught:
        bake.run(work, silent, lambda *_: None)
    assert time.monotonic() - start < 300  # Packer alone would wait for SSH for 900 s
    assert "the guest cannot start" in caught.value.message
    assert "No init found" in caught.value.message
    assert caught.value.log is not None
    assert "No init found" in caught.value.log.read_text(errors="replace")
    demand_no_program_in(work)


def test_a_machine_that_is_not_what_its_role_says_stops_the_build(
    lab: Lab,
    specs: dict[str, RoleSpec],
    built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bake's gate: the director's own assertions, and one that no machine can meet."""
    spec = specs["director"]
    more = spec.model_copy(update={"packages": (*spec.packages, "no-such-package")})
    monkeypatch.setattr("lvslab.make.trees.assert_script", lambda lab, _: assert_script(lab, more))
    cache = sharing(default_cache(), tmp_path / "cache", without="bake")
    stages = Pipeline(lab, specs, Options(cache, tmp_path / "out", offline=True))
    with pytest.raises(StageError) as caught:
        stages.changes("director")
    wrong = "FAIL  package no-such-package: is not installed"
    assert caught.value.status == 4
    assert caught.value.where == "bake director"
    assert wrong in caught.value.message
    assert caught.value.log == cache / "log/bake-director.log"
    said = caught.value.log.read_text(errors="replace").splitlines()
    failed = {line[line.index("FAIL  ") :].strip() for line in said if "FAIL  " in line}
    assert failed == {wrong}
    assert not list((cache / "stages").glob("bake-director/*"))
    demand_no_program_in(cache)
