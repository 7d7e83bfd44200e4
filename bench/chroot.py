"""Another Debian release on this host, for the benchmarks: a folder that is entered in namespaces.

All mounts are made in a mount namespace of their own, and the processes live in a process
namespace whose first one the kernel kills with the benchmark. So a benchmark that is killed at
any moment leaves neither mounts nor processes, only a folder, which the next run removes.
Needs root, mmdebstrap, util-linux's unshare and mount; standard library only.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lvslab.build import mirror  # noqa: E402
from lvslab.core.files import SCRATCH, remove, scratch  # noqa: E402
from lvslab.core.procs import die_with_parent, kill_group  # noqa: E402
from lvslab.core.stages import leftovers  # noqa: E402

_LIBC = ctypes.CDLL(None, use_errno=True)
PLACE = Path("/var/tmp")
"""Where the folders are: each needs some GB, which a /tmp in memory may not have."""

_NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
# How a name or a package is found and trusted is this host's to say.
_SHARED = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/pip.conf",
    "/etc/xdg/pip",
    "/etc/ssl/certs/ca-certificates.crt",
)
_PASSED = ("http_proxy", "https_proxy", "no_proxy")
_PIVOT_ROOT = 155
"""The number of the system call on x86-64, which the C library has no function for."""
_DETACH = 2
"""MNT_DETACH of umount2(2)."""


class Failed(Exception):
    """A step did not end with 0; the text says which, and has the end of its log."""


@contextmanager
def place(keep: Path | None = None) -> Iterator[Path]:
    """A folder for chroots: `keep`, which stays, or a new one that is removed at the end."""
    if os.geteuid() != 0:
        raise Failed("only root may make the chroots")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and so clean up
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    for left in leftovers(PLACE, SCRATCH):
        remove(left)
    with scratch(PLACE) as folder:
        folder.chmod(0o755)
        yield folder


def make(
    release: str, root: Path, packages: Sequence[str], components: Sequence[str] = ("main",)
) -> None:
    """Install a Debian release with `packages` into the folder `root`, from this host's mirror.

    The log is `root` with the ending .log. Raises Failed.
    """
    half = root.with_name(f"{root.name}.half")
    remove(half)
    words = [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        f"--components={','.join(components)}",
        # A mirror may lag, and nothing that a benchmark makes is handed out.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=APT::Install-Recommends "false"',
        # No service of it starts.
        r"""--customize-hook=printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" """
        """&& chmod +x "$1/usr/sbin/policy-rc.d" """,
        release,
        str(half),
        mirror.find(None).bases["debian"][0],
    ]
    _run([*_NAMESPACES, *words], f"making {release}", root.with_name(f"{root.name}.log"))
    half.rename(root)


def run(
    root: Path,
    words: Sequence[str],
    *,
    log: Path,
    share: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a program in the release at `root`, as root, in /root; its output goes to `log`.

    `share` are paths of this host that are seen there, too, read-only. Raises Failed.
    """
    shared = [path for path in (*_SHARED, *share) if Path(path).exists()]
    kept = {k: v for k, v in os.environ.items() if k.startswith("PIP_") or k.lower() in _PASSED}
    usual = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
    }
    enter = [*_NAMESPACES, sys.executable, str(Path(__file__)), str(root), *shared, "--"]
    _run([*enter, *words], " ".join(words), log, {**usual, **kept, **(env or {})})


def _run(words: list[str], what: str, log: Path, env: Mapping[str, str] | None = None) -> None:
    with log.open("wb") as out:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        try:
            status = process.wait()
        finally:
            kill_group(process)
    if status != 0:
        lines = log.read_text(errors="replace").splitlines()[-12:]
        raise Failed("\n  ".join([f"{what}: status {status}, {log}", *lines]))


def copy_checkout(to: Path) -> None:
    """The checkout as a clone has it, below `to`."""
    remove(to)
    ignored = shutil.ignore_patterns(".git", "artifacts", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, to, ignore=ignored)


def _enter(root: Path, shared: Sequence[Path], words: Sequence[str]) -> int:
    """As the first process of the namespaces: make `root` the root, run a program, tell its status.

    Not by chroot(2), in which nobody may make a user namespace (user_namespaces(7)).
    """
    _mount("--bind", root, root)
    for name in ("dev", "sys"):
        _mount("--rbind", f"/{name}", root / name)
    _mount("-t", "proc", "proc", root / "proc")
    for path in shared:
        target = root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        _mount("--bind", path, target)
        _mount("-o", "remount,bind,ro", target)
    os.chdir(root)
    # pivot_root(2), NOTES: the old root lies on the new one, and is taken away.
    if _LIBC.syscall(_PIVOT_ROOT, b".", b".") or _LIBC.umount2(b".", _DETACH):
        raise OSError(ctypes.get_errno(), "pivot_root")
    os.chdir("/root")
    child = os.posix_spawnp(words[0], [*words], os.environ)
    while True:  # the first process takes in those whose parent is gone
        ended, status = os.wait()
        if ended == child:
            return os.waitstatus_to_exitcode(status) & 0xFF


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


if __name__ == "__main__":
    end = sys.argv.index("--")
    sys.exit(_enter(Path(sys.argv[1]), [*map(Path, sys.argv[2:end])], sys.argv[end + 1 :]))
