"""Programs: run without a shell, logged, bounded in time, and never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lvslab.core.errors import MissingError, StageError
from lvslab.core.events import Listener, LogLine, silent
from lvslab.core.places import PROGRAM

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_STOP = threading.Event()
_RUNNING: set[subprocess.Popen[bytes]] = set()
_GUARD = threading.RLock()
_GRACE_SECONDS = 5
_HARMLESS = ("home", "tmpdir", "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def search_path() -> str:
    """Where programs are looked for: PATH, then the `sbin` folders that users' PATHs lack."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN])


def program(name: str) -> str:
    """The full path of a program, `sbin` folders included.

    Raises MissingError that names the program.
    """
    found = shutil.which(name, path=search_path())
    if found is None:
        raise MissingError(
            f"the program {name} is not installed",
            hint=f"run `{PROGRAM} setup` as root, or install the package that has it",
        )
    return found


def _clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.lower() in _HARMLESS}
    return kept | {"PATH": search_path()}


def die_with_parent() -> None:
    """For `preexec_fn`: the child is killed when the thread that started it ends (prctl(2)).

    Only Linux can do that.
    """
    if sys.platform.startswith("linux"):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run(
    argv: Sequence[str | Path],
    *,
    what: str,
    listener: Listener = silent,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    clean: bool = False,
    cwd: Path | None = None,
    timeout: float = 600,
    hint: str = "",
    ok: Sequence[int] = (0,),
) -> str:
    """Run a program to its end and return its standard output.

    It gets our environment and `env`; if `clean`, of ours only where programs, the home,
    temporary files and proxies are: what shapes bytes must not hear of the user's TAR_OPTIONS.
    `what` names the work in errors ("making the file system"); both outputs go to the
    listener as log lines. Raises StageError with the last lines of output when the
    program ends with a status not in `ok` or outlives `timeout` seconds; then its whole
    process group is killed.
    """
    words = [str(word) for word in argv]
    words[0] = program(words[0])
    listener(LogLine(what, f"$ {shlex.join(words)}"))
    data = stdin.encode() if isinstance(stdin, str) else stdin

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE if data is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**(_clean_environment() if clean else os.environ), **(env or {})},
            cwd=cwd,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    with _known(start) as process:
        try:
            raw_out, raw_err = _communicate(process, data, timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            raise StageError(
                f"{what}: {words[0]} did not end within {timeout:.0f} s", hint=hint
            ) from None
        except BaseException:
            _end(process)
            raise
    stop_if_asked()  # or a program that `stop` has killed would look like one that failed
    out, err = raw_out.decode(errors="replace"), raw_err.decode(errors="replace")
    for line in (*out.splitlines(), *err.splitlines()):
        listener(LogLine(what, line))
    if process.returncode not in ok:
        raise StageError(
            f"{what}: {Path(words[0]).name} ended with status {process.returncode}: "
            + (last_lines(err) or last_lines(out)),
            hint=hint,
        )
    return out


def _communicate(
    process: subprocess.Popen[bytes], data: bytes | None, timeout: float
) -> tuple[bytes, bytes]:
    """Popen.communicate that a worker thread leaves when the run is interrupted."""
    deadline = time.monotonic() + timeout
    while True:
        stop_if_asked()
        try:
            return process.communicate(data, timeout=0.2)
        except subprocess.TimeoutExpired:
            data = None  # what is not yet written is kept by communicate
            if time.monotonic() > deadline:
                raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and wait until nobody who could still write its files has its outputs."""
    kill_group(process)
    with contextlib.suppress(subprocess.TimeoutExpired, ValueError):  # ValueError: closed already
        process.communicate(timeout=_GRACE_SECONDS)


def stop() -> None:
    """Kill what `run` has started in any thread, and let worker threads start no more."""
    with _GUARD:
        _STOP.set()
        for process in list(_RUNNING):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _known(process_of: Callable[[], subprocess.Popen[bytes]]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that `stop` knows of from its start to its end."""
    with _GUARD:
        stop_if_asked()
        process = process_of()
        _RUNNING.add(process)
    try:
        with process:
            yield process
    finally:
        with _GUARD:
            _RUNNING.discard(process)


def stop_if_asked() -> None:
    """Raise KeyboardInterrupt in a worker thread once the run is interrupted.

    Never in the main thread: it has been interrupted by the signal, and now cleans up.
    """
    if _STOP.is_set() and threading.current_thread() is not threading.main_thread():
        raise KeyboardInterrupt


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that was started in its own session, with all its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_lines(text: str, count: int = 8) -> str:
    """The last non-empty lines of a program's output, indented for an error message."""
    lines = [line for line in text.splitlines() if line.strip()][-count:]
    return "".join(f"\n    {line}" for line in lines)
