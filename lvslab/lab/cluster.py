"""The running lab: its nodes started, stopped, paused and asked."""

from __future__ import annotations

import contextlib
import filecmp
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from lvslab.core.errors import InputError, StageError
from lvslab.core.events import Listener, silent
from lvslab.core.files import only_one, remove
from lvslab.core.places import PROGRAM
from lvslab.core.procs import last_lines, program, run
from lvslab.core.together import Result, each
from lvslab.core.waiting import until
from lvslab.lab import hardware
from lvslab.lab.agents import agent, guest_agent
from lvslab.lab.engine import Engine, NodeState, NotRemoved, Unsupported
from lvslab.lab.engines import ENGINES, Premises, client_place, engine_kind, engine_of
from lvslab.lab.libvirt.libvirt_engine import LibvirtEngine
from lvslab.lab.sources import Settings, source_of
from lvslab.lab.state import LabState, NodeFiles, own_root
from lvslab.model.lab import Lab

_AGENT_UNIT = """\
[Unit]
Description=lab agent on COM3
DefaultDependencies=no
After=systemd-udevd.service
[Service]
ImportCredential=lvslab.agent
ExecStart=/usr/bin/python3 %d/lvslab.agent
Restart=always
"""
# The images let nobody in as root; here the lab's own key may (tmpfiles.d(5) format).
_ROOT_BY_KEY = (
    "f+ /etc/ssh/sshd_config.d/00-lab.conf 0644 root root - PermitRootLogin prohibit-password"
)
_AGENT_WANTED = "[Unit]\nWants=lvslab-agent.service\n"


