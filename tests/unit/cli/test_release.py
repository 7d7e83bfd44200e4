"""A release: everything in one folder, with sums and the changes of its version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lvslab import __version__
from lvslab.cli import main, release
from lvslab.core.errors import InputError
from lvslab.core.files import sha256_file
from lvslab.core.places import DATA
from lvslab.formats import sums

LOG = """\
# Changelog

## [Unreleased]

- new

## [1.2.3] - 2026-01-02

- old

## [1.2.2]

- x
"""


def test_the_changes_of_a_version() -> None:
    assert release.changes("1.2.3", LOG) == "## [1.2.3] - 2026-01-02\n\n- old\n"
    assert release.changes("1.2.2", LOG) == "## [1.2.2]\n\n- x\n"


def test_a_version_without_changes_is_refused() -> None:
    with pytest.raises(InputError, match=r"there is no section for 1\.2\.9"):
        release.changes("1.2.9", LOG)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    for name in ("ova/director.ova", "seeds/lvs1.iso", "vmware/lvs1/lvs1.vmx", "build.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    listed = {
        path.relative_to(folder).as_posix(): sha256_file(path) for path in sums.artifacts(folder)
    }
    (folder / sums.NAME).write_text(sums.text(listed))
    return folder


def made(artifacts: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(release, "changes", lambda version, log: "- x\n")
    return main.main(["release", "--artifacts", str(artifacts), "--out", str(out)])


@pytest.mark.slow
def test_a_release_has_packages_images_changes_and_sums(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "dist"
    out.mkdir()
    (out / "mine.txt").write_text("not of a release")
    for _ in range(2):  # the second replaces the first
        assert made(artifacts, out, monkeypatch) == 0
        listed = sums.read(out)
        assert {name: sha256_file(out / name) for name in listed} == listed
        packages = {f"lvslab-{__version__}.tar.gz", f"lvslab-{__version__}-py3-none-any.whl"}
        assert set(listed) == packages | {"director.ova", "lvs1.iso", "build.json", "CHANGES.md"}
    assert (out / "mine.txt").read_text() == "not of a release"


def test_artifacts_that_were_changed_are_no_release(
    artifacts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (artifacts / "ova/director.ova").write_text("changed")
    assert made(artifacts, tmp_path / "dist", monkeypatch) == 1
    assert "this file is not the one that was built" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()


def test_the_changelog_has_sections_that_can_be_found() -> None:
    heads = re.findall(r"(?m)^## \[(.+?)\]", (DATA / "CHANGELOG.md").read_text())
    assert heads[0] == "Unreleased"
