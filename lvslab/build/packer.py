"""Packer through python-packer: the one place that knows both of their oddities.

- python-packer 0.1.2 uses `sh` 1.11, which forks; so it works in a process of its
  own (`python -m lvslab.build.packer`), which also makes it possible to end it.
- `build()` sends -parallel=true, which Packer refuses: always parallel=False.
- `validate()` on a bad template dies of `ex.message`: the adapter calls Packer's
  `validate` itself through the same wrapped command.
- Output callbacks use inspect.getargspec, gone since Python 3.11: a binary file works.
- Packer 1.7 and later have the qemu builder in a plugin: `packer init` fetches it.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvslab.build.pool import Pool
from lvslab.core.errors import StageError
from lvslab.core.procs import die_with_parent, run

# An exact version: later ones have changed when they end a machine, and one that was not chosen
# must not run here.
_PLUGIN = """packer {
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = "= 1.1.0"
    }
  }
}
"""


@dataclass(frozen=True)
class _Pinned:
    """Debian 12's Packer (MPL licence): one static binary that runs on any x86-64 Linux."""

    name: str = "packer"
    version: str = "1.6.6+ds2-1+b1"
    archive: str = "debian"
    path: str = "pool/main/p/packer/packer_1.6.6+ds2-1+b1_amd64.deb"
    sha256: str = "7b690f62b30ba76e14769c4d40a2b883e1be6807c95f7fca22190c6f319c18c5"
    size: int = 16876180


PINNED = _Pinned()


def unpack(pool: Pool, folder: Path) -> None:
    """Fetch the pinned Packer, checked by sha256, and unpack it into `folder`."""
    (package,) = pool.get([PINNED])
    run(["dpkg-deb", "--extract", package, folder], what="unpacking Packer", clean=True)


def leashed(program: Path | str, script: Path) -> Path:
    """Write `script`, which runs `program` with its arguments on a leash; return its path."""
    leash = Path(__file__).with_name("leash.py")
    words = shlex.join([sys.executable, "-S", str(leash), str(program)])
    script.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    script.chmod(0o755)
    return script


def version(executable: Path) -> tuple[int, ...]:
    """The version of a Packer, for instance (1, 6, 6). Raises StageError."""
    out = run([executable, "version"], what="asking Packer", env=_environment(executable.parent))
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", out)
    if not found:
        raise StageError(f"{executable} does not say which Packer it is", where="packer")
    return tuple(int(part) for part in found.groups())


def prepare(executable: Path, work: Path) -> None:
    """Give Packer 1.7 and later its qemu plugin; 1.6 has the builder inside."""
    if version(executable) < (1, 7):
        return
    plugins = work / "plugins.pkr.hcl"
    plugins.write_text(_PLUGIN)
    run(
        [executable, "init", plugins],
        what="fetching Packer's qemu plugin",
        env=_environment(work),
        cwd=work,
        hint="Packer's plugins come from the network; the pinned Packer 1.6 needs none",
    )


def validate(executable: Path, template: Path) -> None:
    """Let Packer check a template. Raises StageError with Packer's own words."""
    run(
        [executable, "validate", template],
        what="packer validate",
        env=_environment(template.parent),
        cwd=template.parent,
    )


def start(executable: Path, template: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start `packer build` of a template; its output goes to `log` as it comes.

    The process is python-packer's; ending it ends Packer and its QEMU too.
    """
    binary = leashed(executable, template.parent / "packer")
    with log.open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "lvslab.build.packer", str(template), str(binary), str(log)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=os.environ | _environment(template.parent),
            cwd=template.parent,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def _environment(work: Path) -> dict[str, str]:
    """No calls home, and everything that Packer writes is below `work`, its current folder.

    The folder for Packer's sockets is named relatively: a socket's path may have 107 bytes
    (unix(7)), and a cache can be deep.
    """
    root = str(Path(__file__).resolve().parents[2])
    return {
        "CHECKPOINT_DISABLE": "1",
        "PACKER_NO_COLOR": "1",
        "PACKER_TMP_DIR": ".",
        "TMPDIR": ".",
        "PACKER_CACHE_DIR": str(work / "packer-cache"),
        "PACKER_PLUGIN_PATH": str(work / "plugins"),  # neither the user's plugins nor among them
        "PYTHONPATH": root,
    }


def _main(template: str, executable: str, log: str) -> int:
    # python-packer, found although a folder `packer/` is nearer; it imports `sh`.
    wrapper: Any = importlib.import_module("packer")
    with Path(log).open("ab", buffering=0) as output:
        try:
            wrapper.Packer(template, exec_path=executable, out_iter=output, err_iter=output).build(
                parallel=False, machine_readable=True
            )
        except Exception as error:  # sh makes one exception class for each exit status
            print(getattr(error, "exit_code", error), file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
