"""A whole lab without an operating system: QEMU's machines with a boot sector, and no more.

What is real: the command line, QEMU, its monitors, checkpoints and consoles, namespace, bridges,
taps and frames. In the place of each guest's agent a thread answers on the same socket, with a
table of what it knows; in the place of keepalived a thread sends adverts on the real bridges.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lvslab.formats import vmdk
from lvslab.lab import checklist
from lvslab.lab.cluster import Cluster
from lvslab.lab.network import bridge_names
from lvslab.model.lab import Lab
from lvslab.model.role import Kind
from tests.frames import arp, ip, vrrp3

SAYS = "Linux version 0 of a test"
# 16 bit code at 0:7C00: SAYS to the first serial port, then everything typed there comes back.
# It sleeps between the ticks of the clock (hlt), so that it costs this host nothing.
_BOOT = bytes.fromhex(
    "31c0 8ed8 be237c"  # ds = 0, si = the text
    "ac 84c0 7406 baf803 ee ebf5"  # lodsb; until it is 0: out to 3F8
    "fb f4 bafd03 ec a801 74f6"  # sti; hlt; until bit 0 of 3FD (data ready)
    "baf803 ec ee ebef"  # in, out, and again
)
DISK = (_BOOT + SAYS.encode() + b"\r\n\0").ljust(510, b"\0") + b"\x55\xaa"
_BEAT = 0.1  # seconds between two adverts

WELL = {"item": 1, "title": "it is alive", "ok": True, "says": "fine"}
ILL = {**WELL, "ok": False, "says": "it is not", "command": "ps", "hint": "look at its log"}

# In the place of the client's labcheck.
_CLIENT = f"import json\nprint(json.dumps([{WELL!r}]))\n"

# Web servers for tests: `ADDRESS NAME...`: each connection gets the next name.
_WEB = """
import asyncio, itertools, sys
names = itertools.cycle(sys.argv[2:])
async def serve(reader, writer):
    name = next(names)
    try:
        await reader.readuntil(b"\\r\\n\\r\\n")
        head = f"HTTP/1.1 200 OK\\r\\nX-Real-Server: {name}\\r\\nContent-Length: 0\\r\\n\\r\\n"
        writer.write(head.encode())
        await writer.drain()
    except (OSError, EOFError):
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, sys.argv[1], 80, backlog=512)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class _Port(socketserver.ThreadingUnixStreamServer):
    """The agent's port of one node; jobs and answers as `guest_agent` has them."""

    daemon_threads = True

    def __init__(self, guests: Guests, node: str, path: Path) -> None:
        self.guests, self.node = guests, node
        path.unlink(missing_ok=True)  # QEMU's
        super().__init__(str(path), _Answer)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Answer(socketserver.StreamRequestHandler):
    server: _Port

    def handle(self) -> None:
        guests, node = self.server.guests, self.server.node
        for line in filter(bytes.strip, self.rfile):
            if node in guests.dead:
                return
            job = json.loads(line)
            status, out = guests.answer(node, job)
            answer = {"id": job["id"], "status": status, "out": out, "err": ""}
            self.wfile.write(json.dumps(answer).encode() + b"\n")


@dataclass
class Guests:
    """What the guests of a lab say; tests change it.

    `ill` fail their checklist, `dead` do not answer at all, `said` overrides what a program
    prints (or makes what it prints), by its first word; `done` is what was run, node first.
    """

    lab: Lab
    ill: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    said: dict[str, str | Callable[[], str]] = field(default_factory=dict)
    done: list[tuple[str, ...]] = field(default_factory=list)
    ports: dict[str, _Port] = field(default_factory=dict)

    def attach(self, node: str, path: Path) -> None:
        """Answer for a node whose QEMU was started."""
        if node in self.ports:
            self.ports[node].end()
        self.ports[node] = _Port(self, node, path)

    def end(self) -> None:
        for port in self.ports.values():
            port.end()

    def answer(self, node: str, job: dict[str, list[str]]) -> tuple[int, str]:
        """Status and output of a job."""
        if "paths" in job:
            return 0, json.dumps(job["paths"])
        words = job["argv"]
        self.done.append((node, *words))
        known = {
            "/usr/local/bin/labcheck": json.dumps([ILL if node in self.ill else WELL]),
            "ip": self._addresses(node) if "address" in words else self._neighbours(),
            "ipvsadm": "IP Virtual Server\nProt LocalAddress\nTCP  192.168.50.1:80 rr\n",
            "systemctl": "active\n" if "is-active" in words else "",
            **dict.fromkeys(("date", "true", "systemd-run", "cat", "tee"), ""),
            **self.said,
        }
        if words[0] not in known:
            return 127, ""
        says = known[words[0]]
        return 0, says if isinstance(says, str) else says()

    def _addresses(self, node: str) -> str:
        links = []
        for interface, network in self.lab.nodes[node].interfaces.items():
            mine = list(self.lab.addresses_of(node, network))
            for name, instance in self.lab.vrrp_instances.items():
                if instance.network == network and self.lab.owners(name)[0] == node:
                    mine.append(self.lab.instance_interface(name))
            info = [{"local": str(a.ip), "prefixlen": a.network.prefixlen} for a in mine]
            links.append({"ifname": interface, "addr_info": info})
        return json.dumps(links)

    def _neighbours(self) -> str:
        entries = []
        for name, instance in self.lab.vrrp_instances.items():
            mac = owner_mac(self.lab, self.lab.owners(name)[0], name)
            entries.append(
                {"dst": str(instance.address), "lladdr": mac.hex(":"), "state": ["REACHABLE"]}
            )
        return json.dumps(entries)


