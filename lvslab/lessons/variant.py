"""The texts of a lesson's lab, as it is while all is well and as the lesson breaks it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lvslab.core.errors import InputError
from lvslab.core.places import ROLE_FOLDERS
from lvslab.lessons.lesson_folder import Lesson, edited
from lvslab.model.lab import Lab
from lvslab.model.lesson import LessonCheck, ModelPatch
from lvslab.model.load import load_roles
from lvslab.model.role import RoleSpec
from lvslab.render.lab_texts import NodeTexts, texts_of_node
from lvslab.render.texts import RenderedFile

LESSON_FILE = "/etc/lvslab/lesson.json"
"""Where a node has what its labcheck must know of a lesson."""

_CHECKLIST = "/etc/lvslab/checklist.json"


@dataclass(frozen=True)
class Signer:
    """The student whose machines these are, and the key of the codes that they print."""

    student: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Variant:
    """What each node has of files and units, in a healthy lab and in the broken one."""

    lesson: Lesson
    specs: Mapping[str, RoleSpec] = field(repr=False)
    signer: Signer | None = None

    @classmethod
    def of(cls, lesson: Lesson, signer: Signer | None = None) -> Variant:
        """The variant of a lesson. Raises BadInput if a role of its lab cannot be read."""
        return cls(lesson, load_roles(lesson.lab, ROLE_FOLDERS), signer)

    @cached_property
    def healthy(self) -> dict[str, NodeTexts]:
        """By node: the texts while all is well."""
        lab = self.lesson.lab
        by_role = {role: texts_of_node(lab, spec) for role, spec in self.specs.items()}
        return {node: by_role[this.role] for node, this in lab.nodes.items()}

    @cached_property
    def broken(self) -> dict[str, NodeTexts]:
        """By node: the texts that the lesson gives it, with what labcheck must know.

        Raises InputError if the lesson does not fit its lab.
        """
        return {node: self._broken(node) for node in self.lesson.lab.nodes}

    def _broken(self, node: str) -> NodeTexts:
        lesson, healthy = self.lesson, self.healthy[node]
        patches = [p for p in lesson.file.broken.model if not p.nodes or node in p.nodes]
        found = healthy
        if patches:
            spec = self.specs[lesson.lab.nodes[node].role]
            found = texts_of_node(self._changed(patches), spec)
        files, units = dict(found.files), list(found.units)
        # What must be so stays what it is: the checklist is that of the healthy lab.
        files[_CHECKLIST] = healthy.files[_CHECKLIST]
        for edit in lesson.file.broken.texts:
            if node in edit.nodes:
                where = f"the lesson {lesson.name}, {node}"
                old = files.get(edit.path, RenderedFile(""))
                new = edited(old.content, edit, where)
                files[edit.path] = RenderedFile(new, old.mode)
        for switch in lesson.file.broken.units:
            if node in switch.nodes:
                units = [*(unit for unit in units if unit not in switch.disable), *switch.enable]
        files[LESSON_FILE] = RenderedFile(lesson_text(lesson, node, self.signer))
        return NodeTexts(files, tuple(dict.fromkeys(units)))

    def _changed(self, patches: Sequence[ModelPatch]) -> Lab:
        """The lesson's lab with other values."""
        lesson, data = self.lesson, self.lesson.lab.model_dump(mode="json")
        for patch in patches:
            _patch(data, patch, f"the lesson {lesson.name}")
        try:
            return Lab.model_validate(data)
        except ValueError as error:
            raise InputError(
                f"the changed lab is none: {error}", where=f"the lesson {lesson.name}"
            ) from None


def _patch(data: dict[str, Any], patch: ModelPatch, where: str) -> None:
    for place, value in patch.put.items():
        holder, key = _holder(data, place, where, fill=True)
        holder[key] = value
    for place in patch.remove:
        holder, key = _holder(data, place, where)
        if holder.pop(key, None) is None:
            raise InputError(f"lab.yaml has no {place} to remove", where=where)


def _holder(
    data: dict[str, Any], place: str, where: str, *, fill: bool = False
) -> tuple[dict[str, Any], str]:
    """What holds the value at a place, and its key there. With `fill`, null becomes a section."""
    *above, key = place.split(".")
    holder: Any = data
    for step in above:
        if fill and isinstance(holder, dict) and step in holder and holder[step] is None:
            holder[step] = {}
        holder = holder.get(step) if isinstance(holder, dict) else None
    if not isinstance(holder, dict):
        raise InputError(
            f"lab.yaml has no {'.'.join(above)}", where=where, hint="compare it with lab.yaml"
        )
    return holder, key


def lesson_text(lesson: Lesson, machine: str, signer: Signer | None = None) -> str:
    """What the labcheck of a machine must know of a lesson, as JSON: no solution is in it."""
    file = lesson.file
    known: dict[str, Any] = {
        "lesson": lesson.name,
        "machine": machine,
        "title": file.title,
        "questions": [this.ask for this in file.questions.values()],
        "hints": list(file.hints),
        "checks": [_told(check) for check in file.checks if check.machine == machine],
    }
    if signer:
        known |= {"student": signer.student, "key": signer.key}
    return json.dumps(known, indent=1) + "\n"


def _told(check: LessonCheck) -> dict[str, Any]:
    return check.model_dump(mode="json", exclude={"machine", "starts"})
