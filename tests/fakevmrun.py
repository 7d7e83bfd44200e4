"""A stand-in for VMware's `vmrun`: a program of its own, which knows that one's documented words.

What it knows was read in the usage text of vmrun 1.17 and in what others published of its answers:
the flags before the command, the commands that the lab needs with their parameters, "Error: …" on
standard output with status 255, and which commands need a machine that is on, tools that run, and
a guest's login. What VMware does with a machine it does not know: a machine here is a file of
JSON, and a guest is a folder, in whose `bin` are its programs. So a test with it shows that our
calls fit the documentation and each other, and nothing about VMware.

    FAKEVMRUN=folder vmrun -T ws start lvs1.vmx nogui
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from lvslab.model.lab import Lab

VARIABLE = "FAKEVMRUN"
USAGE = "vmrun version 1.17.0 build-0 (a stand-in)\n\nUsage: vmrun [AUTHENTICATION-FLAGS] COMMAND"
_LOGIN = "login"
_PROGRAMS = "bin"


def fail(message: str) -> NoReturn:
    """What every failure looks like."""
    print(f"Error: {message}")
    sys.exit(255)


class FakeMachine:
    """One machine: `tools` is whether those in its guest run while it is on.

    `in_memory`: the next start goes on from a snapshot's memory, and is no boot. Like the whole
    program it is without what Python takes long to load: it is started some hundred times.
    """

    def __init__(self, vmx: str) -> None:
        self.vmx = vmx
        self.on = self.paused = self.in_memory = False
        self.tools = True
        self.boots = 0
        self.out: list[str] = []
        self.snapshots: dict[str, dict[str, Any]] = {}

    @classmethod
    def read(cls, path: Path) -> FakeMachine:
        """The machine that a file of JSON keeps."""
        values = json.loads(path.read_text())
        this = cls(values["vmx"])
        vars(this).update(values)
        return this


class Held:
    """A machine that nobody else changes at the same time."""

    def __init__(self, path: Path, vmx: str) -> None:
        self._path, self._vmx = path, vmx

    def __enter__(self) -> FakeMachine:
        """Wait for the others, and read it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._path.with_suffix(".lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        path, vmx = self._path, self._vmx
        self._machine = FakeMachine.read(path) if path.exists() else FakeMachine(vmx)
        return self._machine

    def __exit__(self, *_: object) -> None:
        """Keep it; who lists machines at this moment reads the old one or the new one."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(vars(self._machine)))
        new.replace(self._path)
        self._lock.close()


class Host:
    """What the folder of the stand-in keeps: machines, guests, and every call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def guest(self, node: str) -> Path:
        """The guest of a node: its `/`."""
        return self.folder / "guests" / node

    def calls(self) -> list[list[str]]:
        """All command lines, without the program."""
        log = self.folder / "calls"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def install(self, node: str, program: str, text: str) -> None:
        """Give a guest a program, at an absolute path or in its PATH."""
        inside = program.lstrip("/") if "/" in program else f"{_PROGRAMS}/{program}"
        path = self.guest(node) / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def machines(self) -> list[FakeMachine]:
        """All that were ever named."""
        files = sorted((self.folder / "machines").glob("*.json"))
        return [FakeMachine.read(path) for path in files]

    def machine(self, vmx: str | Path) -> Held:
        """A machine for changes, by its .vmx: what a `with` block gets, and keeps at its end."""
        return Held(self.folder / "machines" / f"{str(vmx).replace('/', '%')}.json", str(vmx))

    def log(self, words: list[str]) -> None:
        """Keep a call."""
        with (self.folder / "calls").open("a") as file:
            file.write(json.dumps(words) + "\n")


# --- the commands


class Call:
    """A command that is being done: its machine and what follows the machine's path."""

    def __init__(
        self, host: Host, machine: FakeMachine, words: list[str], login: tuple[str, str]
    ) -> None:
        self.host, self.machine, self.words, self.login = host, machine, words, login

    @property
    def guest(self) -> Path:
        return self.host.guest(Path(self.machine.vmx).stem)

    def demand_on(self) -> None:
        if not self.machine.on:
            fail(f"The virtual machine is not powered on: {self.machine.vmx}")

    def demand_guest(self) -> None:
        self.demand_on()
        if not self.machine.tools or self.machine.paused:
            fail(f"The VMware Tools are not running in the virtual machine: {self.machine.vmx}")
        if list(self.login) != json.loads((self.host.folder / _LOGIN).read_text()):
            fail("Invalid user name or password for the guest OS")

    def in_guest(self, path: str) -> Path:
        return self.guest / path.lstrip("/")

    def guest_file(self, path: str, text: str) -> None:
        self.in_guest(path).parent.mkdir(parents=True, exist_ok=True)
        self.in_guest(path).write_text(text)

    def plug(self, cards: list[int], connected: bool) -> None:
        """What Linux shows of the carrier. The lab's cards are in the order of their names."""
        for card in cards:
            self.guest_file(f"/sys/class/net/eth{card}/carrier", f"{int(connected)}\n")

    def files_of_run(self) -> dict[str, str]:
        """The files of the guest's /run that are directly there."""
        there = (self.guest / "run").glob("*")
        return {path.name: path.read_text() for path in there if path.is_file()}


def start(call: Call) -> None:
    if call.machine.on:
        fail(f"The file is already in use: {call.machine.vmx}")
    call.machine.on, call.machine.paused, call.machine.out = True, False, []
    if not call.machine.in_memory:
        call.machine.boots += 1
        call.guest_file("/proc/sys/kernel/random/boot_id", f"boot {call.machine.boots}\n")
        call.plug(list(range(10)), True)
    call.machine.in_memory = False


def stop(call: Call) -> None:
    call.demand_on()
    if call.words != ["hard"] and not call.machine.tools:
        fail(f"The VMware Tools are not running in the virtual machine: {call.machine.vmx}")
    call.machine.on = call.machine.paused = False


def pause(call: Call) -> None:
    call.demand_on()
    if call.machine.paused:
        fail("The virtual machine is already paused")
    call.machine.paused = True


def unpause(call: Call) -> None:
    call.demand_on()
    if not call.machine.paused:
        fail("The virtual machine is not paused")
    call.machine.paused = False


def list_snapshots(call: Call) -> None:
    print(f"Total snapshots: {len(call.machine.snapshots)}", *call.machine.snapshots, sep="\n")


def snapshot(call: Call) -> None:
    (name,) = call.words
    if name in call.machine.snapshots:
        fail("A snapshot with the name already exists")
    call.machine.snapshots[name] = {"on": call.machine.on, "run": call.files_of_run()}


def delete_snapshot(call: Call) -> None:
    if call.machine.snapshots.pop(call.words[0], None) is None:
        fail("Invalid snapshot name")


def revert(call: Call) -> None:
    if call.words[0] not in call.machine.snapshots:
        fail("Invalid snapshot name")
    call.machine.on = call.machine.paused = False
    kept = call.machine.snapshots[call.words[0]]
    call.machine.in_memory = kept["on"]
    for name in call.files_of_run().keys() - kept["run"].keys():
        (call.guest / "run" / name).unlink()


def connect(call: Call) -> None:
    call.demand_on()
    call.plug([int(call.words[0].removeprefix("ethernet"))], True)
    call.machine.out = [name for name in call.machine.out if name != call.words[0]]


def disconnect(call: Call) -> None:
    call.demand_on()
    if f'{call.words[0]}.present = "TRUE"' not in Path(call.machine.vmx).read_text():
        fail("The device name was not found")
    call.plug([int(call.words[0].removeprefix("ethernet"))], False)
    call.machine.out = [*call.machine.out, call.words[0]]


def copy_in(call: Call) -> None:
    call.demand_guest()
    source, target = call.words
    if not Path(source).is_file():
        fail("A file was not found")
    call.in_guest(target).parent.mkdir(parents=True, exist_ok=True)
    Path(call.in_guest(target)).write_bytes(Path(source).read_bytes())


def copy_out(call: Call) -> None:
    call.demand_guest()
    source, target = call.words
    if not call.in_guest(source).is_file():
        fail("A file was not found")
    Path(target).write_bytes(Path(call.in_guest(source)).read_bytes())


def run_program(call: Call) -> None:
    """Only what the lab runs: Python as root. The interpreter is this one."""
    call.demand_guest()
    if call.words[:3] != ["/usr/bin/sudo", "-n", "/usr/bin/python3"] or len(call.words) != 4:
        fail("A file was not found")
    inside = call.in_guest(call.words[3])
    try:
        in_guest(call.guest, str(inside))
    except Exception as error:  # what a program of its own would end with
        print(f"Guest program exited with non-zero exit code: 1 ({error!r})")
        sys.exit(1)


def address(call: Call) -> None:
    call.demand_guest()
    print("unknown")


COMMANDS: dict[str, tuple[Callable[[Call], None], tuple[int, ...]]] = {
    "start": (start, (0, 1)),
    "stop": (stop, (0, 1)),
    "pause": (pause, (0,)),
    "unpause": (unpause, (0,)),
    "listSnapshots": (list_snapshots, (0, 1)),
    "snapshot": (snapshot, (1,)),
    "deleteSnapshot": (delete_snapshot, (1, 2)),
    "revertToSnapshot": (revert, (1,)),
    "connectNamedDevice": (connect, (1,)),
    "disconnectNamedDevice": (disconnect, (1,)),
    "copyFileFromHostToGuest": (copy_in, (2,)),
    "copyFileFromGuestToHost": (copy_out, (2,)),
    "runProgramInGuest": (run_program, tuple(range(1, 20))),
    "getGuestIPAddress": (address, (0, 1)),
}
"""A command, and how many words it takes behind the .vmx."""


def main(words: list[str]) -> None:
    """One call, as vmrun takes it."""
    host = Host(Path(os.environ[VARIABLE]))
    host.log(words)
    flags: dict[str, str] = {}
    while words and words[0] in ("-T", "-gu", "-gp", "-vp"):
        flags[words[0]] = words[1]
        words = words[2:]
    if not words or flags.get("-T", "ws") not in ("ws", "fusion", "player"):
        print(USAGE)
        sys.exit(255)
    command, *rest = words
    if command == "list":
        there = [this.vmx for this in host.machines() if this.on]
        print(f"Total running VMs: {len(there)}", *there, sep="\n")
        return
    if command not in COMMANDS:
        print(f"Unrecognized command: {command}\n{USAGE}")
        sys.exit(255)
    perform, counts = COMMANDS[command]
    if len(rest) - 1 not in counts:
        print(USAGE)
        sys.exit(255)
    vmx, *more = rest
    if not Path(vmx).is_file():
        fail(f"Cannot open VM: {vmx}, The virtual machine cannot be found")
    login = (flags.get("-gu", ""), flags.get("-gp", ""))
    with host.machine(vmx) as machine:
        perform(Call(host, machine, more, login))


# --- a guest


def in_guest(root: Path, program: str) -> None:
    """Run a program of Python's in which files and programs are those of the guest's folder."""
    import runpy  # only here: see FakeMachine
    import subprocess

    run, access = subprocess.run, os.access

    def inside(argv: list[str], **options: Any) -> Any:
        name = argv[0]
        path = root / name.lstrip("/") if "/" in name else root / _PROGRAMS / name
        return run([str(path), *argv[1:]], **options)

    subprocess.run = inside  # type: ignore[assignment]
    os.access = lambda path, mode: access(root / str(path).lstrip("/"), mode)  # type: ignore[assignment,misc]
    runpy.run_path(program, run_name="__main__")


# --- for tests


def make_folders(lab: Lab, artifacts: Path) -> Path:
    """The machines of a lab as folders that vmrun can be given; disks and seeds have no content."""
    from lvslab.render import vmware_machine  # the program itself must start fast

    for node in lab.nodes:
        folder = artifacts / "vmware" / node
        folder.mkdir(parents=True)
        (folder / f"{node}.vmx").write_text(vmware_machine.vmx(lab, node))
        for ending in ("vmdk", "iso"):
            (folder / f"{node}.{ending}").write_bytes(b"")
    return artifacts


def install(folder: Path, user: str, password: str) -> Host:
    """A folder of its own for the stand-in, and `bin/vmrun` in it, to be put into PATH."""
    program = folder / "bin" / "vmrun"
    program.parent.mkdir(parents=True)
    root = Path(__file__).parents[1]
    program.write_text(
        f"#!{sys.executable} -S\nimport os, sys\nos.environ[{VARIABLE!r}] = {str(folder)!r}\n"
        f"os.environ['PYTHONPATH'] = {str(root)!r}\nsys.path.insert(0, {str(root)!r})\n"
        "from tests.fakevmrun import main\nmain(sys.argv[1:])\n"
    )
    program.chmod(0o755)
    (folder / _LOGIN).write_text(json.dumps([user, password]))
    return Host(folder)
