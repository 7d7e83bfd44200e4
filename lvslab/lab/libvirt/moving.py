"""A node goes from one host to another: running, by live migration, or off, with its files.

The virsh of the first host asks the libvirt of the second through SSH, by way of this machine: the
hosts need no keys for each other. Memory and disk go from host to host by TCP, not encrypted.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from lvslab.core.errors import LabError, StageError
from lvslab.lab.libvirt import definitions, store
from lvslab.lab.libvirt.domain import SEED, Placed
from lvslab.lab.libvirt.libvirt_host import Host
from lvslab.lab.libvirt.wiring import at
from lvslab.lab.state import runtime_root

PORTS = "49152 to 49215"
"""Where libvirt takes memory and disks in by TCP (qemu.conf, migration_port_min and _max)."""

_SECONDS = 600.0
_SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")


@dataclass(frozen=True)
class Journey:
    """A node, the files that it has on each host, and the two hosts."""

    lab: str
    node: str
    placed: Placed
    source: Host
    target: Host

    def live(self, address: str) -> None:
        """Move it while it runs; `address`: of the target, between the hosts.

        Raises StageError; then it runs where it was, and the target has nothing of it.
        """
        identity = store.base_of(self.source, self.placed, self.node)
        base = store.pass_image(self.source, self.target, identity, self.lab)
        definitions.renew(self.target, {self.node: self.placed}, {self.node: base})
        self._send(SEED, "key", "key.pub")
        try:
            self._migrate(address)
        except LabError as error:
            error.hint = (
                f"TCP ports {PORTS} of {self.target.label} must be open for {self.source.label}"
            )
            raise
        self._keep_console()

    def cold(self) -> None:
        """Move one that is off with all its files, so also with its checkpoints."""
        uuid = self.placed.uuid
        identity = store.base_of(self.source, self.placed, self.node)
        store.pass_image(self.source, self.target, identity, self.lab)
        store.make_folder(self.target, self.placed)
        self._send("disk.qcow2", "seed.iso", "key", "key.pub", "console.log", "console.before")
        if uuid not in self.source.virsh("list", "--all", "--uuid").split():
            return  # it was never started
        text = self.source.virsh("dumpxml", uuid, "--inactive", "--security-info")
        self.target.virsh("define", "/dev/stdin", stdin=text, where=self.node)
        for name in self.source.virsh("snapshot-list", uuid, "--name").split():
            text = self.source.virsh("snapshot-dumpxml", uuid, name, "--security-info")
            words = ("snapshot-create", uuid, "/dev/stdin", "--redefine")
            self.target.virsh(*words, stdin=text, where=self.node)

    def is_at_source(self) -> bool:
        """Whether it runs where it was; False if nobody knows."""
        with contextlib.suppress(LabError):
            return self.placed.uuid in self.source.virsh("list", "--uuid").split()
        return False

    def undo(self) -> None:
        """Leave nothing on the target."""
        definitions.forget(self.target, [self.placed])

    def finish(self) -> None:
        """Leave nothing on the source."""
        definitions.forget(self.source, [self.placed])

    def _migrate(self, address: str) -> None:
        there, here = f"{store.lab_folder(self.lab)}/peer", runtime_root() / f"peer-{self.lab}"
        name = f"{self.lab}-peer"
        self._hang_up(name)
        store.remove(self.source, there)
        self.target.forward(name, [(here, _libvirt_socket(self.target))])
        self.source.forward(name, [], back=[(there, here)])
        try:
            self.source.virsh(
                "migrate", self.placed.uuid, f"qemu+unix:///system?socket={there}",
                "--live", "--persistent", "--undefinesource", "--copy-storage-inc", "--unsafe",
                "--migrateuri", f"tcp://{at(address)}", where=self.node, timeout=_SECONDS,
            )  # fmt: skip
        finally:
            self._hang_up(name)
            here.unlink(missing_ok=True)
            store.remove(self.source, there)

    def _hang_up(self, name: str) -> None:
        for host in (self.source, self.target):
            host.disconnect(name)

    def _keep_console(self) -> None:
        """What it said on the source is put before what it says now."""
        store.join_consoles(self.source, self.placed)
        self._send("console.before")

    def _send(self, *names: str) -> None:
        folder = self.placed.folder
        there = [name for name in names if store.has(self.source, f"{folder}/{name}")]
        self.source.send(folder, there, self.target, folder)


def _libvirt_socket(host: Host) -> str:
    """The socket of a host's libvirt: one daemon for everything, or one for QEMU."""
    found = next((path for path in _SOCKETS if store.has(host, path)), None)
    if found is None:
        names = " nor ".join(_SOCKETS)
        raise StageError(f"its libvirt has no socket, neither {names}", where=host.label)
    return found
