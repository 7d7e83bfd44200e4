"""The parts of the running lab that need no guest: namespace, wires, command line, agent, state."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lvslab.cli import main
from lvslab.core import procs, programs
from lvslab.core.errors import InputError, MissingError, StageError
from lvslab.core.waiting import until
from lvslab.lab import (
    base_disks,
    checkpoint,
    faults,
    hardware,
    network,
    rootless,
    state,
    wire,
)
from lvslab.lab.agents import agent, guest_agent
from lvslab.lab.cluster import Cluster
from lvslab.lab.namespace import Namespace
from lvslab.lab.qemu.qmp import monitor
from lvslab.lab.sources import Settings
from lvslab.lab.state import LabState, NodeFiles
from lvslab.measure import experiments, failover, timeline
from lvslab.measure.probe import Prober, Request, page_every, view
from lvslab.model.lab import Lab
from tests.conftest import ROOT

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of the test's own (a short path: unix sockets have 108 bytes)."""
    monkeypatch.setattr("lvslab.lab.state.runtime_root", lambda: tmp_path / "r")
    yield tmp_path / "r"


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace(f"lvslab-test-{os.getpid()}")
    made.create()
    try:
        yield made
    finally:
        made.remove()


def cmdline(pid: int) -> str:
    """What a process runs, or nothing."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return ""


# --- namespace and wires


@root_only
def test_a_namespace_is_empty_and_goes_with_all_that_is_inside(namespace: Namespace) -> None:
    with namespace.inside():
        sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True)
        links = json.loads(subprocess.check_output(["ip", "-json", "link"]))
    outside = subprocess.Popen(["sleep", "600"])
    try:
        assert [link["ifname"] for link in links] == ["lo"]
        assert namespace.processes() == [sleeper.pid]
        assert namespace.has(sleeper.pid) and not namespace.has(outside.pid)
        namespace.kill(outside.pid)
        assert outside.poll() is None, "a stranger was killed"
        namespace.remove()
        assert sleeper.wait(5) == -9
        assert not namespace.exists()
    finally:
        outside.kill()
        outside.wait()


@root_only
def test_a_thread_is_back_home_after_an_error(namespace: Namespace) -> None:
    def inode() -> int:
        return os.stat("/proc/thread-self/ns/net").st_ino  # noqa: PTH116

    home = inode()
    with pytest.raises(ZeroDivisionError), namespace.inside():
        assert inode() != home
        _ = 1 / 0
    assert inode() == home


def test_a_namespace_that_is_gone_is_reported() -> None:
    with pytest.raises(StageError, match="this lab is not running"), Namespace("none").inside():
        pass


def test_a_host_without_taps_for_users_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(MissingError, match="a lab needs taps") as caught:
        rootless.enter()
    assert caught.value.status == 3


AS_AN_ORDINARY_USER = """
import os, subprocess
from pathlib import Path
from lvslab.model.load import load_lab
from lvslab.lab import network, rootless
from lvslab.lab.namespace import Namespace
rootless.enter()
namespace = Namespace("rootless-test")
namespace.create()
network.build(load_lab(Path("lab.yaml")), namespace)
with namespace.inside():
    sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True)
assert namespace.processes() == [sleeper.pid]
nic = "tap,id=a,ifname=lvs1-eth1,script=no,downscript=no"
qemu = ["qemu-system-x86_64", "-S", "-nodefaults", "-display", "none", "-netdev", nic]
with namespace.inside():
    subprocess.run([*qemu, "-device", "e1000,netdev=a", "-daemonize"], check=True)
