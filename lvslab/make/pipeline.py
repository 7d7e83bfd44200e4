"""The whole pipeline: the trees of `trees`, and what is exported from them.

Every arrow of the design's pipeline is a stage with an id; these modules say which stage
needs what, and what may run at the same time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

from lvslab import __version__
from lvslab.build import image_root
from lvslab.core.errors import StageError
from lvslab.core.files import sha256_file
from lvslab.core.places import ROLE_FOLDERS
from lvslab.core.stages import once
from lvslab.export import bundle, folders
from lvslab.formats import ova, seed_iso, vmdk
from lvslab.make.trees import Trees, sums
from lvslab.model.lab import Lab
from lvslab.model.load import load_role
from lvslab.model.role import RoleSpec
from lvslab.render import RenderedFile, assert_script, lab_texts, node_seed, role_files
from lvslab.render.handout import handout
from lvslab.render.machine_files import cluster_interfaces
from lvslab.render.ovf import OvfDisk, ovf

Target = Callable[[], dict[str, Path]]
"""Makes something that is handed out: its files by their names below `artifacts/`."""


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

        inputs = {"disk": raw.parent.name}
        return self.stages.run(f"vmdk {role}", inputs, make, code=["lvslab.formats.vmdk"]) / name

    def ova(self, role: str) -> Path:
        """The OVA of a role."""
        image = self.vmdk(role)
        disk = OvfDisk(image.name, image.stat().st_size, **_sizes(image))
        text = ovf(self._described_by(role), role, [disk], version=__version__)

        def make(folder: Path, progress: Callable[..., None]) -> None:
            ova.write(folder / f"{role}.ova", f"{role}.ovf", text, [image], self.lock.epoch)

        inputs = {"vmdk": image.parent.name, "ovf": text, "epoch": self.lock.epoch}
        folder = self.stages.run(f"ova {role}", inputs, make, code=["lvslab.formats.ova"])
        return folder / f"{role}.ova"

    def _described_by(self, role: str) -> Lab:
        """The lab whose nodes show what hardware a role's machine has."""
        return self.reference if role in self.reference.roles else self.lab

    def node_ova(self, node: str) -> Path:
        """The OVA of a node: its seed is a second disk, for importers that drop CD-ROMs."""
        role = self.lab.nodes[node].role
        image, iso = self.vmdk(role), next(p for p in self.seeds() if p.stem == node)
        first = OvfDisk(image.name, image.stat().st_size, **_sizes(image))

        def described(second: OvfDisk) -> str:
            return ovf(self.lab, role, [first, second], name=node, version=__version__)

        def make(folder: Path, progress: Callable[..., None]) -> None:
            disk = seed_iso.write_disk(iso, folder / f"{node}-seed.vmdk")
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
        }
        code = ["lvslab.formats.ova", "lvslab.formats.seed_iso"]
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
        }
        return self.stages.run(f"bill {role}", inputs, make, code=["lvslab.export.sbom"]) / name

    @once
    def seeds(self) -> list[Path]:
        """The seed ISO of every node."""
        changed = {role: self._changed_texts(role) for role in self.lab.roles}
        texts = {
            node: node_seed(self.lab, node, changed[this.role])
            for node, this in self.lab.nodes.items()
        }

        def make(folder: Path, progress: Callable[..., None]) -> None:
            for node, text in texts.items():
                seed_iso.write_iso(text, folder / f"{node}.iso", epoch=self.lock.epoch)

        inputs = {
            "texts": {node: asdict(text) for node, text in texts.items()},
            "epoch": self.lock.epoch,
        }
        folder = self.stages.run("seeds", inputs, make, code=["lvslab.formats.seed_iso"])
        return [folder / f"{node}.iso" for node in texts]

    def _changed_texts(self, role: str) -> str:
        """What the lab changes in the image of a role, also of one whose image is not made now.

        The image's own programs read it first. Raises StageError with what they refuse.
        """
        texts = self._lab_texts(role)
        if texts and role in self.roles:
            self._demand_readable(self.roles[role])
        return texts

    @once
    def _lab_texts(self, role: str) -> str:
        spec = self.roles.get(role) or load_role(ROLE_FOLDERS, role)
        return lab_texts(self.reference, self.lab, spec)

    @once
    def _image_root(self, role: str) -> Path:
        """The programs of a role's image, unpacked."""
        tar = self.final_tree(role)

        def make(folder: Path, progress: Callable[..., None]) -> None:
            image_root.unpack(tar, folder / "root")

        code = ["lvslab.build.image_root"]
        inputs = {"tree": tar.parent.name}
        return self.stages.run(f"programs {role}", inputs, make, code=code) / "root"

    def _demand_readable(self, spec: RoleSpec) -> None:
        root = self._image_root(spec.name)
        script = assert_script(self.lab, spec)
        files = role_files(self.lab, spec)
        interfaces = list(cluster_interfaces(self.lab, spec.name))

        def make(folder: Path, progress: Callable[..., None]) -> None:
            ended = image_root.ImageRoot(root).run(
                ["python3", "/run/assert.py", "readers"],
                files | {"/run/assert.py": RenderedFile(script)},
                interfaces,
            )
            (folder / "said").write_text(ended.text + "\n")
            if ended.status:
                refused = [line for line in ended.text.splitlines() if line.startswith("FAIL")]
                raise StageError(
                    "the image's own programs refuse what this lab changes: "
                    + ("\n".join(refused) or ended.text),
                    where=spec.name,
                )

        inputs = {
            "programs": root.parent.name,
            "script": script,
            "files": {path: asdict(file) for path, file in files.items()},
            "interfaces": interfaces,
        }
        code = ["lvslab.build.image_root"]
        self.stages.run(f"texts {spec.name}", inputs, make, code=code)

    @once
    def base_vmdk(self, role: str) -> Path:
        """The monolithicSparse VMDK of a role's final disk: what VMware runs from."""
        raw = self.disk(f"disk {role}", self.final_tree(role))

        def make(folder: Path, progress: Callable[..., None]) -> None:
            base = folder / f"{role}.vmdk"
            vmdk.write_monolithic_sparse(raw, base, progress=progress)
            base.chmod(0o444)  # the children hold differences to it: it must never change

        inputs = {"disk": raw.parent.name}
        folder = self.stages.run(f"base {role}", inputs, make, code=["lvslab.formats.vmdk"])
        return folder / f"{role}.vmdk"

    @once
    def packed_base(self, role: str) -> Path:
        """The folder with a role's base disk as the zips of all labs have it."""
        sparse, stream = self.base_vmdk(role), self.vmdk(role)

        def make(folder: Path, progress: Callable[..., None]) -> None:
            bundle.pack(sparse, stream, folder)

        inputs = {"base": sparse.parent.name, "vmdk": stream.parent.name}
        return self.stages.run(f"packed {role}", inputs, make, code=["lvslab.export.bundle"])

    @once
    def vmware(self) -> Path:
        """The folders that VMware opens, all but the base disks."""
        bases: dict[str, Path] = {role: self.base_vmdk(role) for role in self.roles}
        seeds = {path.stem: path for path in self.seeds()}
        texts = handout(self.lab)

        def make(folder: Path, progress: Callable[..., None]) -> None:
            summed = {role: (path, self._sum(path)) for role, path in bases.items()}
            folders.write_nodes(self.lab, folder, summed, seeds, texts)

        inputs = {
            "bases": [path.parent.name for path in bases.values()],
            "seeds": [path.parent.name for path in seeds.values()],
            "texts": texts,
            "nodes": {node: this.role for node, this in self.lab.nodes.items()},
        }
        code = ["lvslab.export.folders"]
        return self.stages.run("vmware folders", inputs, make, code=code)

    def bundle(self) -> Path:
        """The zip that a teacher hands out."""
        folder = self.vmware()
        bases: dict[str, Path] = {role: self.packed_base(role) for role in self.roles}
        top = f"{self.lab.name}-{__version__}"

        def make(to: Path, progress: Callable[..., None]) -> None:
            bundle.write(to / f"{top}.zip", top, folder, bases, self.lock.epoch)

        inputs = {
            "folder": folder.name,
            "bases": [path.name for path in bases.values()],
            "top": top,  # has the version, in the name of the zip and in that of its folder
            "epoch": self.lock.epoch,
        }
        code = ["lvslab.export.bundle"]
        return self.stages.run("bundle", inputs, make, code=code) / f"{top}.zip"

    def _sum(self, path: Path) -> str:
        """The sha256 of a file of a stage; read only if no record says it."""
        return self.stages.sum_of(path) or sha256_file(path)

    def own_ovas(self) -> list[str]:
        """The nodes that get an OVA of their own."""
        if not self.options.per_node:
            return []
        return [name for name, node in self.lab.nodes.items() if node.role in self.roles]

    @property
    def whole(self) -> bool:
        """Whether these are all roles of the lab: then there are VMware's folders, too."""
        return {node.role for node in self.lab.nodes.values()} <= set(self.roles)

    def targets(self) -> Iterator[Target]:
        """All that is handed out, in the order in which it is begun."""
        for role in self.roles:
            yield partial(_one, f"ova/{role}.ova", self.ova, role)
        yield self._seeds_out
        for role in self.roles:
            yield partial(_one, f"ova/{role}.cdx.json", self.sbom, role)  # beside what it is about
        if self.whole:
            yield from self.handed_out()
        for node in self.own_ovas():
            yield partial(_one, f"ova/{node}.ova", self.node_ova, node)

    def handed_out(self) -> Iterator[Target]:
        """The VMware folders and the zip."""
        for role in self.roles:
            yield partial(_one, f"vmware/{folders.base_name(role)}", self.base_vmdk, role)
        yield self._folders_out
        yield self._bundle_out

    def needs(self) -> dict[str, tuple[str, ...]]:
        """Every stage, about in the order in which they begin, and the stages that it needs.

        Without `kernel`, which a bake makes while it runs. Nothing is made by this: it is known
        before the first stage has its id.
        """
        found: dict[str, tuple[str, ...]] = {"tools": (), "packer": (), "common tree": ()}
        for role in self.roles:
            tree = "common tree"
            if self.lock.groups[role]:
                tree = f"tree {role}"
                found[tree] = ("common tree",)
            found[f"base disk {role}"] = (tree, "tools")
            found[f"bake {role}"] = (f"base disk {role}", "packer")
            found[f"final tree {role}"] = (f"bake {role}",)
            found[f"disk {role}"] = (f"final tree {role}", "tools")
            found[f"vmdk {role}"] = (f"disk {role}",)
            found[f"ova {role}"] = (f"vmdk {role}",)
        changed = [role for role in self.roles if self._lab_texts(role)]
        for role in changed:
            found[f"programs {role}"] = (f"final tree {role}",)
            found[f"texts {role}"] = (f"programs {role}",)
        found["seeds"] = tuple(f"texts {role}" for role in changed)
        found |= {f"bill {role}": (f"final tree {role}",) for role in self.roles}
        bases = {f"base {role}": (f"disk {role}",) for role in self.roles}
        if self.whole:
            found |= bases
            found["vmware folders"] = (*bases, "seeds")
            packed = {f"packed {role}": (f"base {role}", f"vmdk {role}") for role in self.roles}
            found |= packed
            found["bundle"] = ("vmware folders", *packed)
        for node in self.own_ovas():
            found[f"ova {node}"] = (f"vmdk {self.lab.nodes[node].role}", "seeds")
        return found

    def _seeds_out(self) -> dict[str, Path]:
        return {f"seeds/{path.name}": path for path in self.seeds()}

    def _folders_out(self) -> dict[str, Path]:
        folder = self.vmware()
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {f"vmware/{path.relative_to(folder).as_posix()}": path for path in files}

    def _bundle_out(self) -> dict[str, Path]:
        zipped = self.bundle()
        return {zipped.name: zipped}

    def all(self) -> dict[str, Path]:
        """Every artifact by its name below `artifacts/`; some are made at the same time."""
        made: dict[str, Path] = {}
        with ThreadPoolExecutor(max(1, self.options.jobs)) as executor:
            # What every role needs; the disk tools are ready before the tree is.
            tools_made, packer_made = executor.submit(self.tools), executor.submit(self.packer)
            self.common_tree()
            tools_made.result()
            packer_made.result()
            for placed in executor.map(lambda make: make(), self.targets()):
                made |= placed
        return made


def _one(name: str, make: Callable[[str], Path], of: str) -> dict[str, Path]:
    return {name: make(of)}


def _sizes(image: Path) -> dict[str, int]:
    """Capacity and populated size of the disk in a VMDK of the cache, in bytes."""
    sizes = json.loads((image.parent / "disk.json").read_text())
    return {key: sizes[key] for key in ("capacity", "populated")}
