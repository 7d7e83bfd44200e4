"""QEMU's monitor protocol (QMP) over a unix socket: one command, one answer."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lvslab.core.errors import StageError


class Qmp:
    """A connected monitor."""

    def __init__(self, path: Path, timeout: float) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._file = self._socket.makefile("rb")
        try:
            self._socket.connect(str(path))
            self._answer()  # the greeting
            self.execute("qmp_capabilities")
        except (OSError, StageError):  # a QEMU that just ends has no greeting
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; QEMU continues."""
        self._file.close()
        self._socket.close()

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a QMP command and return its value. Raises StageError with QEMU's words."""
        message: dict[str, Any] = {"execute": command}
        if arguments:
            message["arguments"] = arguments
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        return self._answer()

    def human(self, line: str) -> str:
        """Run a line of QEMU's human monitor; any text it answers is an error there."""
        answer: str = self.execute("human-monitor-command", **{"command-line": line})
        if answer.strip():
            raise StageError(f"{line}: {answer.strip()}", where=self.path.parent.name)
        return answer

    def _answer(self) -> Any:
        for raw in self._file:
            message = json.loads(raw)
            if "error" in message:
                raise StageError(message["error"]["desc"], where=self.path.parent.name)
            if "return" in message or "QMP" in message:
                return message.get("return")
        raise StageError("QEMU closed its monitor", where=self.path.parent.name)


@contextlib.contextmanager
def monitor(path: Path, timeout: float = 60) -> Iterator[Qmp]:
    """A monitor for the time of a block. Raises StageError if QEMU does not run or answer."""
    try:
        qmp = Qmp(path, timeout)
    except OSError as error:
        raise StageError(
            f"its QEMU does not answer ({error.strerror or error})",
            where=path.parent.name,
            hint=f"start it: lab start {path.parent.name}",
        ) from None
    try:
        yield qmp
    except TimeoutError:
        raise StageError(
            f"QEMU did not answer within {timeout:.0f} s", where=path.parent.name
        ) from None
    finally:
        qmp.close()
