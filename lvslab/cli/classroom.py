"""`class`, and of its verbs those that make files for each student, and grade them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from lvslab.cli.common import Verbs, as_json, epilog, everywhere, lab_file, session, verb
from lvslab.core.errors import CheckFailed
from lvslab.core.places import WORK

VERBS = {
    "make": "lvslab.cli.classroom:make",
    "grade": "lvslab.cli.classroom:grade",
    "up": "lvslab.cli.class_hosts:up",
    "check": "lvslab.cli.class_hosts:check",
    "down": "lvslab.cli.class_hosts:down",
}

_FOLDER = WORK / "artifacts" / "class"

out_class = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=_FOLDER,
    show_default="artifacts/class",
    help="The folder of the class.",
)


@click.command(
    "class",
    cls=Verbs,
    verbs=VERBS,
    epilog=epilog("class make class.csv\nclass grade codes.csv\nclass up class.csv --host URI"),
)
@everywhere
def class_() -> None:
    """A lab and a lesson for each student: as files, with grades, or running on libvirt hosts."""


@verb(
    "make",
    """
    class make class.csv
    class make class.csv --lesson router-ids --lesson firewall-112
    """,
)
@click.argument("students", metavar="CLASS.csv", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--lesson",
    "lessons",
    multiple=True,
    metavar="LESSON",
    help="A lesson that students may get; more than once. [default: all of the default lab]",
)
@click.option("--name", default=None, help="The name of the class. [default: that of the list]")
@out_class
@lab_file
@as_json
def make(
    students: Path, lessons: tuple[str, ...], name: str | None, folder: Path, lab_path: Path
) -> None:
    """Write a zip for each student of CLASS.csv and one for the teacher.

    The list has a line `id,name` first. From the id follow networks, router ids, priorities and the
    lesson. The images are the same for all. Keep class.key: it is in no student's file, and the
    codes are checked with it.
    """
    from lvslab.build import lockfile
    from lvslab.core.places import DATA
    from lvslab.lessons.class_files import Course, make
    from lvslab.lessons.lesson_folder import load_lesson, names
    from lvslab.lessons.students import read_class
    from lvslab.model.load import load_lab

    this = session()
    found = read_class(students)
    chosen = lessons or tuple(n for n in names() if not load_lesson(n).file.lab)
    epoch = lockfile.load(DATA / "packages.lock").epoch
    course = Course(name or students.stem, load_lab(lab_path), tuple(chosen), epoch)
    written = make(course, found, folder)
    this.emit("class", name=course.name, students=len(found), files=[str(p) for p in written])
    this.out(f"{len(found)} zips for students and {written[-1].name} in {folder}")


@verb("grade", "class grade codes.csv\nclass grade reports --html overview.html")
@click.argument("handed_in", metavar="CODES", type=click.Path(path_type=Path))
@out_class
@click.option("--csv", "table", type=click.Path(path_type=Path, dir_okay=False), help="As CSV.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="As a page of HTML.")
@as_json
def grade(handed_in: Path, folder: Path, table: Path | None, html: Path | None) -> None:
    """Check the codes of a file, or of all files of a folder, with the key of the class.

    Status 1 if a student has not passed. A code proves whose key made it, not that the machine was
    well: a student is root on it.
    """
    from lvslab.core.files import write_atomic
    from lvslab.lessons import class_grade

    this = session()
    overview = class_grade.grade(folder, handed_in)
    for row in overview.rows:
        this.emit("student", **asdict(row))
        rest = f", missing: {', '.join(row.missing)}" if row.missing else ""
        wrong = f", {row.invalid} codes are not valid" if row.invalid else ""
        this.out(f"{row.id:<12} {row.lesson:<20} {row.result}, {row.hints} hints{rest}{wrong}")
    for student in overview.strange:
        this.out(f"{student}: not in the list")
    this.out(class_grade.PROOF)
    if table:
        write_atomic(table, class_grade.as_csv(overview))
    if html:
        write_atomic(html, class_grade.as_html(overview))
    bad = [row for row in overview.rows if row.result != class_grade.PASSED]
    if bad:
        raise CheckFailed(f"{len(bad)} of {len(overview.rows)} students have not passed")