assert len(namespace.processes()) == 2
assert network.ports(namespace)["lvs1-eth1"]["state"] == "forwarding"
print(Path(os.environ["LVSLAB_STATE"], "keeper").read_text().split()[0], end=" ")
print(*sorted(network.ports(namespace)))
namespace.remove()
assert not namespace.exists()
rootless.leave()
"""


@pytest.mark.slow
def test_an_ordinary_user_has_a_lab_too_and_its_keeper_ends_with_it(tmp_path: Path) -> None:
    """In a user namespace where even root is somebody ordinary; QEMU gets its tap there."""
    state = tmp_path / "s"
    done = subprocess.run(
        ["unshare", "--user", "--map-user=1000", "--map-group=1000", sys.executable]
        + ["-c", AS_AN_ORDINARY_USER],
        env=os.environ | {"LVSLAB_STATE": str(state)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    keeper, *ports = done.stdout.split()
    assert ports[:4] == ["lvs1-eth1", "lvs1-eth2", "lvs1-eth3", "lvs2-eth1"]
    assert not state.exists()
    assert "sleep" not in cmdline(int(keeper))


def test_a_host_without_user_namespaces_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = tmp_path / "unshare"
    refusing.write_text("#!/bin/sh\necho unshare failed: Operation not permitted >&2; exit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(rootless, "own_root", lambda: tmp_path)
    with pytest.raises(MissingError, match="refuses them: unshare failed") as caught:
        rootless.enter()
    assert "kernel.unprivileged_userns_clone" in str(caught.value.hint)
    assert not (tmp_path / "keeper").exists()


def test_a_folder_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(InputError, match="belongs to somebody else"):
        LabState("x").create([])


@root_only
def test_every_nic_has_a_tap_on_its_bridge_and_the_client_its_address(
    lab: Lab, namespace: Namespace
) -> None:
    network.build(lab, namespace)
    network.build(lab, namespace)  # converges
    masters = {name: port["master"] for name, port in network.ports(namespace).items()}
    assert masters == {
        "lvs1-eth1": "vmnet1", "lvs1-eth2": "vmnet12", "lvs1-eth3": "vmnet13",
        "lvs2-eth1": "vmnet1", "lvs2-eth2": "vmnet12", "lvs2-eth3": "vmnet13",
        "rs1-eth1": "vmnet12", "rs1-eth2": "vmnet13",
        "rs2-eth1": "vmnet12", "rs2-eth2": "vmnet13",
    }  # fmt: skip
    with namespace.inside():
        found = json.loads(subprocess.check_output(["ip", "-4", "-json", "address"]))
    addresses = {link["ifname"]: link["addr_info"][0]["local"] for link in found if link}
    assert addresses == {"lo": "127.0.0.1", "vmnet1": "192.168.50.100"}


@root_only
def test_a_port_that_hears_no_multicast_and_hears_it_again(lab: Lab, namespace: Namespace) -> None:
    network.build(lab, namespace)
    network.drop_multicast(namespace, "lvs1-eth1", True)
    assert network.ports(namespace)["lvs1-eth1"]["mcast_flood"] is False
    network.drop_multicast(namespace, "lvs1-eth1", False)
    assert network.ports(namespace)["lvs1-eth1"]["mcast_flood"] is True


def test_names_of_interfaces_fit_the_kernel(wide_lab: Lab, lab: Lab) -> None:
    long = lab.model_dump(mode="json")
    text = json.dumps(long).replace("lvs1", "a-director-with-a-long-name")
    for this in (lab, wide_lab, Lab.model_validate_json(text)):
        taps = [
            network.tap_name(this, node, interface)
            for node in this.nodes
            for interface in network.wired_interfaces(this, node)
        ]
        names = taps + list(network.bridge_names(this).values())
        assert len(set(names)) == len(names) and max(map(len, names)) <= 15


# --- QEMU's command line


def command(lab: Lab, tmp_path: Path, node: str, settings: Settings) -> str:
    machine = hardware.machine(
        lab, node, tmp_path / "raw", tmp_path / "iso", 2201, settings.hardware, settings.firmware
    )
    files = NodeFiles(tmp_path)
    return " ".join(hardware.qemu_command(machine, files, "tcg", {"a.b": b"secret"}, None))


def test_the_default_machine_is_vmwares(lab: Lab, tmp_path: Path) -> None:
    words = command(lab, tmp_path, "lvs1", Settings())
    assert words.count("e1000-82545em") == 4
    assert "mptsas1068" in words and "wwn=" in words and "ide-cd" in words
    assert "restrict=on" in words and "hostfwd=tcp:127.0.0.1:2201-:22" in words
    assert "virtio" not in words
    assert f"mac={lab.mac('lvs1', 'eth2')}" in words
    assert "value=io.systemd.credential.binary:a.b=c2VjcmV0" in words
    assert "-loadvm" not in words


def test_virtio_is_a_choice(lab: Lab, tmp_path: Path) -> None:
    words = command(lab, tmp_path, "rs1", Settings(hardware="virtio"))
    assert words.count("virtio-net-pci") == 3 and "virtio-blk-pci" in words


# --- artifacts


def test_a_missing_image_or_seed_says_what_to_run(tmp_path: Path) -> None:
    hint = "make it: python3 build.py images"
    with pytest.raises(InputError, match="there is no such image") as caught:
        base_disks.base_disk(tmp_path / "ova/director.ova", tmp_path)
    assert caught.value.hint == hint
    with pytest.raises(InputError, match="there is no such seed") as caught:
        base_disks.seed(tmp_path, "lvs1")
    assert caught.value.hint == hint


def test_a_disk_of_vmwares_is_read_with_its_parent(tmp_path: Path) -> None:
    raw, base, child = (tmp_path / name for name in ("raw", "base.vmdk", "child.vmdk"))
    raw.write_bytes(b"from the base".ljust(1 << 20, b"\0"))
    create = ["qemu-img", "create", "-q", "-f", "vmdk"]
    subprocess.run(["qemu-img", "convert", "-O", "vmdk", raw, base], check=True)
    subprocess.run([*create, "-F", "vmdk", "-b", base, child], check=True)
    flat = base_disks.flat_disk(child, "lvs1", tmp_path / "cache")
    assert flat.read_bytes() == raw.read_bytes()
    write = ["qemu-io", "-f", "vmdk", "-c", "write -P 7 4096 512"]
    subprocess.run([*write, child], check=True, capture_output=True)
    again = base_disks.flat_disk(child, "lvs1", tmp_path / "cache")
    assert again != flat and again.read_bytes()[4096:4608] == bytes([7]) * 512


# --- agent and monitor, against real sockets


@pytest.fixture
def port(tmp_path: Path) -> Iterator[agent.SerialAgent]:
    """The guest's agent on one end of a socket, as QEMU's serial port would be."""
    path = tmp_path / "n" / "agent"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(10)
        thread = threading.Thread(target=_serve, args=(server,), daemon=True)
        thread.start()
        yield agent.SerialAgent(path)
        server.shutdown(socket.SHUT_RDWR)  # accept(2) ends
    thread.join(10)


def _serve(server: socket.socket) -> None:
    while True:
        try:
            connection = server.accept()[0]
        except OSError:
            return
        with connection:
            connection.sendall(b'"},half an answer\n')
            waiting = b""
            while chunk := connection.recv(65536):
                waiting += chunk
                *lines, waiting = waiting.split(b"\n")
                for line in filter(None, lines):
                    connection.sendall(line + b"\n")  # a terminal that still echoes
                    answer = guest_agent.answered(json.loads(line))
                    with contextlib.suppress(BrokenPipeError):  # who asked was interrupted
                        connection.sendall(json.dumps(answer).encode() + b"\n")


def test_the_agent_runs_a_program(port: agent.SerialAgent) -> None:
    found = agent.ask(
        port,
        ["sh", "-c", "cat; echo oops >&2; exit 7"],
        stdin="grüß\n",
        timeout=10,
    )
    assert (found.status, found.out, found.err) == (7, "grüß\n", "oops\n")
    assert agent.ask(port, ["/nowhere"], timeout=10).status == 127


@pytest.mark.slow
def test_the_agent_says_which_files_are_new(port: agent.SerialAgent, tmp_path: Path) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    Path(first).touch()
    start = time.monotonic()
    paths = [first, second]
    assert agent.existing(port, paths, [], wait=30, timeout=30) == [first]
    assert time.monotonic() - start < 20  # at once: it was not known
    assert agent.existing(port, paths, [first], wait=1, timeout=30) == [first]
    assert time.monotonic() - start >= 1  # nothing new: after the wait
    threading.Timer(0.5, Path(second).touch).start()
    assert agent.existing(port, paths, [first], wait=30, timeout=30) == paths


def test_the_agent_serves_its_port_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest's program itself, on a pseudo terminal in the place of the serial port."""
    host, guest = pty.openpty()
    monkeypatch.setattr(guest_agent, "PORT", os.ttyname(guest))

    def serve() -> None:
        with contextlib.suppress(EOFError):
            guest_agent.main()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert until(lambda: not termios.tcgetattr(guest)[3] & termios.ECHO, 10), "not raw"
    job = {"id": "1", "argv": ["cat"], "input": "x" * 5000, "timeout": 10}
    os.write(host, b'"half a line\n')
    threading.Thread(target=os.write, args=(host, json.dumps(job).encode() + b"\n")).start()
    answer = b""
    while not answer.endswith(b"\n"):
        answer += os.read(host, 4096)
    assert json.loads(answer) == {"id": "1", "status": 0, "out": "x" * 5000, "err": ""}

    class Ended:
        def read(self, *_: object) -> bytes:
            raise EOFError

    monkeypatch.setattr(guest_agent, "os", Ended())  # or it would serve for ever
    os.write(host, b"\n")
    thread.join(10)
    assert not thread.is_alive()
    os.close(guest)
    os.close(host)


