"""Making the images: one build at a time, artifacts placed whole, and a report of it all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from lvslab.build import packer
from lvslab.core.digests import Digests
from lvslab.core.errors import CheckFailed, StageError
from lvslab.core.events import Listener, Note, silent
from lvslab.core.files import atomic, linked, only_one, sha256_file, usual_umask, write_atomic
from lvslab.core.places import PROGRAM
from lvslab.core.stages import NotYetMade, Stages
from lvslab.formats import sign, sums
from lvslab.make import chart
from lvslab.make.chart import Profile
from lvslab.make.pipeline import Pipeline
from lvslab.make.report import NAME as REPORT
from lvslab.make.report import Artifact, report, text
from lvslab.make.trees import Options
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec

_NEVER_CHANGED = (".zip",)
"""Kinds of artifacts that programs replace and do not write to; VMware writes to disks."""


@dataclass(frozen=True)
class Built:
    """What a build ended with: the artifacts, the report (build.json), where the time went.

    `chart` is the file that shows it, None if it was not asked for.
    """

    artifacts: list[Artifact]
    report: Path
    profile: Profile
    chart: Path | None


def images(
    lab: Lab,
    roles: Mapping[str, RoleSpec],
    options: Options,
    listener: Listener,
    key: str | None = None,
    examine: Callable[[list[Artifact]], object] = lambda artifacts: None,
) -> Built:
    """Make all artifacts of `roles` below `options.out`; `key` signs their sums (formats.sign).

    `examine` looks at the artifacts before they are signed; it raises what makes them unfit.
    Two builds never work in one cache or one folder at once. Raises LabError; whatever
    was finished before stays in the cache and is not made again.
    """
    start = time.monotonic()
    with _alone(options.cache, listener), only_one(options.out / ".lock", "build"):
        pipeline = Pipeline(lab, roles, options, listener)
        pipeline.stages.sweep()
        with usual_umask():
            made = pipeline.all()
        if options.check_cache:
            _check_rest(pipeline)
        digests = Digests(options.cache / "digests.json", options.check_cache)
        for path in made.values():
            if known := pipeline.stages.sum_of(path):  # what was made counts, not what is there
                digests.remember(path, known)
        _demand_unused(made, options.out, digests)
        promised = _earlier(options.out)
        placed = [
            _placed(path, options.out / name, digests, promised.get(name), pipeline.stages)
            for name, path in sorted(made.items())
        ]
        seconds = time.monotonic() - start
        write_atomic(options.out / REPORT, text(report(pipeline, placed, seconds)))
        profile = Profile(pipeline.stages.records, seconds, pipeline.needs())
        drawn = _drawn(profile, options)
        listed = {str(a.path.relative_to(options.out)): a.sha256 for a in placed}
        for path in filter(None, (options.out / REPORT, drawn)):
            listed[path.name] = sha256_file(path)
        if pipeline.whole:
            _forget(options.out, listed)
        else:
            listed |= _kept(options.out, listed)
        write_atomic(options.out / sums.NAME, sums.text(listed))
        digests.save()
        sign.sign(options.out, None)  # an earlier signature is of other sums
        examine(placed)
        sign.sign(options.out, key)
    return Built(placed, options.out / REPORT, profile, drawn)


def _alone(cache: Path, listener: Listener) -> AbstractContextManager[None]:
    """The lock of a cache. A cache that cannot be written needs none: nothing is made in it."""
    if os.access(cache, os.W_OK) or not cache.exists():
        return only_one(cache / "lock", "build")
    text = f"the cache ({cache}) cannot be written: what it has is used, nothing is kept in it"
    listener(Note(text, "warning"))
    return nullcontext()


def _check_rest(pipeline: Pipeline) -> None:
    """Also read the part of the cache that this build did not use, and say how much is sound."""
    packages = pipeline.pool.check([*pipeline.lock.packages, packer.PINNED])
    others = pipeline.stages.check_others()
    stages = others + sum(record.cached for record in pipeline.stages.records)
    text = f"the whole cache was read: {stages} finished stages and {packages} packages are sound"
    pipeline.listener(Note(text))


def plan(
    lab: Lab,
    roles: Mapping[str, RoleSpec],
    options: Options,
    listener: Listener = silent,
) -> Iterator[tuple[str, bool]]:
    """A dry run: the stages that are in the cache (True), and those that would run next (False).

    What comes after a stage that is not cached cannot be known: its id depends on it.
    """
    pipeline = Pipeline(lab, roles, replace(options, dry=True), listener)
    missing = {}
    for make in (pipeline.tools, pipeline.packer, *pipeline.targets()):
        try:
            make()
        except NotYetMade as stage:
            missing[stage.message] = False
    yield from ((record.name, True) for record in pipeline.stages.records)
    yield from missing.items()


def _drawn(profile: Profile, options: Options) -> Path | None:
    """Where the chart of a build is, if it is wanted. That of an earlier one has other times."""
    path = options.out / chart.NAME
    if options.profile:
        write_atomic(path, chart.draw(profile))
        return path
    if chart.NAME in _earlier(options.out):
        path.unlink(missing_ok=True)
    return None


def _forget(out: Path, listed: Mapping[str, str]) -> None:
    """Remove what an earlier build made (its SHA256SUMS says so) and this one did not."""
    for name in _earlier(out).keys() - listed.keys():
        path = out / name
        if path.resolve().is_relative_to(out.resolve()):
            path.unlink(missing_ok=True)


def _earlier(out: Path) -> dict[str, str]:
    """The sums of the last build in a folder; none if it is the first, or they are not ours."""
    try:
        return sums.read(out)
    except (CheckFailed, UnicodeDecodeError):
        return {}


def _kept(out: Path, listed: Mapping[str, str]) -> dict[str, str]:
    """The sums of what an earlier build made and the build of one role leaves as it is."""
    earlier = _earlier(out)
    others = earlier.keys() - listed.keys()
    return {name: earlier[name] for name in others if (out / name).is_file()}


def _demand_unused(made: Mapping[str, Path], out: Path, digests: Digests) -> None:
    """Raise StageError if a machine that would be replaced has been run where it is.

    `made` are the artifacts by their names below `out`. VMware writes to a node's disk, makes
    another for each snapshot, and keeps *.lck beside the files of a machine that is open.
    """
    folder = out / "vmware"
    if not any(name.startswith("vmware/") for name in made) or not folder.is_dir():
        return
    earlier = _earlier(out)
    for path in sorted(folder.glob("*/*")):
        name = path.relative_to(out).as_posix()
        if path.suffix == ".lck":
            what = "is open in VMware"
        elif path.suffix == ".vmdk" and path.parent.name != "base":
            known = {earlier.get(name)}  # or this build's own, if it was killed while placing
            known |= {digests.sha256(made[name])} if name in made else set()
            if digests.sha256(path) in known:
                continue
            what = "has been run here"
        else:
            continue
        raise StageError(
            f"this build would replace a machine that {what}: {path.parent.name}/{path.name}",
            where=str(folder),
            hint="close it, copy this folder if its state matters, then remove it; or build "
            "into another folder with --out",
        )


def _placed(
    source: Path,
    target: Path,
    digests: Digests,
    promised: str | None,
    stages: Stages,
) -> Artifact:
    """Copy an artifact out of the cache unless it is there already, byte for byte.

    What nobody writes to is not written a second time: it gets a second name if that is possible.
    `promised` is its sum after the last build here. If the artifact should be there with this sum
    and is not, the user is warned.
    """
    digest, size = digests.sha256(source), source.stat().st_size
    fault = _fault(target, digest, digests)
    if fault:
        if promised == digest:
            stages.listener(Note(f"{target} {fault}; it is placed again", "warning"))
        try:
            with atomic(target) as temporary:
                if not (target.suffix in _NEVER_CHANGED and linked(source, temporary)):
                    # a script stays executable, a base disk read-only
                    shutil.copy(source, temporary)
                if sha256_file(temporary) != digest:
                    raise StageError(
                        f"the cache is damaged: {source.name} has other content than when it was "
                        "made",
                        where=str(source),
                        hint=f"{PROGRAM} images --check-cache makes it again",
                    )
        except OSError as error:
            raise StageError(
                f"the artifact cannot be written: {error.strerror}",
                where=str(target),
                hint=f"{size >> 20} MiB are needed there, or choose another folder with --out",
            ) from error
        digests.remember(target, digest)
        if target.samefile(source):
            digests.remember(source, digest)
            stages.renamed(source)
    return Artifact(target, size, digest)


def _fault(target: Path, digest: str, digests: Digests) -> str:
    """Why a placed artifact is not the file with this sum; empty if it is."""
    if not target.is_file():
        return "is gone"
    try:
        return "" if digests.sha256(target) == digest else "is not what was built"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
