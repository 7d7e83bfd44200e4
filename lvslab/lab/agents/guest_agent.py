"""The agent inside a node: runs one job after another that arrive on a serial port.

QEMU hands this file to the guest's systemd as a credential (SMBIOS, type 11), so images
have nothing of it. A serial port needs no network of the guest, and its state is part of a
checkpoint. It runs on the guest's own python3 and needs the standard library only.

A job is one line of JSON: id, argv, input, timeout; the answer one line: id, status, out, err.
A job with `paths` in the place of argv runs nothing, so that a boot can be followed at no cost:
`out` says which of the paths exist, as soon as that is not what `known` says, or at the time-out.
"""

import json
import os
import subprocess
import time
import tty

# COM3: UEFI and GRUB take what arrives on the first two ports for typed keys.
PORT = "/dev/ttyS2"


def perform(job: dict) -> dict:  # type: ignore[type-arg]
    """Run a job's program and tell how it ended; a program that cannot run has status 127."""
    try:
        done = subprocess.run(
            job["argv"],
            input=job["input"].encode(),
            capture_output=True,
            timeout=job["timeout"],
        )
    except (OSError, subprocess.SubprocessError) as error:
        return {"id": job["id"], "status": 127, "out": "", "err": str(error)}
    return {
        "id": job["id"],
        "status": done.returncode,
        "out": done.stdout.decode(errors="replace"),
        "err": done.stderr.decode(errors="replace"),
    }


def answered(job: dict) -> dict:  # type: ignore[type-arg]
    """The answer to a job of either kind."""
    return look(job) if "paths" in job else perform(job)


def look(job: dict) -> dict:  # type: ignore[type-arg]
    """Wait until other paths of a job exist than are known."""
    end = time.monotonic() + job["timeout"]
    while True:
        there = [path for path in job["paths"] if os.access(path, os.F_OK)]
        if there != job["known"] or time.monotonic() >= end:
            return {"id": job["id"], "status": 0, "out": json.dumps(there), "err": ""}
        time.sleep(0.5)


def main() -> None:
    """Serve the port for ever."""
    port = os.open(PORT, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port)
    waiting = b""
    while True:
        waiting += os.read(port, 4096)
        *lines, waiting = waiting.split(b"\n")
        for line in lines:
            try:
                job = json.loads(line)
            except ValueError:
                continue  # half a line from a caller that went away
            answer = json.dumps(answered(job)).encode() + b"\n"
            while answer:
                answer = answer[os.write(port, answer) :]


if __name__ == "__main__":
    main()
