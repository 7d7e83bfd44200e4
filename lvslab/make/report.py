"""build.json: what was built from what, for people, for `reproduce --from`, for the benchmark.

It is JSON with an entry a line. Long values are in it once: inputs of stages and the roles,
which are files of the checkout, by their sums; the lock as a table.
"""

from __future__ import annotations

import json
import os
import platform
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from lvslab import __version__
from lvslab.build import packer
from lvslab.build.lockfile import Lock, Package
from lvslab.core.errors import InputError
from lvslab.core.files import sha256_file
from lvslab.core.places import DATA
from lvslab.core.stages import digest
from lvslab.make import host_programs, provenance
from lvslab.make.pipeline import Pipeline
from lvslab.make.trees import LOCK
from lvslab.model.role import RoleSpec

NAME = "build.json"
FORM = 2
"""Counts up when a reader of build.json must know of it."""
_COLUMNS = tuple(field.name for field in fields(Package))
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


@dataclass(frozen=True)
class Artifact:
    """A file that was made: where it is, its size in bytes and its sha256."""

    path: Path
    size: int
    sha256: str


def report(pipeline: Pipeline, artifacts: Sequence[Artifact], seconds: float) -> dict[str, Any]:
    """The values of build.json after a build that took `seconds`."""
    out = pipeline.options.out
    own, tools = pipeline.options.packer, _tools(pipeline)
    lab: dict[str, Any] = json.loads(pipeline.lab.model_dump_json())
    roles = role_sums(pipeline.roles)
    sha256 = {str(a.path.relative_to(out)): a.sha256 for a in artifacts}
    inputs = provenance.Inputs(
        lab=lab,
        roles=roles,
        lock=pipeline.lock,
        lock_sha256=sha256_file(LOCK),
        source=provenance.source(DATA),
        libraries=_libraries(),
        packer=tools["packer"],
        packer_sha256=sha256_file(own) if own else packer.PINNED.sha256,
        packer_pinned=own is None,
        per_node=pipeline.options.per_node,
    )
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "lvslab": __version__,
        "form": FORM,
        "source": asdict(inputs.source),
        "lab": lab,
        "roles": roles,
        "lock": {"sha256": inputs.lock_sha256, **lock_table(pipeline.lock)},
        "artifacts": {
            str(a.path.relative_to(out)): {"size": a.size, "sha256": a.sha256} for a in artifacts
        },
        "stages": [
            asdict(record) | {"start": round(record.start, 3), "seconds": round(record.seconds, 3)}
            for record in pipeline.stages.records
        ],
        "tools": tools,
        "host": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "acceleration": pipeline.acceleration_used,
            "programs": host_programs.versions(pipeline.stages),
        },
        "seconds": round(seconds, 3),
        "peak_memory_mib": kib >> 10,
        "provenance": provenance.statement(sha256, inputs, __version__),
    }


def text(values: Mapping[str, Any]) -> str:
    """JSON for people and for diff: what is long has an entry a line."""
    return _lines(values, "") + "\n"


_LINE = 100  # characters


def _lines(value: Any, indent: str) -> str:
    """A value as JSON: on one line if it fits, else a line for each entry; a list's are whole."""
    line = json.dumps(value, separators=(",", ":"))
    deeper = indent + " "
    if len(line) > _LINE and isinstance(value, dict):
        rows = [f"{json.dumps(key)}:{_lines(entry, deeper)}" for key, entry in value.items()]
        return f"{{\n{deeper}" + f",\n{deeper}".join(rows) + "}"
    if len(line) > _LINE and isinstance(value, list) and isinstance(value[0], dict | list):
        rows = [json.dumps(entry, separators=(",", ":")) for entry in value]
        return f"[\n{deeper}" + f",\n{deeper}".join(rows) + "]"
    return line


def role_sums(roles: Mapping[str, RoleSpec]) -> dict[str, str]:
    """Roles by name, each with the sha256 of all that it says (as JSON)."""
    return {role: digest(spec.model_dump(mode="json")) for role, spec in roles.items()}


def lock_table(lock: Lock) -> dict[str, Any]:
    """A lock as JSON-able values: a row for each package; groups are lists of numbers of rows."""
    number = {package.path: row for row, package in enumerate(lock.packages)}
    return {
        "suite": lock.suite,
        "epoch": lock.epoch,
        "asked": {name: list(asked) for name, asked in lock.asked.items()},
        "groups": {name: [number[p.path] for p in group] for name, group in lock.groups.items()},
        "columns": list(_COLUMNS),
        "packages": [[getattr(package, name) for name in _COLUMNS] for package in lock.packages],
    }


def lock_of(table: Mapping[str, Any], where: str) -> Lock:
    """The lock of a `lock_table`. Raises InputError, with `where` it was, if it is none."""
    try:
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["packages"]]
        packages = [Package(**row) for row in rows]
        return Lock(
            table["suite"],
            int(table["epoch"]),
            {name: tuple(packages[i] for i in group) for name, group in table["groups"].items()},
            {name: tuple(asked) for name, asked in table["asked"].items()},
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"the lock in it is damaged ({error!r})",
            where=where,
            hint="get this file again from where it was published",
        ) from None


@cache
def _libraries() -> dict[str, str]:
    return {name: metadata.version(name) for name in _LIBRARIES}


def _tools(pipeline: Pipeline) -> dict[str, str]:
    """The versions of everything that shapes bytes."""
    versions = {package.name: package.version for package in pipeline.lock.groups["tools"]}
    own = pipeline.options.packer
    versions["packer"] = ".".join(map(str, packer.version(own))) if own else packer.PINNED.version
    versions |= _libraries()
    return versions
