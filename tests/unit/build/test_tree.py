"""The making of a tree that is stopped: no mount, no program and no file is left, none is lost.

mmdebstrap is played by a script that mounts what the real one mounts; the namespaces are real.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lvslab.build import tree
from lvslab.build.mirror import Mirrors
from lvslab.build.pool import Pool
from lvslab.core.errors import StageError
from lvslab.core.events import silent
from lvslab.core.files import mounts_below
from lvslab.core.stages import Stages
from lvslab.core.waiting import until

ROOT = Path(__file__).resolve().parents[3]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts on the host")

MOUNTS = """#!/bin/sh
mkdir "$TMPDIR/tree" "$TMPDIR/tree/proc" "$TMPDIR/tree/shm"
mount -t proc proc "$TMPDIR/tree/proc"
mount -o bind SHARED "$TMPDIR/tree/shm"
touch "$TMPDIR/tree/shm/mounted"
sleep 60
"""
MAKER = """
import sys
from pathlib import Path
from lvslab.cli.signals import watched
from lvslab.core.stages import Stages
from tests.unit.build.test_tree import make
try:
    with watched():
        Stages(Path(sys.argv[1])).run("tree", {}, make)
except KeyboardInterrupt:
    sys.exit(130)
"""


def recipe(files: Path) -> tree.Recipe:
    return tree.Recipe("trixie", 0, (), (), files, (), ())


def make(folder: Path, progress: Callable[..., None]) -> None:
    files = folder / "files"
    files.mkdir()
    pool = Pool(folder, Mirrors({}), offline=True)
    tree.make(pool, recipe(files), folder / "tree.tar", silent, progress)


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the host with a file in it; the programs of `tmp_path/bin` come first."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "mine").touch()
    return shared


def play(folder: Path, script: str) -> None:
    """The environment may not reach the script, so the folder `SHARED` is written into it."""
    program = folder / "bin/mmdebstrap"
    program.write_text(script.replace("SHARED", str(folder / "shared")))
    program.chmod(0o755)


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_stopped_tree_leaves_no_mount_and_empties_nothing(
    tmp_path: Path, shared: Path, number: signal.Signals, status: int
) -> None:
    play(tmp_path, MOUNTS)
    cache = tmp_path / "cache"
    with subprocess.Popen([sys.executable, "-c", MAKER, cache], cwd=ROOT) as process:
        assert until((shared / "mounted").exists, 60), process.poll()
        process.send_signal(number)
    assert process.returncode == status
    assert mounts_below(tmp_path) == []
    Stages(cache).sweep()
    assert list((cache / "tmp").iterdir()) == []
    assert (shared / "mine").exists()
    assert until(lambda: not at_work_in(cache), 10), "a program of the tree is still at work"


def at_work_in(folder: Path) -> bool:
    """Whether the environment of a process names a folder."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(folder).encode() in path.read_bytes():
                return True
        except OSError:
            continue
    return False


def test_namespaces_that_are_forbidden_are_explained(tmp_path: Path, shared: Path) -> None:
    for name, words in (("unshare", "unshare: unshare failed"), ("mmdebstrap", "newuidmap: no")):
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\necho '{words}' >&2; exit 1\n")
        program.chmod(0o755)
    with pytest.raises(StageError, match="installing packages") as caught:
        make(tmp_path, lambda *_: None)
    root = os.geteuid() == 0
    assert caught.value.hint == (
        "root must be allowed to make mount and process namespaces: start the container that "
        "this is with --privileged, or build as an ordinary user"
        if root
        else "build as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, "
        "on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0"
    )


def test_another_failure_of_mmdebstrap_has_no_such_hint(tmp_path: Path, shared: Path) -> None:
    play(tmp_path, "#!/bin/sh\necho 'E: apt-get failed' >&2; exit 1\n")
    with pytest.raises(StageError, match="E: apt-get failed") as caught:
        make(tmp_path, lambda *_: None)
    assert caught.value.hint == ""


def test_a_blank_in_the_path_of_the_cache_stays_in_the_address(
    tmp_path: Path, shared: Path
) -> None:
    play(tmp_path, '#!/bin/sh\nfor word; do :; done; echo "$word" >SHARED/address\n')
    folder = tmp_path / "my cache"
    folder.mkdir()
    make(folder, lambda *_: None)
    kind, options, address, component = (shared / "address").read_text().split()
    assert (kind, options, component) == ("deb", "[trusted=yes]", "./")
    if os.geteuid() == 0:
        assert address.startswith(f"copy:{tmp_path}/my%20cache/lvslab-scratch-")
