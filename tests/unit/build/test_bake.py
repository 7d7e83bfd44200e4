"""A bake as it is followed: Packer is played by a script, its adapter and its leash are real."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvslab.build import accel, bake, leash
from lvslab.build.bake import Bake
from lvslab.core.errors import StageError
from lvslab.core.events import Event, LogLine, silent
from lvslab.core.waiting import until
from lvslab.render.texts import Seed

pytestmark = pytest.mark.slow

# What the real Packer says, as far as it is read.
PACKER = """#!/bin/sh
case "$1" in
version) echo "Packer v1.6.6" ;;
build)
    say() {{ echo "1,,ui,say,==> qemu: $1"; }}
    say "Starting VM, booting disk image"
    echo "[    0.0] Linux version" > {work}/serial.log
    {then} ;;
esac
"""
GOOD = """say "Connected to SSH!"
    mkdir {work}/output && echo baked > {work}/output/disk.raw"""
FAILED = 'say "checking the role"; echo "1,,ui,message,qemu: FAIL keepalived runs"; exit 1'
PANIC = "echo 'Kernel panic - not syncing' >> {work}/serial.log; echo $$ > {work}/pid; sleep 60; :"


def baked(work: Path, then: str) -> Bake:
    packer = work.parent / "packer"
    packer.write_text(PACKER.format(work=work, then=then.format(work=work)))
    packer.chmod(0o755)
    (work.parent / "disk").touch()
    return Bake(
        "director", work.parent / "disk", packer, "tcg", 1_800_000_000, "true",
        seed=lambda _: Seed("", "", ""), write_seed=lambda _, path: path.touch(),
        logs=work.parent / "logs",
    )  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_a_bake_is_followed_step_by_step_and_gives_the_disk(work: Path) -> None:
    steps, said = list[str](), list[Event]()
    disk = baked(work, GOOD).run(work, said.append, lambda *at: steps.append(at[3]))
    assert disk.read_text() == "baked\n"
    assert steps == ["starting Packer", "booting", "cloud-init"]
    assert LogLine("guest director", "[    0.0] Linux version") in said
    log = (work.parent / "logs/bake-director.log").read_text()
    assert "Connected to SSH!" in log and "Linux version" in log


def test_a_check_of_the_role_that_fails_is_in_the_error(work: Path) -> None:
    with pytest.raises(StageError, match="Packer failed") as caught:
        baked(work, FAILED).run(work, silent, lambda *_: None)
    assert "FAIL keepalived runs" in caught.value.message
    assert "the guest's last lines:\n    [    0.0] Linux version" in caught.value.message
    assert caught.value.where == "bake director"


def test_a_guest_that_cannot_start_ends_the_bake_at_once_and_packer_with_it(work: Path) -> None:
    with pytest.raises(StageError, match="the guest cannot start") as caught:
        baked(work, PANIC).run(work, silent, lambda *_: None)
    assert "Kernel panic - not syncing" in caught.value.message
    pid = (work / "pid").read_text().strip()
    assert until(lambda: not Path(f"/proc/{pid}").exists(), 10), "Packer runs on"


def test_a_bake_that_takes_too_long_is_ended(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bake, "_WHOLE_SECONDS", 0)
    with pytest.raises(StageError, match="not done after 0 s"):
        baked(work, "sleep 60; :").run(work, silent, lambda *_: None)


# --- the leash


@pytest.fixture
def handlers() -> Iterator[None]:
    """The leash sets handlers for its own process; here it is a guest."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("script", "status"), [("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)]
)
def test_the_status_of_what_is_on_a_leash_is_handed_on(
    handlers: None, script: str, status: int
) -> None:
    assert leash.main(["sh", "-c", script]) == status


def test_a_signal_to_the_leash_reaches_what_is_on_it(handlers: None, tmp_path: Path) -> None:
    ready = tmp_path / "ready"

    def send() -> None:
        until(ready.exists, 10, pause=0.05)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    threading.Thread(target=send, daemon=True).start()
    script = f"trap 'exit 9' TERM; touch {ready}; while :; do sleep 0.05; done"
    assert leash.main(["sh", "-c", script]) == 9


def test_a_leash_ends_when_its_starter_does(tmp_path: Path) -> None:
    note = tmp_path / "status"
    code = f"from lvslab.build import leash; import pathlib; s = leash.main(['sleep', '60']); \
pathlib.Path({str(note)!r}).write_text(str(s))"
    starter = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {code!r}]); "
        "time.sleep(3)"
    )
    subprocess.run([sys.executable, "-c", starter], check=True, timeout=30)
    assert until(lambda: note.exists() and note.read_text() == "137", 20)


# --- acceleration


QEMU = """#!/bin/sh
for word in "$@"; do case "$word" in file:*) serial=${word#file:} ;; esac; done
echo "Linux version 6" > "$serial"
exec sleep 60
"""


def test_a_kernel_boots_when_its_first_line_is_on_the_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu = tmp_path / accel.QEMU
    qemu.write_text(QEMU)
    qemu.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    start = time.monotonic()
    assert accel._boots(tmp_path / "vmlinuz")
    assert time.monotonic() - start < accel._LIMIT_SECONDS, "it waited for the end"


def test_a_qemu_that_ends_without_a_word_has_booted_nothing(tmp_path: Path) -> None:
    """The real QEMU, with a kernel that is none."""
    said: list[Event] = []
    (tmp_path / "vmlinuz").write_text("no kernel")
    assert not accel._boots(tmp_path / "vmlinuz", said.append)
    assert [type(event) for event in said] == [LogLine]
