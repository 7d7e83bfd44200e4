"""Packer behind its adapter: checked templates, no program left behind, today's plugins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lvslab.build import packer
from lvslab.build.bake import Bake, Circumstances, _clean, _plain, _Tail
from lvslab.core.errors import StageError
from lvslab.core.events import silent
from lvslab.core.waiting import until
from lvslab.make import Pipeline
from lvslab.render.packer_template import BakeTemplate, bake_template
from lvslab.render.texts import Seed

# A fake: today's Packer and its plugins cannot be fetched where the tests run.
FAKE = """#!/bin/sh
if [ "$1" = version ]; then echo "Packer v{version}"; exit; fi
echo "$@ $PACKER_PLUGIN_PATH" >> {calls}
"""


def template(folder: Path, **changes: object) -> BakeTemplate:
    for name in ("disk.raw", "seed.iso", "assertions"):
        (folder / name).touch()
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    values: dict[str, object] = {
        "role": "director",
        "qemu": Path("/usr/bin/qemu-system-x86_64"),
        "accelerator": "tcg",
        "disk": folder / "disk.raw",
        "seed": folder / "seed.iso",
        "output": folder / "output",
        "serial": folder / "serial.log",
        "assertions": folder / "assertions",
        "private_key": key,
        "user": "bake",
        "cpus": 2,
        "memory_mib": 1024,
        "mac": "52:54:00:12:34:56",
        "epoch": 1_800_000_000,
        "timeout_seconds": 60,
    }
    return BakeTemplate(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.slow
def test_packer_accepts_the_template(pipeline: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "bake.json"
    path.write_text(bake_template(template(tmp_path)))
    packer.validate(pipeline.packer(), path)


@pytest.mark.parametrize(("days", "clock"), [(0, "2027-01-15"), (500, "2028-05-29")])
def test_the_guest_s_clock_is_the_lock_s_or_later(tmp_path: Path, days: int, clock: str) -> None:
    made = Bake(
        "director", Path("/disk"), Path("/packer"), "tcg", 1_800_000_000, "true",
        seed=lambda _: Seed("", "", ""), write_seed=lambda _, path: path.touch(),
        logs=tmp_path, circumstances=Circumstances(days_later=days),
    )._prepare(tmp_path)  # fmt: skip
    words = dict(json.loads(made.read_text())["builders"][0]["qemuargs"])
    assert words["-rtc"] == f"base={clock}T08:00:00,clock=vm"


@pytest.mark.slow
def test_packer_works_in_a_folder_too_deep_for_its_sockets(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    test_packer_accepts_the_template(pipeline, deep)


def test_packer_s_own_words_reach_the_user(pipeline: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "bake.json"
    path.write_text(bake_template(template(tmp_path, accelerator="warp")))
    with pytest.raises(StageError, match="invalid accelerator"):
        packer.validate(pipeline.packer(), path)


def test_the_pinned_packer_has_its_qemu_builder_inside(pipeline: Pipeline, tmp_path: Path) -> None:
    assert packer.version(pipeline.packer())[:2] == (1, 6)
    packer.prepare(pipeline.packer(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_today_s_packer_fetches_the_plugin_first(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    fake = tmp_path / "packer"
    fake.write_text(FAKE.format(version="1.16.0", calls=calls))
    fake.chmod(0o755)
    packer.prepare(fake, tmp_path)
    packer.validate(fake, tmp_path / "bake.json")
    fetched, validated = (line.split() for line in calls.read_text().splitlines())
    assert (fetched[0], validated[0]) == ("init", "validate")
    assert fetched[-1] == validated[-1] == str(tmp_path / "plugins")
    wanted = Path(fetched[1]).read_text()
    assert "github.com/hashicorp/qemu" in wanted
    assert 'version = "= 1.1.0"' in wanted


def test_a_program_that_is_not_a_packer_is_named(tmp_path: Path) -> None:
    fake = tmp_path / "packer"
    fake.write_text("#!/bin/sh\necho hello\n")
    fake.chmod(0o755)
    with pytest.raises(StageError, match="does not say which Packer it is"):
        packer.version(fake)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_is_on_a_leash_ends_with_its_starter(tmp_path: Path, number: signal.Signals) -> None:
    script = packer.leashed("/bin/sh", tmp_path / "leashed")
    starter = subprocess.Popen(
        [
            sys.executable, "-c",
            "import subprocess, sys; subprocess.run([sys.argv[1], '-c', 'echo $$; sleep 60; :'])",
            str(script),
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert alive(pid)
        starter.send_signal(number)
    assert until(lambda: not alive(pid), 10)


def test_a_leash_hands_on_the_status(tmp_path: Path) -> None:
    script = packer.leashed("/bin/sh", tmp_path / "leashed")
    assert subprocess.run([script, "-c", "exit 7"], check=False).returncode == 7


def test_packer_s_machine_readable_lines_are_read() -> None:
    assert _plain("1,,ui,say,==> a%!(PACKER_COMMA) b\\nc") == "==> a, b c"
    assert _plain("no such line") == "no such line"


def test_a_console_s_control_sequences_are_taken_out() -> None:
    assert _clean("\x1b[0;32m  OK\x1b[0m \x1b[6nready\r") == "  OK ready"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_bake_on_a_full_disk_ends_instead_of_waiting(tmp_path: Path) -> None:
    """QEMU stops its guest when the host's disk is full, so Packer would wait for SSH."""
    work, logs = tmp_path / "work", tmp_path / "logs"
    work.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "lvslab", work], check=True)
    try:
        with subprocess.Popen(["sleep", "60"]) as waiting:
            bake = Bake("director", Path(), Path(), "tcg", 0, "", lambda _: Seed("", "", ""),
                        lambda *_: None, logs)  # fmt: skip
            (work / "disk").write_bytes(bytes(1 << 20))
            with pytest.raises(StageError, match="^bake director: No space left on device"):
                bake._follow(waiting, work / "log", work / "serial", silent, lambda *_: None)
            waiting.kill()
    finally:
        subprocess.run(["umount", work], check=True)


def test_a_growing_log_is_read_by_whole_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tail = _Tail(log)
    assert tail.new() == []
    log.write_text("one\ntw")
    assert tail.new() == ["one"]
    with log.open("a") as file:
        file.write("o\n")
    assert tail.new() == ["two"]
    assert tail.kept == ["one", "two"]
