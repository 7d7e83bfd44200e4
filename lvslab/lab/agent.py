"""Programs run inside a node, through the agent on its serial port COM3."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvslab.core.errors import StageError
from lvslab.core.procs import last_lines

_numbers = itertools.count()


@dataclass(frozen=True)
class Answer:
    """How a program inside a node ended."""

    status: int
    out: str
    err: str


def ask(
    path: Path, argv: Sequence[str], *, stdin: str = "", timeout: float = 30, hint: str = ""
) -> Answer:
    """Run `argv` inside the node whose agent listens at `path`, bounded by `timeout` seconds.

    Raises StageError when the node does not answer in time; what the program's own status
    means is the caller's business.
    """
    job = {"argv": list(argv), "input": stdin, "timeout": timeout}
    return _done(path, job, argv[0], timeout, hint)


def existing(
    path: Path, paths: Sequence[str], known: Sequence[str], *, wait: float, timeout: float
) -> list[str]:
    """Which of `paths` exist in the node: once that is not `known`, or after `wait` seconds.

    Raises StageError when the node does not answer within `timeout` seconds more.
    """
    job = {"paths": list(paths), "known": list(known), "timeout": wait}
    found: list[str] = json.loads(_done(path, job, "a look at its files", wait + timeout).out)
    return found


def _done(path: Path, job: dict[str, Any], what: str, timeout: float, hint: str = "") -> Answer:
    node = path.parent.name
    number = f"{os.getpid()}-{next(_numbers)}"
    line = json.dumps({"id": number, **job})
    deadline = time.monotonic() + timeout
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as wire:
            wire.settimeout(timeout)
            wire.connect(str(path))
            wire.sendall(f"\n{line}\n".encode())  # the first newline ends a stranger's half line
            return _answer(wire, number, deadline)
    except OSError as error:
        raise StageError(
            f"the node does not answer ({what}: {error})",
            where=node,
            hint=hint or f"look at its console: lab console {node}",
        ) from None


def check(path: Path, argv: Sequence[str], *, stdin: str = "", timeout: float = 30) -> str:
    """Like `ask`, but a status other than 0 is a StageError; returns the standard output."""
    answer = ask(path, argv, stdin=stdin, timeout=timeout)
    if answer.status:
        raise StageError(
            f"{' '.join(argv)} ended with status {answer.status}:"
            + last_lines(answer.err or answer.out),
            where=path.parent.name,
        )
    return answer.out


def _answer(wire: socket.socket, number: str, deadline: float) -> Answer:
    waiting = b""
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        wire.settimeout(remaining)
        chunk = wire.recv(65536)
        if not chunk:
            raise ConnectionResetError("QEMU closed the connection")
        waiting += chunk
        *lines, waiting = waiting.split(b"\n")
        for line in lines:
            try:
                answer = json.loads(line)
            except ValueError:
                continue  # the end of an answer to somebody before, or an echo at boot
            if isinstance(answer, dict) and answer.get("id") == number and "status" in answer:
                return Answer(answer["status"], answer["out"], answer["err"])
