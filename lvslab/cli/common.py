"""What every verb uses: the project's folders, the session, and the `verb` decorator."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from click.shell_completion import CompletionItem

from lvslab.core import programs
from lvslab.core.errors import InputError, LabError
from lvslab.core.events import Event, Listener, Note
from lvslab.core.places import COMMON, IN_CHECKOUT, LAB, PROGRAM, ROLE_FOLDERS, WORK, default_cache

if TYPE_CHECKING:
    from lvslab.model.role import RoleSpec

_LOGS_KEPT = 30


@dataclass
class Session:
    """One run of the command line: how to show things, where its log is, who listens."""

    verbose: bool = False
    color: bool = field(default_factory=lambda: not os.environ.get("NO_COLOR"))
    json: bool = False
    log: Path | None = None
    listener: Listener | None = None

    @property
    def cache(self) -> Path:
        """The cache folder, as an absolute path."""
        return default_cache().absolute()

    def out(self, text: str = "") -> None:
        """One line of result on stdout (nothing with --json, whose lines are objects)."""
        if not self.json:
            click.echo(text, color=None if self.color else False)

    def tell(self, text: str) -> None:
        """One line for the user about the work: to the listener if any, else on stderr."""
        if self.listener:
            self.listener(Note(text))
        else:
            click.echo(text, err=True)

    def emit(self, kind: str, **values: Any) -> None:
        """One JSON object on stdout, only with --json."""
        if self.json:
            click.echo(json.dumps({"event": kind, **values}, default=str))

    def emit_event(self, event: Event) -> None:
        """An event of the engine as such an object."""
        values = event_object(event)
        self.emit(values.pop("event"), **values)

    def ensure(self, group: str) -> None:
        """The host's programs for `build`, `lab` or `test`; see `programs.ensure`."""
        programs.ensure(group, self.tell, self.cache / "log" / "apt.log")

    @contextlib.contextmanager
    def reporting(self, verb: str, logs: Path | None = None) -> Iterator[Listener]:
        """A listener that shows events as this session wants them and logs all of them.

        `logs` is the folder of the log file; the cache's if None or if it cannot be written.
        """
        from lvslab.cli import progress

        with self._open_log(verb, logs) as file, progress.display(self, file) as listener:
            self.listener = listener
            try:
                yield listener
            finally:
                self.listener = None

    def _open_log(self, verb: str, logs: Path | None) -> TextIO:
        folders = [*([logs] if logs else []), self.cache / "log"]
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                _forget_old(folder, verb)
                self.log = folder / f"{verb}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
                return self.log.open("w", encoding="utf-8", errors="replace")
        raise LabError(
            f"cannot write a log in {folders[-1]}",
            hint="free some disk space, or set LVSLAB_CACHE to a folder that you may write to",
        )


def _forget_old(folder: Path, verb: str) -> None:
    for old in sorted(folder.glob(f"{verb}-*.log"))[:-_LOGS_KEPT]:
        old.unlink(missing_ok=True)


def event_object(event: Event) -> dict[str, Any]:
    """An event as a JSON-able object; its class gives `event`: StageDone is `stage-done`."""
    name = "".join(f"-{c.lower()}" if c.isupper() else c for c in type(event).__name__)
    return {"event": name.lstrip("-"), **asdict(event)}


def session() -> Session:
    """The running command's session."""
    found = click.get_current_context().find_object(Session)
    assert found is not None
    return found


def _set_verbose(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).verbose = True


def _set_plain(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).color = False


def _set_json(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).json = True


_VERBOSE = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_set_verbose,
    help="Also show the output of the programs that are run.",
)
_PLAIN = click.option(
    "--no-color",
    is_flag=True,
    expose_value=False,
    callback=_set_plain,
    help="No colours (NO_COLOR in the environment does the same).",
)

as_json = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_set_json,
    help="Write one JSON object per line on stdout, for programs.",
)

lab_file = click.option(
    "--lab",
    "lab_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=WORK / LAB,
    show_default=LAB,
    help="The lab to build.",
)


until_passed = click.option(
    "--wait",
    "seconds",
    type=float,
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="Try again until all checks pass, for this time at most.",
)


