"""A folder of artifacts: sums, and every artifact in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lvslab.core.errors import CheckFailed
from lvslab.formats import seed_iso, sums
from lvslab.model.lab import Lab
from lvslab.render import node_seed
from lvslab.verify import Outcome, verify
from tests.appliance import write_sums


@pytest.fixture
def artifacts(lab: Lab, tmp_path: Path) -> Path:
    for node in ("lvs1", "rs1"):
        seed_iso.write_iso(node_seed(lab, node), tmp_path / "seeds" / f"{node}.iso", epoch=1)
    (tmp_path / "build.json").write_text("{}\n")
    write_sums(tmp_path, sums.artifacts(tmp_path))
    return tmp_path


def failing(folder: Path) -> set[str]:
    return {f.rule.id for f in verify(folder) if f.outcome is Outcome.FAIL}


def test_a_right_folder_passes_and_so_does_sha256sum(artifacts: Path) -> None:
    assert failing(artifacts) == set()
    assert {f.artifact for f in verify(artifacts)} == {str(artifacts), "lvs1.iso", "rs1.iso"}
    done = subprocess.run(
        ["sha256sum", "-c", "--strict", sums.NAME],
        cwd=artifacts,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count(": OK") == 3


def test_the_case_of_an_ending_does_not_matter(artifacts: Path) -> None:
    """Windows and its users write endings in capitals."""
    (artifacts / "seeds/rs1.iso").rename(artifacts / "seeds/RS2.ISO")
    write_sums(artifacts, sums.artifacts(artifacts))
    assert failing(artifacts) == {"seed-node"}
    assert {f.artifact for f in verify(artifacts)} == {str(artifacts), "lvs1.iso", "RS2.ISO"}


def test_a_changed_file_is_found(artifacts: Path) -> None:
    (artifacts / "build.json").write_text("{ }\n")
    assert failing(artifacts) == {"sums-match"}


def test_a_missing_file_is_found(artifacts: Path) -> None:
    (artifacts / "seeds" / "rs1.iso").unlink()
    assert failing(artifacts) == {"sums-match"}


def test_a_file_without_a_sum_is_found(artifacts: Path) -> None:
    (artifacts / "more.txt").write_text("who made this?")
    assert failing(artifacts) == {"sums-complete"}


def test_sums_of_another_form_are_found(artifacts: Path) -> None:
    (artifacts / sums.NAME).write_text("not a sum\n")
    assert failing(artifacts) == {"sums-form"}


def test_hidden_files_and_signatures_have_no_sum(artifacts: Path) -> None:
    (artifacts / f"{sums.NAME}.sig").write_text("signature")
    (artifacts / ".cache").mkdir()
    (artifacts / ".cache" / "x").write_text("x")
    assert failing(artifacts) == set()


def test_logs_and_rendered_texts_have_no_sum(artifacts: Path) -> None:
    for name in ("log/images.log", "render/seeds/rs1/user-data"):
        (artifacts / name).parent.mkdir(parents=True, exist_ok=True)
        (artifacts / name).write_text("text")
    assert failing(artifacts) == set()
    (artifacts / "ova" / "log").mkdir(parents=True)
    (artifacts / "ova" / "log" / "x").write_text("text")
    assert failing(artifacts) == {"sums-complete"}


def test_reading_sums_that_are_not_there_is_a_failed_check(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="there is no SHA256SUMS"):
        sums.read(tmp_path)


def test_texts_to_read_beside_the_artifacts_are_not_judged(artifacts: Path, lab: Lab) -> None:
    """`render` writes .vmx files there, without disks."""
    text = artifacts / "render/vmware/lvs1/lvs1.vmx"
    text.parent.mkdir(parents=True)
    text.write_text('displayName = "lvs1"\n')
    assert failing(artifacts) == set()
    (artifacts / "lvs1.vmx").write_text(text.read_text())
    assert failing(artifacts)
