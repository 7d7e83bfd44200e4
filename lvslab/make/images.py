"""Making the images: one build at a time, artifacts placed whole, and a report of it all."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from lvslab import __version__
from lvslab.build import packer
from lvslab.core.digests import Digests
from lvslab.core.errors import CheckFailed, StageError
from lvslab.core.events import Listener
from lvslab.core.files import atomic, only_one, sha256_file, usual_umask, write_atomic
from lvslab.core.procs import run
from lvslab.core.stages import NotYetMade
from lvslab.export import sign, sums
from lvslab.make import provenance
from lvslab.make.pipeline import Pipeline
from lvslab.make.trees import LOCK, ROOT, Options
from lvslab.model.lab import Lab, Role
from lvslab.model.role import RoleSpec

REPORT = "build.json"
_LIBRARIES = (
    "cyclonedx-python-lib",
    "deflate",
    "dissect.extfs",
    "jinja2",
    "packageurl-python",
    "pycdlib",
    "pydantic",
    "python-packer",
    "pyyaml",
)
_PROGRAMS = ("mmdebstrap", "apt-get", "dpkg", "tar", "qemu-system-x86_64")


@dataclass(frozen=True)
class Artifact:
    """A file that was made: where it is, its size in bytes and its sha256."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Built:
    """What a build ended with: the artifacts and the report (build.json)."""

    artifacts: list[Artifact]
    report: Path


def images(
    lab: Lab,
    roles: Mapping[Role, RoleSpec],
    options: Options,
    listener: Listener,
    key: str | None = None,
    examine: Callable[[list[Artifact]], object] = lambda artifacts: None,
) -> Built:
    """Make all artifacts of `roles` below `options.out`; `key` signs their sums (export.sign).

    `examine` looks at the artifacts before they are signed; it raises what makes them unfit.
    Two builds never work in one cache or one folder at once. Raises LabError; whatever
    was finished before stays in the cache and is not made again.
    """
    start = time.monotonic()
    doing = "build"
    with (
        only_one(options.cache / "lock", doing),
        only_one(options.out / ".lock", doing),
    ):
        pipeline = Pipeline(lab, roles, options, listener)
        pipeline.stages.sweep()
        with usual_umask():
            made = pipeline.all()
        digests = Digests(options.cache / "digests.json")
        _demand_unused(made, options.out, digests)
        placed = [_placed(path, options.out / name, digests) for name, path in sorted(made.items())]
        seconds = time.monotonic() - start
        report = options.out / REPORT
        write_atomic(report, json.dumps(_report(pipeline, placed, seconds), indent=1) + "\n")
        listed = {str(a.path.relative_to(options.out)): a.sha256 for a in placed}
        listed[REPORT] = sha256_file(report)
        if _whole(lab, roles):
            _forget(options.out, listed)
        else:
            listed |= _kept(options.out, listed)
        write_atomic(options.out / sums.NAME, sums.text(listed))
        digests.save()
        sign.sign(options.out, None)  # an earlier signature is of other sums
        examine(placed)
        sign.sign(options.out, key)
    return Built(placed, report)


def plan(lab: Lab, roles: Mapping[Role, RoleSpec], options: Options) -> Iterator[tuple[str, bool]]:
    """A dry run: the stages that are in the cache (True), and those that would run next (False).

    What comes after a stage that is not cached cannot be known: its id depends on it.
    """
    pipeline = Pipeline(lab, roles, replace(options, dry=True))
    missing = {}
    wanted: list[Callable[[], object]] = [pipeline.seeds]
    for role in roles:
        wanted += [partial(pipeline.ova, role), partial(pipeline.sbom, role)]
    if _whole(lab, roles):
        wanted += [partial(pipeline.base_vmdk, role) for role in roles]
        wanted += [pipeline.vmware, pipeline.bundle]
    wanted += [partial(pipeline.node_ova, node) for node in pipeline.own_ovas()]
    for make in wanted:
        try:
            make()
        except NotYetMade as stage:
            missing[stage.message] = False
    yield from ((record.name, True) for record in pipeline.stages.records)
    yield from missing.items()


def _whole(lab: Lab, roles: Mapping[Role, RoleSpec]) -> bool:
    """Whether these are all roles of the lab: then there are VMware's folders, too."""
    return {node.role for node in lab.nodes.values()} <= set(roles)


def _forget(out: Path, listed: Mapping[str, str]) -> None:
    """Remove what an earlier build made (its SHA256SUMS says so) and this one did not."""
    try:
        earlier = sums.read(out)
    except CheckFailed:  # the first build here, or sums that are not ours
        return
    for name in earlier.keys() - listed.keys():
        path = out / name
        if path.resolve().is_relative_to(out.resolve()):
            path.unlink(missing_ok=True)


