#!/usr/bin/env python3
"""VirtualBox really imports our OVAs: what it makes of them, and whether the disks are ours.

    bench/virtualbox.py                        both roles' and a node's OVA, from artifacts/ova
    bench/virtualbox.py FILE.ova ...           these
    bench/virtualbox.py --folder DIR           keeps the chroot in DIR, and uses one that is there
    bench/virtualbox.py --export               exports each again (OVF 1.0, 2.0) for our `verify`

VirtualBox comes from Debian sid (contrib), into a chroot. `VBoxManage import` needs no kernel
module; nothing is booted. After the import each disk is compared with the OVA's, sector by sector
(qemu-img), and the network cards with the descriptor's. A node's cards are then put where
docs/import.md says. The node's OVA is made by `build.py images --per-node`. Needs root.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import chroot

from lvslab.core.files import remove

OVAS = ("director.ova", "real-server.ova", "lvs1.ova")
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
ETHERNET = "10"
"""ResourceType of a network card (DMTF, CIM_ResourceAllocationSettingData)."""
CARD = "82545EM"
"""What VirtualBox calls the model of which OVF says E1000."""

# One process namespace for all, as VBoxManage talks to a server that it starts.
_IMPORT = """
VBoxManage --version
kinds=$1; shift
for ova; do
    name=$(basename "$ova" .ova)
    VBoxManage import "$ova" --vsys 0 --vmname "$name"
    echo "=== $name imported"
    VBoxManage showvminfo "$name" --machinereadable
    VBoxManage modifyvm "$name" --nic1 nat --nic3 intnet --intnet3 vmnet12
    echo "=== $name wired"
    VBoxManage showvminfo "$name" --machinereadable
    for kind in $kinds; do
        VBoxManage export "$name" "--$kind" -o "/root/exported/$kind-$name.ova"
    done
