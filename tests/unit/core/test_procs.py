"""Programs end with the one who started them, whatever ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lvslab.core import procs
from lvslab.core.waiting import until

ROOT = Path(__file__).resolve().parents[3]


def started(program: str) -> subprocess.Popen[str]:
    """A Python of its own that runs `program` in the project's folder."""
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def ends(pid: int, seconds: float = 10) -> bool:
    """Whether a process is gone, or dead and not yet fetched, within some seconds."""

    def ended() -> bool:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
        return stat.rpartition(")")[2].split()[0] == "Z"

    return until(ended, seconds)


@pytest.mark.slow
def test_a_killed_run_leaves_no_program_running(tmp_path: Path) -> None:
    number = tmp_path / "pid"
    script = f"echo $$ >{number}.part; mv {number}.part {number}; exec sleep 60"
    with started(
        f"from lvslab.core.procs import run\nrun(['sh', '-c', {script!r}], what='sleeping')"
    ) as parent:
        assert until(number.exists, 60), parent.poll()
        parent.send_signal(signal.SIGKILL)
    assert ends(int(number.read_text()))


def test_a_program_that_an_interrupt_has_killed_did_not_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(procs, "_STOP", threading.Event())
    raised: list[BaseException] = []

    def work() -> None:
        try:
            procs.run(["sh", "-c", "kill -9 $$"], what="working")
        except BaseException as error:
            raised.append(error)

    really = procs._communicate

    def interrupted(*words: object) -> tuple[bytes, bytes]:
        ended = really(*words)  # type: ignore[arg-type]
        procs.stop()
        return ended

    monkeypatch.setattr(procs, "_communicate", interrupted)
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert [type(error) for error in raised] == [KeyboardInterrupt]