def artifacts_folder(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--artifacts`: the folder that `images` filled."""
    return click.option(
        "--artifacts",
        type=click.Path(path_type=Path, file_okay=False),
        default=WORK / "artifacts",
        show_default="artifacts",
        help=help_text,
    )


class Named(click.ParamType[str]):
    """A word out of those that `names` returns: completed from them, checked by the verb."""

    def __init__(self, name: str, names: Callable[[], Iterable[str]]) -> None:
        self.name = name
        self._names = names

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin so."""
        return [CompletionItem(name) for name in self._names() if name.startswith(incomplete)]


def _role_names() -> list[str]:
    files = (path for folder in ROLE_FOLDERS for path in folder.glob("*/role.yaml"))
    return sorted({path.parent.name for path in files} - {COMMON})


ROLE = Named("role", _role_names)
"""The name of a role: see `only` and `known`."""


def demand_checkout(what: str) -> None:
    """Raise InputError, which says `what`, if this does not run from a checkout."""
    if not IN_CHECKOUT:
        raise InputError(what, hint="do it in a checkout: clone the project")


def known(name: str, roles: Iterable[str]) -> str:
    """The name of a role of the lab. Raises InputError if it has no such role."""
    from lvslab.model.problems import listed

    if name not in roles:
        raise InputError(
            f"the lab has no role {name}", where="lab.yaml", hint=f"roles are {listed(roles)}"
        )
    return name


def only(names: Sequence[str], roles: Mapping[str, RoleSpec]) -> dict[str, RoleSpec]:
    """These of the lab's roles; all if there is no name. Raises InputError as `known` does."""
    wanted = {known(name, roles) for name in names} or set(roles)
    return {name: spec for name, spec in roles.items() if name in wanted}


def out_folder(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--out DIR`, parameter `out`."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default=WORK / default,
        show_default=default,
        help="The folder for the results.",
    )


def everywhere(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that work before and after the verb: -v and --no-color."""
    return _VERBOSE(_PLAIN(command))


def epilog(examples: str) -> str:
    """The examples under a command's help, one a line, each without PROGRAM."""
    lines = "\n".join(f"  {PROGRAM} {line.strip()}" for line in examples.strip().splitlines())
    return f"\b\nExamples:\n{lines}"


def verb(
    name: str, examples: str, *, group: click.Group | None = None, **settings: Any
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function the command `name`; its docstring is the help.

    `examples`: see `epilog`. `group`: a group to belong to; a verb of the top level has
    none, it is named in the table of `lvslab.cli.main`.
    """
    declare = group.command if group else click.command

    def decorate(function: Callable[..., Any]) -> click.Command:
        command: click.Command = declare(name, epilog=epilog(examples), **settings)(
            everywhere(function)
        )
        return command

    return decorate


class Verbs(click.Group):
    """A group whose commands are imported on use, shown in the table's order.

    `verbs`: a verb to the module and the name of its click command, `module:name`.
    """

    def __init__(self, *args: Any, verbs: Mapping[str, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs' names."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module; None if there is no such verb."""
        if cmd_name not in self._verbs:
            return None
        module, _, name = self._verbs[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


def show_error(error: LabError, this: Session) -> None:
    """The error on stderr; an object as well with --json."""
    if error.log is None:
        error.log = this.log
    label = click.style("error:", fg="red", bold=True) if this.color else "error:"
    click.echo(f"{label} {error}", err=True, color=None if this.color else False)
    sys.stderr.flush()
    this.emit(
        "error",
        status=error.status,
        message=error.message,
        where=error.where,
        hint=error.hint,
        log=str(error.log) if error.log else None,
    )


def defect(message: str, errors: Sequence[Exception], this: Session) -> LabError:
    """A defect of this program as an error that can be shown; the tracebacks go to the log."""
    with contextlib.suppress(OSError, LabError):
        if this.log is None:
            with this.reporting("unexpected"):
                pass
        assert this.log is not None
        with this.log.open("a") as file:
            for error in errors:
                traceback.print_exception(error, file=file)
    return LabError(
        message,
        hint="this is a defect of lvslab: please report it with the log",
        log=this.log,
    )
