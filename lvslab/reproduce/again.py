"""The second build, in a process of its own: another checkout, cache, user, host name, clock.

`python -m lvslab.reproduce.again enter REQUEST` puts on what needs root and becomes
`... build REQUEST`, which reports on standard output, one JSON object per line, what happens.
"""

from __future__ import annotations

import io
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lvslab.build import lockfile as locks
from lvslab.build.bake import Circumstances
from lvslab.core import events
from lvslab.core.errors import LabError, StageError
from lvslab.core.events import Event, Listener, LogLine
from lvslab.core.places import ROLE_FOLDERS, is_part, of_project
from lvslab.core.procs import die_with_parent, kill_group, program, run, stop_if_asked
from lvslab.make import Options, images, report
from lvslab.make.provenance import SOURCES
from lvslab.model.lab import Lab
from lvslab.model.load import load_role
from lvslab.reproduce.compare import Build
from lvslab.reproduce.conditions import AS_NOBODY, DAYS_LATER, Conditions

_MARK = " (again)"


def rebuild(
    first: Build,
    root: Path,
    work: Path,
    options: Options,
    conditions: Conditions,
    listener: Listener,
) -> Build:
    """Build what `first` built, with its lab and lock, in the empty folder `work`.

    `root` is the checkout whose code and roles are copied and used; of `options` the cache's pool,
    the mirror, `offline` and the acceleration count. Raises LabError as a build does.
    """
    checkout, cache, out = work / "checkout", work / "cache", work / "artifacts"
    _copy_checkout(root, checkout)
    lock = checkout / locks.FILE
    locks.save(report.lock_of(first.report["lock"], "build.json"), lock)
    _share_pool(options.cache / "pool", cache / "pool")
    request = work / "request.json"
    request.write_text(
        json.dumps(
            {
                "lab": first.report["lab"],
                "roles": list(first.report["roles"]),
                "cache": str(cache),
                "out": str(out),
                "per_node": first.per_node,
                "jobs": conditions.jobs,
                "offline": options.offline,
                "mirror": options.mirror,
                "acceleration": options.acceleration,
                "circumstances": asdict(conditions.circumstances),
                "user": conditions.user,
                "host_name": conditions.host_name,
                "umask": conditions.umask,
            }
        )
    )
    (work / "home").mkdir()
    work.chmod(0o755)
    if conditions.user is not None:
        for path in (work, *work.rglob("*")):
            if path.is_dir():
                os.chown(path, conditions.user, conditions.user)
    _follow(_command(conditions, request), checkout, work, conditions, listener)
    return Build.load(out / "build.json", cache)


def _copy_checkout(root: Path, to: Path) -> None:
    """Copy what decides the artifacts, the last name first: folders list in another order."""
    to.mkdir(parents=True)
    for name in sorted(SOURCES, reverse=True):
        source = of_project(root, name)
        if source.is_dir():
            _copy_folder(source, to / name, source)
        else:
            shutil.copy2(source, to / name)


def _copy_folder(source: Path, to: Path, top: Path) -> None:
    to.mkdir()
    for path in sorted(source.iterdir(), reverse=True):
        if not is_part(top, path):
            continue
        if path.is_dir():
            _copy_folder(path, to / path.name, top)
        else:
            shutil.copy2(path, to / path.name)


def _share_pool(source: Path, to: Path) -> None:
    """The verified packages, as hard links where that is possible: no second download."""

    def one(path: str, target: str) -> None:
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)

    to.parent.mkdir(parents=True)
    if source.is_dir():
        shutil.copytree(source, to, copy_function=one)
    else:
        to.mkdir()


def _command(conditions: Conditions, request: Path) -> list[str]:
    words = [sys.executable, "-m", __name__, "enter", str(request)]
    if conditions.host_name or conditions.user is not None:
        words = [program("unshare"), "--mount", "--uts", "--", *words]
    return words


