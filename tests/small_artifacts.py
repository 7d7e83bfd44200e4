"""Artifacts for tests of what takes them as files: a tiny disk in each OVA, the real seeds."""

from __future__ import annotations

from pathlib import Path

from lvslab.formats import ova, vmdk
from lvslab.formats.seed_iso import write_iso
from lvslab.model.lab import Lab
from lvslab.render import node_seed
from lvslab.render.ovf import OvfDisk, ovf
from tests.appliance import MIB, MTIME, write_sums


def write(lab: Lab, folder: Path, content: bytes = b"a disk") -> Path:
    """OVAs and seeds of a lab, below `folder`; the disks begin with `content`."""
    raw = folder / "disk.raw"
    (folder / "ova").mkdir(parents=True, exist_ok=True)
    (folder / "seeds").mkdir(exist_ok=True)
    raw.write_bytes(content + bytes(MIB - len(content)))
    for role in {node.role for node in lab.nodes.values()}:
        disk = folder / f"{role}-disk1.vmdk"
        written = vmdk.write_stream_optimized(raw, disk)
        described = OvfDisk(disk.name, written.size, written.capacity, written.populated)
        text = ovf(lab, role, [described])
        ova.write(folder / "ova" / f"{role}.ova", f"{role}.ovf", text, [disk], MTIME)
        disk.unlink()
    raw.unlink()
    for node in lab.nodes:
        write_iso(node_seed(lab, node), folder / "seeds" / f"{node}.iso", epoch=MTIME)
    files = [*(folder / "ova").glob("*.ova"), *(folder / "seeds").glob("*.iso")]
    write_sums(folder, files)
    return folder
