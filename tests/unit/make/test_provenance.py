"""The statement of what was built from what: its shape, and that it names no host."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from lvslab.build import lockfile as locks
from lvslab.build.packer import PINNED
from lvslab.cli.main import main
from lvslab.core.files import sha256_file
from lvslab.core.places import DATA
from lvslab.make import provenance
from lvslab.make.provenance import Checkout, Inputs
from lvslab.make.trees import LOCK
from tests.small import Small
from tests.unit.project.test_quality import imports

pytestmark = pytest.mark.slow

INPUTS = Inputs(
    lab={"name": "lab"},
    roles={"director": {}},
    lock=locks.load(LOCK),
    lock_sha256="1" * 64,
    source=Checkout("2" * 64, "3" * 40),
    libraries={"pycdlib": "1.14.0"},
    packer="1.6.6",
    packer_sha256="4" * 64,
)
ARTIFACTS = {"ova/director.ova": "5" * 64, "seeds/lvs1.iso": "6" * 64}


def statement(inputs: Inputs = INPUTS) -> dict[str, Any]:
    return provenance.statement(ARTIFACTS, inputs, "1.0")


def dependencies(inputs: Inputs = INPUTS) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = statement(inputs)["predicate"]["buildDefinition"][
        "resolvedDependencies"
    ]
    return found


def test_it_is_an_in_toto_statement_with_slsa_provenance() -> None:
    data = statement()
    assert list(data) == ["_type", "subject", "predicateType", "predicate"]
    assert data["_type"] == "https://in-toto.io/Statement/v1"
    assert data["predicateType"] == "https://slsa.dev/provenance/v1"
    assert data["subject"] == [
        {"name": "ova/director.ova", "digest": {"sha256": "5" * 64}},
        {"name": "seeds/lvs1.iso", "digest": {"sha256": "6" * 64}},
    ]
    definition = data["predicate"]["buildDefinition"]
    assert set(definition) == {
        "buildType",
        "externalParameters",
        "internalParameters",
        "resolvedDependencies",
    }
    assert definition["externalParameters"]["lock"] == {"sha256": "1" * 64}
    assert data["predicate"]["runDetails"]["builder"]["id"].startswith("urn:")


def test_every_dependency_says_what_it_is() -> None:
    for row in dependencies():
        assert "digest" in row or "uri" in row
        assert re.match(r"pkg:(deb/debian|pypi)/", row.get("uri", "pkg:pypi/"))
        for digest in row.get("digest", {}).values():
            assert re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", digest)


def test_the_packages_are_those_of_the_roles_that_were_built() -> None:
    lock = INPUTS.lock
    wanted = {p.sha256 for group in ("base", "tools", "director") for p in lock.groups[group]}
    only_others = {p.sha256 for p in lock.groups["real-server"]} - wanted
    there = {row.get("digest", {}).get("sha256") for row in dependencies()}
    assert wanted <= there
    assert only_others
    assert not only_others & there


def test_it_names_no_host_and_no_hour() -> None:
    text = json.dumps(statement())
    assert not re.search(r"/home/|/root/|/tmp/|https?://(?!in-toto.io|slsa.dev)", text)
    assert statement() == statement()
    assert "startedOn" not in text


def test_a_checkout_without_git_has_no_commit(tmp_path: Path) -> None:
    checkout(tmp_path)
    assert provenance.source(tmp_path).commit == ""
    row = dependencies(replace(INPUTS, source=Checkout("7" * 64)))[0]
    assert row == {"name": "lvslab", "digest": {"sha256": "7" * 64}}


def checkout(folder: Path) -> Path:
    for name in ("build.py", "lvslab/a.py", "roles/director/role.yaml", "lvslab/__pycache__/a.pyc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("change", ["build.py", "lvslab/a.py", "roles/director/role.yaml"])
def test_a_changed_source_is_another_source(tmp_path: Path, change: str) -> None:
    before = provenance.source(checkout(tmp_path))
    (tmp_path / "lvslab/__pycache__/a.pyc").write_text("compiled again")
    (tmp_path / "README.md").write_text("words")
    assert provenance.source(tmp_path) == before
    (tmp_path / change).chmod(0o755)
    executable = provenance.source(tmp_path)
    (tmp_path / change).write_text("changed")
    assert len({before, executable, provenance.source(tmp_path)}) == 3


def committed(folder: Path) -> Path:
    """A checkout that is a repository of its own, with nothing changed."""
    for name in ("lab.yaml", "packages.lock", "README.md"):
        (folder / name).write_text(name)
    (folder / ".gitignore").write_text("__pycache__/\n*.swp\n")
    git = ["git", "-C", str(checkout(folder)), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    return folder


def test_the_commit_of_a_checkout_is_named(tmp_path: Path) -> None:
    committed(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{40}", provenance.source(tmp_path).commit)
    (tmp_path / "README.md").write_text("words decide nothing")
    assert provenance.source(tmp_path).commit


@pytest.mark.parametrize(
    "name", ["lab.yaml", "packages.lock", "build.py", "lvslab/a.py", "lvslab/new.py", "roles/a.swp"]
)
def test_a_changed_checkout_is_of_no_commit(tmp_path: Path, name: str) -> None:
    (committed(tmp_path) / name).write_text("changed")
    assert provenance.source(tmp_path).commit == ""
    subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    assert provenance.source(tmp_path).commit == ""


def test_another_s_repository_is_not_named(tmp_path: Path) -> None:
    """Unpacked below somebody's own repository, ignored there or committed."""
    committed(tmp_path)
    assert provenance.source(checkout(tmp_path / "unpacked")).commit == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    assert provenance.source(tmp_path / "unpacked").commit == ""


