"""A libvirt host: named by its URI, asked over SSH with one connection for all commands.

URIs are libvirt's (https://libvirt.org/uri.html, "Remote URIs"): `qemu+ssh://user@host:port/system`
with the parameters `keyfile` and `known_hosts`, and `underlay`, which is ours. Commands go through
ssh itself and not through libvirt's own client: bridges and files of the host are needed, too.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from lvslab.core.errors import InputError, LabError, MissingError, StageError
from lvslab.core.procs import die_with_parent, last_lines, program, run
from lvslab.lab.state import own_root, runtime_root
from lvslab.model.family import Address

VIRSH = ("virsh", "--quiet", "--connect", "qemu:///system")
"""Libvirt's client on the host itself."""

CONNECTION = "echo $SSH_CONNECTION"
"""Asks a host from where and how it was reached (ssh(1))."""

ANSWER_SECONDS = 10
"""A host that says nothing for so long does not answer."""

_CONNECT_SECONDS = 30
_CONNECTED: set[Path] = set()  # what this process has seen alive
_FAILED: dict[Path, tuple[float, LabError]] = {}  # when and why a host could not be reached
_FAILED_SECONDS = 5.0  # so long nobody tries again: each try may take ANSWER_SECONDS
_ONE_AT_A_TIME: dict[Path, threading.Lock] = defaultdict(threading.Lock)
_PARAMETERS = {"keyfile", "known_hosts", "underlay"}


