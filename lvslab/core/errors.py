"""Every error a user can meet.

LabError                 what, where, how to fix it, which log; an exit status
├── CheckFailed   (1)    a check answered no
├── InputError    (2)    lab.yaml, a role or an argument is wrong
├── MissingError  (3)    this host lacks something
└── StageError    (4)    a stage of the work failed
"""

from __future__ import annotations

from pathlib import Path


class LabError(Exception):
    """An error that is shown to the user without a traceback.

    `message` says what is wrong, `where` names the file, stage or node, `hint` says how
    to fix it and `log` is the file that has the full log.
    """

    status = 4

    def __init__(
        self, message: str, *, where: str = "", hint: str = "", log: Path | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint
        self.log = log

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.message}" if self.where else self.message]
        if self.hint:
            lines.append(f"  to fix it: {self.hint}")
        if self.log:
            lines.append(f"  full log:  {self.log}")
        return "\n".join(lines)


class CheckFailed(LabError):
    """A check answered no."""

    status = 1


class InputError(LabError):
    """What the user wrote (lab.yaml, a role, an argument) is wrong."""

    status = 2


class MissingError(LabError):
    """This host lacks a program, a permission or a device."""

    status = 3


class StageError(LabError):
    """A stage of the work failed."""

    status = 4
