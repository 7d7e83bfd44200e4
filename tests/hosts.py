"""Libvirt hosts for tests: daemons and an SSH server of their own, each in namespaces.

What is real: libvirtd, virtlogd, QEMU, bridges, VXLAN, sshd. A host has its own network, processes,
name, /run, /var and /etc, and this machine's other files. The SSH server is unpacked for it and not
installed: that would open a port of the developer's machine. The hosts and the workstation that the
tests run on are joined by a bridge with no way out. /dev/kvm is not theirs.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lvslab.core.waiting import until
from lvslab.lab.namespace import Namespace

_NETWORK = "10.99.0"
_PACKAGES = ("openssh-server", "libwrap0")
_INIT = """
mount --make-rprivate /
mount -t tmpfs tmpfs /run && mkdir /run/dev
for tree in var etc usr; do
    mount -t overlay -o "lowerdir=/$tree,upperdir=$1/$tree,workdir=$1/$tree.work" overlay "/$tree"
done
mkdir -p /var/lib/libvirt/qemu /var/log/libvirt/qemu /var/cache/libvirt/qemu
# A /dev without kvm, which some machines have and cannot use.
mount -t tmpfs -o mode=755 tmpfs /run/dev && mkdir /run/dev/net /run/dev/pts /run/dev/shm
for device in null zero full random urandom tty net/tun; do
    touch "/run/dev/$device" && mount --bind "/dev/$device" "/run/dev/$device"
done
mount -t devpts -o newinstance,ptmxmode=0666 devpts /run/dev/pts
ln -s pts/ptmx /run/dev/ptmx
ln -s /proc/self/fd /run/dev/fd
ln -s fd/0 /run/dev/stdin
mount --rbind /run/dev /dev
hostname "$2"
for group in libvirt libvirt-qemu kvm; do groupadd -f -r "$group"; done
id libvirt-qemu >/dev/null 2>&1 || useradd -r -M -g libvirt-qemu libvirt-qemu
virtlogd -d
libvirtd -d
id sshd >/dev/null 2>&1 || useradd -r -M sshd
# A shell over SSH would read what the developer's own one does at its start.
sed -i 's,:/root:,:/run/home:,' /etc/passwd
mkdir -p /run/sshd /run/home
/usr/sbin/sshd -f "$1/sshd_config" && echo ready
while :; do sleep 1000 & wait "$!"; done
"""
_CONF = """
namespaces = []
security_driver = "none"
user = "root"
group = "root"
"""


_SSHD = """
HostKey {own}/hostkey
AuthorizedKeysFile {folder}/key.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
MaxSessions 100
"""


@dataclass
class Hosts:
    """Libvirt hosts and their workstation; `uris` are the hosts'."""

    folder: Path
    names: tuple[str, ...]
    uris: list[str] = field(default_factory=list)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def place(self, name: str) -> Namespace:
        """The network namespace of a host, of the `desk`, or of the `wire` between them."""
        return Namespace(f"lvh{os.getpid()}-{name}")

    def start(self, name: str) -> None:
        """Power on: the host's daemons start; its files are those that it had."""
        words = [str(self.folder / "init"), str(self.folder / name), name]
        unshare = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--mount-proc"]
        log = (self.folder / f"{name}.log").open("wb")
        with self.place(name).inside(), log:
            self.processes[name] = subprocess.Popen(
                [*unshare, "--kill-child", "bash", *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def ready(self, name: str) -> bool:
        """Whether a host's SSH server listens."""
        return "ready" in (self.folder / f"{name}.log").read_text(errors="replace")

    def wait(self, name: str) -> bool:
        """Whether a host is ready within a minute; False at once if it has ended."""
        until(lambda: self.ready(name) or self.processes[name].poll() is not None, 60)
        return self.ready(name)

    def kill(self, name: str) -> None:
        """Power lost: everything of a host ends at once, its links too. Its files stay."""
        self.processes[name].kill()
        self.processes[name].wait()
        with self.place(name).inside():
            said = subprocess.run(["ip", "-json", "link"], capture_output=True, check=True).stdout
            for link in json.loads(said):
                if link["ifname"] not in ("lo", "eth0"):
                    _run("ip", "link", "del", link["ifname"])

    def address(self, name: str) -> str:
        """The address of a host on the network between them."""
        return f"{_NETWORK}.{self.names.index(name) + 11}"

    def make(self) -> None:
        """Networks, keys and files."""
        wire = self.place("wire")
        wire.create()
        with wire.inside():
            _run("ip", "link", "add", "name", "br0", "type", "bridge")
            _run("ip", "link", "set", "br0", "up")
        ends = {"desk": f"{_NETWORK}.1"} | {name: self.address(name) for name in self.names}
        for name, address in ends.items():
            self.place(name).create()
            with wire.inside():
                peer = ["peer", "name", "eth0", "netns", self.place(name).name]
                _run("ip", "link", "add", f"p-{name}", "type", "veth", *peer)
                _run("ip", "link", "set", f"p-{name}", "master", "br0", "up")
            with self.place(name).inside():
                _run("ip", "address", "add", f"{address}/24", "dev", "eth0")
                _run("ip", "link", "set", "eth0", "up")
        (self.folder / "init").write_text(_INIT)  # once: a host that starts reads it meanwhile
        _key(self.folder / "key")
        subprocess.run(
            ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *_PACKAGES],
            cwd=self.folder, check=True,
        )  # fmt: skip
        known = []
        for name in self.names:
            own = self.folder / name
            unpacked = ("var", "etc", "usr", "var.work", "etc.work", "usr.work")
            for part in (*unpacked, "etc/libvirt", "var/lib/lvslab"):
                (own / part).mkdir(parents=True, exist_ok=True)
            (own / "etc/libvirt/qemu.conf").write_text(_CONF)
            # or all would have that of this machine, and libvirt moves nothing to itself
            (own / "etc/libvirt/libvirtd.conf").write_text(f'host_uuid = "{uuid.uuid4()}"\n')
            (own / "sshd_config").write_text(_SSHD.format(own=own, folder=self.folder))
            for package in self.folder.glob("*.deb"):
                _run("dpkg-deb", "-x", str(package), str(own))
            kind, key = _key(own / "hostkey").split()[:2]
            known.append(f"{self.address(name)} {kind} {key}\n")
            query = f"keyfile={self.folder}/key&known_hosts={self.folder}/known"
            self.uris.append(f"qemu+ssh://root@{self.address(name)}/system?{query}")
        (self.folder / "known").write_text("".join(known))

    def end(self) -> None:
        """Nothing is left but the folder."""
        for name, process in self.processes.items():
            if process.poll() is None:
                self.kill(name)
        for name in ("desk", "wire", *self.names):
            self.place(name).remove()


@contextlib.contextmanager
def hosts(folder: Path, *names: str) -> Iterator[Hosts]:
    """Hosts that run; within the block this thread is on their workstation."""
    made = Hosts(folder, names)
    try:
        made.make()
        for name in names:
            made.start(name)
        with made.place("desk").inside():
            for name in names:
                assert made.wait(name), (folder / f"{name}.log").read_text()
            yield made
    finally:
        made.end()


def _key(path: Path) -> str:
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))
    return path.with_suffix(".pub").read_text()


def _run(*words: str) -> None:
    subprocess.run(words, check=True)
