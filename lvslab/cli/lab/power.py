"""`lab up` and `lab down`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from click.core import ParameterSource

from lvslab.cli.common import artifacts_folder, as_json, session, verb
from lvslab.cli.lab.which import on_hosts, the_lab, which_lab
from lvslab.core.errors import InputError
from lvslab.core.places import PROGRAM

if TYPE_CHECKING:
    from lvslab.lab.sources import EngineName
    from lvslab.model.lab import Lab


@verb(
    "up",
    """
    lab up
    lab up --hardware virtio --firmware uefi
    lab up --cold
    lab up --name second
    lab up --from vmware
    lab up --host qemu+ssh://root@a/system --host qemu+ssh://root@b/system
    lab up --hosts hosts.yaml
    lab up --engine vmware
    lab up --engine vmware --artifacts ~/class --dry-run
    """,
)
@which_lab
@click.option(
    "--from",
    "origin",
    type=click.Choice(["ova", "vmware"]),
    default="ova",
    show_default=True,
    help="Start from OVAs and seeds, or VMware folders; there each .vmx decides on the devices.",
)
@artifacts_folder("Where the OVAs and seeds, or the VMware folders, are.")
@click.option(
    "--hardware",
    type=click.Choice(["vmware", "vmware-sata", "virtio"]),
    default="vmware",
    show_default=True,
    help="The devices that the nodes see (not with --from vmware).",
)
@click.option(
    "--firmware",
    type=click.Choice(["bios", "uefi"]),
    default="bios",
    show_default=True,
    help="The firmware of the nodes (not with --from vmware).",
)
@click.option(
    "--accelerator",
    type=click.Choice(["auto", "kvm", "tcg"]),
    default="auto",
    show_default=True,
    help="auto: KVM only if a guest has booted under it.",
)
@on_hosts
@click.option(
    "--engine",
    type=click.Choice(["local", "libvirt", "vmware"]),
    help="QEMU on this host, libvirt hosts, or VMware's own program on the folders of `images`. "
    "[default: libvirt with --host, else local]",
)
@click.option(
    "--dry-run", is_flag=True, help="Only show the calls of VMware's vmrun (with --engine vmware)."
)
@click.option(
    "--cold", is_flag=True, help="Boot, also if a checkpoint of an earlier start is in the cache."
)
@as_json
@click.pass_context
def up(
    context: click.Context,
    lab_path: Path,
    name: str | None,
    origin: Literal["ova", "vmware"],
    artifacts: Path,
    hardware: Literal["vmware", "vmware-sata", "virtio"],
    firmware: Literal["bios", "uefi"],
    accelerator: str,
    hosts: tuple[str, ...],
    engine: EngineName | None,
    dry_run: bool,
    cold: bool,
) -> None:
    """Boot all nodes at the same time; done when the checklist passes.

    The next time the nodes go on from a checkpoint that was made then, in seconds, as long as
    images, seeds and lab.yaml stay the same. If the lab is up, this starts the nodes that are off
    and does nothing else.
    """
    from lvslab.lab import bringup
    from lvslab.lab.cluster import Cluster
    from lvslab.lab.sources import Settings

    this = session()
    engine = engine or ("libvirt" if hosts else "local")
    _demand_one_engine(context, engine, hosts, dry_run)
    _demand_one_source(context, "vmware" if engine == "vmware" else origin)
    lab = the_lab(lab_path, name)
    if dry_run:
        _show_calls(lab, artifacts)
        return
    with this.reporting("lab-up") as listener:
        if engine == "vmware":
            settings = Settings(accelerator="vmware", origin="folders", engine=engine)
        else:
            if accelerator == "auto":
                accelerator = _accelerator_of(lab, hosts) if hosts else _accelerator(this.cache)
            settings = Settings(hardware, firmware, accelerator, origin, hosts)
        started = bringup.up(Cluster(lab), artifacts, this.cache, settings, listener, cold=cold)
    this.emit("up", lab=lab.name, started=started)
    this.out(f"the lab {lab.name} is up: the checklist passes")
    this.out(f"{PROGRAM} lab status shows it, {PROGRAM} lab down ends it")


_ON_VMWARE = {
    "origin": "--from",
    "accelerator": "--accelerator",
    "cold": "--cold",
}
"""Options that have no meaning where VMware runs the folders."""


def _demand_one_engine(
    context: click.Context, engine: EngineName, hosts: tuple[str, ...], dry_run: bool
) -> None:
    """Raise InputError if options are for another engine than the chosen one."""
    if hosts and engine != "libvirt":
        raise InputError("hosts are libvirt's", where="--engine", hint="remove --engine or --host")
    if engine == "libvirt" and not hosts:
        raise InputError(
            "libvirt's hosts are not named", where="--engine libvirt", hint="add --host URI"
        )
    if engine != "vmware":
        if dry_run:
            raise InputError("only VMware's calls can be shown", where="--dry-run")
        return
    for option, spelled in _ON_VMWARE.items():
        if context.get_parameter_source(option) is not ParameterSource.DEFAULT:
            raise InputError(
                "with --engine vmware the folders are run as they are",
                where=spelled,
                hint=f"remove {spelled}",
            )


def _show_calls(lab: Lab, artifacts: Path) -> None:
    """What `up` would call, if every node were off."""
    import shlex

    from lvslab.lab.vmrun import dry_run

    this = session()
    for words in dry_run.calls_of_up(lab, artifacts):
        this.emit("call", words=words)
        this.out(shlex.join(words))


def _demand_one_source(context: click.Context, origin: str) -> None:
    """Raise InputError if both the options and the .vmx files are to decide on the devices."""
    for option in ("hardware", "firmware"):
        given = context.get_parameter_source(option) is not ParameterSource.DEFAULT
        if origin == "vmware" and given:
            raise InputError(
                "with --from vmware each .vmx decides on the devices",
                where=f"--{option}",
                hint=f"remove --{option}, or edit virtualDev or firmware in the .vmx",
            )


def _accelerator_of(lab: Lab, hosts: tuple[str, ...]) -> str:
    """KVM if every host offers it, or what the lab was started with on them.

    Raises MissingError for an ordinary user of this host.
    """
    from lvslab.lab import rootless
    from lvslab.lab.cluster import Cluster
    from lvslab.lab.libvirt.libvirt_host import Host

    rootless.demand_root("a lab on other hosts has VXLAN devices here")
    named = [Host.of(uri) for uri in hosts]
    known = Cluster.known(lab.name)
    if known and known.settings.hosts == hosts:
        return known.settings.accelerator
    offer = [host.label for host in named if host.has_kvm()]
    if offer and len(offer) < len(named):
        session().tell(f"KVM is on {', '.join(offer)} only, so the nodes run without it")
    return "kvm" if len(offer) == len(named) else "tcg"


def _accelerator(cache: Path) -> Literal["kvm", "tcg"]:
    """KVM if a build has seen it work, or the images' kernel or this host's boots under it."""
    from lvslab.build import accel
    from lvslab.core.stages import Stages

    # The host's may be root's only (Ubuntu), and in a container there is none.
    kernels = [*cache.glob("stages/kernel/*/vmlinuz"), *Path("/boot").glob("vmlinuz*")]
    readable = (kernel for kernel in kernels if os.access(kernel, os.R_OK))
    return accel.probe(Stages(cache), next(readable, None))


@verb(
    "down",
    """
    lab down
    lab down --name second
    lab down --forget
    """,
)
@which_lab
@click.option(
    "--forget", is_flag=True, help="Leave what is on libvirt hosts that do not answer, for good."
)
def down(lab_path: Path, name: str | None, forget: bool) -> None:
    """End the lab and remove all its processes, namespaces, taps and files."""
    from lvslab.lab.cluster import Cluster

    wanted = name or the_lab(lab_path, None).name
    cluster = Cluster.known(wanted)
    if cluster is None:
        session().out(f"there is no lab {wanted}")
        return
    with cluster.changing():
        left = cluster.down(forget)
    if left:
        session().tell(left)
    session().out(f"the lab {wanted} has ended")