class Cluster:
    """The lab called `lab.name`, whether it runs or not: its machines, and what is asked in them.

    `namespace` is where the client lives: see `Namespace` and `HostNetwork`.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.state = LabState(lab.name)
        self.namespace = client_place(lab.name, engine_kind(self.state))
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """Where its machines run: as it was started, and before that on this host."""
        if self._engine is None:
            settings, artifacts = self.state.load("settings"), self.state.load("artifacts")
            self._engine = self._engine_on(Settings.kept(settings), Path(artifacts or ""))
        return self._engine

    def _engine_on(self, settings: Settings, artifacts: Path) -> Engine:
        return engine_of(Premises(self.lab, self.state, self.namespace, settings, artifacts))

    @classmethod
    def running(cls, name: str) -> Cluster:
        """The lab `name` as it was started. Raises InputError if it is not running."""
        cluster = cls.known(name)
        if cluster is None or not cluster.namespace.exists():
            raise InputError(f"the lab {name} is not running", hint=f"start it: {PROGRAM} lab up")
        return cluster

    @classmethod
    def known(cls, name: str) -> Cluster | None:
        """The lab `name` as it was started, or None if it has left nothing behind."""
        dump = LabState(name).load("lab")
        return None if dump is None else cls(Lab.model_validate(dump))

    @cached_property
    def settings(self) -> Settings:
        """How the lab was started."""
        return Settings.kept(self.state.load("settings"))

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lab's lock: one change at a time.

        Raises StageError while somebody else changes the lab, InputError as `own_root` does.
        """
        own_root()
        with only_one(self.state.lock, f"change of the lab {self.lab.name}"):
            yield

    # --- start and end of the whole lab

    def demand(self, artifact_folder: Path, settings: Settings) -> None:
        """Raise MissingError with all that the lab's host or hosts lack, before anything is made.

        Raises InputError as `ready`.
        """
        self._same_as_before(settings)
        self._engine_on(settings, artifact_folder).demand(settings.accelerator)

    def ready(
        self, artifact_folder: Path, cache: Path, settings: Settings, listener: Listener = silent
    ) -> list[str]:
        """Make what is missing; the names of the nodes that do not run, ready to be launched.

        A node that runs is left alone, one that is off keeps its disk unless its image or seed
        is another one now. Raises InputError if the lab runs with another lab.yaml or other
        settings. What its host or hosts need is not looked for: see `demand`.
        """
        self._same_as_before(settings)
        kind, source = ENGINES[settings.engine], source_of(self.lab, artifact_folder, settings)
        wires, disks, seeds = source.wires(), source.disks(cache, listener), source.seeds()
        self.state.create(self.lab.nodes)
        self.state.save("lab", self.lab.model_dump(mode="json"))
        self.state.save("settings", vars(settings))
        self.state.save("artifacts", str(artifact_folder.absolute()))
        self._engine, self.namespace = None, client_place(self.lab.name, kind)
        missing = self.engine.stopped()
        self.engine.wire(wires)  # after the lab is known by its name: `down` finds both
        self._make_key()
        if kind.own_disks:
            self._prepare({node: (disks[node], seeds[node]) for node in missing})
        else:
            for node in missing:
                self.state.save(f"{node}/base", str(disks[node]))
        return missing

    def boot(
        self, artifact_folder: Path, cache: Path, settings: Settings, listener: Listener = silent
    ) -> list[str]:
        """`demand`, `ready`, and start what does not run; the names of the nodes started."""
        self.demand(artifact_folder, settings)
        missing = self.ready(artifact_folder, cache, settings, listener)
        self.each(missing, self.launch)
        return missing

    def down(self, forget: bool = False) -> str:
        """End all machines of the lab and remove its networks and files.

        Raises NotRemoved if a host does not answer, and keeps what is needed to try again. With
        `forget` nothing is kept; returns what is left where, if anything is.
        """
        left = ""
        try:
            self.engine.remove()
        except NotRemoved as error:
            if not forget:
                raise
            left = error.message
        remove(self.state.folder)
        self.state.lock.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.state.folder.parent.rmdir()  # not while there is another lab
        return left

    def _same_as_before(self, settings: Settings) -> None:
        known = Cluster.known(self.lab.name)
        if known is None or not known.engine.in_use():
            return
        if known.lab != self.lab or known.settings != settings:
            raise InputError(
                "the lab already runs, started from another lab.yaml or with other options",
                where=self.lab.name,
                hint="end it first (lab down), or give this one another name in lab.yaml",
            )

    def _make_key(self) -> None:
        if not self.state.key.exists():
            run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", self.state.key],
                what="making the lab's SSH key",
            )

    def _prepare(self, wanted: Mapping[str, tuple[Path, Path]]) -> None:
        """Fresh overlays, copies of the seeds (a rebuild may replace them) and UEFI's variables.

        `wanted`: node to its raw disk and its seed. A node that has them already, from the same
        image and seed, keeps them and what was changed on it. A new overlay holds no checkpoint, so
        the lab has none from then on.
        """
        same = [node for node, made_of in wanted.items() if self._is_made_of(node, *made_of)]
        there = self.engine.disks() if same else ()
        stale = [node for node in wanted if node not in same or node not in there]
        for node in stale:
            base, seed = wanted[node]
            self.state.save(f"{node}/made", "")
            shutil.copyfile(seed, self.seed(node))
            self.state.save(f"{node}/base", str(base))
        if stale:
            self.renew(stale)
        for node in stale:
            self.state.save(f"{node}/made", str(wanted[node][0]))

    def _is_made_of(self, node: str, base: Path, seed: Path) -> bool:
        """Whether a node's disk and seed are from these; not while they are renewed."""
        made = Path(self.state.load(f"{node}/made") or "")
        # the cache may be another workstation's: the folder's name is the id of the content
        same = made.parent.name == base.parent.name
        return same and filecmp.cmp(self.seed(node), seed, shallow=False)

    def renew(self, nodes: Sequence[str]) -> None:
        """Give nodes that are off disks as in their images, and UEFI's first variables."""
        self.state.save("checkpoints", {})
        self.engine.renew([self.machine(node) for node in nodes])

    # --- one node

    def files(self, node: str) -> NodeFiles:
        """The files of a node. Raises InputError if the lab has no such node."""
        if node not in self.lab.nodes:
            raise InputError(
                f"there is no node {node}", hint="the nodes are: " + ", ".join(self.lab.nodes)
            )
        return self.state.node(node)

    def machine(self, node: str) -> hardware.Machine:
        """The hardware of a node."""
        source = source_of(self.lab, Path(self.state.load("artifacts")), self.settings)
        return source.machine(node, self.base(node), self.seed(node), self.ssh_port(node))

    def base(self, node: str) -> Path:
        """The raw disk in the cache that a node's overlay is put over."""
        return Path(self.state.load(f"{node}/base"))

    def seed(self, node: str) -> Path:
        """The node's own copy of its seed."""
        return self.files(node).folder / "seed.iso"

    def launch(self, node: str, load: str | None = None) -> None:
        """Start a node; with `load` it is paused in that checkpoint. Raises StageError."""
        machine, accelerator = self.machine(node), self.settings.accelerator
        self.engine.launch(machine, accelerator, self.credentials(), load)

    def credentials(self) -> dict[str, bytes]:
        """What the guest's systemd is given: the agent, the lab's SSH key, and leave to use it."""
        return {
            "ssh.authorized_keys.root": self.state.key.with_suffix(".pub").read_bytes(),
            "tmpfiles.extra": _ROOT_BY_KEY.encode(),
            "lvslab.agent": Path(guest_agent.__file__).read_bytes(),
            "systemd.extra-unit.lvslab-agent.service": _AGENT_UNIT.encode(),
            "systemd.unit-dropin.multi-user.target": _AGENT_WANTED.encode(),
        }

    def node_state(self, node: str) -> NodeState:
        """Whether a node runs, is paused (also because of a full disk), is off or unreachable."""
        return self.engine.state(node)

    def move(self, node: str, host: str, drop_checkpoints: bool = False) -> bool:
        """Bring a node to another libvirt host, live if it is on; False if it is there already.

        Raises InputError if the lab is on this host, or as `LibvirtEngine.move`.
        """
        self.files(node)
        engine = self.engine
        if not isinstance(engine, LibvirtEngine):
            raise InputError(
                "the lab runs on this host alone",
                where=self.lab.name,
                hint="give it libvirt hosts: lab up --host URI --host URI",
            )
        try:
            return engine.move(node, host, drop_checkpoints)
        finally:
            if drop_checkpoints:
                known = self.state.load("checkpoints") or {}
                left = [name for name in engine.saved(node) if name in known]
                self.state.save("checkpoints", {name: known[name] for name in left})

    def kill(self, node: str) -> None:
        """Power lost: the guest sees nothing coming."""
        self.engine.kill(node)

    def pause(self, node: str) -> None:
        """Pause a node: its processors stop until `resume`."""
        self.engine.pause(node)

    def resume(self, node: str) -> None:
        """Let a paused node continue."""
        self.engine.resume(node)

    def ask(
        self, node: str, argv: Sequence[str], *, stdin: str = "", timeout: float = 30
    ) -> agent.Answer:
        """Run a program inside a node and return how it ended."""
        return agent.ask(self.engine.agent(node), argv, stdin=stdin, timeout=timeout)

    def run(self, node: str, argv: Sequence[str], *, stdin: str = "", timeout: float = 30) -> str:
        """Run a program inside a node; its output, or StageError if its status is not 0."""
        return agent.check(self.engine.agent(node), argv, stdin=stdin, timeout=timeout)

    def existing(
        self, node: str, paths: Sequence[str], known: Sequence[str], *, wait: float
    ) -> list[str]:
        """Which of `paths` exist in a node, once that is not `known` or after `wait` seconds.

        Costs the node next to nothing. Raises StageError if its agent does not answer.
        """
        return agent.existing(self.engine.agent(node), paths, known, wait=wait, timeout=5)

    def answers(self, node: str, timeout: float = 5) -> bool:
        """Whether a node's agent answers."""
        try:
            return self.ask(node, ["true"], timeout=timeout).status == 0
        except StageError:
            return False

    def console_tail(self, node: str, lines: int = 8) -> str:
        """The last lines of a node's console; none if the engine has no console."""
        return last_lines(_plain(self.console(node)[-8192:].decode(errors="replace")), lines)

    def console(self, node: str) -> bytes:
        """What a node's console has said; nothing if the engine has no console."""
        try:
            return self.engine.console(node)
        except Unsupported:
            return b""

    def ssh_port(self, node: str) -> int:
        """The port of the namespace's loopback that leads to a node's SSH."""
        return hardware.ssh_port(self.lab, node)

    def ssh_command(self, node: str, words: Sequence[str] = ()) -> list[str]:
        """The ssh command that reaches a node from inside the namespace."""
        options = {
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "no",  # host keys are made at each first boot
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
        }
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        self.files(node)
        return [
            program("ssh"),
            *flags,
            "-i",
            str(self.state.key),
            *self.engine.ssh_options(node),
            "root@127.0.0.1",
            *words,
        ]

    # --- all nodes

    def each(self, nodes: Sequence[str], work: Callable[[str], Result]) -> dict[str, Result]:
        """Do `work` on all nodes at once; the first error is raised after all have ended."""
        return each(nodes, work)

    def wait_for_agents(self, nodes: Sequence[str], seconds: float) -> None:
        """Wait until each node's agent answers. Raises StageError with the console's last lines."""

        def known(node: str) -> bool:
            return self.answers(node) or self.node_state(node) == "off"

        def wait(node: str) -> None:
            if not until(lambda: known(node), seconds) or self.node_state(node) == "off":
                raise StageError(
                    f"the node did not boot within {seconds:.0f} s; its console ends with:"
                    + self.console_tail(node),
                    where=node,
                    log=self.files(node).console_log,
                )

        self.each(nodes, wait)


def _plain(text: str) -> str:
    """Console text without carriage returns and colour codes (ECMA-48 CSI sequences)."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")
