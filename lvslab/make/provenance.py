"""Provenance: an in-toto statement of which artifacts were built from what, and how.

Source: in-toto Attestation Framework, Statement v1; SLSA v1.0, "Provenance" (build
definition and run details). Nothing in it is of the host or of the hour, so two builds of
the same inputs have the same statement.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packageurl import PackageURL

from lvslab.build.lockfile import FILE, Lock
from lvslab.core.errors import LabError
from lvslab.core.places import is_part, of_project
from lvslab.core.procs import run

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:lvslab:images:1"
BUILDER = "urn:lvslab:build.py"

SOURCES = (
    "build.py",
    "cloud-init",
    "lvslab",
    "packer",
    "requirements.lock",
    "roles",
)
"""What of a checkout decides the artifacts, besides lab.yaml and packages.lock."""


@dataclass(frozen=True)
class Checkout:
    """A checkout: the sum of what decides the artifacts, and git's commit (empty: unknown)."""

    sha256: str
    commit: str = ""


@dataclass(frozen=True)
class Inputs:
    """What went in. `lab` and `roles` as JSON-able values; `libraries` name to version.

    `lock_sha256` is that of packages.lock. `packer` is a version, `packer_sha256` the sum of
    the pinned package, or of the user's own program if not `packer_pinned`.
    `per_node`: an OVA of each node was asked for, too.
    """

    lab: Mapping[str, Any]
    roles: Mapping[str, Any]
    lock: Lock
    lock_sha256: str
    source: Checkout
    libraries: Mapping[str, str]
    packer: str
    packer_sha256: str
    packer_pinned: bool = True
    per_node: bool = False


def source_files(root: Path) -> dict[str, Path]:
    """The files of the project at `root` that `Checkout` sums up, by their names in a checkout."""
    found = {}
    for name in SOURCES:
        top = of_project(root, name)
        for path in [top] if top.is_file() else top.rglob("*"):
            if path.is_file() and is_part(top, path):
                found[(Path(name) / path.relative_to(top)).as_posix()] = path
    return dict(sorted(found.items()))


def source(root: Path) -> Checkout:
    """The checkout at `root`; its commit if that is what the files are of."""
    total = hashlib.sha256()
    for name, path in source_files(root).items():
        mode = "x" if os.access(path, os.X_OK) else "-"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{digest} {mode} {name}\n".encode())
    try:
        commit = _commit(root)
    except LabError:  # no git, or not of git
        commit = ""
    return Checkout(total.hexdigest(), commit)


def _commit(root: Path) -> str:
    """The commit whose checkout `root` is; empty if what decides the artifacts differs from it.

    A folder inside somebody else's repository is not a checkout of ours. What git ignores counts
    as a difference where `source_files` sums it up.
    """

    def git(*words: str) -> str:
        return run(["git", "-C", root, *words], what="asking git")

    top, commit = git("rev-parse", "--show-toplevel", "HEAD").splitlines()
    if Path(top) != root.resolve():
        return ""
    changed = git(
        "status", "--porcelain", "--untracked-files=all", "--ignored",
        "--", *SOURCES, "lab.yaml", FILE,
    )  # fmt: skip
    if any("__pycache__/" not in line for line in changed.splitlines()):
        return ""
    return commit


def statement(artifacts: Mapping[str, str], inputs: Inputs, version: str) -> dict[str, Any]:
    """The statement about `artifacts` (name to sha256), built by `version` of lvslab."""
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": name, "digest": {"sha256": artifacts[name]}} for name in sorted(artifacts)
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "lab": inputs.lab,
                    "roles": sorted(inputs.roles),
                    "lock": {"sha256": inputs.lock_sha256},
                    "perNode": inputs.per_node,
                },
                "internalParameters": {"SOURCE_DATE_EPOCH": inputs.lock.epoch},
                "resolvedDependencies": list(_dependencies(inputs)),
            },
            "runDetails": {"builder": {"id": BUILDER, "version": {"lvslab": version}}},
        },
    }


def _dependencies(inputs: Inputs) -> Iterator[dict[str, Any]]:
    """The checkout, every locked package, Packer and the Python libraries that shape bytes."""
    commit = {"gitCommit": inputs.source.commit} if inputs.source.commit else {}
    yield {"name": "lvslab", "digest": {"sha256": inputs.source.sha256} | commit}
    wanted = {"base", "tools", *inputs.roles}
    names = _by_path(inputs.lock, wanted)
    for package in inputs.lock.packages:
        if package.path in names:
            qualifiers = {"arch": package.architecture, "distro": inputs.lock.suite}
            purl = PackageURL("deb", "debian", package.name, package.version, qualifiers)
            yield {
                "uri": purl.to_string(),
                "digest": {"sha256": package.sha256},
                "annotations": {"groups": names[package.path]},
            }
    if inputs.packer_pinned:
        packer = PackageURL("deb", "debian", "packer", inputs.packer, {"arch": "amd64"})
    else:
        packer = PackageURL("generic", None, "packer", inputs.packer)
    yield {"uri": packer.to_string(), "digest": {"sha256": inputs.packer_sha256}}
    for name, version in sorted(inputs.libraries.items()):
        yield {"uri": PackageURL("pypi", None, name, version).to_string(), "name": name}


def _by_path(lock: Lock, groups: Iterable[str]) -> dict[str, list[str]]:
    """Package path to those of `groups` that have it."""
    found: dict[str, list[str]] = {}
    for group in sorted(groups):
        for package in lock.groups.get(group, ()):
            found.setdefault(package.path, []).append(group)
    return found
