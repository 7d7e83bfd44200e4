"""The faults that a page offers, and what each does: data of the lab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from lvslab.core.errors import InputError
from lvslab.lab import faults
from lvslab.lab.cluster import Cluster
from lvslab.lab.network import wired_interfaces
from lvslab.model.lab import Lab
from lvslab.model.role import Kind

_KEEPALIVED = "keepalived"


@dataclass(frozen=True)
class Button:
    """What a page shows on it, the node that it is for ("": the whole lab), and what it does.

    `does` is a sentence for the log.
    """

    node: str
    words: str
    does: str
    act: Callable[[Cluster], object]


def offered(lab: Lab) -> dict[str, Button]:
    """All buttons of a lab by their keys."""
    found = {f"{node}: {key}": button for node in lab.nodes for key, button in _of_node(lab, node)}
    found["heal"] = Button("", "heal everything", "everything is healed", faults.heal)
    directors = list(lab.nodes_of(Kind.DIRECTOR))[:2]
    if len(directors) == 2:
        one, other = directors
        found[f"split {one} {other}"] = Button(
            "",
            "split brain",
            f"{one} and {other} do not hear each other",
            lambda cluster: faults.deafen(cluster, directors),
        )
    return found


def press(name: str, key: str) -> str:
    """Do what a button of the running lab `name` does, and return it in words.

    Raises InputError if there is no such button or no such lab, StageError while somebody else
    changes the lab.
    """
    cluster = Cluster.running(name)
    button = offered(cluster.lab).get(key)
    if button is None:
        raise InputError(f"there is no button {key}", hint="load the page again")
    with cluster.changing():
        button.act(cluster)
    return button.does


def _of_node(lab: Lab, node: str) -> Iterator[tuple[str, Button]]:
    yield "kill", Button(node, "cut its power", f"{node} loses its power", lambda c: c.kill(node))
    yield "pause", Button(node, "pause", f"{node} is paused", lambda c: c.pause(node))
    yield "start", Button(node, "start", f"{node} is started", lambda c: faults.start(c, node))
    for interface in wired_interfaces(lab, node):
        yield (
            f"cut {interface}",
            Button(
                node,
                f"pull {interface}",
                f"the cable of {node} {interface} is pulled",
                partial(faults.cut, node=node, interface=interface),
            ),
        )
        yield (
            f"silence {interface}",
            Button(
                node,
                f"{interface} carries nothing",
                f"{node} {interface} loses all frames",
                partial(faults.cut, node=node, interface=interface, silent=True),
            ),
        )
    for service in _services(lab, node):
        yield (
            f"stop {service}",
            Button(
                node,
                f"stop {service}",
                f"{service} is stopped on {node}",
                partial(faults.stop_service, node=node, service=service),
            ),
        )
    yield (
        "heal",
        Button(node, "heal", f"{node} is healed", partial(faults.heal, node=node)),
    )


def _services(lab: Lab, node: str) -> list[str]:
    """The services that a node has for the cluster, without `.service`."""
    if lab.kind_of(node) == Kind.DIRECTOR:
        return [_KEEPALIVED]
    units = (service.unit for service in lab.services_of(node).values())
    return list(dict.fromkeys(unit.removesuffix(".service") for unit in units))