@dataclass(frozen=True)
class Host:
    """A host by its URI; `label` is how errors and tables name it.

    `underlay` is its address for the labs' frames; if empty, it is the one that SSH reaches.
    """

    uri: str
    label: str
    destination: str
    options: tuple[str, ...]
    underlay: str = ""

    @classmethod
    def of(cls, uri: str) -> Host:
        """The host of a URI. Raises InputError for one that is not `qemu+ssh://HOST/system`."""
        try:
            parts = urlsplit(uri)
            name, port, given = parts.hostname, parts.port, parse_qs(parts.query)
            underlay = str(ip_address(given["underlay"][0])) if "underlay" in given else ""
        except ValueError:
            name, port, given, underlay = None, None, {}, ""
        right = parts.scheme == "qemu+ssh" and parts.path == "/system" if name else False
        if not name or not right or name.startswith("-") or not given.keys() <= _PARAMETERS:
            raise InputError(
                f"{uri} is not the address of a libvirt host",
                where="--host",
                hint="give qemu+ssh://root@HOST/system, if needed with ?keyfile=FILE",
            )
        destination = f"{parts.username}@{name}" if parts.username else name
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(ANSWER_SECONDS),
            "ServerAliveInterval": "2",  # a host that died is noticed, not waited for
            "ServerAliveCountMax": "2",
        }
        if "known_hosts" in given:
            options["UserKnownHostsFile"] = given["known_hosts"][0]
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        if "keyfile" in given:
            words += ["-i", given["keyfile"][0]]
        if port:
            words += ["-p", str(port)]
        return cls(uri, name, destination, tuple(words), underlay)

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        what: str,
        stdin: str | bytes | None = None,
        timeout: float = 60,
        where: str = "",
    ) -> str:
        """Run a program on the host to its end; its output.

        Raises StageError with the program's own words, or those of ssh if there is no connection.
        """
        self.connect()
        words = shlex.join(str(word) for word in argv)
        try:
            return run([*self._command(), words], what=what, stdin=stdin, timeout=timeout)
        except StageError as error:
            raise StageError(_own_words(error), where=where or self.label) from None

    def virsh(
        self, *words: str, where: str = "", timeout: float = 60, stdin: str | None = None
    ) -> str:
        """Run libvirt's client on the host; its output. Errors: see `run`."""
        argv = [*VIRSH, *words]
        return self.run(argv, what=f"virsh {words[0]}", stdin=stdin, where=where, timeout=timeout)

    def connect(self) -> None:
        """Open the connection that all commands share; it ends a while after the last one.

        Raises StageError with ssh's own words, and MissingError if the host has no libvirt.
        """
        control = self._control
        with _ONE_AT_A_TIME[control]:
            if control in _CONNECTED and control.exists():
                return
            when, error = _FAILED.get(control, (-_FAILED_SECONDS, None))
            if error and time.monotonic() - when < _FAILED_SECONDS:
                raise error.with_traceback(None)
            if not self._alive(control):
                try:
                    self._open()
                except LabError as failed:
                    _FAILED[control] = time.monotonic(), failed
                    raise
            _CONNECTED.add(control)

    def _open(self) -> None:
        self._background(["-o", "ControlPersist=600", "-S", str(self._control), "-M"])
        try:
            run([*self._command(), shlex.join([*VIRSH, "uri"])], what="asking libvirt", timeout=60)
        except StageError as error:
            self._ask_master(self._control, "exit")
            raise MissingError(
                f"the host {self.label} has no libvirt that answers: {_own_words(error)}",
                hint="on it, as root: apt install libvirt-daemon-system qemu-system-x86",
            ) from None

    def answers(self) -> bool:
        """Whether the host can be reached now."""
        try:
            self.run(["true"], what="asking the host", timeout=ANSWER_SECONDS)
        except LabError:
            _CONNECTED.discard(self._control)
            return False
        return True

    def forward(
        self,
        name: str,
        sockets: Sequence[tuple[Path, str]],
        back: Sequence[tuple[str, Path]] = (),
    ) -> None:
        """Let sockets of this host lead to sockets of the other, until `disconnect` of the name.

        `back`: sockets of the other host that lead to sockets of this one.
        """
        self.connect()
        control = self._forwarder(name)
        with _ONE_AT_A_TIME[control]:
            if self._alive(control):
                return
            words = ["-o", "ExitOnForwardFailure=yes", "-o", "StreamLocalBindUnlink=yes"]
            for here, there in sockets:
                words += ["-L", f"{here}:{there}"]
            for there, here in back:
                words += ["-R", f"{there}:{here}"]
            self._background([*words, "-M", "-S", str(control)])

    def forwards(self, name: str) -> bool:
        """Whether `forward` of that name still holds.

        An ssh that was killed, or a workstation that lost its power, leaves a socket without one
        who listens.
        """
        with socket.socket(socket.AF_UNIX) as asks:
            return asks.connect_ex(str(self._forwarder(name))) == 0

    def disconnect(self, name: str) -> None:
        """End what `forward` opened under a name."""
        self._ask_master(self._forwarder(name), "exit")

    def copy(self, path: Path, folder: str) -> None:
        """Copy a sparse file of this host into a folder of the other."""
        pack = [program("tar"), "--sparse", "-C", str(path.parent), "-cf", "-", path.name]
        self._take(pack, folder, path.name)

    def send(self, folder: str, names: Sequence[str], other: Host, there: str) -> None:
        """Copy files of this host's folder to a folder of another host, by way of this one here."""
        self.connect()
        words = ["tar", "--sparse", "--ignore-failed-read", "-C", folder, "-cf", "-", *names]
        pack = [*self._command(), shlex.join(words)]
        other._take(pack, there, ", ".join(names))

    def _take(self, pack: Sequence[str], folder: str, what: str) -> None:
        """Unpack on the host what a program here writes, which is a tar archive."""
        self.connect()
        unpack = shlex.join(["tar", "--sparse", "-C", folder, "-xf", "-"])
        source = subprocess.Popen(
            pack, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=die_with_parent
        )
        with source:
            done = subprocess.run(
                [*self._command(), unpack], stdin=source.stdout,
                capture_output=True, text=True, check=False, preexec_fn=die_with_parent,
            )  # fmt: skip
        if done.returncode or source.returncode:
            raise StageError(
                f"copying {what} to the host:{last_lines(done.stderr)}",
                where=self.label,
                hint=f"look for room in {folder} on it",
            )

    def way_to(self, port: int) -> list[str]:
        """Options of ssh that reach a port of the host's loopback, also from a namespace."""
        command = [*self._command()[:-1], "-W", f"127.0.0.1:{port}", self.destination]
        return ["-o", "ProxyCommand=" + shlex.join(command)]

    def has_kvm(self) -> bool:
        """Whether libvirt can start KVM's machines on it."""
        try:
            words = [*VIRSH, "domcapabilities", "--virttype", "kvm"]
            return bool(self.run(words, what="asking for KVM"))
        except LabError:
            return False

    def addresses(self) -> tuple[str, str]:
        """This host's address on the way to the other's underlay, and the other's.

        Without an underlay they are those of SSH.
        """
        if self.underlay:
            return self.addresses_of("")
        return self.addresses_of(self.run(["sh", "-c", CONNECTION], what="asking for addresses"))

    def addresses_of(self, said: str) -> tuple[str, str]:
        """The same out of what `CONNECTION` says on the host."""
        if self.underlay:
            words = ["ip", "-json", "route", "get", self.underlay]
            (route,) = json.loads(run(words, what=f"looking for a way to {self.underlay}"))
            return route["prefsrc"], self.underlay
        here, _, there, _ = said.split()
        return here, there

    def _command(self) -> list[str]:
        """An ssh that uses the shared connection, up to its destination."""
        shared = ["-o", "ControlMaster=no", "-S", str(self._control)]
        return [program("ssh"), *self.options, *shared, self.destination]

    def _forwarder(self, lab: str) -> Path:
        return self._control.with_name(f"{self._control.name}-{lab}")

    @property
    def _control(self) -> Path:
        name = "".join(letter if letter.isalnum() else "-" for letter in self.destination)
        return runtime_root() / f"ssh-{name}"

    def _alive(self, control: Path) -> bool:
        """Whether an ssh listens there. The socket of one that was killed is removed.

        A new one would find it, and share nothing.
        """
        alive = self._ask_master(control, "check")
        if not alive:
            control.unlink(missing_ok=True)
        return alive

    def _ask_master(self, control: Path, word: str) -> bool:
        if not control.exists():
            return False
        command = [program("ssh"), "-S", str(control), "-O", word, self.destination]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _background(self, words: Sequence[str]) -> None:
        """An ssh that goes into the background once it is connected.

        Its words go to a file: it would hold a pipe open as long as it lives.
        """
        own_root()  # a host is asked before its first lab has a folder
        log = self._control.with_suffix(".log")
        command = [program("ssh"), *self.options, *words, "-f", "-N", self.destination]
        with log.open("w+") as file:
            try:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                    timeout=_CONNECT_SECONDS, check=False,
                )  # fmt: skip
                status = done.returncode
            except subprocess.TimeoutExpired:
                status = 255
            file.seek(0)
            said = last_lines(file.read())
        with contextlib.suppress(OSError):
            log.unlink()
        if status:
            raise StageError(
                f"the host {self.label} cannot be reached:{said}",
                where=self.label,
                hint=f"try it: ssh {self.destination}",
            )


def with_underlay(uri: str, underlay: Address | None) -> str:
    """A URI that also says which address carries the labs' frames."""
    if underlay is None:
        return uri
    return f"{uri}{'&' if urlsplit(uri).query else '?'}underlay={underlay}"


def _own_words(error: StageError) -> str:
    """What a program said itself, out of the error of `core.procs.run`."""
    said = error.message.rpartition("ended with status ")[2].partition(": ")[2]
    return said.strip() or error.message
