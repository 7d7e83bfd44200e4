"""A dry run: what vmrun would be called with, and nothing is run. No VMware is needed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lvslab.lab.vmrun.vmrun_engine import VmrunEngine
from lvslab.lab.vmrun.vmrun_program import Vmrun
from lvslab.lab.vmware_source import FolderSource
from lvslab.model.lab import Lab


def calls_of_up(lab: Lab, artifacts: Path) -> list[list[str]]:
    """The calls of `up` for nodes that are off. Raises InputError if a folder is not there."""
    calls: list[list[str]] = []
    source = FolderSource(lab, artifacts)
    seeds = source.seeds()
    with tempfile.TemporaryDirectory() as notes:
        vmrun = Vmrun.for_showing().dry(calls.append)
        engine = VmrunEngine(lab, artifacts, Path(notes), vmrun)
        engine.in_use()
        for node in lab.nodes:
            machine = source.machine(node, source.machines[node].disks[0], seeds[node], 0)
            engine.launch(machine, "vmware", {})
            for nic in machine.nics:
                if not nic.connected:
                    engine.plug(node, nic.interface, False)
    return calls
