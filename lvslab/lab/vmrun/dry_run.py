"""A dry run: what vmrun would be called with, and nothing is run. No VMware is needed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lvslab.lab.hardware import Machine
from lvslab.lab.vmrun.vmrun_engine import VmrunEngine
from lvslab.lab.vmrun.vmrun_program import Vmrun
from lvslab.lab.vmrun.vmrun_trial import Selftest
from lvslab.lab.vmware_source import FolderSource
from lvslab.model.lab import Lab


def calls_of_up(lab: Lab, artifacts: Path) -> list[list[str]]:
    """The calls of `up` for nodes that are off. Raises InputError if a folder is not there."""
    calls: list[list[str]] = []
    with _telling(lab, artifacts, calls) as engine:
        engine.in_use()
        for node in lab.nodes:
            machine = machine_of_folder(lab, artifacts, node)
            engine.launch(machine, "vmware", {})
            for nic in machine.nics:
                if not nic.connected:
                    engine.plug(node, nic.interface, False)
    return calls


def calls_of_selftest(lab: Lab, artifacts: Path, node: str) -> list[list[str]]:
    """The calls of a self-test on a node. Raises InputError if its folder is not there."""
    calls: list[list[str]] = []
    with _telling(lab, artifacts, calls) as engine:
        machine = machine_of_folder(lab, artifacts, node)
        for _ in Selftest(engine, lab, machine, dry=True).perform():
            pass
    return calls


def machine_of_folder(lab: Lab, artifacts: Path, node: str) -> Machine:
    """The machine in a node's folder. Raises InputError if it is not there."""
    return FolderSource(lab, artifacts).machine(node, Path(), Path(), 0)


@contextlib.contextmanager
def _telling(lab: Lab, artifacts: Path, calls: list[list[str]]) -> Iterator[VmrunEngine]:
    """An engine that only tells its calls."""
    with tempfile.TemporaryDirectory() as notes:
        yield VmrunEngine(lab, artifacts, Path(notes), Vmrun.for_showing().dry(calls.append))
