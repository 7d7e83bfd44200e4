"""A stand-in for VMware's `vmrun`: a program of its own, which knows that one's documented words.

What it knows was read in the usage text of vmrun 1.17 and in what others published of its answers:
the flags before the command, the commands that the lab needs with their parameters, "Error: …" on
standard output with status 255, and which commands need a machine that is on, tools that run, and
a guest's login. What VMware does with a machine it does not know: a machine here is a file, and a
guest is a folder, in whose `bin` are its programs. So a test with it shows that our calls fit the
documentation and each other, and nothing about VMware.

The tests start it some hundred times, so the program itself is without what Python takes long to
load: JSON, pathlib and typing would be more than half of its time.

    FAKEVMRUN=folder vmrun -T ws start lvs1.vmx nogui
"""

from __future__ import annotations

import fcntl
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any, NoReturn

    from lvslab.model.lab import Lab

VARIABLE = "FAKEVMRUN"
USAGE = "vmrun version 1.17.0 build-0 (a stand-in)\n\nUsage: vmrun [AUTHENTICATION-FLAGS] COMMAND"
_LOGIN = "login"
_PROGRAMS = "bin"
_KEPT = ".machine"


def fail(message: str) -> NoReturn:
    """What every failure looks like."""
    print(f"Error: {message}")
    sys.exit(255)


class FakeMachine:
    """One machine: `tools` is whether those in its guest run while it is on.

    `in_memory`: the next start goes on from a snapshot's memory, and is no boot.
    """

    def __init__(self, vmx: str) -> None:
        self.vmx = vmx
        self.on = self.paused = self.in_memory = False
        self.tools = True
        self.boots = 0
        self.out: list[str] = []
        self.snapshots: dict[str, dict[str, Any]] = {}

    @classmethod
    def read(cls, path: str) -> FakeMachine:
        """The machine that a file keeps."""
        with open(path, "rb") as file:
            values = marshal.load(file)
        this = cls(values["vmx"])
        vars(this).update(values)
        return this


class Held:
    """A machine that nobody else changes at the same time."""

    def __init__(self, path: str, vmx: str) -> None:
        self._path, self._vmx = path, vmx

    def __enter__(self) -> FakeMachine:
        """Wait for the others, and read it."""
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        self._lock = open(f"{self._path}.lock", "w")  # noqa: SIM115
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        path, vmx = self._path, self._vmx
        self._machine = FakeMachine.read(path) if os.path.exists(path) else FakeMachine(vmx)
        return self._machine

    def __exit__(self, *_: object) -> None:
        """Keep it; who lists machines at this moment reads the old one or the new one."""
        new = f"{self._path}.new"
        with open(new, "wb") as file:
            marshal.dump(vars(self._machine), file)
        os.replace(new, self._path)
        self._lock.close()


class Host:
    """What the folder of the stand-in keeps: machines, guests, and every call."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def guest(self, node: str) -> str:
        """The guest of a node: its `/`."""
        return f"{self.folder}/guests/{node}"

    def calls(self) -> list[list[str]]:
        """All command lines, without the program."""
        log = f"{self.folder}/calls"
        lines = read(log).splitlines() if os.path.exists(log) else []
        return [line.split("\0") if line else [] for line in lines]

    def install(self, node: str, program: str, text: str) -> None:
        """Give a guest a program, at an absolute path or in its PATH."""
        inside = program.lstrip("/") if "/" in program else f"{_PROGRAMS}/{program}"
        path = f"{self.guest(node)}/{inside}"
        write(path, text)
        os.chmod(path, 0o755)

    def machines(self) -> list[FakeMachine]:
        """All that were ever named."""
        folder = f"{self.folder}/machines"
        names = sorted(os.listdir(folder)) if os.path.exists(folder) else []
        return [FakeMachine.read(f"{folder}/{name}") for name in names if name.endswith(_KEPT)]

    def machine(self, vmx: str | Path) -> Held:
        """A machine for changes, by its .vmx: what a `with` block gets, and keeps at its end."""
        return Held(f"{self.folder}/machines/{str(vmx).replace('/', '%')}{_KEPT}", str(vmx))

    def log(self, words: list[str]) -> None:
        """Keep a call."""
        with open(f"{self.folder}/calls", "a") as file:
            file.write("\0".join(words) + "\n")


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def write(path: str, text: str) -> None:
    """Write a file, in a new folder if need be."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


# --- the commands