def _follow(
    words: list[str], checkout: Path, work: Path, conditions: Conditions, listener: Listener
) -> None:
    """Run the second build, pass on what it says, and raise what it raised."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LVSLAB_"))
    }
    environment |= conditions.environment
    environment |= {"PYTHONPATH": str(checkout), "HOME": str(work / "home")}
    errors = work / "stderr"
    with (
        errors.open("wb") as err,
        subprocess.Popen(
            words,
            cwd=checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            start_new_session=True,
            preexec_fn=die_with_parent,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                stop_if_asked()
                _told(json.loads(line), listener)
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                kill_group(process)
    if process.returncode != 0:
        said = errors.read_text(errors="replace").strip().splitlines()[-5:]
        raise StageError("the second build ended badly: " + "\n    ".join(said))


def _told(said: dict[str, Any], listener: Listener) -> None:
    """An event of the second build, marked, to the listener; its error is raised."""
    kind = said.pop("event")
    if kind == "error":
        raise StageError(said["message"], where=said["where"] + _MARK, hint=said["hint"])
    if "stage" in said:
        said["stage"] += _MARK
    event: Event = getattr(events, kind)(**said)
    listener(event)


def _say(kind: str, **values: Any) -> None:
    print(json.dumps({"event": kind, **values}, default=str), flush=True)


def _enter(request: Mapping[str, Any], words: list[str]) -> None:
    """Become the second build's user on the second build's host, then build."""
    if request["host_name"]:
        socket.sethostname(request["host_name"])
    if request["user"] is not None:
        # newuidmap asks these files; only this process's own mounts change.
        user = pwd.getpwuid(request["user"]).pw_name
        for name in ("subuid", "subgid"):
            own = Path(request["cache"]).parent / name
            own.write_text(f"{user}:100000:65536\n")
            own.chmod(0o644)
            run(["mount", "--bind", own, Path("/etc") / name], what="lending ids")
        words = [program(AS_NOBODY[0]), *AS_NOBODY[1:], *words]
    os.execv(words[0], words)


@contextmanager
def _otherwise(cores: int) -> Iterator[None]:
    """As far as Python knows, folders list in reverse, there is another number of cores, and it
    is much later."""
    listdir, scandir, now = os.listdir, os.scandir, time.time
    later = DAYS_LATER * 86400

    class Reversed:
        """What os.scandir gives, the last name first."""

        def __init__(self, *path: Any) -> None:
            with scandir(*path) as entries:
                self._entries = iter(sorted(entries, key=lambda e: os.fsencode(e.name))[::-1])

        def __iter__(self) -> Iterator[Any]:
            return self._entries

        def __next__(self) -> Any:
            return next(self._entries)

        def __enter__(self) -> Reversed:
            return self

        def __exit__(self, *_error: object) -> None:
            pass

        def close(self) -> None:
            """Nothing is open."""

    replaced: list[tuple[Any, str, Callable[..., Any]]] = [
        (os, "listdir", lambda *path: sorted(listdir(*path), key=os.fsencode)[::-1]),
        (os, "scandir", Reversed),
        (os, "cpu_count", lambda: cores),
        (time, "time", lambda: now() + later),
    ]
    usual = [getattr(module, name) for module, name, _ in replaced]
    try:
        for module, name, other in replaced:
            setattr(module, name, other)
        yield
    finally:
        for (module, name, _), function in zip(replaced, usual, strict=True):
            setattr(module, name, function)


def _build(request: Mapping[str, Any]) -> None:
    os.umask(request["umask"])
    lab = Lab.model_validate_json(json.dumps(request["lab"]))
    roles = {name: load_role(ROLE_FOLDERS, name) for name in request["roles"]}
    options = Options(
        cache=Path(request["cache"]),
        out=Path(request["out"]),
        jobs=request["jobs"],
        per_node=request["per_node"],
        offline=request["offline"],
        mirror=request["mirror"],
        acceleration=request["acceleration"],
        circumstances=Circumstances(**request["circumstances"]),
    )
    with _otherwise((os.cpu_count() or 1) + 1):
        images(lab, roles, options, _tell)


def _tell(event: Event) -> None:
    if not isinstance(event, LogLine):
        _say(type(event).__name__, **asdict(event))


def _main(step: str, path: str) -> int:
    die_with_parent()
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, "utf-8", line_buffering=True)
    request = json.loads(Path(path).read_text())
    try:
        if step == "enter":
            _enter(request, [sys.executable, "-m", __spec__.name, "build", path])
        _build(request)
    except LabError as error:
        _say("error", message=error.message, where=error.where, hint=error.hint)
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