def test_a_program_that_fails_is_an_error_with_its_last_lines(port: agent.SerialAgent) -> None:
    with pytest.raises(StageError, match="sh -c exit 3 ended with status 3"):
        agent.check(port, ["sh", "-c", "exit 3"], timeout=10)


def test_a_node_that_does_not_answer_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the node does not answer") as caught:
        agent.ask(agent.SerialAgent(tmp_path / "lvs1" / "agent"), ["true"], timeout=1)
    assert caught.value.where == "lvs1"
    assert caught.value.hint == "look at its console: lab console lvs1"


@pytest.mark.slow
def test_an_interrupt_does_not_wait_for_a_node(
    port: agent.SerialAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procs, "_STOP", threading.Event())
    ended: list[BaseException] = []

    def work() -> None:
        try:
            agent.ask(port, ["sleep", "5"], timeout=30)
        except BaseException as error:
            ended.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    worker.join(1)
    assert worker.is_alive() and not ended
    procs.stop()
    worker.join(2)
    assert [type(error) for error in ended] == [KeyboardInterrupt]


def test_a_monitor_that_is_gone_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="its QEMU does not answer"), monitor(tmp_path / "n/qmp"):
        pass


# int 13h, AH=3: write the sector at 0:7C00 to the first disk; then halt.
WRITES = bytes.fromhex("b80103 b90100 ba8000 bb007c cd13 ebfe").ljust(510, b"\0") + b"\x55\xaa"


