"""`deploy`: the lab on a cluster that a school has, one for each student of a class."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lvslab.cli.common import artifacts_folder, as_json, epilog, lab_file, session, verb
from lvslab.core.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from lvslab.deploy.converge import Action
    from lvslab.deploy.deployment import Look
    from lvslab.deploy.platforms import Platform
    from lvslab.deploy.site import Site
    from lvslab.model.lab import Lab

_TITLES = {"vsphere": "vSphere", "proxmox": "Proxmox VE"}
"""The platforms, as `lvslab.deploy.platforms.PLATFORMS` has them: `--help` does not load that."""


@click.group(
    epilog=epilog(
        """
        deploy vsphere --site vsphere.yaml --dry-run
        deploy vsphere --site vsphere.yaml --class class.csv
        deploy proxmox --site proxmox.yaml status
        """
    ),
)
def deploy() -> None:
    """Put the lab on a cluster that is there already: vSphere or Proxmox VE.

    docs/deploy.md has the site file and the rights that are needed.
    """


@dataclass(frozen=True)
class DeployRequest:
    """The arguments of one call."""

    platform: str
    lab_path: Path
    artifacts: Path
    site_file: Path
    class_file: Path | None
    students: tuple[str, ...]
    ca: Path | None
    thumbprint: str | None
    dry_run: bool


_OPTIONS = (
    click.argument("action", type=click.Choice(["up", "status", "remove"]), default="up"),
    click.option(
        "--site",
        "site_file",
        required=True,
        type=click.Path(path_type=Path, dir_okay=False),
        help="Where on the cluster: a YAML file without a password.",
    ),
    click.option(
        "--class",
        "class_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A CSV file with a column `id`: the lab for each student.",
    ),
    click.option(
        "--student",
        "students",
        multiple=True,
        metavar="ID",
        help="Only this student of the class; may be repeated.",
    ),
    artifacts_folder("The folder that `images` filled."),
    click.option(
        "--ca",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Certificates to trust in place of the system's.",
    ),
    click.option(
        "--thumbprint", metavar="SHA256", help="Trust exactly the certificate with this SHA-256."
    ),
    click.option("--dry-run", is_flag=True, help="Change nothing, show what would be done."),
    lab_file,
    as_json,
)


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _add_verb(name: str, title: str) -> None:
    examples = f"""
        deploy {name} --site {name}.yaml --dry-run
        deploy {name} --site {name}.yaml --class class.csv
        deploy {name} --site {name}.yaml status
        deploy {name} --site {name}.yaml --class class.csv --student alice remove
        """

    def run(action: str, **values: Any) -> None:
        _ACTIONS[action](DeployRequest(platform=name, **values))

    run.__doc__ = f"""Put the lab on {title}, look at it (status), remove it.

    `up` makes what is missing and changes what differs, so it can be called again at any time.
    What it did not make is never touched. The user is LVSLAB_DEPLOY_USER or in the site file; the
    password is LVSLAB_DEPLOY_PASSWORD, in a keyring, or asked for.
    """
    verb(name, examples, group=deploy)(_with_options(run))


def _up(request: DeployRequest) -> None:
    from lvslab.deploy import deployment

    this = session()
    with _connected(request) as (lab, site, platform, ledger):
        order = deployment.order_of(lab, request.artifacts, *_students(request), site.reach)
        if request.dry_run:
            _show_plan(deployment.look(platform, order, site, ledger))
            return
        with this.reporting("deploy") as listener:
            after = deployment.up(platform, order, site, ledger, listener)
    _show_rest(after)
    _judge(after)
    count = len({found.name for found in after.found if found.kind == "power"})
    this.emit("deployed", machines=count)
    this.out(f"all of the lab {lab.name} is there")


def _status(request: DeployRequest) -> None:
    from lvslab.deploy import deployment

    this = session()
    with _connected(request) as (lab, site, platform, ledger):
        order = deployment.order_of(lab, request.artifacts, *_students(request), site.reach)
        now = deployment.look(platform, order, site, ledger)
    differing = {(step.kind, step.name) for step in now.steps}
    for wanted in now.wanted:
        good = (wanted.kind, wanted.name) not in differing
        this.emit("object", what=wanted.kind, name=wanted.name, ok=good, **_of(wanted.mark))
    for step in now.steps:
        _show_step(step)
    _show_rest(now)
    _judge(now)
    this.out(f"all {len(now.wanted)} objects of the lab {lab.name} are as they must be")


def _remove(request: DeployRequest) -> None:
    from lvslab.deploy import converge, deployment

    students = _students(request)[0] or None
    with _connected(request) as (lab, _, platform, ledger):
        if request.dry_run:
            for step in converge.removals(platform.find(), lab.name, students):
                _show_step(step)
            return
        with session().reporting("deploy") as listener:
            gone = deployment.remove(platform, lab.name, students, ledger, listener)
    session().emit("removed", objects=len(gone))
    session().out(f"{len(gone)} objects of the lab {lab.name} are removed")


_ACTIONS = {"up": _up, "status": _status, "remove": _remove}

for _name, _title in _TITLES.items():
    _add_verb(_name, _title)


@contextmanager
def _connected(request: DeployRequest) -> Iterator[tuple[Lab, Site, Platform, Any]]:
    """The lab, the site, the platform that is logged in, the ledger: nobody else works with it."""
    from lvslab.deploy import credentials, deployment, platforms, trust
    from lvslab.deploy.ledger import Ledger
    from lvslab.model import load

    offered, connect = (
        platforms.PLATFORMS[request.platform],
        platforms.connect(request.platform),
    )
    place: Site = load.load_shape(request.site_file, offered.site)
    lab = load.load_lab(request.lab_path)
    path = deployment.ledger_of(request.site_file)
    address = trust.Address.of(place.server, offered.port)
    ca = request.ca or (request.site_file.parent / place.ca if place.ca else None)
    trusted = trust.context(address, ca, request.thumbprint or place.thumbprint)
    who = credentials.find(address.host, place.user, os.environ, _ask())
    with (
        deployment.alone(path),
        closing(connect(place, who, address, trusted)) as cluster,
    ):
        yield lab, place, cluster, Ledger.read(path, lab.name)


def _ask() -> Callable[[str, bool], str] | None:
    if not sys.stdin.isatty():
        return None
    return lambda question, hidden: str(click.prompt(question, hide_input=hidden, err=True))


def _students(request: DeployRequest) -> tuple[Sequence[str], Sequence[str]]:
    """The students that are meant, and the others of the class; none: the lab itself is meant."""
    from lvslab.deploy import classlist

    known = list(classlist.read(request.class_file)) if request.class_file else []
    meant = [classlist.name_of(name) for name in request.students] or known
    if unknown := [name for name in meant if name not in known]:
        raise InputError(
            f"{', '.join(unknown)} is not in the class",
            hint="give the file with --class" if not known else f"it has: {', '.join(known)}",
        )
    return meant, [name for name in known if name not in meant]


def _show_plan(now: Look) -> None:
    for step in now.steps:
        _show_step(step)
    _show_rest(now)
    if now.problems:
        _judge(now)
    acts = [step for step in now.steps if step.act != "report"]
    session().out(f"{len(acts)} steps; nothing was changed")


def _show_step(step: Action) -> None:
    differences = [vars(difference) for difference in step.differences]
    session().emit("step", act=step.act, what=step.kind, name=step.name, differences=differences)
    session().out(str(step))


def _show_rest(now: Look) -> None:
    this = session()
    for problem in now.problems:
        this.emit("problem", text=problem)
        this.out(click.style(f"problem: {problem}", fg="red"))
    for extra in now.extras:
        assert extra.mark is not None
        this.emit("extra", what=extra.kind, name=extra.name, **_of(extra.mark))
        if extra.kind != "power":
            this.out(f"no longer wanted, and left alone: {extra.kind} {extra.name}")


def _of(mark: Any) -> dict[str, str]:
    return {"student": mark.student, "of": mark.of}


def _judge(now: Look) -> None:
    if not now.good:
        count = len(now.steps) + len(now.problems)
        raise CheckFailed(
            f"{count} things are not as they must be",
            hint="call `up` for what it can change; the lines above say what differs",
        )
