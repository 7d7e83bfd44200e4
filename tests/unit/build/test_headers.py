"""Trees of older and newer mmdebstraps are the same bytes."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from lvslab.build.headers import settle

MAGIC = {tarfile.GNU_FORMAT: b"ustar  \0", tarfile.USTAR_FORMAT: b"ustar\x0000"}


def tree(path: Path, devices: int) -> bytes:
    """A tar whose /dev is written in the format `devices`, as other versions of mmdebstrap do.

    Its file's header has no device numbers, as GNU tar from 1.35 on writes it.
    """
    with tarfile.open(path, "w", format=devices) as tar:
        for name in ("./dev/", "./dev/null"):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name == "./dev/" else tarfile.CHRTYPE
            tar.addfile(info)
        tar.format = tarfile.USTAR_FORMAT
        data = b"hello\n" * 1000
        info = tarfile.TarInfo("./etc/motd")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
        tar.addfile(tarfile.TarInfo("./etc/empty"))
    return path.read_bytes()


@pytest.mark.parametrize("devices", MAGIC)
def test_every_version_s_headers_become_one_form(tmp_path: Path, devices: int) -> None:
    path, other = tmp_path / "tree", tmp_path / "other"
    before = tree(path, devices)
    assert before[257:265] == MAGIC[devices]
    settle(path)
    after = path.read_bytes()
    for name in (b"./dev/", b"./dev/null"):
        assert after[after.index(name + b"\0") + 257 :][:8] == MAGIC[tarfile.GNU_FORMAT]
    for name in (b"./etc/motd", b"./etc/empty"):
        assert before[before.index(name) + 329 :][:16] == bytes(16)
        assert after[after.index(name) + 329 :][:16] == b"0000000\0" * 2
    tree(other, tarfile.GNU_FORMAT + tarfile.USTAR_FORMAT - devices)
    settle(other)
    assert other.read_bytes() == after


def test_members_and_contents_stay(tmp_path: Path) -> None:
    path = tmp_path / "tree"
    tree(path, tarfile.USTAR_FORMAT)
    settle(path)
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["./dev", "./dev/null", "./etc/motd", "./etc/empty"]
        content = tar.extractfile("./etc/motd")
        assert content is not None
        assert content.read() == b"hello\n" * 1000
    once = path.read_bytes()
    settle(path)
    assert path.read_bytes() == once