def bare_machine(lab: Lab, namespace: Namespace, *more: str | Path) -> Cluster:
    """A cluster whose lvs1 is QEMU itself and nothing to run."""
    cluster = Cluster(lab.model_copy(update={"name": "unit"}))
    cluster.namespace = namespace
    cluster.state.create(cluster.lab.nodes)
    files = cluster.files("lvs1")
    with namespace.inside():
        subprocess.run(
            ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-daemonize"]
            + ["-pidfile", files.pid, "-qmp", f"unix:{files.qmp},server=on,wait=off", *more],
            check=True,
        )
    return cluster


@root_only
def test_a_node_that_a_full_disk_stops_is_reported(
    lab: Lab, namespace: Namespace, tmp_path: Path
) -> None:
    """A boot sector writes to a disk whose host has no room (ENOSPC, once)."""
    disk, rules = tmp_path / "disk.raw", tmp_path / "blkdebug"
    disk.write_bytes(WRITES.ljust(1 << 20, b"\0"))
    rules.write_text('[inject-error]\nevent = "write_aio"\nerrno = "28"\nonce = "on"\n')
    drive = f"file=blkdebug:{rules}:{disk},format=raw,if=ide"
    cluster = bare_machine(lab, namespace, "-drive", drive)
    assert until(lambda: cluster.node_state("lvs1") == "disk full", 30)
    cluster.resume("lvs1")
    assert cluster.node_state("lvs1") == "running"
    cluster.kill("lvs1")


@root_only
def test_qemu_itself_is_asked_paused_and_killed(lab: Lab, namespace: Namespace) -> None:
    """A machine without a disk: its monitor, its process, its end."""
    cluster = bare_machine(lab, namespace, "-S")
    assert cluster.node_state("lvs1") == "paused"
    cluster.resume("lvs1")
    assert cluster.node_state("lvs1") == "running"
    with pytest.raises(StageError, match="no block device"):
        cluster.engine.save("lvs1", "x")
    cluster.kill("lvs1")
    assert cluster.node_state("lvs1") == "off"
    assert cluster.engine.processes() == {}


