"""The Packer template of a bake (JSON, read by Packer 1.6 and by today's with its plugin)."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from lvslab.render.texts import render

# Packer replaces this itself with the port it chose for SSH.
_SSH_PORT = "{{ .SSHHostPort }}"


@dataclass(frozen=True)
class BakeTemplate:
    """What a bake needs to know: paths on the host, the guest's size, clock and network card.

    `epoch` is the guest's time at power-on in seconds since 1970, `accelerator` is Packer's
    word (`kvm` or `tcg`), `timeout_seconds` bounds the wait for SSH.
    """

    role: str
    qemu: Path
    accelerator: str
    disk: Path
    seed: Path
    output: Path
    serial: Path
    assertions: Path
    private_key: Path
    user: str
    cpus: int
    memory_mib: int
    mac: str
    epoch: int
    timeout_seconds: int


def bake_template(bake: BakeTemplate) -> str:
    """The template's JSON text."""
    values = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(bake).items()
    }
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(bake.epoch))
    return render("packer/bake.json.j2", values | {"clock": clock, "ssh_port": _SSH_PORT})
