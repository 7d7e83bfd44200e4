"""A lesson in the running lab: begun from a checkpoint, solved, ended."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from lvslab.core.errors import CheckFailed, InputError
from lvslab.core.events import Listener, Note, silent
from lvslab.core.files import write_atomic
from lvslab.core.places import PROGRAM
from lvslab.lab import checklist, checkpoint, faults, warm
from lvslab.lab.cluster import Cluster
from lvslab.lessons import attempt
from lvslab.lessons.attempt import Attempt
from lvslab.lessons.lesson_folder import Lesson, edited, lab_file, load_lesson
from lvslab.lessons.variant import Variant, lesson_text
from lvslab.model.lesson import CLIENT, LabFault, Step
from lvslab.model.load import load_lab
from lvslab.render.lab_texts import difference

_SECONDS = 60.0
# What has to hear of a changed file while the machine runs, by the folder that it is in. (At boot
# each program reads its files by itself.) systemd-networkd takes away what is in no file any more
# when it reloads, not when it starts.
_HEAR: Mapping[str, tuple[str, ...]] = {
    "/etc/sysctl.d/": ("/usr/lib/systemd/systemd-sysctl",),
    "/etc/systemd/network/": ("networkctl", "reload"),
    "/etc/keepalived/": ("systemctl", "try-reload-or-restart", "keepalived.service"),
}
_UNITS = "/etc/systemd/system/"
# systemd reads all its files and runs all generators when it is reloaded: 3 to 5 s in emulation,
# so that is done once, if it must be. A unit with a script of System V, too, has a program in Perl
# run for the script (systemctl(1), "enable").
_SYSTEMCTL = ("env", "SYSTEMCTL_SKIP_SYSV=1", "systemctl")
_NOW = ("--now", "--no-reload")


def lesson_in(cluster: Cluster, name: str) -> Lesson:
    """A lesson in the running lab: its texts and answers are that lab's.

    Raises InputError if it starts from an example and another lab runs, BadInput if it does not
    fit the lab.
    """
    lesson = load_lesson(name, lab=cluster.lab)
    if example := lesson.file.lab:
        wanted = load_lab(lab_file(lesson.file)).model_copy(update={"name": cluster.lab.name})
        if cluster.lab != wanted:
            words = f" --lab examples/{example}/lab.yaml"
            raise InputError(
                f"{name} starts from the example {example}, and another lab runs",
                where=cluster.lab.name,
                hint=f"{PROGRAM} images{words}, then {PROGRAM} lab up{words}",
            )
    return lesson


def start(cluster: Cluster, lesson: Lesson, listener: Listener = silent) -> Attempt:
    """Bring the lab back to when all was well, and break it as the lesson says (`lesson_in`).

    Raises InputError if the lesson does not fit the lab.
    """
    variant = Variant.of(lesson)
    healthy, broken = variant.healthy, variant.broken
    attempt.forget(cluster)
    checkpoint.restore(cluster, _whole(cluster, listener))

    def change(node: str) -> None:
        changes = difference(healthy[node], broken[node])
        _change(cluster, lesson, node, changes, known=healthy[node].files.keys())

    cluster.each(list(lesson.lab.nodes), change)
    for fault in lesson.file.broken.faults:
        _break(cluster, fault)
    write_atomic(attempt.client_file(cluster), lesson_text(lesson, CLIENT))
    begun = Attempt.new(lesson.name)
    begun.keep(cluster)
    return begun


def end(cluster: Cluster) -> None:
    """Bring the lab back to when all was well; it is in no lesson then."""
    checkpoint.restore(cluster, _whole(cluster, silent))
    attempt.forget(cluster)


def solve(cluster: Cluster, lesson: Lesson, listener: Listener = silent) -> None:
    """Do the steps of the solution. Raises StageError with the step that cannot be done."""
    for step in lesson.file.solution:
        listener(Note(f"{step.node}: {step.says}"))
        _do(cluster, lesson, step)


def _whole(cluster: Cluster, listener: Listener) -> str:
    """The checkpoint of the healthy lab; it is made if there is none and all is well.

    Raises CheckFailed if there is none and the checklist does not pass.
    """
    if warm.CHECKPOINT not in checkpoint.names(cluster):
        findings = checklist.wait(cluster, _SECONDS)
        if bad := [finding for finding in findings if not finding.ok]:
            raise CheckFailed(
                f"a lesson starts from a healthy lab: {bad[0].node}: {bad[0].says}",
                hint=f"{PROGRAM} lab check shows more; {PROGRAM} lab down and lab up begin again",
            )
        listener(Note("a checkpoint of the healthy lab is saved"))
        checkpoint.save(cluster, warm.CHECKPOINT)
    return warm.CHECKPOINT


def _change(
    cluster: Cluster, lesson: Lesson, node: str, changes: Mapping[str, Any], known: Collection[str]
) -> None:
    """Give a running node other texts, as a seed does at boot; it has those that are `known`."""
    if off := changes["disable"]:
        cluster.run(node, [*_SYSTEMCTL, "disable", *_NOW, *off], timeout=_SECONDS)
    for path, file in changes["files"].items():
        _write(cluster, node, path, file["content"], file["mode"])
    if changes["remove"]:
        cluster.run(node, ["rm", "-f", *changes["remove"]])
    for command in _commands(lesson, node, changes, known):
        cluster.run(node, command, timeout=_SECONDS)


def _commands(
    lesson: Lesson, node: str, changes: Mapping[str, Any], known: Collection[str]
) -> Iterator[list[str]]:
    """What lets running programs hear of changed texts, in order.

    A unit whose own file is new need not be announced: systemd looks for it when it is started.
    """
    paths = [*changes["files"], *changes["remove"]]
    units = [path.removeprefix(_UNITS) for path in paths if path.startswith(_UNITS)]
    old = [unit for unit in units if "/" in unit or _UNITS + unit in known]
    if old:
        yield ["systemctl", "daemon-reload"]
    for folder, command in _HEAR.items():
        if any(path.startswith(folder) for path in paths):
            yield list(command)
    again = [unit for unit in old if "/" not in unit and _UNITS + unit in changes["files"]]
    for switch in lesson.file.broken.units:
        again += switch.restart if node in switch.nodes else ()
    if again:
        yield ["systemctl", "try-restart", *again]
    if changes["enable"]:
        yield [*_SYSTEMCTL, "enable", *_NOW, *changes["enable"]]
    for state in lesson.file.broken.running:
        if node in state.nodes:
            yield list(state.run)


def _write(cluster: Cluster, node: str, path: str, text: str, mode: str = "0644") -> None:
    cluster.run(node, ["install", "-D", "-m", mode, "/dev/stdin", path], stdin=text)


def _break(cluster: Cluster, fault: LabFault) -> None:
    if fault.kind == "deaf":
        faults.deafen(cluster, [fault.node])
    else:
        assert fault.interface  # `lesson_folder`: cut and silent have one
        faults.cut(cluster, fault.node, fault.interface, silent=fault.kind == "silent")


def _do(cluster: Cluster, lesson: Lesson, step: Step) -> None:
    if step.path:
        old = "" if step.text else cluster.run(step.node, ["cat", step.path])
        where = f"the lesson {lesson.name}, {step.node}"
        _write(cluster, step.node, step.path, edited(old, step, where))
    if step.run:
        cluster.run(step.node, list(step.run), timeout=_SECONDS)
    if step.heal:
        faults.heal(cluster, step.node, step.heal)
