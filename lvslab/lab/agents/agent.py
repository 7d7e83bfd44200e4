"""Programs run inside a node, by the agent there: an engine says how it is reached."""

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
from typing import Any, Protocol

from lvslab.core.errors import StageError
from lvslab.core.procs import last_lines, stop_if_asked

_numbers = itertools.count()
_PATIENCE = 0.5  # seconds until an interrupt is noticed


@dataclass(frozen=True)
class Answer:
    """How a program inside a node ended."""

    status: int
    out: str
    err: str


class Agent(Protocol):
    """The way to the agent of one node."""

    @property
    def node(self) -> str:
        """The node's name."""

    def perform(self, job: dict[str, Any], timeout: float) -> Answer:
        """Let the agent do a job (see `lvslab.lab.agents.guest_agent`), within `timeout` seconds.

        Raises StageError that names the node if it does not answer.
        """


@dataclass(frozen=True)
class SerialAgent:
    """The agent behind a socket that leads to the node's serial port COM3.

    `path` is in a folder that has the node's name.
    """

    path: Path

    @property
    def node(self) -> str:
        """The node's name."""
        return self.path.parent.name

    def perform(self, job: dict[str, Any], timeout: float) -> Answer:
        """Send the job as a line, and read the answer."""
        number = f"{os.getpid()}-{next(_numbers)}"
        line = json.dumps({"id": number, **job})
        what = job["argv"][0] if "argv" in job else "a look at its files"
        deadline = time.monotonic() + timeout
        try:
            with contextlib.closing(socket.socket(socket.AF_UNIX)) as wire:
                wire.settimeout(timeout)
                wire.connect(str(self.path))
                wire.sendall(
                    f"\n{line}\n".encode()
                )  # the first newline ends a stranger's half line
                return _answer(wire, number, deadline)
        except OSError as error:
            raise StageError(
                f"the node does not answer ({what}: {error})",
                where=self.node,
                hint=f"look at its console: lab console {self.node}",
            ) from None


def ask(agent: Agent, argv: Sequence[str], *, stdin: str = "", timeout: float = 30) -> Answer:
    """Run `argv` inside the node of `agent`, bounded by `timeout` seconds.

    Raises StageError when the node does not answer in time; what the program's own status
    means is the caller's business.
    """
    return agent.perform({"argv": list(argv), "input": stdin, "timeout": timeout}, timeout)


def existing(
    agent: Agent, paths: Sequence[str], known: Sequence[str], *, wait: float, timeout: float
) -> list[str]:
    """Which of `paths` exist in the node: once that is not `known`, or after `wait` seconds.

    Raises StageError when the node does not answer within `timeout` seconds more.
    """
    job = {"paths": list(paths), "known": list(known), "timeout": wait}
    found: list[str] = json.loads(agent.perform(job, wait + timeout).out)
    return found


def check(agent: Agent, argv: Sequence[str], *, stdin: str = "", timeout: float = 30) -> str:
    """Like `ask`, but a status other than 0 is a StageError; returns the standard output."""
    answer = ask(agent, argv, stdin=stdin, timeout=timeout)
    if answer.status:
        raise StageError(
            f"{' '.join(argv)} ended with status {answer.status}:"
            + last_lines(answer.err or answer.out),
            where=agent.node,
        )
    return answer.out


def _answer(wire: socket.socket, number: str, deadline: float) -> Answer:
    waiting = b""
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        wire.settimeout(min(remaining, _PATIENCE))
        try:
            chunk = wire.recv(65536)
        except TimeoutError:
            stop_if_asked()
            continue
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
