"""Base trees: mmdebstrap installs the locked packages from the pool into a tar.

What all roles share is unpacked once; a role's own packages go on top of it.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lvslab.build.lockfile import Package
from lvslab.build.pool import Pool, repository
from lvslab.core.errors import StageError
from lvslab.core.events import Listener
from lvslab.core.files import link, scratch
from lvslab.core.procs import program, run

# As root mmdebstrap mounts /proc, /sys and parts of the host's /dev into the tree. In namespaces
# of their own nobody else sees these mounts, and however a build is killed, they and every
# program in the tree end with it.
_ROOT = (
    *("unshare", "--mount", "--propagation", "private"),
    *("--pid", "--fork", "--kill-child", "--mount-proc"),
)
_NO_NAMESPACES = re.compile(r"unshare: |unshare syscall failed|newuidmap|newgidmap")
_HINT_ROOT = (
    "root must be allowed to make mount and process namespaces: start the container that this is "
    "with --privileged, or build as an ordinary user"
)
_HINT_USER = (
    "build as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, on Ubuntu "
    "kernel.apparmor_restrict_unprivileged_userns=0"
)

# What installing packages leaves that differs from run to run, or is of the builder.
_HOST_SPECIFIC = (
    "etc/apt/sources.list",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/ssh/ssh_host_*",
    "etc/.resolv.conf.systemd-resolved.bak",
    "var/cache/debconf/*-old",
    "var/lib/dpkg/*-old",
)


def overlay(source: Path, tar: Path, epoch: int) -> None:
    """Pack the files below `source` as root's, sorted, with the time `epoch`."""
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as out:
        for path in sorted(source.rglob("*")):
            info = tarfile.TarInfo(f"./{path.relative_to(source)}")
            info.mtime = epoch
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                out.addfile(info)
            else:
                data = path.read_bytes()
                info.size = len(data)
                info.mode = _mode(path)
                out.addfile(info, io.BytesIO(data))


def _mode(path: Path) -> int:
    """The mode that a file of the checkout has in a tree."""
    return 0o755 if os.access(path, os.X_OK) else 0o644


def stanzas(pool: Pool, packages: Sequence[Package]) -> list[str]:
    """The control fields of each package file, as dpkg-deb prints them."""

    def one(package: Package) -> str:
        path = pool.path(package)
        return run(["dpkg-deb", "--field", path], what="reading packages", clean=True)

    with ThreadPoolExecutor(os.cpu_count()) as executor:
        return list(executor.map(one, packages))


@dataclass(frozen=True)
class Recipe:
    """What a tree is made of, and all that decides its bytes.

    `packages` are all that apt may see, `install` those that it must install. Without
    `under` the tree begins empty and gets the files of the folder `files` before packages
    are configured; with `under` (a tar made by `make`) packages are added to that tree.
    Paths that match `exclude` and not `include` are never unpacked (dpkg's path-exclude
    and path-include). `epoch` is the SOURCE_DATE_EPOCH.
    """

    suite: str
    epoch: int
    packages: tuple[Package, ...]
    install: tuple[str, ...]
    files: Path
    exclude: tuple[str, ...]
    include: tuple[str, ...]
    under: Path | None = None

    def inputs(self) -> dict[str, Any]:
        """The recipe as a stage's inputs: sums and contents instead of paths."""
        return {
            "suite": self.suite,
            "epoch": self.epoch,
            "packages": sorted(package.sha256 for package in self.packages),
            "install": self.install,
            "files": {
                str(path.relative_to(self.files)): [_mode(path), path.read_text()]
                for path in sorted(self.files.rglob("*"))
                if path.is_file()
            },
            "exclude": self.exclude,
            "include": self.include,
            "under": self.under.parent.name if self.under else None,
        }


def make(
    pool: Pool, recipe: Recipe, tar: Path, listener: Listener, progress: Callable[..., None]
) -> None:
    """Write the tar of a tree. Raises StageError with mmdebstrap's last lines."""
    pool.get(recipe.packages, progress)
    progress(0, 0, "", "installing")
    root = os.geteuid() == 0
    # As an ordinary user mmdebstrap works with other ids, to which a home may be closed.
    with scratch(tar.parent if root else None) as work:
        work.chmod(0o755)
        repo = work / "repo"
        repo.mkdir()
        repository(pool, recipe.packages, stanzas(pool, recipe.packages), repo, recipe.suite)
        overlay(recipe.files, work / "files.tar", recipe.epoch)
        if recipe.under:
            link(recipe.under, work / "under.tar")
        words = [
            "--architectures=amd64",
            "--format=tar",
            f"--include={','.join(recipe.install)}",
            '--aptopt=APT::Install-Recommends "false"',
            # As _apt or as root by itself: who may enter the folder would decide an owner.
            '--aptopt=APT::Sandbox::User "root"',
            *(f"--dpkgopt=path-exclude={glob}" for glob in recipe.exclude),
            *(f"--dpkgopt=path-include={glob}" for glob in recipe.include),
            *_start(work / "under.tar" if recipe.under else None, work / "files.tar"),
            *_finish(),
            recipe.suite,
            str(tar),
            # A space would end the address (sources.list(5)).
            f"deb [trusted=yes] copy:{quote(str(repo))} ./",
        ]
        _mmdebstrap(words, recipe.epoch, work, listener)


def _mmdebstrap(words: Sequence[str], epoch: int, work: Path, listener: Listener) -> None:
    """Run mmdebstrap, which unpacks its tree in `work`."""
    root = os.geteuid() == 0
    mode = "--mode=root" if root else "--mode=unshare"
    try:
        run(
            [*(_ROOT if root else ()), program("mmdebstrap"), mode, *words],
            what="installing packages",
            clean=True,
            env={
                "SOURCE_DATE_EPOCH": str(epoch),
                "LC_ALL": "C.UTF-8",
                "TZ": "UTC",
                "TMPDIR": str(work),
                # Debian's py3compile compiles all of it; what its own run leaves would be first.
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            listener=listener,
            timeout=1800,
        )
    except StageError as error:
        if _NO_NAMESPACES.search(error.message):
            error.hint = _HINT_ROOT if root else _HINT_USER
        raise


def _start(under: Path | None, files: Path) -> list[str]:
    """How the tree begins: empty, or as another tree."""
    lay = _unpack(files)
    if under is None:
        return ["--variant=minbase", f"--essential-hook={lay}"]
    return [
        "--variant=custom",
        "--skip=check/empty",
        f"--setup-hook={_unpack(under)}",
        f"--customize-hook={lay}",
    ]


def _unpack(tar: Path) -> str:
    """A hook that unpacks `tar` into the tree.

    Not mmdebstrap's own `tar-in`: tar stops at the end mark, and the writer of what is
    left in the pipe dies of SIGPIPE when the host is slow. Device nodes mmdebstrap makes.
    """
    return (
        "tar --extract --numeric-owner --preserve-permissions --xattrs --xattrs-include='*' "
        f"--exclude='./dev/*' --directory \"$1\" --file {shlex.quote(str(tar))}"
    )


def _finish() -> list[str]:
    """What is done to a tree when its packages are installed."""
    return [
        # Without networkd cloud-init's network stage fails in the first boot, the bake;
        # with wait-online every boot without a DHCP server takes two minutes more.
        '--customize-hook=chroot "$1" systemctl --quiet enable systemd-networkd',
        '--customize-hook=chroot "$1" systemctl --quiet mask systemd-networkd-wait-online',
        f'--customize-hook=cd "$1" && rm -rf {" ".join(_HOST_SPECIFIC)}',
        '--customize-hook=find "$1"/var/log -type f -delete',
    ]
