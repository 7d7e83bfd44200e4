"""The experiments of `lab failover`, a module for each kind of fault."""

from lvslab.measure.experiments import cables, daemons, directors, servers
from lvslab.measure.experiments.experiment import Experiment, master_down
from lvslab.model.lab import Lab
from lvslab.model.role import Kind

__all__ = ["Experiment", "everything", "master_down"]

_KINDS = (directors, daemons, cables, servers)
_OF_ONE_DIRECTOR = (servers,)


def everything(lab: Lab) -> dict[str, Experiment]:
    """All experiments for this lab, by name; with one director those with real servers."""
    kinds = _KINDS if len(lab.nodes_of(Kind.DIRECTOR)) > 1 else _OF_ONE_DIRECTOR
    return {this.name: this for kind in kinds for this in kind.experiments(lab)}
