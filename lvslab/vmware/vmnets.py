"""VMware's networks on this Linux host: the script that the bundle has, run from here."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from lvslab.core.errors import CheckFailed, LabError, MissingError
from lvslab.core.procs import program
from lvslab.model.lab import Lab
from lvslab.render.handout import NETWORKS_SH, handout

_IN_USE = "Virtual Network Editor"
"""What the script says where only a person may change a network: it names the place."""

FILE = Path("/etc/vmware/networking")
"""Where Workstation on Linux keeps its networks."""


def run(lab: Lab, machines: Path, *, check: bool, file: Path = FILE) -> str:
    """Make the lab's networks, or with `check` only look; what the script says of a right host.

    `machines` is the folder of the machines whose .vmx files then name devices of Linux; it
    need not be there.
    One definition, one program: teachers hand out the same script. Raises CheckFailed with
    what is missing, MissingError if this is not a Linux host with VMware or rights are missing.
    """
    if not sys.platform.startswith("linux"):
        raise MissingError(
            "this is not a Linux host", hint="use networks.ps1 of the bundle, or see docs/import.md"
        )
    with tempfile.TemporaryDirectory(prefix="lvslab-") as folder:
        script = Path(folder) / NETWORKS_SH
        script.write_text(handout(lab)[NETWORKS_SH])
        words: list[str | Path] = [program("sh"), script, "--file", file, "--folder", machines]
        words += ["--check"] if check else []
        done = subprocess.run(
            words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300
        )
    if done.returncode == 0:
        return done.stdout.strip()
    complaint = done.stderr.strip().removeprefix(f"{NETWORKS_SH}: ")
    if done.returncode == MissingError.status:
        raise MissingError(complaint)
    if done.returncode != CheckFailed.status:
        raise LabError(f"{NETWORKS_SH} ended with status {done.returncode}: {complaint}")
    said = "\n".join(filter(None, (done.stdout.strip(), complaint)))
    hint = "run it as root, without --check" if check and _IN_USE not in said else ""
    raise CheckFailed(f"not all networks are as the lab needs them:\n{said}", hint=hint)
