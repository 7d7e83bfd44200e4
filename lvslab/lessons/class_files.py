"""What a class is given: for each student the seeds of a lesson in a lab of their own.

The images are the same for all. A student's zip has the seeds, the sheet and the scripts for the
networks; the teacher's has the key, the list of all values, and the solutions.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from lvslab.core.errors import InputError
from lvslab.core.files import write_atomic
from lvslab.formats import zip as zip_format
from lvslab.lessons.lesson_folder import SHEET, Lesson, load_lesson
from lvslab.lessons.lesson_seeds import write_seeds
from lvslab.lessons.students import Student, lesson_of, own_lab, student_key
from lvslab.lessons.variant import Signer
from lvslab.model.lab import Lab
from lvslab.render.handout import NETWORKS_PS1, NETWORKS_SH, handout
from lvslab.render.texts import render

KEY, CLASS, TEACHER, LIST = "class.key", "class.json", "teacher.zip", "students.csv"
_KEY_BYTES = 32


@dataclass(frozen=True)
class Course:
    """A class: its name, the lab and the lessons that its students draw from, when it was made."""

    name: str
    lab: Lab
    lessons: tuple[str, ...]
    epoch: int


def key_in(folder: Path, *, make: bool = False) -> bytes:
    """The key of the class in a folder. Raises InputError if there is none and none is to be made.

    A key that is there stays: codes that were printed with it stay valid.
    """
    path = folder / KEY
    if not path.exists() and make:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
    try:
        return bytes.fromhex(path.read_text().strip())
    except FileNotFoundError:
        hint = "name the folder that `class make` has written"
        raise InputError("there is no key of a class", where=str(path), hint=hint) from None
    except ValueError:
        hint = "take it from teacher.zip again"
        raise InputError("the key is damaged", where=str(path), hint=hint) from None


def make(course: Course, students: Sequence[Student], folder: Path) -> list[Path]:
    """Write a zip for each student and one for the teacher; the paths of all.

    Raises InputError if a lesson does not fit the lab.
    """
    for name in course.lessons:
        if load_lesson(name).file.lab:
            what = f"{name} starts from an example, and each student has a lab of their own"
            raise InputError(what, hint="choose lessons of the default lab: lesson list")
    key = key_in(folder, make=True)
    jobs = [(course, student, key, folder) for student in students]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        written = list(pool.map(_student, jobs, chunksize=4))
    write_atomic(folder / CLASS, _class_text(course, students))
    teacher = {
        KEY: (folder / KEY).read_text(),
        CLASS: _class_text(course, students),
        LIST: _list(course, students),
        **{f"solutions/{name}.txt": _solution(load_lesson(name)) for name in course.lessons},
    }
    members = [zip_format.member(name, text.encode()) for name, text in teacher.items()]
    zip_format.write(folder / TEACHER, members, course.epoch)
    return [*written, folder / TEACHER]


def lesson_for(course: Course, student: Student) -> Lesson:
    """The lesson of a student, in the student's own lab."""
    lab = own_lab(course.lab, student, course.name)
    return load_lesson(lesson_of(course.lessons, student, course.name), lab=lab)


def _student(job: tuple[Course, Student, bytes, Path]) -> Path:
    """Write the zip of a student (in a process of its own)."""
    course, student, key, folder = job
    lesson = lesson_for(course, student)
    signer = Signer(student.id, student_key(key, student.id, lesson.name))
    texts = handout(lesson.lab)
    values = {"student": student, "lesson": lesson, "course": course.name}
    members = [
        zip_format.member("READ-ME.txt", render("class-read-me.txt.j2", values).encode()),
        zip_format.member(NETWORKS_SH, texts[NETWORKS_SH].encode(), 0o755),
        zip_format.member(NETWORKS_PS1, texts[NETWORKS_PS1].encode()),
    ]
    with tempfile.TemporaryDirectory() as name:
        for path in write_seeds(lesson, Path(name), signer):
            inside = SHEET if path.name == SHEET else f"seeds/{path.name}"
            members.append(zip_format.member(inside, path.read_bytes()))
    zip_format.write(folder / f"{student.id}.zip", members, course.epoch)
    return folder / f"{student.id}.zip"


def _class_text(course: Course, students: Sequence[Student]) -> str:
    """What grading needs: who there is, and whose code must be there for which node."""
    data = {
        "class": course.name,
        "nodes": list(course.lab.nodes),
        "students": [
            {"id": s.id, "name": s.name, "lesson": lesson_of(course.lessons, s, course.name)}
            for s in students
        ],
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _list(course: Course, students: Sequence[Student]) -> str:
    """What each student got, as CSV."""
    file = io.StringIO()
    out = csv.writer(file, lineterminator="\n")
    out.writerow(["id", "name", "lesson", "address", "network", "router ids", "priorities"])
    for student in students:
        lab = own_lab(course.lab, student, course.name)
        first = next(iter(lab.vrrp_instances.values()))
        ids = " ".join(str(this.router_id) for this in lab.vrrp_instances.values())
        priorities = " ".join(f"{node}={p}" for node, p in first.priorities.items())
        lesson = lesson_of(course.lessons, student, course.name)
        cidr = lab.networks[first.network].cidrs[0]
        out.writerow([student.id, student.name, lesson, first.address, cidr, ids, priorities])
    return file.getvalue()


def _solution(lesson: Lesson) -> str:
    lines = [f"{lesson.name}: {lesson.file.title}", ""]
    for number, step in enumerate(lesson.file.solution, start=1):
        lines.append(f"{number}. {step.node}: {step.says}")
        lines += [f"   edit {step.path}"] if step.path else []
        lines += [f"   {' '.join(step.run)}"] if step.run else []
    lines += ["", "Addresses are those of the default lab; a student's own are in students.csv."]
    return "\n".join(lines) + "\n"
