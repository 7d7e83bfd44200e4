"""The agent of a machine on VMware: the tools in the guest run it for each job.

The job goes into the guest in a file, with the agent's own program before it, and the answer comes
back in another: no word of a job is ever part of a command line, which vmrun and the tools would
quote each in their way. The class user logs in with a password and is root by sudo, as its seed
says. vmrun takes that password on its command line only, so this host's users can see it.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lvslab.core.errors import InputError
from lvslab.lab.agents import guest_agent, guest_job
from lvslab.lab.agents.agent import Answer
from lvslab.lab.vmrun.vmrun_program import GuestLogin, Vmrun
from lvslab.model.lab import Login

PASSWORD = "LVSLAB_LOGIN_PASSWORD"
"""The environment variable with the password of the class user."""

_SLOW = 60.0  # seconds that VMware's tools may need besides the job
_AGENT = Path(guest_agent.__file__)
_RUN = ("/usr/bin/sudo", "-n", "/usr/bin/python3")


@dataclass(frozen=True)
class GuestOperations:
    """The way into one machine."""

    node: str
    vmx: Path
    vmrun: Vmrun
    login: Login

    def perform(self, job: dict[str, Any], timeout: float) -> Answer:
        """One job. Raises StageError with vmrun's words, InputError without a password."""
        who = self._login()
        there = PurePosixPath("/tmp") / f"lvslab-{secrets.token_hex(8)}.py"  # noqa: S108
        with tempfile.TemporaryDirectory(prefix=".lvslab-", dir=self.vmx.parent) as folder:
            here, back = Path(folder) / "job", Path(folder) / "answer"
            here.write_text(guest_job.with_job(_AGENT.read_text(), job))
            self._ask(who, "copyFileFromHostToGuest", self._name(here), str(there))
            self._ask(who, "runProgramInGuest", *_RUN, str(there), timeout=timeout + _SLOW)
            answer = guest_job.answer_of(str(there))
            self._ask(who, "copyFileFromGuestToHost", answer, self._name(back))
            said = {} if self.vmrun.tell else json.loads(back.read_text())
        return Answer(said.get("status", 0), said.get("out", ""), said.get("err", ""))

    def _login(self) -> GuestLogin:
        password = os.environ.get(PASSWORD, "***" if self.vmrun.tell else "")
        if not password:
            raise InputError(
                "VMware's guest operations need the password of the machines' user",
                where=self.login.user,
                hint=f"set {PASSWORD}; it belongs to login.password_hash of lab.yaml",
            )
        return GuestLogin(self.login.user, password)

    def _name(self, path: Path) -> str:
        return self.vmrun.name_of(path)

    def _ask(self, who: GuestLogin, command: str, *words: str, timeout: float = _SLOW) -> str:
        name = self._name(self.vmx)
        return self.vmrun.ask(command, name, *words, where=self.node, login=who, timeout=timeout)
