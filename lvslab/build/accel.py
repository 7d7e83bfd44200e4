"""Hardware acceleration, probed by booting a kernel: never "kvm if the file is there".

/dev/kvm can exist, open and create a virtual processor while a stock 64-bit guest hangs
for ever; so the probe boots the image's own kernel under KVM and waits for its first line.
"""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from lvslab.core.events import Listener, LogLine, Note, silent
from lvslab.core.procs import die_with_parent, kill_group, program
from lvslab.core.stages import Stages
from lvslab.core.waiting import until

Accelerator = Literal["kvm", "tcg"]
_KVM = "/dev/kvm"
QEMU = "qemu-system-x86_64"
_LIMIT_SECONDS = 8
_FIRST_LINE = b"Linux version"


def probe(stages: Stages, kernel: Path | None) -> Accelerator:
    """`kvm` if `kernel` boots under it within 8 s, else `tcg`; remembered for this host.

    Without a kernel that may be read there is nothing to try: `tcg`, this time.
    """
    if not os.access(_KVM, os.R_OK | os.W_OK):  # first: what was seen may be another user's
        return "tcg"
    key = f"acceleration-{platform.release()}"
    known = stages.noted(key)
    if known in ("kvm", "tcg"):
        return "kvm" if known == "kvm" else "tcg"
    if kernel is None or not os.access(kernel, os.R_OK):
        return "tcg"
    found: Accelerator = "kvm" if _boots(kernel, stages.listener) else "tcg"
    if found == "tcg":
        stages.listener(
            Note("/dev/kvm is there, but a guest does not boot under it: using emulation")
        )
    stages.note(key, found)
    return found


def _boots(kernel: Path, listener: Listener = silent) -> bool:
    """Whether the kernel's first line appears on the serial console in time."""
    with tempfile.TemporaryDirectory() as folder:
        serial = Path(folder) / "serial"
        serial.touch()

        def spoke() -> bool:
            return _FIRST_LINE in serial.read_bytes()

        with subprocess.Popen(
            [
                program(QEMU), "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults",
                "-display", "none", "-no-reboot", "-kernel", str(kernel),
                "-append", "console=ttyS0 panic=-1", "-serial", f"file:{serial}",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=die_with_parent,
        ) as process:  # fmt: skip
            try:
                until(lambda: spoke() or process.poll() is not None, _LIMIT_SECONDS, pause=0.1)
                if not spoke():
                    listener(LogLine("acceleration", f"KVM guest silent; QEMU: {process.poll()}"))
                return spoke()
            finally:
                kill_group(process)