def test_the_user_s_own_packer_is_named(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.stand_in(monkeypatch)
    own, out = tmp_path / "my-packer", tmp_path / "artifacts"
    own.write_text("#!/bin/sh\necho Packer v1.11.2\n")
    own.chmod(0o755)

    def packer(*words: str) -> tuple[str, dict[str, Any]]:
        assert main(["images", "--role", "director", "--out", str(out), *words]) == 0
        report = json.loads((out / "build.json").read_text())
        found = report["provenance"]["predicate"]["buildDefinition"]["resolvedDependencies"]
        (row,) = (row for row in found if re.search("/packer@", row.get("uri", "")))
        return report["tools"]["packer"], row

    version, row = packer()
    assert row["digest"] == {"sha256": PINNED.sha256}
    assert row["uri"].startswith("pkg:deb/debian/packer@1.6.6")
    version, row = packer("--packer", str(own))
    assert version == "1.11.2"
    assert row == {"uri": "pkg:generic/packer@1.11.2", "digest": {"sha256": sha256_file(own)}}


def test_build_json_names_every_library_and_program_that_takes_part(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.stand_in(monkeypatch)
    assert main(["images", "--role", "director", "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out/build.json").read_text())
    assert report["host"]["programs"].keys() >= {"mmdebstrap", "apt-get", "dpkg", "tar"}
    # Everything that is imported on the way from the lock to an artifact, late imports too.
    used = {
        name
        for layer in ("model", "render", "build", "export", "make")
        for path in (DATA / "lvslab" / layer).rglob("*.py")
        for _, name in imports(path, "lvslab")
    }
    owners = metadata.packages_distributions()
    wanted = set()
    for name in used:
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("lvslab", "dissect"):
            wanted.add(owners[top][0].lower())
    assert len(wanted) > 5
    wanted.add("dissect.extfs")
    wanted.discard("pydantic_core")  # the JSON Schemas of docs/ alone
    named = {name.lower() for name in report["tools"]}
    libraries = report["provenance"]["predicate"]["buildDefinition"]["resolvedDependencies"]
    purls = {row["name"].lower() for row in libraries if row.get("uri", "").startswith("pkg:pypi")}
    assert wanted <= named
    assert wanted <= purls
