"""A lab, up from images that were made before, and saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lvslab.core.errors import StageError
from lvslab.core.files import remove, sha256_file
from lvslab.core.places import default_cache
from lvslab.core.waiting import until
from lvslab.lab import bringup, checklist, checkpoint, warm
from lvslab.lab.cluster import Cluster
from lvslab.lab.sources import Settings
from lvslab.model.load import load_lab
from tests.conftest import ROLES
from tests.programs import build_py

LIMITS = bringup.Limits(boot_seconds=1500, settle_seconds=300)
START = warm.CHECKPOINT
"""What `lab up` keeps for the next one is where experiments begin, too."""

_ITEM_SECONDS = 30
_CALM_SECONDS = 60


@contextmanager
def up(file: Path, built: Path, out: Path) -> Iterator[Cluster]:
    """The lab of a lab.yaml under the name NAME-test; its artifacts go to `out`.

    `built` has those of the default lab, whose images are the same and are not made again.
    """
    lab = load_lab(file)
    done = build_py("images", "--lab", str(file), "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    for role in {node.role for node in lab.nodes.values()} & set(ROLES):
        assert f"✓ bake {role} (unchanged)" in done.stderr
        ova = f"ova/{role}.ova"
        assert sha256_file(out / ova) == sha256_file(built / ova)
    cluster = Cluster(lab.model_copy(update={"name": f"{lab.name}-test"}))
    try:
        bringup.up(cluster, out, default_cache(), Settings(), limits=LIMITS)
        saved(cluster)
        yield cluster
    finally:
        with cluster.changing():
            cluster.down()
        remove(out)  # or the whole run would need a gigabyte more for each lab


def saved(cluster: Cluster) -> None:
    """Make sure of START: a host with little room has not kept it."""
    if START not in checkpoint.names(cluster):
        checkpoint.save(cluster, START)


def begun_again(cluster: Cluster) -> Cluster:
    """The lab as START has it. A checklist that does not pass within a minute is an error."""
    checkpoint.restore(cluster, START)
    found = checklist.wait(cluster, _CALM_SECONDS)
    if not checklist.well(found):
        wrong = [f"{each.node}: {each.says}" for each in found if not each.ok]
        told = [_tells(cluster, node) for node in cluster.lab.nodes]
        raise AssertionError("\n".join(["not calm after a restore:", *wrong, *told]))
    return cluster


def _tells(cluster: Cluster, node: str) -> str:
    """What a node knows of itself: its last messages, what is tracked, its addresses."""
    ask = "journalctl -b -n 60 -o short-precise; grep . /run/lvslab/*; ip -br address; uptime"
    try:
        said = cluster.ask(node, ["sh", "-c", ask]).out
    except StageError as error:
        said = f"{error.message}; its console: {cluster.console_tail(node)}"
    return f"--- {node} is {cluster.node_state(node)}: {said}"


def problems(cluster: Cluster, item: int, node: str = "") -> list[str]:
    """What is wrong with an item of the checklist, of any machine or of one, within 30 s."""

    def found() -> list[str]:
        results = checklist.check(cluster)
        return [
            each.says
            for each in results
            if each.item == item and not each.ok and node in ("", each.node)
        ]

    return until(found, _ITEM_SECONDS)
