"""A program beside another machine: two network namespaces, and a wire from eth1 to eth1."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from tests.conftest import ROOT

_TWO_MACHINES = """\
set -eu
here=$(readlink /proc/self/ns/net)
unshare --net sleep 60 & other=$!
trap 'kill $other' EXIT
until [ "$(readlink /proc/$other/ns/net)" != "$here" ]; do sleep 0.05; done
ip link add eth1 type veth peer name eth1 netns $other
nsenter --net --target $other sh -eu -c "ip link set lo up; ip link set eth1 up; $1"
ip link set eth1 up
eval "$2"
shift 2
export OTHER=$other
"$@"
"""


def beside(theirs: Sequence[str], own: Sequence[str], *words: str) -> str:
    """What a program prints that runs beside the other machine, with OTHER as its process.

    `theirs` and `own` are the words of `ip address add` for each machine. A program that fails
    fails the test.
    """
    setups = ["; ".join(f"ip address add {one}" for one in each) or ":" for each in (theirs, own)]
    argv = ["unshare", "--net", "sh", "-c", _TWO_MACHINES, "sh", *setups, *words]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.fail(done.stderr)
    return done.stdout