def _kept(out: Path, listed: Mapping[str, str]) -> dict[str, str]:
    """The sums of what an earlier build made and the build of one role leaves as it is."""
    try:
        earlier = sums.read(out)
    except CheckFailed:
        return {}
    others = earlier.keys() - listed.keys()
    return {name: earlier[name] for name in others if (out / name).is_file()}


def _demand_unused(made: Mapping[str, Path], out: Path, digests: Digests) -> None:
    """Raise StageError if a machine that would be replaced has been run where it stands.

    `made` are the artifacts by their names below `out`. VMware writes to a node's disk, makes
    another for each snapshot, and keeps *.lck beside the files of a machine that is open.
    """
    folder = out / "vmware"
    if not any(name.startswith("vmware/") for name in made) or not folder.is_dir():
        return
    try:
        earlier = sums.read(out)
    except CheckFailed:  # nothing was ever finished here
        earlier = {}
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


def _placed(source: Path, target: Path, digests: Digests) -> Artifact:
    """Copy an artifact out of the cache unless it is there already, byte for byte."""
    digest, size = digests.sha256(source), source.stat().st_size
    if not (target.is_file() and digests.sha256(target) == digest):
        try:
            with atomic(target) as temporary:
                shutil.copy(source, temporary)  # a script stays executable, a base disk read-only
        except OSError as error:
            raise StageError(
                f"the artifact cannot be written: {error.strerror}",
                where=str(target),
                hint=f"{size >> 20} MiB are needed there, or choose another folder with --out",
            ) from error
        digests.remember(target, digest)
    return Artifact(target, size, digest)


def _report(pipeline: Pipeline, artifacts: list[Artifact], seconds: float) -> dict[str, Any]:
    """What was built from what: for people, for `reproduce --from`, and for the benchmark."""
    out = pipeline.options.out
    own, tools = pipeline.options.packer, _tools(pipeline)
    lab, roles = _described(pipeline)
    sha256 = {str(a.path.relative_to(out)): a.sha256 for a in artifacts}
    inputs = provenance.Inputs(
        lab=lab,
        roles=roles,
        lock=pipeline.lock,
        lock_sha256=sha256_file(LOCK),
        source=provenance.source(ROOT),
        libraries=_libraries(),
        packer=tools["packer"],
        packer_sha256=sha256_file(own) if own else packer.PINNED.sha256,
        packer_pinned=own is None,
        per_node=pipeline.options.per_node,
    )
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "lvslab": __version__,
        "source": asdict(inputs.source),
        "lab": lab,
        "roles": roles,
        "lock": {"sha256": inputs.lock_sha256, **json.loads(LOCK.read_text())},
        "artifacts": {
            str(a.path.relative_to(out)): {"size": a.size, "sha256": a.sha256} for a in artifacts
        },
        "stages": [
            asdict(record) | {"seconds": round(record.seconds, 3)}
            for record in pipeline.stages.records
        ],
        "tools": tools,
        "host": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "acceleration": pipeline.acceleration_used,
            "programs": _programs(),
        },
        "seconds": round(seconds, 3),
        "peak_memory_mib": kib >> 10,
        "provenance": provenance.statement(sha256, inputs, __version__),
    }


def _described(pipeline: Pipeline) -> tuple[dict[str, Any], dict[str, Any]]:
    """Lab and roles as JSON-able values, from which they can be made again."""
    lab: dict[str, Any] = json.loads(pipeline.lab.model_dump_json())
    roles = {role.value: spec.model_dump(mode="json") for role, spec in pipeline.roles.items()}
    return lab, roles


def _libraries() -> dict[str, str]:
    return {name: metadata.version(name) for name in _LIBRARIES}


def _tools(pipeline: Pipeline) -> dict[str, str]:
    """The versions of everything that shapes bytes."""
    versions = {package.name: package.version for package in pipeline.lock.groups["tools"]}
    own = pipeline.options.packer
    versions["packer"] = ".".join(map(str, packer.version(own))) if own else packer.PINNED.version
    versions |= _libraries()
    return versions


def _programs() -> dict[str, str]:
    """The host's programs that took part, as they name themselves; none may shape a byte."""

    def version(name: str) -> str:
        return run([name, "--version"], what=f"asking {name}").partition("\n")[0]

    with ThreadPoolExecutor(len(_PROGRAMS)) as executor:
        return dict(zip(_PROGRAMS, executor.map(version, _PROGRAMS), strict=True))
