"""What a build leaves in its folder: its own artifacts, whole, and no stale ones."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from lvslab.core import contents
from lvslab.core.digests import Digests
from lvslab.core.errors import StageError
from lvslab.core.events import silent
from lvslab.core.stages import Stages
from lvslab.make import Options, Pipeline, images, plan
from lvslab.make.publishing import _demand_unused, _forget, _placed
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from tests.appliance import write_sums


def test_what_an_earlier_build_made_and_this_one_did_not_goes(tmp_path: Path) -> None:
    for name in ("ova/old.ova", "ova/new.ova", "mine.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    write_sums(tmp_path, [tmp_path / "ova/old.ova", tmp_path / "ova/new.ova"])
    _forget(tmp_path, {"ova/new.ova": "0" * 64})
    assert not (tmp_path / "ova/old.ova").exists()
    assert (tmp_path / "ova/new.ova").exists()
    assert (tmp_path / "mine.txt").exists()


def test_sums_cannot_make_a_build_remove_what_is_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    out = tmp_path / "artifacts"
    out.mkdir()
    (out / "SHA256SUMS").write_text(f"{'0' * 64}  ../outside\n")
    _forget(out, {})
    assert outside.exists()


def test_an_artifact_is_copied_once_and_again_if_somebody_changed_it(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "out/target"
    source.write_text("content")
    digests = Digests(tmp_path / "digests.json")
    stages = Stages(tmp_path / "cache")
    first = _placed(source, target, digests, None, stages)
    inode = target.stat().st_ino
    assert _placed(source, target, digests, None, stages) == first
    assert target.stat().st_ino == inode
    target.write_text("changed")
    _placed(source, target, digests, None, stages)
    assert target.read_text() == "content"
    assert target.stat().st_nlink == 1, "VMware may write to it"


def test_a_zip_is_written_once_and_not_read_again_for_its_second_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(folder: Path, progress: object) -> None:
        (folder / "lab.zip").write_text("content")

    stages, digests = Stages(tmp_path / "cache"), Digests(tmp_path / "digests.json")
    source, target = stages.run("bundle", {}, make) / "lab.zip", tmp_path / "out/lab.zip"
    _placed(source, target, digests, None, stages)
    assert target.samefile(source)
    monkeypatch.setitem(contents._SUMS, "file", lambda path: pytest.fail(f"{path} is read"))
    assert Stages(tmp_path / "cache").run("bundle", {}, make) == source.parent
    assert digests.sha256(target) == digests.sha256(source)
    # What is written to the artifact is seen in the cache, and both are made again.
    monkeypatch.undo()
    target.write_text("changed")
    again = Stages(tmp_path / "cache")
    assert again.run("bundle", {}, make) == source.parent
    assert source.read_text() == "content"
    digests.remember(source, again.sum_of(source) or "")
    _placed(source, target, digests, None, again)
    assert target.read_text() == "content"


def test_a_zip_in_another_file_system_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "another device")

    monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "lab.zip", tmp_path / "out/lab.zip"
    source.write_text("content")
    _placed(source, target, Digests(tmp_path / "digests.json"), None, Stages(tmp_path / "cache"))
    assert (target.read_text(), target.stat().st_nlink) == ("content", 1)


def test_sums_are_remembered_only_while_a_file_is_the_same(tmp_path: Path) -> None:
    path, store = tmp_path / "file", tmp_path / "digests.json"
    path.write_text("one")
    digests = Digests(store)
    one = digests.sha256(path)
    digests.save()
    assert Digests(store).sha256(path) == one
    path.write_text("two")
    assert Digests(store).sha256(path) != one
    store.write_text("broken")
    assert Digests(store).sha256(path) != one


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    source, blocked = tmp_path / "source", tmp_path / "target"
    source.write_text("content")
    blocked.mkdir()
    with pytest.raises(StageError, match="cannot be written"):
        _placed(source, blocked, Digests(tmp_path / "digests.json"), None, Stages(tmp_path))


def test_a_dry_run_looks_at_every_artifact(
    lab: Lab, specs: dict[str, RoleSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After another login the images are the same; seeds, and what has them inside, are not."""
    for stage in ("ova", "sbom", "base_vmdk", "vmdk", "tools", "packer"):
        monkeypatch.setattr(Pipeline, stage, lambda this, role="": tmp_path / role)
    options = Options(tmp_path, tmp_path / "out")
    Pipeline(lab, specs, options).seeds()
    assert list(plan(lab, specs, options)) == [("seeds", True), ("vmware folders", False)]
    login = lab.login.model_copy(update={"user": "pupil"})
    other = lab.model_copy(update={"login": login})
    assert list(plan(other, specs, options)) == [("seeds", False)]  # the folders depend on them
    one = {"director": specs["director"]}
    assert list(plan(other, one, options)) == [("seeds", False)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A pipeline that makes a text for each artifact of its roles; the folder of the artifacts."""

    def all_of(this: Pipeline) -> dict[str, Path]:
        names = [f"ova/{role}.ova" for role in this.roles]
        if len(this.roles) == 2:
            names.append("vmware/lvs1/lvs1.vmdk")
        for name in names:
            (tmp_path / "made" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "made" / name).write_text(f"{name} for {this.lab.login.user}")
        return {name: tmp_path / "made" / name for name in names}

    monkeypatch.setattr(Pipeline, "all", all_of)
    monkeypatch.setattr("lvslab.make.host_programs.versions", lambda stages: {})
    return tmp_path / "out"


def test_the_build_of_one_role_keeps_what_the_other_has(
    lab: Lab, specs: dict[str, RoleSpec], quick: Path, tmp_path: Path
) -> None:
    options = Options(tmp_path / "cache", quick)
    images(lab, specs, options, silent)
    other = lab.model_copy(update={"login": lab.login.model_copy(update={"user": "pupil"})})
    images(other, {"director": specs["director"]}, options, silent)
    assert (quick / "ova/director.ova").read_text() == "ova/director.ova for pupil"
    assert (quick / "ova/real-server.ova").read_text() == "ova/real-server.ova for student"
    assert (quick / "vmware/lvs1/lvs1.vmdk").exists()
    checked = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"],
        cwd=quick,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "ova/real-server.ova: OK" in checked.stdout


@pytest.mark.slow
def test_a_machine_that_was_run_in_place_is_not_replaced(
    lab: Lab, specs: dict[str, RoleSpec], quick: Path, tmp_path: Path
) -> None:
    options = Options(tmp_path / "cache", quick)
    images(lab, specs, options, silent)
    images(lab, specs, options, silent)
    disk = quick / "vmware/lvs1/lvs1.vmdk"
    disk.write_text("the work of a class")
    with pytest.raises(StageError) as caught:
        images(lab, specs, options, silent)
    assert str(caught.value) == (
        f"{quick}/vmware: this build would replace a machine that has been run here: "
        "lvs1/lvs1.vmdk\n  to fix it: close it, copy this folder if its state matters, then "
        "remove it; or build into another folder with --out"
    )
    assert disk.read_text() == "the work of a class"
    images(lab, {"director": specs["director"]}, options, silent)  # has no such folder
    disk.unlink()
    images(lab, specs, options, silent)
    (quick / "vmware/lvs1/lvs1-000001.vmdk").touch()  # a snapshot
    with pytest.raises(StageError, match="has been run here: lvs1/lvs1-000001.vmdk"):
        images(lab, specs, options, silent)
    (quick / "vmware/lvs1/lvs1-000001.vmdk").unlink()
    (quick / "vmware/lvs1/lvs1.vmx.lck").mkdir()
    with pytest.raises(StageError, match="is open in VMware: lvs1/lvs1.vmx.lck"):
        images(lab, specs, options, silent)


def test_a_build_that_was_killed_while_placing_goes_on(tmp_path: Path) -> None:
    made, out = tmp_path / "made", tmp_path / "out"
    (out / "vmware/lvs1").mkdir(parents=True)
    for path in (made, out / "vmware/lvs1/lvs1.vmdk"):
        path.write_text("disk")
    digests = Digests(tmp_path / "digests.json")
    _demand_unused({"vmware/lvs1/lvs1.vmdk": made}, out, digests)
    made.write_text("another disk")
    with pytest.raises(StageError, match="has been run here"):
        _demand_unused({"vmware/lvs1/lvs1.vmdk": made}, out, digests)