def owner_mac(lab: Lab, node: str, instance: str) -> bytes:
    """The MAC of a director on the network of an instance."""
    interface = lab.directors_interface_on(lab.vrrp_instances[instance].network)
    return bytes.fromhex(lab.mac(node, interface).replace(":", ""))


class Adverts:
    """Each instance is advertised by the first of its owners whose QEMU runs."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ended = threading.Event()
        self._wires: dict[str, socket.socket] = {}
        with cluster.namespace.inside():
            for number, (network, bridge) in enumerate(bridge_names(cluster.lab).items()):
                ours, its = f"feed{number}", f"port{number}"
                _ip("link", "add", ours, "type", "veth", "peer", "name", its)
                _ip("link", "set", its, "master", bridge, "up")
                _ip("link", "set", ours, "up")
                wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                wire.bind((ours, 0))
                self._wires[network] = wire
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        for wire in self._wires.values():
            wire.close()

    def _run(self) -> None:
        lab, last = self._cluster.lab, dict[str, str]()
        while not self._ended.wait(_BEAT):
            processes = self._cluster.engine.processes()
            runs = [node for node in lab.nodes_of(Kind.DIRECTOR) if node in processes]
            for name, instance in lab.vrrp_instances.items():
                owner = next((node for node in lab.owners(name) if node in runs), "")
                if not owner:
                    continue
                wire, mac = self._wires[instance.network], owner_mac(lab, owner, name)
                address = str(instance.address)
                body = vrrp3(instance.router_id, 100, 21, address)
                with contextlib.suppress(OSError):  # the lab has just ended
                    wire.send(ip(112, address, body, mac))
                    if last.get(name) != owner:
                        wire.send(arp(1, address, address, mac))
                last[name] = owner


@dataclass
class BareLab:
    """The running lab of a module of tests."""

    cluster: Cluster
    guests: Guests
    cache: Path
    artifacts: Path
    webs: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.cluster.lab.name

    def serve(self, virtual_server: str) -> None:
        """Let the client find all real servers behind a virtual server."""
        with self.cluster.namespace.inside():
            self.webs[virtual_server] = serve(self.cluster.lab, virtual_server)

    def end_service(self, virtual_server: str) -> None:
        """Nobody listens at a virtual server any more."""
        end_of(self.webs.pop(virtual_server))

    def verb(self, *words: str) -> list[str]:
        """A command line of its own that runs a verb of this lab."""
        command = [sys.executable, "-m", "lvslab.cli", "lab", words[0], "--name", self.name]
        return [*command, *words[1:]]


def serve(lab: Lab, virtual_server: str) -> subprocess.Popen[bytes]:
    """All real servers behind a virtual server, in the network of the calling thread."""
    address, _ = lab.endpoint(virtual_server)
    command = [sys.executable, "-c", _WEB, address, *lab.real_servers(virtual_server)]
    web = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert web.stdout is not None and web.stdout.readline() == b"ready\n"
    return web


def end_of(web: subprocess.Popen[bytes]) -> None:
    """End what `serve` has started."""
    web.kill()
    web.wait()
    assert web.stdout is not None
    web.stdout.close()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def make_artifacts(lab: Lab, folder: Path) -> Path:
    """OVAs and seeds that QEMU can start, as small as can be."""
    raw, disk = folder / "raw", folder / "disk.vmdk"
    raw.write_bytes(DISK.ljust(1 << 20, b"\0"))
    vmdk.write_stream_optimized(raw, disk)
    for name in ("ova", "seeds"):
        (folder / name).mkdir()
    for role in {node.role for node in lab.nodes.values()}:
        with tarfile.open(folder / "ova" / f"{role}.ova", "w") as archive:
            archive.add(disk, "disk.vmdk")
    for node in lab.nodes:
        (folder / "seeds" / f"{node}.iso").write_bytes(node.encode().ljust(1 << 16, b"\0"))
    return folder


@contextlib.contextmanager
def bare_lab(lab: Lab, folder: Path) -> Iterator[BareLab]:
    """A lab that can be started: nothing runs yet, and nothing of it is left at the end."""
    cluster = Cluster(lab.model_copy(update={"name": f"bare{os.getpid()}"}))
    guests = Guests(cluster.lab)
    client = folder / "labcheck"
    client.write_text(_CLIENT)
    launch = Cluster.launch

    def with_guest(self: Cluster, node: str, load: str | None = None) -> None:
        launch(self, node, load)
        guests.attach(node, self.files(node).agent)

    artifacts, cache = folder / "a", folder / "c"
    artifacts.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LVSLAB_STATE", str(folder / "s"))
        patch.setenv("LVSLAB_CACHE", str(cache))
        patch.setattr(Cluster, "launch", with_guest)
        patch.setattr(checklist, "_PROGRAM", client)
        this = BareLab(cluster, guests, cache, make_artifacts(lab, artifacts))
        try:
            yield this
        finally:
            for name in list(this.webs):
                this.end_service(name)
            guests.end()
            if cluster.state.folder.exists():
                cluster.down()
