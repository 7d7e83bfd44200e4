"""The programs of the host: one table, what is missing, and how to get it.

Standard library only: `build.py` uses this before any package is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lvslab.core.errors import MissingError
from lvslab.core.procs import last_lines, search_path

Say = Callable[[str], None]

GROUPS = {
    "build": "make the images",
    "lab": "start the lab in QEMU",
    "test": "run the whole test suite",
}


@dataclass(frozen=True)
class Need:
    """A program on PATH (or a file, if it begins with /) and the Debian package that has it."""

    program: str
    package: str
    groups: tuple[str, ...]
    only_users: bool = False
    """True if root can do without it."""
    only_debian: bool = False
    """True if other distributions of the family lack the package: it is not missing there."""

    def met(self) -> bool:
        """Whether it is there."""
        if self.program.startswith("/"):
            return Path(self.program).exists()
        return shutil.which(self.program, path=search_path()) is not None


_ALL = ("build", "lab", "test")

# The package names are the same in Debian 12, 13 and forky, and in Ubuntu 24.04.
NEEDS = (
    Need("dpkg-deb", "dpkg", ("build", "test")),
    Need("mmdebstrap", "mmdebstrap", ("build", "test")),
    # Without it mmdebstrap continues and packages' scripts fail unseen: the tree is another one.
    Need("mount", "mount", ("build", "test")),
    Need("newuidmap", "uidmap", _ALL, only_users=True),
    Need(
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "debian-archive-keyring",
        ("build", "test"),
    ),
    Need("qemu-system-x86_64", "qemu-system-x86", _ALL),
    Need("qemu-img", "qemu-utils", _ALL),
    Need("ssh", "openssh-client", _ALL),
    Need("ip", "iproute2", ("lab", "test")),
    Need("tcpdump", "tcpdump", ("lab", "test")),
    Need("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf", ("lab", "test")),
    # independent readers of what we write
    Need("xmllint", "libxml2-utils", ("test",)),
    Need("isoinfo", "genisoimage", ("test",)),
    Need("7z", "p7zip-full", ("test",)),
    Need("virt-v2v", "virt-v2v", ("test",)),
    Need("gpg", "gnupg", ("test",)),
    # hosts that a lab is spread over, in namespaces; neither package starts a service
    Need("virsh", "libvirt-clients", ("test",)),
    Need("libvirtd", "libvirt-daemon", ("test",)),
    Need(
        "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so",
        "libvirt-daemon-driver-qemu",
        ("test",),
    ),
    # Debian 13's apt and gnupg do without it.
    Need("gpgv", "gpgv", ("test",)),
    Need("shellcheck", "shellcheck", ("test",)),
    Need("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "fonts-dejavu-core", ("test",)),
    # the simulator of a vCenter, and what builds it
    Need("go", "golang-go", ("test",)),
    Need(
        "/usr/share/gocode/src/github.com/vmware/govmomi/simulator",
        "golang-github-vmware-govmomi-dev",
        ("test",),
    ),
    # what the tests make small disks with, that are then broken
    Need("sfdisk", "fdisk", ("test",)),
    Need("mke2fs", "e2fsprogs", ("test",)),
    Need("mkfs.fat", "dosfstools", ("test",)),
    Need("mcopy", "mtools", ("test",)),
    # a browser for the pages of `lab watch`; Ubuntu has it as a snap only
    Need("/usr/bin/chromium", "chromium", ("test",), only_debian=True),
    Need("chromedriver", "chromium-driver", ("test",), only_debian=True),
)

_OS_RELEASE = Path("/etc/os-release")


def missing(group: str, *, root: bool | None = None) -> list[Need]:
    """What `group` needs and this host has not, in the table's order.

    `root` says for whom; the present user if None.
    """
    as_root = os.geteuid() == 0 if root is None else root
    return [
        need
        for need in NEEDS
        if group in need.groups
        and not (need.only_users and as_root)
        and not (need.only_debian and distribution()[:1] != ["debian"])
        and not need.met()
    ]


def distribution(os_release: Path = _OS_RELEASE) -> list[str]:
    """What this host runs, and what that is like (os-release(5): ID, ID_LIKE); [] if unknown."""
    try:
        lines = os_release.read_text().splitlines()
    except OSError:
        return []
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".replace('"', "").split()


def has_apt(os_release: Path = _OS_RELEASE) -> bool:
    """Whether this is Debian or of its family, WSL included."""
    return bool({"debian", "ubuntu"} & set(distribution(os_release)))


def install_command(packages: Iterable[str]) -> str:
    """The one command that a user without root's rights is asked to run."""
    return "sudo apt-get update && sudo apt-get install --no-install-recommends -y " + " ".join(
        packages
    )


def ensure(group: str, say: Say, log: Path) -> None:
    """Make sure that all programs of `group` are there.

    Root on Debian's family: installs what is missing and says so; the output goes to `log`.
    Otherwise raises MissingError with the one command to run, or the programs' names.
    """
    lacking = missing(group)
    if not lacking:
        return
    names = ", ".join(need.program for need in lacking)
    if not has_apt():
        raise MissingError(
            f"to {GROUPS[group]}, this host needs: {names}",
            hint="install them with this distribution's package manager",
        )
    ensure_packages([need.package for need in lacking], f"to {GROUPS[group]}", say, log)
    if still := [need.program for need in missing(group)]:
        raise MissingError(f"installed, but not found: {', '.join(still)}", log=log)


def ensure_packages(packages: Iterable[str], why: str, say: Say, log: Path) -> None:
    """Install packages if we are root; otherwise raise MissingError with the command to run."""
    wanted = list(dict.fromkeys(packages))
    if os.geteuid() != 0:
        raise MissingError(
            f"{why}, this host needs: {' '.join(wanted)}", hint=install_command(wanted)
        )
    say(f"installing {' '.join(wanted)} (log: {log})")
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    install = ["install", "--no-install-recommends", "-y", *wanted]
    # The lists of a fresh machine are empty, or name versions that the mirror no longer has.
    if not _apt(install, environment, log) and not (
        _apt(["update"], environment, log) and _apt(install, environment, log)
    ):
        raise MissingError(
            "apt-get could not install " + " ".join(wanted) + last_lines(log.read_text(), 4),
            hint="check the network and this host's package sources, then try again",
            log=log,
        )


def _apt(words: list[str], environment: Mapping[str, str], log: Path) -> bool:
    with log.open("ab") as out:
        ended = subprocess.run(
            ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=600", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return ended.returncode == 0
