"""Warm starts: what is kept of a lab, and for which lab it counts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lvslab.core.errors import StageError
from lvslab.core.events import Event, Note
from lvslab.lab import bringup, checkpoint, faults, warm
from lvslab.lab.cluster import Cluster
from lvslab.lab.sources import Settings
from lvslab.model.lab import Lab


@pytest.fixture
def cluster(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A lab of which the files are there and no node runs."""
    monkeypatch.setenv("LVSLAB_STATE", str(tmp_path / "s"))
    made = Cluster(lab)
    fill(made)
    return made


def fill(cluster: Cluster) -> None:
    cluster.state.create(cluster.lab.nodes)
    cluster.state.save("settings", vars(Settings()))
    cluster.state.save("checkpoints", {})
    cluster._make_key()
    for node in cluster.lab.nodes:
        cluster.state.save(f"{node}/base", f"/cache/{cluster.lab.nodes[node].role}/disk.raw")
        cluster.seed(node).write_text(f"seed of {node}")
        cluster.files(node).disk.write_text(f"memory and disk of {node}")


def another_lab(cluster: Cluster) -> Cluster:
    directors = cluster.lab.directors.model_copy(update={"source_addresses": "none"})
    return Cluster(cluster.lab.model_copy(update={"directors": directors}))


def another_image(cluster: Cluster) -> Cluster:
    cluster.state.save("lvs1/base", "/cache/other/disk.raw")
    return cluster


def another_seed(cluster: Cluster) -> Cluster:
    cluster.seed("rs2").write_text("another")
    return cluster


def other_devices(cluster: Cluster) -> Cluster:
    cluster.state.save("settings", vars(replace(Settings(), hardware="virtio")))
    return Cluster(cluster.lab)


def another_agent(cluster: Cluster) -> Cluster:
    content = {**cluster.credentials(), "lvslab.agent": b"another"}
    cluster.credentials = lambda: content  # type: ignore[method-assign]
    return cluster


def another_key(cluster: Cluster) -> Cluster:
    for path in (cluster.state.key, cluster.state.key.with_suffix(".pub")):
        path.unlink()
    cluster._make_key()
    return cluster


@pytest.mark.parametrize(
    "change", [another_lab, another_image, another_seed, other_devices, another_agent]
)
def test_a_checkpoint_counts_for_the_same_lab_only(
    cluster: Cluster, tmp_path: Path, change: Callable[[Cluster], Cluster]
) -> None:
    before = warm.place(cluster, tmp_path)
    assert warm.place(cluster, tmp_path) == before
    assert warm.place(change(cluster), tmp_path) != before


def test_the_labs_own_key_does_not_matter(cluster: Cluster, tmp_path: Path) -> None:
    assert warm.place(cluster, tmp_path) == warm.place(another_key(cluster), tmp_path)


def test_qemus_version_counts(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = warm.place(cluster, tmp_path)
    monkeypatch.setattr(warm, "run", lambda *argv, **kept: "QEMU emulator version 99\n")
    assert warm.place(cluster, tmp_path) != before


def saving(cluster: Cluster, name: str, saved: Callable[[str], None] = lambda node: None) -> None:
    """In the place of `checkpoint.save`, which needs machines."""
    for node in cluster.lab.nodes:
        saved(node)
    cluster.state.save("checkpoints", {name: "now"})


@pytest.fixture
def kept(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(checkpoint, "save", saving)
    folder = warm.place(cluster, tmp_path / "cache")
    warm.keep(cluster, folder, lambda event: None)
    return folder


def test_a_fresh_lab_goes_on_with_files_and_key_of_the_kept_one(
    cluster: Cluster, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = cluster.state.key.read_text()
    shutil.rmtree(cluster.state.folder)
    fill(cluster)
    for node in cluster.lab.nodes:
        cluster.files(node).disk.write_text("fresh")
    restored: list[str] = []
    clocks: list[tuple[str, ...]] = []
    monkeypatch.setattr(checkpoint, "restore", lambda cluster, name: restored.append(name))
    monkeypatch.setattr(cluster, "run", lambda node, argv: clocks.append((node, *argv)))
    warm.restore(cluster, kept)
    assert restored == [warm.CHECKPOINT]
    assert cluster.state.key.read_text() == key
    for node in cluster.lab.nodes:
        assert cluster.files(node).disk.read_text() == f"memory and disk of {node}"
    assert sorted(clock[:4] for clock in clocks) == sorted(
        (node, "date", "--utc", "--set") for node in cluster.lab.nodes
    )


def test_what_is_kept_can_be_read_by_its_owner_only(kept: Path) -> None:
    assert kept.stat().st_mode & 0o777 == 0o700


def test_a_full_disk_is_a_warning_and_leaves_nothing(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "save", saving)
    monkeypatch.setattr(warm, "_ROOM", 1 << 60)
    said: list[Event] = []
    folder = warm.place(cluster, tmp_path / "cache")
    warm.keep(cluster, folder, said.append)
    assert [event.level for event in said if isinstance(event, Note)] == ["warning"]
    assert list(folder.parent.iterdir()) == []


def test_a_copy_that_fails_is_a_warning_and_leaves_nothing(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*argv: object, **kept: object) -> str:
        raise StageError("No space left on device")

    folder = warm.place(cluster, tmp_path / "cache")
    monkeypatch.setattr(checkpoint, "save", saving)
    monkeypatch.setattr(warm, "run", full)
    said: list[Event] = []
    warm.keep(cluster, folder, said.append)
    assert [event.level for event in said if isinstance(event, Note)] == ["warning"]
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    assert list(folder.parent.iterdir()) == []


@pytest.mark.slow
def test_only_the_last_few_are_kept(
    cluster: Cluster, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        warm.keep(cluster, kept.with_name(str(number)), lambda event: None)
    assert sorted(path.name for path in kept.parent.iterdir()) == ["1", "2", "3"]


def test_what_qemu_does_not_take_is_thrown_away_and_the_lab_boots(
    cluster: Cluster, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(cluster: Cluster, folder: Path) -> str:
        raise StageError("QEMU did not start")

    renewed: list[str] = []
    monkeypatch.setattr(warm, "restore", refuse)
    monkeypatch.setattr(cluster, "renew", renewed.extend)
    monkeypatch.setattr(faults, "reapply", lambda cluster, node: None)
    assert not bringup._warm(cluster, kept, lambda event: None)
    assert renewed == list(cluster.lab.nodes)
    assert not kept.exists()


def test_a_lab_under_another_name_goes_on_from_the_same_checkpoint(
    cluster: Cluster, tmp_path: Path
) -> None:
    before = warm.place(cluster, tmp_path)
    other = Cluster(cluster.lab.model_copy(update={"name": "second"}))
    other.state, other.namespace = cluster.state, cluster.namespace
    assert warm.place(other, tmp_path) == before
