"""An example, up in the lab from images that were made before, and saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lvslab.core.places import EXAMPLES
from lvslab.core.stages import default_cache
from lvslab.core.waiting import until
from lvslab.lab import bringup, checklist, checkpoint
from lvslab.lab.cluster import Cluster
from lvslab.lab.sources import Settings
from lvslab.measure import failover
from lvslab.model.load import load_lab
from tests.conftest import ROLES
from tests.programs import build_py

LIMITS = bringup.Limits(boot_seconds=1500, settle_seconds=300)
START = failover.CHECKPOINT
_ITEM_SECONDS = 30


@contextmanager
def up(name: str, out: Path) -> Iterator[Cluster]:
    """An example under the name NAME-test; its artifacts go to `out`.

    The images of the default lab's roles must be in the cache, and are not made again.
    """
    lab = EXAMPLES / name / "lab.yaml"
    done = build_py("images", "--lab", str(lab), "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    for role in ROLES:
        assert f"✓ bake {role} (unchanged)" in done.stderr
    cluster = Cluster(load_lab(lab).model_copy(update={"name": f"{name}-test"}))
    try:
        bringup.up(cluster, out, default_cache(), Settings(), limits=LIMITS)
        checkpoint.save(cluster, START)
        yield cluster
    finally:
        with cluster.changing():
            cluster.down()


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
