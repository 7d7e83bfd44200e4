"""The experiments of `lab failover`, a module for each kind of fault."""

from lvslab.core.errors import InputError
from lvslab.measure.experiments import cables, daemons, directors, servers
from lvslab.measure.experiments.experiment import Experiment, master_down
from lvslab.model.lab import Lab
from lvslab.model.role import Kind

__all__ = ["Experiment", "everything", "master_down"]

_KINDS = (directors, daemons, cables, servers)


def everything(lab: Lab) -> dict[str, Experiment]:
    """All experiments for this lab, by name. Raises InputError if it has one director only."""
    if len(lab.nodes_of(Kind.DIRECTOR)) < 2:
        raise InputError("failover needs two directors", hint="add one to lab.yaml")
    return {this.name: this for kind in _KINDS for this in kind.experiments(lab)}
