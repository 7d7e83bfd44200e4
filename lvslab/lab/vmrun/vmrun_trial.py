"""Each thing that the lab asks of vmrun, done once on one machine, for a report to send back.

Nobody who builds this has a VMware. A step does something and looks whether it happened: in what
vmrun says, and in the guest. The report is made to be published: see `scrubbed`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lvslab.core.errors import LabError, StageError
from lvslab.core.waiting import until
from lvslab.lab.agents import agent
from lvslab.lab.hardware import Machine
from lvslab.lab.network import wired_interfaces
from lvslab.lab.vmrun.vmrun_engine import VmrunEngine
from lvslab.model.lab import Lab

_SNAPSHOT = "selftest"
_MARK = "/run/lvslab-selftest"
_LABCHECK = "/usr/local/bin/labcheck"
_BOOT_SECONDS = 600.0
_SOON = 30.0


@dataclass(frozen=True)
class TrialStep:
    """What a step came to; `tried` is False if a step that it needs had failed."""

    step: str
    ok: bool
    seconds: float = 0.0
    says: str = ""
    tried: bool = True


class Selftest:
    """The steps, on the machine of one node, which is off. `dry`: nothing is looked at."""

    def __init__(self, engine: VmrunEngine, lab: Lab, machine: Machine, dry: bool = False) -> None:
        self._engine, self._lab, self._machine, self._dry = engine, lab, machine, dry
        self._node = machine.name
        self._boot = ""

    def steps(self) -> dict[str, Callable[[], None]]:
        """What is done, in this order; the first three are needed by all others."""
        return {
            "start without a window": self._start,
            "the guest's tools answer": self._wait_for_tools,
            "a program runs as root in the guest": self._run_as_root,
            "the guest's files are seen": self._look,
            "labcheck answers": self._labcheck,
            "a cable is pulled and put in": self._cable,
            "pause and unpause": self._pause,
            "a snapshot of a paused machine": self._save,
            "back to the snapshot, with its memory": self._restore,
            "stop soft": self._stop_soft,
            "start again, stop hard": self._stop_hard,
            "the snapshot is removed": self._forget,
        }

    def perform(self) -> Iterator[TrialStep]:
        """Do all steps; what was made is removed at the end."""
        able = True
        for number, (name, step) in enumerate(self.steps().items()):
            if not able:
                yield TrialStep(name, ok=False, says="a step before it failed", tried=False)
                continue
            start, says = time.monotonic(), ""
            try:
                step()
            except LabError as error:
                says = error.message
            able = not says or number > 2
            yield TrialStep(name, not says, time.monotonic() - start, says)
        self._clean()

    # --- the steps

    def _start(self) -> None:
        self._engine.launch(self._machine, "vmware", {})
        self._expect_state("running")

    def _wait_for_tools(self) -> None:
        said = ""

        def answer() -> bool:
            nonlocal said
            try:
                return self._ask("true").status == 0
            except StageError as error:
                said = error.message
                return False

        if not self._until(answer, _BOOT_SECONDS):
            raise StageError(f"no answer within {_BOOT_SECONDS:.0f} s: {said}")
        self._boot = self._boot_id()

    def _run_as_root(self) -> None:
        self._expect(self._ask("id", "-u").out.strip() == "0", "the program is not root's")

    def _look(self) -> None:
        if not self._dry:
            way = self._engine.agent(self._node)
            there = agent.existing(way, ["/proc", "/nowhere"], [], wait=1, timeout=_SOON)
            self._expect(there == ["/proc"], f"found {there}")

    def _labcheck(self) -> None:
        answer = self._ask(_LABCHECK, "--json")
        self._expect(answer.status in (0, 1), f"status {answer.status}: {answer.err[-200:]}")
        if not self._dry:
            self._expect(bool(json.loads(answer.out)), "it has no findings")

    def _cable(self) -> None:
        interface = next(iter(wired_interfaces(self._lab, self._node)))
        self._engine.plug(self._node, interface, False)
        gone = self._until(lambda: not self._carrier(interface), _SOON)
        self._engine.plug(self._node, interface, True)
        back = self._until(lambda: self._carrier(interface), _SOON)
        self._expect(gone, f"the guest does not see that the carrier of {interface} goes")
        self._expect(back, f"the guest does not see that the carrier of {interface} comes back")

    def _pause(self) -> None:
        self._engine.pause(self._node)
        self._expect_state("paused")  # and `list` still has it
        self._engine.resume(self._node)
        self._expect_state("running")
        self._ask("true")

    def _save(self) -> None:
        self._engine.pause(self._node)
        try:
            self._engine.save(self._node, _SNAPSHOT)
        finally:
            self._engine.resume(self._node)

    def _restore(self) -> None:
        self._ask("touch", _MARK)
        self._engine.kill(self._node)
        self._expect_state("off")
        self._engine.launch(self._machine, "vmware", {}, load=_SNAPSHOT)
        self._expect_state("paused")
        self._engine.resume(self._node)
        self._expect(self._boot_id() == self._boot, "the machine has booted again")
        self._expect(self._ask("cat", _MARK).status != 0, "what came after the snapshot is there")

    def _stop_soft(self) -> None:
        self._engine.press_power(self._node)
        off = self._until(lambda: self._engine.state(self._node) == "off", 120)
        self._expect(off, "the machine is still on after 120 s")

    def _stop_hard(self) -> None:
        self._engine.launch(self._machine, "vmware", {})
        self._engine.kill(self._node)
        self._expect_state("off")

    def _forget(self) -> None:
        self._engine.forget(self._node)

    # --- within

    def _clean(self) -> None:
        """Off, without our snapshot; what fails now has failed in a step before."""
        try:
            self._engine.kill(self._node)
            self._engine.forget(self._node)
        except LabError:
            return

    def _ask(self, *words: str) -> agent.Answer:
        return agent.ask(self._engine.agent(self._node), words)

    def _boot_id(self) -> str:
        return self._ask("cat", "/proc/sys/kernel/random/boot_id").out

    def _carrier(self, interface: str) -> bool:
        return self._ask("cat", f"/sys/class/net/{interface}/carrier").out.strip() == "1"

    def _until(self, check: Callable[[], bool], seconds: float) -> bool:
        return check() or self._dry or until(check, seconds)

    def _expect_state(self, wanted: str) -> None:
        state = self._engine.state(self._node)
        self._expect(state == wanted, f"the machine is {state}, not {wanted}")

    def _expect(self, good: bool, says: str) -> None:
        if not good and not self._dry:
            raise StageError(says, where=self._node)