class Call:
    """A command that is being done: its machine and what follows the machine's path."""

    def __init__(
        self, host: Host, machine: FakeMachine, words: list[str], login: tuple[str, str]
    ) -> None:
        self.host, self.machine, self.words, self.login = host, machine, words, login

    @property
    def guest(self) -> str:
        return self.host.guest(os.path.basename(self.machine.vmx).removesuffix(".vmx"))

    def demand_on(self) -> None:
        if not self.machine.on:
            fail(f"The virtual machine is not powered on: {self.machine.vmx}")

    def demand_guest(self) -> None:
        self.demand_on()
        if not self.machine.tools or self.machine.paused:
            fail(f"The VMware Tools are not running in the virtual machine: {self.machine.vmx}")
        if "\0".join(self.login) != read(f"{self.host.folder}/{_LOGIN}"):
            fail("Invalid user name or password for the guest OS")

    def in_guest(self, path: str) -> str:
        return f"{self.guest}/{path.lstrip('/')}"

    def guest_file(self, path: str, text: str) -> None:
        write(self.in_guest(path), text)

    def plug(self, cards: list[int], connected: bool) -> None:
        """What Linux shows of the carrier. The lab's cards are in the order of their names."""
        for card in cards:
            self.guest_file(f"/sys/class/net/eth{card}/carrier", f"{int(connected)}\n")

    def files_of_run(self) -> dict[str, str]:
        """The files of the guest's /run that are directly there."""
        run = self.in_guest("/run")
        names = os.listdir(run) if os.path.exists(run) else []
        return {name: read(f"{run}/{name}") for name in names if os.path.isfile(f"{run}/{name}")}


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
        os.unlink(call.in_guest(f"/run/{name}"))


def connect(call: Call) -> None:
    call.demand_on()
    call.plug([int(call.words[0].removeprefix("ethernet"))], True)
    call.machine.out = [name for name in call.machine.out if name != call.words[0]]


def disconnect(call: Call) -> None:
    call.demand_on()
    if f'{call.words[0]}.present = "TRUE"' not in read(call.machine.vmx):
        fail("The device name was not found")
    call.plug([int(call.words[0].removeprefix("ethernet"))], False)
    call.machine.out = [*call.machine.out, call.words[0]]


def copy_in(call: Call) -> None:
    call.demand_guest()
    source, target = call.words
    if not os.path.isfile(source):
        fail("A file was not found")
    call.guest_file(target, read(source))


def copy_out(call: Call) -> None:
    call.demand_guest()
    source, target = call.words
    if not os.path.isfile(call.in_guest(source)):
        fail("A file was not found")
    write(target, read(call.in_guest(source)))


def run_program(call: Call) -> None:
    """Only what the lab runs: Python as root. The interpreter is this one."""
    call.demand_guest()
    if call.words[:3] != ["/usr/bin/sudo", "-n", "/usr/bin/python3"] or len(call.words) != 4:
        fail("A file was not found")
    inside = call.in_guest(call.words[3])
    try:
        in_guest(call.guest, inside)
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
    host = Host(os.environ[VARIABLE])
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
    if not os.path.isfile(vmx):
        fail(f"Cannot open VM: {vmx}, The virtual machine cannot be found")
    login = (flags.get("-gu", ""), flags.get("-gp", ""))
    with host.machine(vmx) as machine:
        perform(Call(host, machine, more, login))


# --- a guest


def in_guest(root: str, program: str) -> None:
    """Run a program of Python's in which files and programs are those of the guest's folder."""
    import runpy  # only here: it takes long to load
    import subprocess

    run, access = subprocess.run, os.access

    def inside(argv: list[str], **options: Any) -> Any:
        name = argv[0]
        path = f"{root}/{name.lstrip('/')}" if "/" in name else f"{root}/{_PROGRAMS}/{name}"
        return run([path, *argv[1:]], **options)

    subprocess.run = inside  # type: ignore[assignment]
    os.access = lambda path, mode: access(f"{root}/{str(path).lstrip('/')}", mode)  # type: ignore[assignment,misc]
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
    from pathlib import Path

    program = folder / "bin" / "vmrun"
    root = Path(__file__).parents[1]
    write(
        str(program),
        f"#!{sys.executable} -S\nimport os, sys\nos.environ[{VARIABLE!r}] = {str(folder)!r}\n"
        f"os.environ['PYTHONPATH'] = {str(root)!r}\nsys.path.insert(0, {str(root)!r})\n"
        "from tests.fakevmrun import main\nmain(sys.argv[1:])\n",
    )
    program.chmod(0o755)
    write(f"{folder}/{_LOGIN}", f"{user}\0{password}")
    return Host(str(folder))