@root_only
def test_a_port_in_use_is_reported(lab: Lab, namespace: Namespace, tmp_path: Path) -> None:
    """By a program that a user runs as the client, inside the namespace."""
    cluster = Cluster(lab)
    cluster.namespace = namespace
    cluster.state.create(cluster.lab.nodes)
    cluster.state.save("settings", vars(Settings()))
    cluster.state.save("artifacts", str(tmp_path))
    network.build(lab, namespace)
    for name in ("base.raw", "seed.iso"):
        (tmp_path / name).write_bytes(bytes(1 << 20))
    cluster._prepare({"lvs1": (tmp_path / "base.raw", tmp_path / "seed.iso")})
    cluster._make_key()
    with namespace.inside(), socket.socket() as taken:
        taken.bind(("127.0.0.1", cluster.ssh_port("lvs1")))
        taken.listen()
        with pytest.raises(StageError, match="host forwarding rule") as caught:
            cluster.launch("lvs1")
    assert caught.value.hint.startswith("something in the lab's namespace uses port 2201")
    cluster.launch("lvs1")
    assert cluster.node_state("lvs1") == "running"
    cluster.kill("lvs1")


@pytest.mark.parametrize(
    ("servers", "beat"), [(1, 10), (2, 11), (3, 10), (10, 11), (30, 11), (110, 13)]
)
def test_a_round_robin_does_not_give_all_pages_to_one_server(
    lab: Lab, servers: int, beat: int
) -> None:
    director, server = lab.nodes["lvs1"], lab.nodes["rs1"]
    nodes = {"lvs1": director} | {f"rs{number}": server for number in range(servers)}
    assert page_every(lab.model_copy(update={"nodes": nodes})) == beat


def test_a_stale_process_id_is_nobody(lab: Lab) -> None:
    cluster = Cluster(lab)
    cluster.state.create(cluster.lab.nodes)
    cluster.files("lvs1").pid.write_text(f"{os.getpid()}\n")
    assert cluster.engine.processes() == {}


# --- names


def test_a_node_that_does_not_exist_is_reported(lab: Lab) -> None:
    with pytest.raises(InputError, match="there is no node lvs9") as caught:
        Cluster(lab).files("lvs9")
    assert caught.value.hint == "the nodes are: lvs1, lvs2, rs1, rs2"


def test_a_bad_or_unknown_checkpoint_is_reported(lab: Lab) -> None:
    cluster = Cluster(lab)
    with pytest.raises(InputError, match="'a b' cannot be a name"):
        checkpoint.save(cluster, "a b")
    with pytest.raises(InputError, match="there is no checkpoint x"):
        checkpoint.restore(cluster, "x")


