"""The agent inside a node: runs one job after another that arrive on a serial port.

QEMU hands this file to the guest's systemd as a credential (SMBIOS, type 11), so images
have nothing of it. A serial port needs no network of the guest, and its state is part of a
checkpoint. It runs on the guest's own python3 and needs the standard library only.

A job is one line of JSON: id, argv, input, timeout; the answer one line: id, status, out, err.
"""

import json
import os
import subprocess
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
            answer = json.dumps(perform(job)).encode() + b"\n"
            while answer:
                answer = answer[os.write(port, answer) :]


if __name__ == "__main__":
    main()