done
"""
_KINDS = ("ovf10", "ovf20")


@dataclass(frozen=True)
class Machine:
    """A machine as VirtualBox shows it: its settings, by the names of `--machinereadable`."""

    settings: dict[str, str]

    def cards(self) -> list[tuple[str, str]]:
        """Network and model of each card, in order."""
        found = []
        for number in range(1, 9):
            if (network := self.settings.get(f"nic{number}", "none")) != "none":
                found.append((network, self.settings.get(f"nictype{number}", "")))
        return found

    def disks(self) -> list[str]:
        """The files of its disks, by controller and port."""
        slots = [re.fullmatch(r"([A-Z]+)-(\d+)-(\d+)", key) for key in self.settings]
        places = sorted((s[1], int(s[2]), int(s[3]), s[0]) for s in slots if s)
        return [path for *_, slot in places if (path := self.settings[slot]).startswith("/")]


def machines(said: str) -> dict[str, Machine]:
    """What VBoxManage said of each machine, by the words after `===`."""
    parts = re.split(r"^=== (.+)$", said, flags=re.M)[1:]
    return {
        name: Machine(dict(re.findall(r'^"?(.+?)"?="?(.*?)"?$', text, re.M)))
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def networks(descriptor: bytes) -> list[str]:
    """The network of each card of an OVF, in the order of the cards."""
    items = [
        item for item in ET.fromstring(descriptor).iter() if item.tag.endswith(("Item", "PortItem"))
    ]
    return [
        item.findtext(f"{RASD}Connection", "")
        for item in items
        if item.findtext(f"{RASD}ResourceType") == ETHERNET
    ]


def differs(ours: Path, imported: Path) -> str:
    """How two disks differ for a guest; an empty text if each sector is the same."""
    sizes = []
    for path in (ours, imported):
        words = ["qemu-img", "info", "--output=json", str(path)]
        said = subprocess.run(words, check=True, capture_output=True).stdout
        sizes.append(json.loads(said)["virtual-size"])
    if sizes[0] != sizes[1]:
        return f"{sizes[1]} bytes, ours has {sizes[0]}"
    words = ["qemu-img", "compare", str(ours), str(imported)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()


def problems(ova: Path, root: Path, seen: dict[str, Machine]) -> list[str]:
    """What VirtualBox has made differently from what the OVA says; prints what it has made."""
    machine, wired = seen[f"{ova.stem} imported"], seen[f"{ova.stem} wired"]
    found = []
    with tarfile.open(ova) as tar, tempfile.TemporaryDirectory(dir=chroot.PLACE) as work:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # not in Python 3.11.2
        tar.extractall(work)
        names = tar.getnames()
        wanted = [(name, CARD) for name in networks((Path(work) / names[0]).read_bytes())]
        if machine.cards() != wanted:
            found.append(f"cards {machine.cards()}, the OVA has {wanted}")
        if wired.cards()[2] != ("intnet", CARD) or wired.settings.get("intnet3") != "vmnet12":
            found.append(f"modifyvm left the third card on {wired.cards()[2]}")
        ours = [Path(work) / name for name in names if name.endswith(".vmdk")]
        theirs = [root / path.removeprefix("/") for path in machine.disks()]
        if len(ours) != len(theirs):
            found.append(f"{len(theirs)} disks, the OVA has {len(ours)}")
        for mine, other in zip(ours, theirs, strict=False):
            what = differs(mine, other)
            print(f"  {other.name}: {what or 'as ours, sector by sector'}")
            found += [f"{other.name}: {what}"] if what else []
    drive = "kept" if "emptydrive" in machine.settings.values() else "dropped"
    print(f"  CD-ROM drive of the OVA: {drive}")
    print(f"  memory: {machine.settings.get('memory')} MB")
    print(f"  cards: {', '.join(' '.join(card) for card in machine.cards())}")
    return found


def verified(exported: Path) -> bool:
    """Whether our `verify` takes what VirtualBox has exported; prints what it says."""
    held = True
    for ova in sorted(exported.glob("*.ova")):
        words = [sys.executable, str(chroot.ROOT / "build.py"), "verify", str(ova)]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        print(f"exported again, {ova.name}: verify ends with {done.returncode}")
        if done.returncode:
            print(done.stdout + done.stderr)
        held = held and done.returncode == 0
    return held


def run(ovas: Sequence[Path], folder: Path, kinds: Sequence[str]) -> bool:
    """Import, show, compare, and export as `kinds`; whether all is as the OVAs say."""
    root, log = folder / "sid", folder / "virtualbox.log"
    if not root.is_dir():
        chroot.make("sid", root, ["virtualbox"], ["main", "contrib"])
    remove(root / "root/VirtualBox VMs")
    remove(root / "root/.config/VirtualBox")
    exported = root / "root/exported"
    remove(exported)
    exported.mkdir()
    share = sorted({str(ova.parent) for ova in ovas})
    words = ["sh", "-e", "-c", _IMPORT, "sh", " ".join(kinds), *map(str, ovas)]
    chroot.run(root, words, log=log, share=share)
    said = log.read_text(errors="replace")
    version = re.search(r"^\d+\.\d+\.\d+\S*$", said, re.M)
    print(f"VirtualBox {version[0] if version else 'without a version'}, Debian sid")
    seen, held = machines(said), version is not None
    for ova in ovas:
        print(f"{ova.name}")
        for problem in problems(ova, root, seen):
            print(f"  not as it should be: {problem}")
            held = False
    return verified(exported) and held


def main() -> int:
    """The command line; status 1 if an import is not what the OVA says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ovas", nargs="*", type=Path, metavar="FILE.ova")
    parser.add_argument("--folder", type=Path, help="keep the chroot here, or use one that is")
    parser.add_argument("--export", action="store_true", help="export each again, for `verify`")
    chosen = parser.parse_args()
    ovas = [path.resolve() for path in chosen.ovas]
    ovas = ovas or [chroot.ROOT / "artifacts/ova" / name for name in OVAS]
    if missing := [str(ova) for ova in ovas if not ova.is_file()]:
        print(f"error: no {', '.join(missing)}: build.py images --per-node", file=sys.stderr)
        return 2
    try:
        with chroot.place(chosen.folder) as folder:
            return 0 if run(ovas, folder, _KINDS if chosen.export else ()) else 1
    except chroot.Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
