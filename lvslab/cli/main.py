"""The table of verbs, and what happens when one ends badly.

Exit status: 0 done, 1 a check failed, 2 bad input or usage, 3 something on this host is
missing, 4 a stage failed, 130 interrupted, 143 ended by SIGTERM. No traceback reaches the user.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from lvslab import __version__
from lvslab.cli.common import Session, Verbs, defect, epilog, everywhere, show_error
from lvslab.cli.signals import Terminated, watched
from lvslab.core.errors import InputError, LabError, StageError
from lvslab.core.places import IN_CHECKOUT, PROGRAM

VERBS = {
    "images": "lvslab.cli.images:images",
    "test": "lvslab.cli.test:test",
    "init": "lvslab.cli.init:init",
    "validate": "lvslab.cli.validate:validate",
    "render": "lvslab.cli.render:render",
    "verify": "lvslab.cli.verify:verify",
    "reproduce": "lvslab.cli.reproduce:reproduce",
    "diagram": "lvslab.cli.diagram:diagram",
    "lock": "lvslab.cli.lock:lock",
    "diff": "lvslab.cli.diff:diff",
    "lab": "lvslab.cli.lab:lab",
    "lesson": "lvslab.cli.lesson:lesson",
    "class": "lvslab.cli.classroom:class_",
    "vmware": "lvslab.cli.vmware:vmware",
    "deploy": "lvslab.cli.deploy:deploy",
    "docs": "lvslab.cli.docs:docs",
    "release": "lvslab.cli.release:release",
    "setup": "lvslab.cli.setup:setup",
    "clean": "lvslab.cli.clean:clean",
    "completion": "lvslab.cli.completion:completion",
}

_COLLECTED = 50_000
"""Python's collector runs after so many new objects: at its 700, it takes a fifth of `verify`."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_OTHER_FOLDER = "choose a folder that you may write to"
_HINTS = {
    errno.EACCES: _OTHER_FOLDER,
    errno.EPERM: _OTHER_FOLDER,
    errno.EROFS: _OTHER_FOLDER,
    errno.ENOSPC: "free some disk space there, or choose another folder",
    errno.EDQUOT: "free some disk space there, or choose another folder",
    errno.EEXIST: "something else has that name: move it away, or choose another folder",
    errno.EISDIR: "a folder has that name: move it away, or choose another folder",
    errno.ENOTDIR: "a part of this path is a file: choose another folder",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ELOOP: "its links point to each other: choose another folder",
}

COMPLETE_VARIABLE = "_BUILD_PY_COMPLETE" if IN_CHECKOUT else "_LVSLAB_COMPLETE"


@click.command(
    cls=Verbs,
    verbs=VERBS,
    epilog=epilog("images\ntest --fast\nvalidate"),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="lvslab")
@everywhere
def app() -> None:
    """VMware-ready images of a highly available, active-active LVS cluster.

    `images` makes everything, from Debian's packages to the OVAs and the seeds.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    gc.set_threshold(_COLLECTED)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no ✓ gets a ?
    this = Session()
    status = _run(arguments, this)
    try:
        this.emit("end", status=status)
    except BrokenPipeError:
        _let_reader_go()
    return status


def _let_reader_go() -> None:
    """The reader of our output has gone: nothing can be said, nothing is wrong."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: Sequence[str] | None, this: Session) -> int:
    try:
        with watched():
            result = app.main(
                args=None if arguments is None else list(arguments),
                prog_name=PROGRAM,
                complete_var=COMPLETE_VARIABLE,
                standalone_mode=False,
                obj=this,
            )
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        this.emit("error", status=2, message=error.format_message())
        return 2
    except LabError as error:
        show_error(error, this)
        return error.status
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; what was finished is kept", err=True)
        return 130
    except Terminated:
        click.echo("ended by SIGTERM; what was finished is kept", err=True)
        return 143
    except BrokenPipeError:
        _let_reader_go()
        return 0
    except Exception as error:
        shown = of_the_host(error) or _unexpected(error, this)
        show_error(shown, this)
        return shown.status


def of_the_host(error: Exception) -> LabError | None:
    """What the host refused, as an error with its path; None if it was not a path's fault."""
    if not isinstance(error, OSError) or error.filename is None or error.errno not in _HINTS:
        return None
    path = Path(os.fsdecode(error.filename))
    kind = StageError if error.errno in _NO_ROOM else InputError
    return kind(
        error.strerror or str(error),
        # A file that is written whole or not at all has another name meanwhile.
        where=str(path.parent if path.suffix == ".part" else path),
        hint=_HINTS[error.errno],
    )


def _unexpected(error: Exception, this: Session) -> LabError:
    """An error that nobody foresaw, as one that can be shown."""
    return defect(f"unexpected: {type(error).__name__}: {error}", [error], this)
