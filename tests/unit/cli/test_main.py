"""The command line: what is shown, where, and the exit status."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest

from lvslab.cli import common, main, progress
from lvslab.cli.common import session, verb
from lvslab.core import procs
from lvslab.core.errors import CheckFailed, InputError, LabError, MissingError, StageError
from lvslab.core.events import (
    Expected,
    Forecast,
    LogLine,
    Note,
    StageDone,
    StageFailed,
    StageProgress,
    StageStarted,
)
from lvslab.core.waiting import until

ROOT = Path(__file__).resolve().parents[3]
VERBS = list(main.VERBS)

# A verb for the tests: it does what its first argument says.
ERRORS = {
    "check": CheckFailed("the VIP is away", where="lvs1", hint="lab heal"),
    "input": InputError("no such network: VMnet7", where="lab.yaml:3:5", hint="one of: VMnet1"),
    "missing": MissingError("the program xyz is not installed", hint="install it"),
    "stage": StageError("the disk is full", where="bake director", log=Path("/a/log")),
    "plain": LabError("something else"),
}


@verb("trial", "trial check")
@click.argument("what")
@common.as_json
def trial(what: str) -> None:
    """A verb for the tests."""
    if what in ERRORS:
        raise ERRORS[what]
    with session().reporting("trial") as listener:
        listener(StageStarted("bake director"))
        listener(StageProgress("bake director", 3, 10, "steps", "packages [now]"))
        listener(LogLine("qemu", "a line of the guest"))
        listener(
            LogLine("guest director", "[9.1] cloud-init[4]: Cloud-init v. 25 running 'init' at")
        )
        listener(Forecast("a forecast", 98, 3, 2, {"bake director": Expected((), 98)}))
        if sys.stderr.isatty():
            time.sleep(0.5)  # the display is drawn ten times a second
        if what == "defect":
            raise ZeroDivisionError("a defect")
        if what == "interrupt":
            raise KeyboardInterrupt
        if what == "threads":
            with ThreadPoolExecutor(2) as executor:
                for sleeper in ("60", "61"):
                    executor.submit(procs.run, ["sleep", sleeper], what="a stage", timeout=900)
                print("asleep", flush=True)
        if what == "sleep":
            print("asleep", flush=True)
            for _ in range(600):  # in steps: a signal just before a sleep is seen after it
                time.sleep(0.1)
        listener(Note("a note"))
        listener(Note("slow mirror", "warning"))
        listener(StageFailed("probe", 0.25, "no /dev/kvm\nmore"))
        listener(StageDone("base disk", 0.01, cached=True))
        listener(StageDone("bake director", 71.23))
    session().out("the result")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVSLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setitem(main.VERBS, "trial", f"{__name__}:trial")


def child(*words: str) -> list[str]:
    """The command line in a process of its own, with the trial verb."""
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]\n"
        "from lvslab.cli import main\n"
        "main.VERBS['trial'] = 'test_main:trial'\n"
        f"sys.exit(main.main({list(words)!r}))"
    )
    return [sys.executable, "-c", code]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        child(*words),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def logs(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache/log").glob("*.log"))


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: python3 build.py {name}" in shown
    assert f"Examples:\n    python3 build.py {name}" in shown


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in VERBS:
        assert re.search(rf"^  {name} +[A-Z]", shown, re.M), name
    assert "Examples:\n    python3 build.py images" in shown


def test_no_verb_shows_the_help() -> None:
    done = run()
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from lvslab import __version__

    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lvslab, version {__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["imagse"], "No such command 'imagse'"),
        (["images", "--rol", "director"], "No such option"),
        (["images", "--role", "client"], "error: lab.yaml: the lab has no role client"),
        (["images", "--jobs", "0"], "0 is not in the range x>=1"),
        (["completion"], "Missing argument"),
    ],
)
def test_bad_usage_is_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("what", "status", "shown"),
    [
        ("check", 1, "error: lvs1: the VIP is away\n  to fix it: lab heal\n"),
        (
            "input",
            2,
            "error: lab.yaml:3:5: no such network: VMnet7\n  to fix it: one of: VMnet1\n",
        ),
        ("missing", 3, "error: the program xyz is not installed\n  to fix it: install it\n"),
        ("stage", 4, "error: bake director: the disk is full\n  full log:  /a/log\n"),
        ("plain", 4, "error: something else\n"),
    ],
)
def test_status_and_text_of_each_error(what: str, status: int, shown: str) -> None:
    done = run("trial", what)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", shown)


def test_a_defect_shows_no_traceback_but_logs_it(tmp_path: Path) -> None:
    done = run("trial", "defect")
    (log,) = logs(tmp_path)
    assert done.returncode == 4
    assert done.stderr.splitlines() == [
        *PLAIN[:2],
        "error: unexpected: ZeroDivisionError: a defect",
        "  to fix it: this is a defect of lvslab: please report it with the log",
        f"  full log:  {log}",
    ]
    assert "Traceback (most recent call last)" in log.read_text()
    assert "qemu: a line of the guest" in log.read_text()


def test_ctrl_c() -> None:
    done = run("trial", "interrupt")
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "interrupted; what was finished is kept"
    assert "Traceback" not in done.stderr


def test_sigterm() -> None:
    with subprocess.Popen(
        child("trial", "sleep"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asleep\n"
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err.splitlines()[-1] == "ended by SIGTERM; what was finished is kept"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_the_programs_of_all_threads(number: int, status: int) -> None:
    start = time.monotonic()
    with subprocess.Popen(
        child("trial", "threads"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asleep\n"
        sleepers = until(lambda: children(process.pid), 30, good=lambda found: len(found) == 2)
        process.send_signal(number)
        _, err = process.communicate(timeout=90)
    assert process.returncode == status
    assert "Traceback" not in err
    assert time.monotonic() - start < 50
    assert not [pid for pid in sleepers if alive(pid)]


def alive(pid: int) -> bool:
    """Whether a process still runs; one that nobody has waited for yet (Z) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes that `pid` has started, whichever of its threads did (proc(5))."""
    return [
        int(number)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for number in path.read_text().split()
    ]


PLAIN = [
    "… bake director",
    "a forecast",
    "a note",
    "warning: slow mirror",
    "✗ probe 0.2 s: no /dev/kvm",
    "✓ base disk (unchanged)",
    "✓ bake director 71.2 s",
]


def test_plain_lines_when_not_on_a_terminal(tmp_path: Path) -> None:
    done = run("trial", "work")
    assert done.returncode == 0
    assert done.stderr.splitlines() == PLAIN
    assert done.stdout == "the result\n"
    (log,) = logs(tmp_path)
    text = log.read_text()
    assert re.search(r"^ +\d+\.\d{3}  qemu: a line of the guest$", text, re.M)
    assert all(line in text for line in PLAIN)


@pytest.mark.parametrize("words", [("-v", "trial", "work"), ("trial", "work", "-v")])
def test_verbose_shows_the_programs_output(words: tuple[str, ...]) -> None:
    assert "  qemu: a line of the guest" in run(*words).stderr.splitlines()


def test_json_is_one_object_a_line() -> None:
    done = run("trial", "work", "--json")
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert [o["event"] for o in objects] == [
        "stage-started",
        "stage-progress",
        "forecast",
        "note",
        "note",
        "stage-failed",
        "stage-done",
        "stage-done",
        "end",
    ]
    assert objects[1] == {
        "event": "stage-progress",
        "stage": "bake director",
        "done": 3,
        "total": 10,
        "unit": "steps",
        "note": "packages [now]",
    }
    assert objects[2] == {
        "event": "forecast",
        "text": "a forecast",
        "seconds": 98,
        "builds": 3,
        "jobs": 2,
        "stages": {"bake director": {"needs": [], "seconds": 98}},
    }
    assert objects[-1] == {"event": "end", "status": 0}
    assert done.stderr == ""


def test_json_tells_errors_too() -> None:
    done = run("trial", "input", "--json")
    error, end = (json.loads(line) for line in done.stdout.splitlines())
    assert error["message"] == "no such network: VMnet7"
    assert error["where"] == "lab.yaml:3:5"
    assert (error["status"], end["status"], done.returncode) == (2, 2, 2)
    assert done.stderr.startswith("error: lab.yaml:3:5")


def on_terminal(*words: str, **environment: str) -> str:
    """What the command line writes when stderr is a terminal."""
    parent, terminal = pty.openpty()
    process = subprocess.Popen(
        child(*words),
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment},
    )
    os.close(terminal)
    shown = b""
    try:
        while data := os.read(parent, 65536):
            shown += data
    except OSError:
        pass  # Linux: EIO when the last writer has closed the terminal
    os.close(parent)
    assert process.wait(60) == 0
    return shown.decode()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (StageProgress("pool", 12_345_678, 987_654_321, "bytes"), "12/988 MB"),
        (StageProgress("vmdk", 0, 2_000_000, "B"), "0/2 MB"),
        (StageProgress("bake", 3, 6, "steps"), "3/6 steps"),
        (StageProgress("tree", 0, 0, "", "installing"), ""),
    ],
)
def test_what_is_counted_is_shown_for_people(event: StageProgress, words: str) -> None:
    assert progress.counted(event) == words


@pytest.mark.slow
def test_live_display_on_a_terminal() -> None:
    shown = on_terminal("trial", "work")
    assert "3/10 steps  packages [now]  init" in shown
    assert "about 1 min 40 s left (from 3 earlier builds)" in shown
    assert "a forecast" not in shown, "it would count down no longer"
    assert "✓ bake director 71.2 s" in shown
    assert "✓ base disk (unchanged)" in shown
    assert "\x1b[32m" in shown, "green"
    assert "a line of the guest" not in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "environment"),
    [(("trial", "work", "--no-color"), {}), (("trial", "work"), {"NO_COLOR": "1"})],
)
def test_no_colour_when_asked(words: tuple[str, ...], environment: dict[str, str]) -> None:
    shown = on_terminal(*words, **environment)
    assert "✓ bake director 71.2 s" in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", shown)


def test_a_terminal_without_utf_8() -> None:
    done = run("trial", "work", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0
    assert "? bake director 71.2 s" in done.stderr


def test_a_reader_that_goes_away() -> None:
    line = f"exec {sys.executable} -m lvslab.cli --help | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_events_of_many_threads_do_not_mix() -> None:
    this = common.Session()
    with this.reporting("threads") as listener:
        threads = [
            threading.Thread(
                target=lambda n=n: [listener(LogLine(f"t{n}", "x" * 500)) for _ in range(200)]
            )
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert this.log is not None
    lines = this.log.read_text().splitlines()
    assert len(lines) == 1600
    assert all(re.fullmatch(r" +\d+\.\d{3}  t\d: x{500}", line) for line in lines)


def test_old_logs_are_forgotten(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    for number in range(40):
        (folder / f"images-20200101-0000{number:02}-1.log").touch()
    (folder / "other.log").touch()
    with common.Session().reporting("images", folder):
        pass
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 32  # 30 old ones, the new one, and what is not a log of this verb
    assert "images-20200101-000010-1.log" in names
    assert "other.log" in names


def test_a_log_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    this = common.Session()
    with this.reporting("images", blocked / "log"):
        pass
    assert this.log is not None
    assert this.log.parent == tmp_path / "cache/log"


def completions(words: str, position: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "lvslab.cli"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={
            **os.environ,
            main.COMPLETE_VARIABLE: "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(position),
        },
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_completion_of_verbs_and_options() -> None:
    assert completions("build.py im", 1) == ["images"]
    assert "--offline" in completions("build.py images --o", 2)
    assert completions("build.py images --role d", 3) == ["director", "dns-server"]


def test_bash_completes_with_the_printed_script(tmp_path: Path) -> None:
    program = tmp_path / "build.py"
    program.write_text(f'#!/bin/sh\ncd {ROOT}; exec {sys.executable} -m lvslab.cli "$@"\n')
    program.chmod(0o755)
    script = subprocess.run(
        [program, "completion", "bash"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    line = (
        f"source {tmp_path}/script; COMP_WORDS=({program} val); COMP_CWORD=1; "
        f'_buildpy_completion {program}; echo "${{COMPREPLY[@]}}"; complete -p build.py'
    )
    (tmp_path / "script").write_text(script)
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[0] == "validate"
    assert "_buildpy_completion" in done.stdout.splitlines()[1]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["completion", shell]) == 0
    assert main.COMPLETE_VARIABLE in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from lvslab.cli.main import main; main(['--help']); "
        "print(sorted({'rich', 'pydantic', 'yaml', 'jinja2', 'pycdlib', 'sh', 'email'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_validate_takes_the_articles_lab(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["validate"]) == 0
    shown = capsys.readouterr().out
    assert "director: lvs1, lvs2\n" in shown
    assert shown.endswith("lab.yaml: no error\n")


def test_validate_shows_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "lab.yaml"
    bad.write_text((ROOT / "lab.yaml").read_text().replace("router_id: 51", "router_id: 510"))
    assert main.main(["validate", "--lab", str(bad)]) == 2
    shown = capsys.readouterr()
    assert re.search(r"lab\.yaml:\d+:\d+: ", shown.err)
    assert "510" in shown.err or "255" in shown.err


def test_validate_of_a_file_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["validate", "--lab", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["validate"], ["lock", "--json"]])
def test_a_reader_that_goes_away_gets_no_traceback(words: list[str]) -> None:
    argv, pipe = [sys.executable, "-m", "lvslab.cli", *words], subprocess.PIPE
    with subprocess.Popen(argv, cwd=ROOT, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
