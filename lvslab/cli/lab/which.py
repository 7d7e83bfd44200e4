"""What the lab's verbs share: which lab is meant."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lvslab.cli.common import lab_file, session

if TYPE_CHECKING:
    from lvslab.lab.cluster import Cluster
    from lvslab.model.lab import Lab

_NAME = click.option(
    "--name",
    default=None,
    metavar="NAME",
    help="The name of the lab. [default: the name in lab.yaml]",
)

_HOST = click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="URI",
    help="A libvirt host; given more than once, directors are apart.",
)
_HOSTS = click.option(
    "--hosts",
    "hosts_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A YAML file that names the libvirt hosts.",
)


def which_lab(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options `--lab` and `--name`, parameters `lab_path` and `name`, and the labs' place."""
    return lab_file(_NAME(with_labs(command)))


def with_labs(command: Callable[..., Any]) -> Callable[..., Any]:
    """Run a command where the labs are.

    It runs when the host has its programs, and for an ordinary user inside the
    namespaces of that user's labs (`--help` needs neither). A lab on VMware needs neither, too.
    """

    @functools.wraps(command)
    def inside(*args: Any, **kwargs: Any) -> Any:
        from lvslab.lab import rootless

        if not _needs_namespaces(kwargs):
            return command(*args, **kwargs)
        session().ensure("lab")  # first: inside, an ordinary user looks like root, who may install
        rootless.enter()
        click.get_current_context().call_on_close(rootless.leave)
        return command(*args, **kwargs)

    return inside


def on_hosts(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options `--host` and `--hosts`; both are the parameter `hosts`, the URIs."""

    @functools.wraps(command)
    def joined(*args: Any, hosts: tuple[str, ...], hosts_file: Path | None, **kwargs: Any) -> Any:
        if hosts_file is not None:
            from lvslab.lab.libvirt.hosts_file import read_hosts

            hosts += read_hosts(hosts_file)
        return command(*args, hosts=hosts, **kwargs)

    return _HOST(_HOSTS(joined))


def _needs_namespaces(options: Mapping[str, Any]) -> bool:
    """Whether the engine that is asked for, or on which the lab was started, needs namespaces."""
    from lvslab.lab.engines import ENGINES, engine_kind
    from lvslab.lab.state import LabState

    if options.get("engine"):
        return ENGINES[options["engine"]].own_network
    if not {"lab_path", "name"} <= options.keys():
        return True
    name = options["name"] or the_lab(options["lab_path"], None).name
    return engine_kind(LabState(name)).own_network


def the_lab(lab_path: Path, name: str | None) -> Lab:
    """The lab of lab.yaml, under another name if one is given."""
    from lvslab.model import load
    from lvslab.model.lab import Lab

    found = load.load_lab(lab_path)
    if name is None:
        return found
    return Lab.model_validate({**found.model_dump(mode="json"), "name": name})


def running(lab_path: Path, name: str | None) -> Cluster:
    """The running lab, as it was started. Raises InputError if it does not run."""
    from lvslab.lab.cluster import Cluster

    return Cluster.running(name or the_lab(lab_path, None).name)