def test_the_lock_of_a_lab_follows_no_link(lab: Lab, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    cluster = Cluster(lab)
    with cluster.changing():
        pass
    assert cluster.state.lock.parent.stat().st_mode & 0o077 == 0
    cluster.state.lock.unlink()
    cluster.state.lock.symlink_to(victim)
    with pytest.raises(OSError), cluster.changing():
        pass
    assert victim.read_text() == "precious"


def test_a_lab_in_a_folder_of_somebody_else_is_not_touched(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(InputError, match="belongs to somebody else"), Cluster(lab).changing():
        pass
    assert list(Cluster(lab).state.folder.parent.iterdir()) == []


def test_a_path_that_is_too_long_for_a_socket_is_reported(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "runtime_root", lambda: tmp_path / ("deep" * 30))
    cluster = Cluster(lab)
    cluster.state.create(cluster.lab.nodes)
    with pytest.raises(InputError, match="too long for a socket") as caught:
        cluster.files("lvs1")
    assert "LVSLAB_STATE" in str(caught.value.hint)


def off(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """A cluster whose machines are all off and cannot start; what would have been done."""
    done: list[tuple[str, ...]] = []
    cluster.state.create(cluster.lab.nodes)
    cluster.state.save("settings", vars(Settings()))
    cluster.state.save("artifacts", "artifacts")
    for node in cluster.lab.nodes:
        cluster.state.save(f"{node}/base", "disk.raw")
    monkeypatch.setattr(cluster, "node_state", lambda node: "off")
    monkeypatch.setattr(cluster, "launch", lambda node: done.append(("launch", node)))
    monkeypatch.setattr(cluster, "run", lambda node, argv, **_: done.append((node, *argv)))
    monkeypatch.setattr(faults, "_ports", lambda cluster: [])
    return done


def test_a_node_that_was_off_starts_its_services_by_itself(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(lab)
    done = off(cluster, monkeypatch)
    cluster.state.save("faults", [("service", "rs1", "apache2")])
    healed = [str(fault) for fault in faults.heal(cluster, "rs1")]
    assert healed == ["rs1 is off", "rs1: apache2 stopped"]
    assert done == [("launch", "rs1")]
    assert cluster.state.load("faults") == []


def test_a_node_keeps_its_disk_while_image_and_seed_are_the_same(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its checkpoints with it; another seed or image means a new disk, and none of them."""
    cluster = Cluster(lab)
    off(cluster, monkeypatch)
    base, seed = tmp_path / "base.raw", tmp_path / "seed.iso"
    base.write_bytes(bytes(1 << 20))
    seed.write_bytes(b"one")
    cluster._prepare({"lvs1": (base, seed)})
    disk = cluster.files("lvs1").disk
    first = disk.stat().st_ctime_ns
    cluster.state.save("checkpoints", {"x": "now"})
    cluster._prepare({"lvs1": (base, seed)})
    assert (disk.stat().st_ctime_ns, checkpoint.names(cluster)) == (first, {"x": "now"})
    seed.write_bytes(b"two")
    cluster._prepare({"lvs1": (base, seed)})
    assert (disk.stat().st_ctime_ns != first, checkpoint.names(cluster)) == (True, {})


def test_a_checkpoint_that_was_not_written_whole_is_not_listed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(lab)
    cluster.state.create(cluster.lab.nodes)
    cluster.state.save("checkpoints", {"x": "long ago", "y": "long ago"})
    monkeypatch.setattr(faults, "broken", lambda cluster: [])
    monkeypatch.setattr(cluster, "pause", lambda node: None)
    monkeypatch.setattr(cluster, "resume", lambda node: None)

    def full(node: str, name: str) -> None:
        raise StageError("No space left on device")

    monkeypatch.setattr(cluster.engine, "save", full)
    with pytest.raises(StageError, match="No space"):
        checkpoint.save(cluster, "x")
    assert checkpoint.names(cluster) == {"y": "long ago"}


def test_help_needs_no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise MissingError("nothing is installed")

    monkeypatch.setattr(programs, "ensure", missing)
    assert main.main(["lab", "up", "--help"]) == 0
    assert main.main(["lab", "up"]) == 3


def test_the_checkpoint_of_failover_is_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs, "ensure", lambda *_: None)
    assert main.main(["lab", "save", failover.CHECKPOINT]) == 2
    assert "choose another name" in capsys.readouterr().err


def test_a_lab_that_never_ran_has_nothing_to_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs, "ensure", lambda *_: None)
    assert main.main(["lab", "down", "--name", "nobody"]) == 0
    assert "there is no lab nobody" in capsys.readouterr().out


def test_verbs_of_a_lab_that_does_not_run_end_with_status_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (["status"], ["check"], ["kill", "lvs1"], ["ssh", "lvs1"], ["save", "x"]):
        assert main.main(["lab", words[0], "--name", "nobody", *words[1:]]) == 2
        assert "the lab nobody is not running" in capsys.readouterr().err


def test_the_state_folder_is_private(lab: Lab) -> None:
    state = LabState(lab.name)
    state.create(lab.nodes)
    assert state.folder.stat().st_mode & 0o077 == 0


# --- what a client saw


def asked(*answers: bool, beat: float = 0.02, start: float = -0.5) -> list[Request]:
    return [
        Request(start + i * beat, False, start + i * beat + 0.01, "", "" if good else "no answer")
        for i, good in enumerate(answers)
    ]


def test_the_gap_is_from_the_last_answer_to_the_next() -> None:
    found = view(asked(*[True] * 30, *[False] * 40, *[True] * 30), -0.5, 1.48)
    assert (found.total, found.lost) == (100, 40)
    assert found.gap == pytest.approx(0.82)
    assert found.gap_start == pytest.approx(0.09)
    assert found.gap_end == pytest.approx(0.91)


def test_a_service_that_pauses_and_then_answers_all_has_a_gap() -> None:
    late = asked(*[True] * 100)
    for request in late[30:60]:
        request.ended = late[60].started
    found = view(late, -0.5, 1.48)
    assert found.lost == 0
    assert found.gap == pytest.approx(0.61)


def test_a_service_that_never_answers_is_one_gap() -> None:
    assert view(asked(*[False] * 100), -0.5, 1.5).gap == pytest.approx(2.0)


def listens(address: str, port: int) -> bool:
    with socket.socket() as wire:
        return wire.connect_ex((address, port)) == 0


@pytest.mark.slow
@root_only
def test_the_probe_sees_a_service_come_and_go(lab: Lab, namespace: Namespace) -> None:
    """A web server on the VIP inside the namespace, ended in the middle."""
    network.build(lab, namespace)
    page = (
        "import http.server as h\n"
        "class H(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.send_header('X-Real-Server', 'rs1')\n"
        "        self.send_header('Content-Length', '0'); self.end_headers()\n"
        "    def log_message(self, *a): pass\n"
        "h.ThreadingHTTPServer(('192.168.50.1', 80), H).serve_forever()\n"
    )
    with namespace.inside():
        for vip in ("192.168.50.1", "192.168.50.2"):
            subprocess.run(["ip", "addr", "add", f"{vip}/24", "dev", "vmnet1"], check=True)
        server = subprocess.Popen([sys.executable, "-c", page], stderr=subprocess.DEVNULL)
        assert until(lambda: listens("192.168.50.1", 80), 20)
    try:
        with Prober(lab, namespace) as probe:
            time.sleep(1)
            ended = time.monotonic()
            server.kill()
            server.wait()
            time.sleep(0.5)
            end = time.monotonic()
    finally:
        server.kill()
        server.wait()
    before = view(probe.requests["web1"], 0, ended - 0.3)
    assert before.lost == 0 and set(before.servers) == {"rs1"}
    after = view(probe.requests["web1"], ended + 0.1, end)
    assert after.total and after.lost == after.total
    assert {request.error for request in probe.requests["web2"]} == {"ECONNREFUSED"}


# --- experiments and their picture


def test_the_computed_bar_is_the_rfcs(lab: Lab) -> None:
    """3 x 0.21 s + (256 - 100) / 256 x 0.21 s."""
    assert experiments.master_down(lab, "VI_1") == pytest.approx(0.757969, abs=1e-6)


def judged(lab: Lab, lost: int, owner: str = "lvs2") -> failover.Run:
    requests = {
        "web1": asked(*[True] * 25, *[False] * lost, *[True] * (250 - lost)),
        "web2": asked(*[True] * 275),
    }
    adverts = [(t / 5, i, "lvs1" if t < 0 and i in ("VI_1", "VI_2") else owner)
               for t in range(-5, 25) for i in lab.vrrp_instances]  # fmt: skip
    owners = {name: [owner] for name in lab.vrrp_instances}
    views = {name: view(found, -0.5, 5) for name, found in requests.items()}
    moves = dict.fromkeys(owners, 0)
    return failover.Run(
        "crash", 5, 0.0, views, owners, moves, 0.7, 0.7, [], [], requests, adverts, [],
    )  # fmt: skip


def test_a_run_within_its_limit_is_green_and_beyond_it_red(lab: Lab) -> None:
    experiment = experiments.everything(lab)["crash"]
    assert failover.judge(experiment, judged(lab, 30)) == []
    assert failover.judge(experiment, judged(lab, 80)) == ["longest gap 1.62 s, limit 1.20 s"]
    assert failover.judge(experiment, judged(lab, 30, "lvs1")) == [
        f"{name} is advertised by lvs1, not lvs2" for name in lab.vrrp_instances
    ]


@pytest.mark.parametrize(
    ("broken", "taken", "runs", "ok"),
    [
        ([False], 1.0, 1, True),  # it kept all on a busy host: no less worth
        ([True], 0.2, 1, False),  # it broke a promise on a quiet host: no second chance
        ([True, True, False], 0.8, 3, True),
        ([True] * 5, 0.8, 5, False),
    ],
)
def test_a_run_is_repeated_only_if_others_took_much_of_this_host(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    broken: list[bool],
    taken: float,
    runs: int,
    ok: bool,
) -> None:
    left = list(broken)

    def once(*_: object) -> failover.Run:
        problems = ["longest gap"] if left.pop(0) else []
        return replace(judged(lab, 30), taken=taken, problems=problems)

    monkeypatch.setattr(failover, "once", once)
    found = failover.undisturbed(Cluster(lab), experiments.everything(lab)["crash"])
    assert (len(broken) - len(left), found.ok) == (runs, ok)
    assert ("too busy" in " ".join(found.problems)) == (runs == 5)


def test_a_lost_request_of_another_address_is_red(lab: Lab) -> None:
    run = judged(lab, 30)
    run.views["web2"] = replace(run.views["web2"], lost=1)
    (problem,) = failover.judge(experiments.everything(lab)["crash"], run)
    assert problem == f"web2 lost 1 of {run.views['web2'].total} requests and should lose none"


def test_a_second_move_is_red(lab: Lab) -> None:
    run = judged(lab, 30)
    run.moves["VI_1"] = 2
    assert failover.judge(experiments.everything(lab)["crash"], run) == ["VI_1 moved 2 times"]


def test_the_median_of_many_runs_is_bounded_and_that_of_one_is_not(lab: Lab) -> None:
    crash = experiments.everything(lab)["crash"]
    slow = judged(lab, 45)
    assert failover.Verdict(crash, [slow]).problems == []
    assert failover.Verdict(crash, [slow] * 20).problems == ["median 0.92 s, limit 0.80 s"]


def test_a_lab_with_slower_adverts_is_held_to_what_it_can_do(lab: Lab) -> None:
    vrrp = lab.directors.vrrp.model_copy(update={"version": 2, "advert_seconds": 1.0})
    article = lab.directors.model_copy(update={"vrrp": vrrp, "source_addresses": "none"})
    found = experiments.everything(lab.model_copy(update={"directors": article}))
    assert found["crash"].bar == pytest.approx(3.61, abs=0.01)
    assert found["crash"].limit == pytest.approx(3.61 + 0.3 + 1.0, abs=0.01)


def test_without_the_watch_no_silent_cut_is_promised(lab: Lab) -> None:
    track = lab.directors.track.model_copy(update={"enabled": False})
    blind = lab.directors.model_copy(update={"track": track})
    found = experiments.everything(lab.model_copy(update={"directors": blind}))
    assert not [name for name in found if name.startswith("silent")]


def test_the_arp_of_the_new_owner_counts_and_no_other(lab: Lab) -> None:
    crash = experiments.everything(lab)["crash"]
    mine, other = lab.mac("lvs2", "eth1"), lab.mac("lvs1", "eth1")
    heard = [
        (0.1, "192.168.50.2", mine), (0.2, "192.168.50.1", other), (0.7, "192.168.50.1", mine)
    ]  # fmt: skip
    assert failover._first_announced(lab, crash, heard) == 0.7
    assert failover._first_announced(lab, crash, heard[:2]) is None


def test_the_picture_is_svg_with_both_bars(lab: Lab) -> None:
    experiment = experiments.everything(lab)["crash"]
    text = timeline.draw(lab, [failover.Verdict(experiment, [judged(lab, 30)])])
    root = ElementTree.fromstring(text)
    words = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "✓ crash: lvs1 loses its power" in words
    assert "needs 0.76 s" in words and "0.62 s of 1.20 s" in words


def test_owners_need_a_wire_that_was_heard(lab: Lab) -> None:
    assert wire.owners(lab, [], 0) == {name: [] for name in lab.vrrp_instances}


def test_a_server_that_does_not_come_back_in_time_is_reported(lab: Lab) -> None:
    experiment = experiments.everything(lab)["server-return"]
    found = judged(lab, 0)
    found.owners = {name: [owner] for name, owner in experiment.owners.items()}
    for requests in found.requests.values():
        requests[:] = [Request(at / 5, True, at / 5 + 0.01, "rs2") for at in range(-5, 30)]
    late = ["the server answers after 5.00 s, limit 3.00 s"]
    assert failover.judge(experiment, found) == late
    for requests in found.requests.values():
        requests[12].server = "rs1"
    assert failover.judge(experiment, found) == []
    assert found.measured(experiment) == pytest.approx(1.4)
    for lost in (requests[13], requests[18]):
        lost.error = "no answer"
    assert failover.judge(experiment, found) == ["requests were lost for 1.02 s, limit 1.00 s"]
