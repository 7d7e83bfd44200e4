"""The stages from the lock to the trees that ship: pool, tools, base trees, bakes, final trees."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from lvslab.build import (
    accel,
    bake,
    changes,
    disk,
    headers,
    mirror,
    packer,
    policy,
    pool,
    tools,
    tree,
)
from lvslab.build import lockfile as locks
from lvslab.build.pool import Download
from lvslab.core.events import Listener, silent
from lvslab.core.files import sha256_file
from lvslab.core.places import COMMON, DATA, ROLES, WORK
from lvslab.core.stages import NotYetMade, Stages, once
from lvslab.formats import seed_iso
from lvslab.model.lab import Lab
from lvslab.model.load import load_reference
from lvslab.model.role import RoleSpec
from lvslab.render import assert_script, bake_seed, role_files, role_user_data

_OWN_LOCK = WORK / locks.FILE
LOCK = _OWN_LOCK if _OWN_LOCK.is_file() else DATA / locks.FILE


@dataclass(frozen=True)
class Options:
    """How this run works: nothing here changes a byte of the result.

    `cache` and `out` are folders; `jobs` bounds the stages that run at the same time;
    `circumstances` is what a bake may differ in; `per_node` makes an OVA of each node, too;
    `check_cache` reads all that the cache holds, not only what is due; `profile` draws where the
    time went.
    """

    cache: Path
    out: Path
    jobs: int = 2
    offline: bool = False
    mirror: str | None = None
    acceleration: accel.Accelerator | None = None
    packer: Path | None = None
    circumstances: bake.Circumstances = bake.Circumstances()
    dry: bool = False
    per_node: bool = False
    check_cache: bool = False
    profile: bool = False


@dataclass
class Trees:
    """The stages of one lab up to its final trees; each method is one and returns what it made.

    They know the lab only by its roles: images are baked from the reference lab.
    """

    lab: Lab
    roles: Mapping[str, RoleSpec]
    options: Options
    listener: Listener = silent
    reference: Lab = field(init=False)
    stages: Stages = field(init=False)
    lock: locks.Lock = field(init=False)
    pool: pool.Pool = field(init=False)
    acceleration_used: accel.Accelerator | None = None

    def __post_init__(self) -> None:
        options = self.options
        self.reference = load_reference(self.lab)
        self.stages = Stages(options.cache, self.listener, options.dry, options.check_cache)
        self.lock = locks.load(LOCK)
        locks.check(self.lock, self.lab, dict(self.roles), LOCK)
        self.pool = pool.Pool(
            options.cache / "pool",
            mirror.find(options.mirror).with_snapshot(self.lock.epoch),
            options.offline,
            self._still_to_fetch,
            self.listener,
        )

    def _still_to_fetch(self) -> Iterator[Download]:
        """The packages of all stages that are not made yet."""
        dry = Trees(self.lab, self.roles, replace(self.options, dry=True, check_cache=False))
        groups = self.lock.groups
        taken: list[tuple[Callable[[], object], Sequence[Download]]] = [
            (dry.tools, groups["tools"]),
            (dry.packer, [packer.PINNED]),
            (dry.common_tree, groups["base"]),
            *((partial(dry.base_tree, role), groups[role]) for role in self.roles),
        ]
        for make, packages in taken:
            try:
                make()
            except NotYetMade:
                yield from packages

    @once
    def tools(self) -> tools.Tools:
        """The tools that shape disks, unpacked."""
        packages = self.lock.groups["tools"]

        def make(folder: Path, progress: Callable[..., None]) -> None:
            tools.unpack(self.pool, packages, folder, progress)

        code = ["lvslab.build.tools"]
        folder = self.stages.run("tools", {"packages": sums(packages)}, make, code=code)
        return tools.Tools(folder, self.lock.epoch, self.listener)

    @once
    def packer(self) -> Path:
        """The Packer of the options, or the pinned one."""
        if self.options.packer:
            return self.options.packer

        def make(folder: Path, progress: Callable[..., None]) -> None:
            packer.unpack(self.pool, folder)

        code = ["lvslab.build.packer"]
        folder = self.stages.run("packer", {"sha256": packer.PINNED.sha256}, make, code=code)
        return folder / "usr/bin/packer"

    @once
    def common_tree(self) -> Path:
        """The tar of the tree that all roles share."""
        return self._tree("common tree", "base", None)

    @once
    def base_tree(self, role: str) -> Path:
        """The tar of a role's base tree."""
        common = self.common_tree()
        if not self.lock.groups[role]:
            return common
        return self._tree(f"tree {role}", role, common)

    def _tree(self, name: str, group: str, under: Path | None) -> Path:
        spec = next(iter(self.roles.values()))  # what is left out is common's
        recipe = tree.Recipe(
            suite=self.lock.suite,
            epoch=self.lock.epoch,
            # On top of another tree apt looks at all that is installed.
            packages=self.lock.of_role(group) if under else self.lock.groups[group],
            install=tuple(package.name for package in self.lock.groups[group]),
            files=ROLES / COMMON / "base",
            exclude=tuple(path for declared in spec.exclude for path in declared.paths),
            include=tuple(path for declared in spec.include for path in declared.paths),
            under=under,
        )

        def make(folder: Path, progress: Callable[..., None]) -> None:
            tree.make(self.pool, recipe, folder / "tree.tar", self.listener, progress)
            headers.settle(folder / "tree.tar")

        code = ["lvslab.build.tree", "lvslab.build.headers"]
        return self.stages.run(name, recipe.inputs(), make, code=code) / "tree.tar"

    @once
    def disk(self, name: str, tar: Path) -> Path:
        """The raw disk of a tree."""
        made_by = self.tools()

        def make(folder: Path, progress: Callable[..., None]) -> None:
            disk.make(
                tar,
                folder / "disk.raw",
                tools=made_by,
                size_mib=self.reference.disk.size_mib,
                seed=f"{self.reference.name}/{name}",
                progress=progress,
            )

        inputs = {
            "tree": tar.parent.name,
            "tools": made_by.folder.name,
            "size_mib": self.reference.disk.size_mib,
            "epoch": self.lock.epoch,
            "seed": self.reference.name,
        }
        code = ["lvslab.build.disk"]
        return self.stages.run(name, inputs, make, code=code) / "disk.raw"

    def accelerator(self) -> accel.Accelerator:
        """What the bake runs on: chosen by the user, or probed with the image's own kernel."""
        chosen = self.options.acceleration
        self.acceleration_used = chosen if chosen else self._probed()
        return self.acceleration_used

    @once
    def _probed(self) -> accel.Accelerator:
        common = self.common_tree()

        def make(folder: Path, progress: Callable[..., None]) -> None:
            with tarfile.open(common) as tar:
                name = next(n for n in tar.getnames() if n.startswith("./boot/vmlinuz-"))
                (folder / "vmlinuz").write_bytes(_member(tar, name))

        kernel = self.stages.run("kernel", {"tree": common.parent.name}, make) / "vmlinuz"
        return accel.probe(self.stages, kernel)

    @once
    def changes(self, role: str) -> Path:
        """What the bake of a role changed: `changes.jsonl` and the contents in `blobs/`.

        The baked disk itself is thrown away.
        """
        spec = self.roles[role]
        base = self.base_tree(role)
        base_disk = self.disk(f"base disk {role}", base)
        executable = self.packer()
        assertions = assert_script(self.reference, spec)
        epoch = self.lock.epoch

        def make(folder: Path, progress: Callable[..., None]) -> None:
            with tempfile.TemporaryDirectory(dir=folder) as work:
                baked = bake.Bake(
                    role=role,
                    disk=base_disk,
                    packer=executable,
                    accelerator=self.accelerator(),
                    epoch=epoch,
                    assertions=assertions,
                    seed=lambda key: bake_seed(self.reference, spec, bake.USER, key),
                    write_seed=lambda texts, path: seed_iso.write_iso(texts, path, epoch=epoch),
                    logs=self.options.cache / "log",
                    circumstances=self.options.circumstances,
                ).run(Path(work), self.listener, progress)
                (folder / "blobs").mkdir()
                root = disk.layout(self.reference.disk.size_mib)[-1].start * disk.SECTOR
                found = changes.read(baked, root, base, folder / "blobs", progress)
            changes.save(found, folder / "changes.jsonl")

        inputs = {
            "disk": base_disk.parent.name,
            "packer": (sha256_file(executable) if self.options.packer else packer.PINNED.sha256),
            "user-data": role_user_data(self.reference, spec),
            "bake": asdict(bake_seed(self.reference, spec, bake.USER, "KEY")),
            "assertions": assertions,
            "template": (DATA / "packer/bake.json.j2").read_text(),
            "epoch": epoch,
        }
        code = [
            "lvslab.build.bake",
            "lvslab.build.changes",
            "lvslab.build.disk",
            "lvslab.build.leash",  # a program of its own
            "lvslab.formats.seed_iso",
            "lvslab.render.packer_template",
        ]
        return self.stages.run(f"bake {role}", inputs, make, code=code)

    @once
    def final_tree(self, role: str) -> Path:
        """The tar of the tree that ships: the base tree and the declared changes."""
        spec, base, baked = self.roles[role], self.base_tree(role), self.changes(role)
        own = role_files(self.reference, spec)

        def make(folder: Path, progress: Callable[..., None]) -> None:
            verdicts = policy.judge(changes.load(baked / "changes.jsonl"), spec, own)
            policy.demand_declared(verdicts, role, base, baked / "blobs")
            final = folder / "tree.tar"
            policy.apply(verdicts, base, baked / "blobs", final, self.lock.epoch)

        inputs = {
            "base": base.parent.name,
            # Not the bake's inputs but what it did: another bake with the same end is the same.
            "changes": sha256_file(baked / "changes.jsonl"),
            "keep": [declared.model_dump() for declared in spec.keep],
            "handle": [handled.model_dump() for handled in spec.handle],
            "own": {path: asdict(file) for path, file in own.items()},
            "epoch": self.lock.epoch,
        }
        code = ["lvslab.build.policy"]
        return self.stages.run(f"final tree {role}", inputs, make, code=code) / "tree.tar"


def sums(packages: tuple[locks.Package, ...]) -> list[str]:
    """The sha256 of each package, sorted: packages as a stage's input."""
    return sorted(package.sha256 for package in packages)


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()
