"""The artifacts as the lab uses them: a disk out of an OVA or a VMware folder, a node's seed."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from lvslab.core.errors import CheckFailed, InputError
from lvslab.core.events import Listener, silent
from lvslab.core.files import sha256_file
from lvslab.core.places import PROGRAM
from lvslab.core.procs import run
from lvslab.core.stages import Stages
from lvslab.formats import sums

_BUILD = f"make it: {PROGRAM} images"


def base_disk(ova: Path, cache: Path, listener: Listener = silent) -> Path:
    """The disk inside an OVA as a sparse raw file in the cache, kept by the OVA's sha256.

    Nodes boot from overlays over it: reading compressed grains at each start would cost
    more than this one conversion. Raises InputError if there is no such OVA, or no disk in it;
    CheckFailed if it is not the one that was built.
    """
    demand_there(ova)
    digest = sha256_file(ova)
    demand_as_built(ova, digest)

    def convert(folder: Path, progress: Callable[..., None]) -> None:
        vmdk = folder / "disk.vmdk"
        with tarfile.open(ova) as archive:
            inside = next((name for name in archive.getnames() if name.endswith(".vmdk")), None)
            if inside is None:
                raise InputError("there is no .vmdk in it", where=str(ova), hint=_BUILD)
            member = archive.extractfile(inside)
            assert member is not None
            with vmdk.open("wb") as target:
                while chunk := member.read(1 << 20):
                    target.write(chunk)
        _to_raw(vmdk, folder / "disk.raw", "reading the image's disk", listener)
        vmdk.unlink()

    stages = Stages(cache, listener)
    folder = stages.run(f"lab disk {ova.stem}", {"ova": digest}, convert, code=(__name__,))
    return folder / "disk.raw"


def flat_disk(vmdk: Path, node: str, cache: Path, listener: Listener = silent) -> Path:
    """A VMDK and its parents as one sparse raw file in the cache, kept by the sums of all of them.

    A machine that runs on a VMDK cannot be saved: QEMU's driver of that format forbids it.
    Raises StageError if a parent is not where the VMDK says, CheckFailed if it is not the one that
    was built; the VMDK itself may have been run.
    """
    asked = run(
        ["qemu-img", "info", "--backing-chain", "--output=json", vmdk],
        what=f"looking for the parents of {vmdk.name}",
    )
    files = [Path(part["filename"]) for part in json.loads(asked)]
    chain = [sha256_file(file) for file in files]
    for parent, digest in zip(files[1:], chain[1:], strict=True):
        demand_as_built(parent, digest)

    def convert(folder: Path, progress: Callable[..., None]) -> None:
        _to_raw(vmdk, folder / "disk.raw", f"reading {vmdk.name}", listener)

    stages = Stages(cache, listener)
    return stages.run(f"lab disk {node}", {"chain": chain}, convert, code=(__name__,)) / "disk.raw"


def demand_there(image: Path) -> None:
    """Raise InputError if there is no such image."""
    if not image.is_file():
        raise InputError("there is no such image", where=str(image), hint=_BUILD)


def demand_as_built(path: Path, digest: str) -> None:
    """Raise CheckFailed if the nearest SHA256SUMS above a file has another sum for it."""
    folders = path.absolute().parents
    folder = next((folder for folder in folders if (folder / sums.NAME).is_file()), None)
    if folder is None:
        return
    wanted = sums.read(folder).get(path.absolute().relative_to(folder).as_posix(), digest)
    if wanted != digest:
        raise CheckFailed(
            f"this file is not the one that was built: it has sha256 {digest}, {sums.NAME} says "
            f"{wanted}",
            where=str(path),
            hint=f"{PROGRAM} images puts the right one there",
        )


def _to_raw(vmdk: Path, raw: Path, what: str, listener: Listener) -> None:
    run(["qemu-img", "convert", "-f", "vmdk", "-O", "raw", vmdk, raw], what=what, listener=listener)


def seed(artifacts: Path, node: str) -> Path:
    """The seed of a node. Raises InputError if it is missing."""
    path = artifacts / "seeds" / f"{node}.iso"
    if not path.is_file():
        raise InputError("there is no such seed", where=str(path), hint=_BUILD)
    return path


def ova(artifacts: Path, role: str) -> Path:
    """The OVA of a role."""
    return artifacts / "ova" / f"{role}.ova"
