"""Acceleration is what was seen to work here and now, not what a file says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lvslab.build import accel
from lvslab.cli.lab import power
from lvslab.core.stages import Stages


class Host:
    """A host with /dev/kvm, whose guests boot or do not; `tried` are the kernels."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kvm, self.kernel = folder / "kvm", folder / "vmlinuz"
        self.kvm.touch()
        self.kernel.touch()
        self.boots = True
        self.tried: list[Path] = []
        monkeypatch.setattr(accel, "_KVM", str(self.kvm))
        monkeypatch.setattr(accel, "_boots", self._try)

    def _try(self, kernel: Path, _listener: object) -> bool:
        self.tried.append(kernel)
        return self.boots


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_kernel_is_tried_once(host: Host, tmp_path: Path) -> None:
    assert [accel.probe(Stages(tmp_path), host.kernel) for _ in range(2)] == ["kvm", "kvm"]
    assert host.tried == [host.kernel]


def test_a_guest_that_hangs_is_remembered_too(host: Host, tmp_path: Path) -> None:
    host.boots = False
    assert [accel.probe(Stages(tmp_path), host.kernel) for _ in range(2)] == ["tcg", "tcg"]
    assert host.tried == [host.kernel]


def test_a_device_that_is_closed_now_is_not_used(host: Host, tmp_path: Path) -> None:
    assert accel.probe(Stages(tmp_path), host.kernel) == "kvm"
    host.kvm.unlink()
    assert accel.probe(Stages(tmp_path), host.kernel) == "tcg"
    host.kvm.touch()
    assert accel.probe(Stages(tmp_path), host.kernel) == "kvm"


def test_without_a_kernel_nothing_is_tried_and_nothing_remembered(
    host: Host, tmp_path: Path
) -> None:
    assert accel.probe(Stages(tmp_path), None) == "tcg"
    assert accel.probe(Stages(tmp_path), tmp_path / "closed") == "tcg"
    assert host.tried == []
    assert accel.probe(Stages(tmp_path), host.kernel) == "kvm"


def test_the_lab_tries_the_images_own_kernel(host: Host, tmp_path: Path) -> None:
    kernel = tmp_path / "stages/kernel/0123/vmlinuz"
    kernel.parent.mkdir(parents=True)
    kernel.touch()
    assert power._accelerator(tmp_path) == "kvm"
    assert host.tried == [kernel]


def test_a_lab_on_a_host_without_a_kernel_is_emulated(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) == host.kvm)
    assert power._accelerator(tmp_path) == "tcg"
    assert host.tried == []
