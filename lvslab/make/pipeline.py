"""The whole pipeline: the trees of `trees`, and what is exported from them.

Every arrow of the design's pipeline is a stage with an id; these modules say which stage
needs what, and what may run at the same time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from lvslab import __version__
from lvslab.core.stages import once
from lvslab.export import bundle, ova, seed, vmdk, vmware
from lvslab.make.trees import VMDK, Trees, sums, versions
from lvslab.render import node_seed
from lvslab.render.handout import handout
from lvslab.render.ovf import OvfDisk, ovf


class Pipeline(Trees):
    """All stages of one lab."""

    @once
    def vmdk(self, role: str) -> Path:
        """The streamOptimized VMDK of a role's final disk; `disk.json` beside it has its sizes."""
        raw = self.disk(f"disk {role}", self.final_tree(role))
        name = f"{role}-disk1.vmdk"

        def make(folder: Path, progress: Callable[..., None]) -> None:
            written = vmdk.write_stream_optimized(raw, folder / name, progress=progress)
            (folder / "disk.json").write_text(json.dumps(asdict(written)))

        inputs = {"disk": raw.parent.name, **versions("deflate")}
        return self.stages.run(f"vmdk {role}", inputs, make, code=VMDK) / name

    def ova(self, role: str) -> Path:
        """The OVA of a role."""
        image = self.vmdk(role)
        disk = OvfDisk(image.name, image.stat().st_size, **_sizes(image))
        text = ovf(self.lab, role, [disk], version=__version__)

        def make(folder: Path, progress: Callable[..., None]) -> None:
            ova.write(folder / f"{role}.ova", f"{role}.ovf", text, [image], self.lock.epoch)

        inputs = {"vmdk": image.parent.name, "ovf": text, "epoch": self.lock.epoch}
        folder = self.stages.run(f"ova {role}", inputs, make, code=["lvslab.export.ova"])
        return folder / f"{role}.ova"

    def node_ova(self, node: str) -> Path:
        """The OVA of a node: its seed is a second disk, for importers that drop CD-ROMs."""
        role = self.lab.nodes[node].role
        image, iso = self.vmdk(role), next(p for p in self.seeds() if p.stem == node)
        first = OvfDisk(image.name, image.stat().st_size, **_sizes(image))

        def described(second: OvfDisk) -> str:
            return ovf(self.lab, role, [first, second], name=node, version=__version__)

        def make(folder: Path, progress: Callable[..., None]) -> None:
            disk = seed.write_disk(iso, folder / f"{node}-seed.vmdk")
            text = described(OvfDisk(f"{node}-seed.vmdk", disk.size, disk.capacity, disk.populated))
            files = [image, folder / f"{node}-seed.vmdk"]
            ova.write(folder / f"{node}.ova", f"{node}.ovf", text, files, self.lock.epoch)
            files[1].unlink()

        inputs = {
            "vmdk": image.parent.name,
            "seed": iso.parent.name,
            # The sizes of the second disk follow from the seed; the words are inputs.
            "ovf": described(OvfDisk(f"{node}-seed.vmdk", 1, 1, 1)),
            "epoch": self.lock.epoch,
            **versions("deflate", "pycdlib"),
        }
        code = ["lvslab.export.ova", "lvslab.export.seed", *VMDK]
        return self.stages.run(f"ova {node}", inputs, make, code=code) / f"{node}.ova"

    def sbom(self, role: str) -> Path:
        """The bill of materials of a role's image."""
        tar, packages = self.final_tree(role), self.lock.of_role(role)
        name = f"{role}.cdx.json"

        def make(folder: Path, progress: Callable[..., None]) -> None:
            from lvslab.export import sbom  # late: its library is needed for nothing else

            text = sbom.bill(role, __version__, self.lock.suite, tar, packages, self.lock.epoch)
            (folder / name).write_text(text)

        inputs = {
            "tree": tar.parent.name,
            "packages": sums(packages),
            "version": __version__,
            "epoch": self.lock.epoch,
            **versions("cyclonedx-python-lib", "packageurl-python"),
        }
        return self.stages.run(f"bill {role}", inputs, make, code=["lvslab.export.sbom"]) / name

    @once
    def seeds(self) -> list[Path]:
        """The seed ISO of every node."""
        texts = {node: node_seed(self.lab, node) for node in self.lab.nodes}

        def make(folder: Path, progress: Callable[..., None]) -> None:
            for node, text in texts.items():
                seed.write_iso(text, folder / f"{node}.iso", epoch=self.lock.epoch)

        inputs = {
            "texts": {node: asdict(text) for node, text in texts.items()},
            "epoch": self.lock.epoch,
            **versions("deflate", "pycdlib"),
        }
        folder = self.stages.run("seeds", inputs, make, code=["lvslab.export.seed", *VMDK])
        return [folder / f"{node}.iso" for node in texts]

    @once
    def base_vmdk(self, role: str) -> Path:
        """The monolithicSparse VMDK of a role's final disk: what VMware runs from."""
        raw = self.disk(f"disk {role}", self.final_tree(role))

        def make(folder: Path, progress: Callable[..., None]) -> None:
            base = folder / f"{role}.vmdk"
            vmdk.write_monolithic_sparse(raw, base, progress=progress)
            base.chmod(0o444)  # the children hold differences to it: it must never change

        inputs = {"disk": raw.parent.name, **versions("deflate")}
        return self.stages.run(f"base {role}", inputs, make, code=VMDK) / f"{role}.vmdk"

    @once
    def vmware(self) -> Path:
        """The folders that VMware opens, all but the base disks."""
        bases: dict[str, Path] = {role: self.base_vmdk(role) for role in self.roles}
        seeds = {path.stem: path for path in self.seeds()}
        texts = handout(self.lab)

        def make(folder: Path, progress: Callable[..., None]) -> None:
            vmware.write_nodes(self.lab, folder, bases, seeds, texts)

        inputs = {
            "bases": [path.parent.name for path in bases.values()],
            "seeds": [path.parent.name for path in seeds.values()],
            "texts": texts,
            "nodes": {node: this.role for node, this in self.lab.nodes.items()},
            **versions("deflate"),
        }
        code = ["lvslab.export.vmware", "lvslab.export.sums", *VMDK]
        return self.stages.run("vmware folders", inputs, make, code=code)

    def bundle(self) -> Path:
        """The zip that a teacher hands out."""
        folder = self.vmware()
        bases: dict[str, tuple[Path, Path]] = {
            role: (self.base_vmdk(role), self.vmdk(role)) for role in self.roles
        }
        top = f"{self.lab.name}-{__version__}"

        def make(to: Path, progress: Callable[..., None]) -> None:
            bundle.write(to / f"{top}.zip", top, folder, bases, self.lock.epoch)

        inputs = {
            "folder": folder.name,
            "bases": [path.parent.name for pair in bases.values() for path in pair],
            "top": top,  # has the version, in the name of the zip and in that of its folder
            "epoch": self.lock.epoch,
            **versions("deflate"),
        }
        code = [
            "lvslab.export.bundle",
            "lvslab.export.deflated",
            "lvslab.export.vmware",
            "lvslab.export.sums",
            "lvslab.export.zip",
            *VMDK,
        ]
        return self.stages.run("bundle", inputs, make, code=code) / f"{top}.zip"

    def own_ovas(self) -> list[str]:
        """The nodes that get an OVA of their own."""
        if not self.options.per_node:
            return []
        return [name for name, node in self.lab.nodes.items() if node.role in self.roles]

    def handed_out(self, executor: ThreadPoolExecutor) -> dict[str, Path]:
        """The VMware folders and the zip by their names below `artifacts/`."""
        bases = executor.map(self.base_vmdk, self.roles)
        made = {
            f"vmware/{vmware.base_name(role)}": path
            for role, path in zip(self.roles, bases, strict=True)
        }
        folder = self.vmware()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                made[f"vmware/{path.relative_to(folder).as_posix()}"] = path
        zipped = self.bundle()
        return made | {zipped.name: zipped}

    def all(self) -> dict[str, Path]:
        """Every artifact by its name below `artifacts/`, roles at the same time."""
        with ThreadPoolExecutor(max(1, self.options.jobs)) as executor:
            # What every role needs; the disk tools are ready before the tree is.
            tools_made, packer_made = executor.submit(self.tools), executor.submit(self.packer)
            self.common_tree()
            tools_made.result()
            packer_made.result()
            made = {f"seeds/{path.name}": path for path in self.seeds()}
            for role, path in zip(self.roles, executor.map(self.ova, self.roles), strict=True):
                made[f"ova/{role}.ova"] = path
            for role, path in zip(self.roles, executor.map(self.sbom, self.roles), strict=True):
                made[f"ova/{role}.cdx.json"] = path  # beside what it is about
            if {node.role for node in self.lab.nodes.values()} <= set(self.roles):
                made |= self.handed_out(executor)
            nodes = self.own_ovas()
            for name, path in zip(nodes, executor.map(self.node_ova, nodes), strict=True):
                made[f"ova/{name}.ova"] = path
        return made


def _sizes(image: Path) -> dict[str, int]:
    """Capacity and populated size of the disk in a VMDK of the cache, in bytes."""
    sizes = json.loads((image.parent / "disk.json").read_text())
    return {key: sizes[key] for key in ("capacity", "populated")}
