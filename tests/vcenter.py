"""A vCenter for tests: the simulator of Debian's govmomi, built once and started by each test.

`tests/vcsim/main.go` says what its inventory is.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lvslab.core.files import atomic
from lvslab.core.places import default_cache
from lvslab.core.procs import program, run
from tests.authority import Authority

SOURCE = Path(__file__).parent / "vcsim" / "main.go"
GOPATH = Path("/usr/share/gocode")
USER, SECRET = "teacher", "correct-horse-battery"


@dataclass(frozen=True)
class Simulator:
    """A running one: its address, and who vouches for its certificate."""

    address: str
    authority: Authority


def simulator() -> Path:
    """The program, in the cache; its name has the sum of what it is made of."""
    versions = GOPATH / "src/github.com/vmware/govmomi/go.mod"
    total = hashlib.sha256(SOURCE.read_bytes() + versions.read_bytes()).hexdigest()
    built = default_cache().absolute() / "test-programs" / f"vcsim-{total[:16]}"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        go = {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOFLAGS": ""}
        go["GOCACHE"] = str(built.parent / "go")
        with atomic(built) as part:
            argv: list[str | Path] = [program("go"), "build", "-o", part, SOURCE]
            run(argv, what="building the simulator", env={**os.environ, **go})
            part.chmod(0o755)
    return built


@contextmanager
def running(authority: Authority) -> Iterator[Simulator]:
    """A fresh simulator; it ends with the block."""
    certificate, key = authority.certificate("127.0.0.1")
    argv = [str(word) for word in (simulator(), certificate, key, USER, SECRET)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as this:
        assert this.stdin
        assert this.stdout
        try:
            yield Simulator(this.stdout.readline().strip(), authority)
        finally:
            this.stdin.close()
            this.wait(20)
