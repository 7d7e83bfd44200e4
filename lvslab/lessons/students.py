"""A class: the list of its students, each with a lab of the same shape and other values."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from lvslab.core.errors import InputError
from lvslab.model import rules
from lvslab.model.lab import Lab
from lvslab.model.problems import BadInput, Problem

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_FIRST_ID, _IDS = 70, 150  # router ids
# Priorities: the difference is less than what the track file takes away (`rules`).
_HIGH, _HIGHS, _LESS, _LESSES = 140, 100, 15, 40
_FIRST_NET, _NETS, _STRIDE = 10, 230, 37  # third bytes; the stride has no factor of _NETS


@dataclass(frozen=True)
class Student:
    """A student of the list, and the line of the file."""

    id: str
    name: str
    line: int = field(default=0, compare=False)


def read_class(path: Path) -> list[Student]:
    """The students of a class.csv: a heading with `id` and perhaps `name`, commas or semicolons.

    Empty lines do not count. Raises BadInput with every line that is wrong.
    """
    lines = _text(path).splitlines()
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip(" ,;\t")]
    if not numbered:
        raise BadInput([Problem(str(path), 0, 0, "the list is empty", "write `id,name` above it")])
    first, heading = numbered[0]
    mark = ";" if heading.count(";") > heading.count(",") else ","
    columns = [word.strip().lower() for word in _row(heading, mark)]
    if "id" not in columns:
        what = "the heading has no column id"
        raise BadInput([Problem(str(path), first, 1, what, "write `id,name` as the first line")])
    found: list[Student] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for number, line in numbered[1:]:
        values = dict(zip(columns, map(str.strip, _row(line, mark)), strict=False))
        student = Student(values.get("id", ""), values.get("name", ""), number)
        what, right = _wrong(student, seen)
        if what:
            problems.append(Problem(str(path), number, 1, what, right))
        seen.setdefault(student.id.lower(), number)
        found.append(student)
    if problems or not found:
        nobody = Problem(str(path), first, 1, "there is no student", "write one a line")
        raise BadInput(problems or [nobody])
    return found


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        what = f"the byte 0x{data[error.start]:02X} is not UTF-8"
        right = "save the list as UTF-8 (in Excel: CSV UTF-8)"
        raise BadInput([Problem(str(path), number, 1, what, right)]) from None


def _row(line: str, mark: str) -> list[str]:
    return next(csv.reader(io.StringIO(line), delimiter=mark), [])


def _wrong(student: Student, seen: dict[str, int]) -> tuple[str, str]:
    if not _ID.fullmatch(student.id):
        what = f"the id is {student.id!r}" if student.id else "there is no id"
        return what, "an id has at most 32 letters (a to z), digits, ., _ and -"
    if first := seen.get(student.id.lower()):
        return f"{student.id} appears twice, first in line {first}", "give each student one line"
    return "", ""


# --- what is drawn from an id


def own_lab(lab: Lab, student: Student, course: str) -> Lab:
    """The lab of a student: other networks, router ids and priorities, from the id alone.

    `course` is the name of the class: the same ids have other values in another class.
    Raises InputError if the lab's addresses cannot be changed so.
    """
    drawn = hmac.new(course.encode(), student.id.lower().encode(), hashlib.sha256).digest()
    text = _other_networks(lab, drawn)
    data = json.loads(text)
    ids = range(_FIRST_ID + drawn[1] % _IDS, 255)
    high = _HIGH + drawn[2] % _HIGHS
    low = high - _LESS - drawn[3] % _LESSES
    for router_id, instance in zip(ids, data["vrrp_instances"].values(), strict=False):
        instance["router_id"] = router_id
        order = sorted(set(instance["priorities"].values()), reverse=True)
        new = [high, *(low - 10 * place for place in range(len(order)))]
        values = dict(zip(order, new, strict=False))
        instance["priorities"] = {n: values[p] for n, p in instance["priorities"].items()}
    found = Lab.model_validate(data)
    if wrong := list(rules.check(found)):
        raise InputError(f"the lab of {student.id} breaks a rule: {wrong[0].what}")
    return found


def _other_networks(lab: Lab, drawn: bytes) -> str:
    """The lab as JSON with other third bytes in its IPv4 networks of 24 bits."""
    prefixes = {}
    cidrs = [cidr for network in lab.networks.values() for cidr in network.cidrs]
    for place, cidr in enumerate(cidr for cidr in cidrs if isinstance(cidr, IPv4Network)):
        if cidr.prefixlen == 24:
            first, second, *_ = str(cidr.network_address).split(".")
            third = _FIRST_NET + (drawn[0] + _STRIDE * place) % _NETS
            old = str(cidr.network_address).removesuffix("0")
            prefixes[old] = f"{first}.{second}.{third}."
    text = json.dumps(lab.model_dump(mode="json"))
    known = "|".join(map(re.escape, prefixes)) or "(?!)"
    return re.sub(rf"(?<![\d.])({known})", lambda match: prefixes[match[1]], text)


def lesson_of(lessons: Sequence[str], student: Student, course: str) -> str:
    """Which of the lessons a student gets."""
    drawn = hmac.new(course.encode(), f"lesson {student.id.lower()}".encode(), hashlib.sha256)
    return lessons[drawn.digest()[0] % len(lessons)]


# --- codes


def student_key(class_key: bytes, student: str, lesson: str) -> str:
    """The key in a student's own files, from the class's key, which is in none of them."""
    text = f"{student.lower()} {lesson}".encode()
    return hmac.new(class_key, text, hashlib.sha256).hexdigest()[:32]


@dataclass(frozen=True)
class Code:
    """What a node said of a lesson, as its code has it; `valid` if the code is of that student."""

    student: str
    lesson: str
    node: str
    held: int
    checks: int
    hints: int
    valid: bool


CODE = re.compile(
    r"(?P<student>[A-Za-z0-9][A-Za-z0-9._-]{0,31})/(?P<lesson>[a-z0-9-]{1,40})/(?P<node>[a-z0-9-]{1,31})"
    r"/(?P<held>\d{1,3})-(?P<checks>\d{1,3})-(?P<hints>\d)/(?P<mac>[0-9a-f]{12})(?![0-9a-f])"
)
"""A code as `labcheck --lesson` prints it (roles/common/files/usr/local/lib/lvslab/lesson)."""


def codes_in(text: str, class_key: bytes) -> Iterator[Code]:
    """Every code in a text, checked with the class's key."""
    for match in CODE.finditer(text):
        said = match[0].rpartition("/")[0]
        key = student_key(class_key, match["student"], match["lesson"])
        right = hmac.new(key.encode(), said.encode(), hashlib.sha256).hexdigest()[:12]
        yield Code(
            match["student"],
            match["lesson"],
            match["node"],
            int(match["held"]),
            int(match["checks"]),
            int(match["hints"]),
            hmac.compare_digest(right, match["mac"]),
        )
