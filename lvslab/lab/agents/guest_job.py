"""The agent inside a node that has no serial port for it: a program made for one job.

Its text is this file, and a last line with the agent's own program and the job (`with_job`). It
runs on the guest's own python3 and needs the standard library only.
"""

import json
import os
import time
import types
from pathlib import Path

_ANSWER = ".answer"
_KEPT_SECONDS = 600


def with_job(agent: str, job: dict) -> str:  # type: ignore[type-arg]
    """The text of the program for one job; `agent` is that of `guest_agent`."""
    text = json.dumps({"id": "", **job})
    return f"{Path(__file__).read_text()}\n\nonce(__file__, {agent!r}, {text!r})\n"


def answer_of(program: str) -> str:
    """Where the program `program` writes its answer."""
    return program + _ANSWER


def once(program: str, agent: str, job: str) -> None:
    """Do one job for the owner of the file `program`, who alone may read the answer.

    The program is removed at once; its answer by a job after ten minutes.
    """
    this = Path(program)
    for old in this.parent.glob(f"lvslab-*{_ANSWER}"):
        if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
            old.unlink()
    owner = this.stat()
    this.unlink()
    module = types.ModuleType("agent")
    exec(agent, module.__dict__)  # noqa: S102  # the text comes with the job
    answer = json.dumps(module.answered(json.loads(job)))
    target = os.open(answer_of(program), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(target, "w") as file:
        os.fchown(target, owner.st_uid, owner.st_gid)
        file.write(answer)
