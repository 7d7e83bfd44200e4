"""The bill of materials: valid, complete, the same bytes each time, and in step with the lock."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from lvslab.core.errors import StageError
from lvslab.export import sbom

EPOCH = 1_800_000_000
STATUS = """\
Package: keepalived
Status: install ok installed
Section: admin
Maintainer: A Person <a.person@example.org>
Source: keepalived-source (1:9)
Version: 1:2.3.3-1
Depends: libc6 (>= 2.38), mta | missing, ipvsadm:any
Description: Failover and monitoring daemon
 of several
 lines

Package: libc6
Status: install ok installed
Section: libs
Maintainer: GNU Libc Maintainers <libc@example.org>
Version: 2.41-12

Package: exim
Status: hold ok installed
Provides: mta (= 3)
Version: 4

Package: gone
Status: deinstall ok config-files
Version: 1
"""


@dataclass(frozen=True)
class Locked:
    name: str
    version: str
    architecture: str = "amd64"
    sha256: str = "ab" * 32


LOCK = [Locked("keepalived", "1:2.3.3-1"), Locked("libc6", "2.41-12"), Locked("exim", "4")]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(sbom.STATUS)
        info.size = len(STATUS)
        tar.addfile(info, io.BytesIO(STATUS.encode()))
    return path


def bill(tree: Path, lock: list[Locked] = LOCK, epoch: int = EPOCH) -> str:
    return sbom.bill("director", "1.0", "trixie", tree, lock, epoch)


def test_the_bill_is_valid_by_the_schema(tree: Path) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    text = bill(tree)
    assert validator.validate_str(text) is None
    broken = text.replace('"type": "library"', '"type": "book"', 1)
    assert validator.validate_str(broken) is not None


def test_what_is_installed_is_listed_with_its_sum(tree: Path) -> None:
    data = json.loads(bill(tree))
    by_name = {component["name"]: component for component in data["components"]}
    assert sorted(by_name) == ["exim", "keepalived", "libc6"]
    keepalived = by_name["keepalived"]
    assert keepalived["purl"] == "pkg:deb/debian/keepalived@1:2.3.3-1?arch=amd64&distro=trixie"
    assert keepalived["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert keepalived["description"] == "Failover and monitoring daemon"
    assert keepalived["supplier"]["contact"][0]["email"] == "a.person@example.org"
    properties = {p["name"]: p["value"] for p in keepalived["properties"]}
    assert properties["deb:source"] == "keepalived-source"
    assert properties["deb:source-version"] == "1:9"


def test_dependencies_are_those_that_are_installed(tree: Path) -> None:
    data = json.loads(bill(tree))
    edges = {row["ref"]: row.get("dependsOn", []) for row in data["dependencies"]}
    assert edges["keepalived"] == ["exim", "libc6"]
    assert edges["image:director"] == ["exim", "keepalived", "libc6"]


def test_time_and_serial_number_come_from_lock_and_content(tree: Path) -> None:
    data = json.loads(bill(tree))
    assert data["metadata"]["timestamp"] == "2027-01-15T08:00:00+00:00"
    others = [
        bill(tree, epoch=EPOCH + 1),
        bill(tree, [*LOCK[:2], Locked("exim", "4", sha256="cd" * 32)]),
    ]
    numbers = {json.loads(text)["serialNumber"] for text in (bill(tree), *others)}
    assert len(numbers) == 3


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_hash_seed_or_time_zone(tree: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.unit.export import test_sbom as t;"
        "sys.stdout.write(t.bill(Path(sys.argv[1])))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code, str(tree)],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            cwd=Path(__file__).resolve().parents[3],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "Asia/Tokyo"), ("2", "America/Caracas"))
    }
    assert texts == {bill(tree)}


@pytest.mark.parametrize(
    ("lock", "shown"),
    [
        (LOCK[:2], "exim: installed 4, locked not"),
        ([*LOCK, Locked("more", "7")], "more: installed not, locked 7"),
        ([*LOCK[:2], Locked("exim", "5")], "exim: installed 4, locked 5"),
    ],
)
def test_an_image_that_is_not_what_is_locked_is_refused(
    tree: Path, lock: list[Locked], shown: str
) -> None:
    with pytest.raises(StageError, match="is not what is locked") as caught:
        bill(tree, lock)
    assert shown in caught.value.message


def test_a_tree_without_dpkg_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "tree.tar", "w"):
        pass
    with pytest.raises(StageError, match="no status of dpkg"):
        sbom.installed(tmp_path / "tree.tar")
