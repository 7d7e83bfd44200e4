"""A class: its list, a lab for each student, files, and grades from codes."""

from __future__ import annotations

import csv
import io
import json
import stat
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pycdlib
import pytest
import yaml

from lvslab.cli import main
from lvslab.core.errors import InputError
from lvslab.lessons import class_files, class_grade
from lvslab.lessons.lesson_folder import load_lesson, names
from lvslab.lessons.rehearsal import declared, failing, without_wavering
from lvslab.lessons.students import Student, lesson_of, own_lab, read_class, student_key
from lvslab.lessons.variant import LESSON_FILE, Variant
from lvslab.model.lab import Lab
from lvslab.model.problems import BadInput
from tests.simulated.cluster import Simulated
from tests.simulated.grading import LESSON, findings, solve

OF_DEFAULT = [name for name in names() if not load_lesson(name).file.lab]
ANNA = Student("a1", "Anna Öztürk")


HEADING = "the heading has no column id; write `id,name` as the first line"
AN_ID = "an id has at most 32 letters (a to z), digits, ., _ and -"
AS_UTF8 = "save the list as UTF-8 (in Excel: CSV UTF-8)"


# --- the list


def listed(tmp_path: Path, text: str | bytes) -> list[Student]:
    path = tmp_path / "class.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_class(path)


@pytest.mark.parametrize(
    "text",
    [
        "id,name\na1,Anna Öztürk\n",
        "\ufeffID;Name\r\n\r\na1;Anna Öztürk\r\n;\r\n",
        'name,id\n"Anna Öztürk", a1\n\n\n',
    ],
)
def test_lists_that_are_read(tmp_path: Path, text: str) -> None:
    assert listed(tmp_path, text) == [ANNA]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["class.csv: the list is empty; write `id,name` above it"]),
        ("name\nAnna\n", [f"class.csv:1:1: {HEADING}"]),
        ("id\n", ["class.csv:1:1: there is no student; write one a line"]),
        (
            "id,name\na1,A\n\nA1,B\n,C\nä,D\n",
            [
                "class.csv:4:1: A1 appears twice, first in line 2; give each student one line",
                f"class.csv:5:1: there is no id; {AN_ID}",
                f"class.csv:6:1: the id is 'ä'; {AN_ID}",
            ],
        ),
        (
            "id,name\na1,Jürgen\n".encode("latin-1"),
            [f"class.csv:2:1: the byte 0xFC is not UTF-8; {AS_UTF8}"],
        ),
    ],
)  # fmt: skip
def test_lists_that_are_refused_with_the_line(
    tmp_path: Path, text: str | bytes, says: list[str]
) -> None:
    with pytest.raises(BadInput) as caught:
        listed(tmp_path, text)
    assert str(caught.value).replace(f"{tmp_path}/", "").splitlines() == says


# --- a student's lab


def test_a_student_s_lab_follows_from_the_id_alone(lab: Lab) -> None:
    assert own_lab(lab, ANNA, "c") == own_lab(lab, Student("A1", "somebody else"), "c")
    assert own_lab(lab, ANNA, "c") != own_lab(lab, ANNA, "d") != lab


def test_a_class_has_many_labs_and_each_obeys_the_rules(lab: Lab) -> None:
    """`own_lab` asks the rules; what a lesson needs to know of the shape stays the same."""
    labs = [own_lab(lab, Student(f"s{n}", ""), "c") for n in range(30)]
    assert len({str(this.vrrp_instances["VI_1"].address) for this in labs}) > 20
    assert len({this.vrrp_instances["VI_1"].router_id for this in labs}) > 20
    for this in labs:
        assert this.owners("VI_1") == lab.owners("VI_1")
        assert len({network.cidrs for network in this.networks.values()}) == 4


@cache
def variant_for(name: str, student: str) -> Variant:
    lab = own_lab(load_lesson(name).lab, Student(student, ""), "c")
    return Variant.of(load_lesson(name, lab=lab))


@pytest.mark.parametrize("name", OF_DEFAULT)
def test_each_lesson_is_proven_in_a_student_s_lab(name: str) -> None:
    variant = variant_for(name, "s17")
    file, faults = variant.lesson.file, variant.lesson.file.broken.faults
    simulated = Simulated(variant, variant.broken, faults)
    found = failing(findings(simulated, variant.lesson))
    assert without_wavering(found, file) == declared(file)
    solve(simulated, variant.lesson, file.solution)
    assert failing(findings(simulated, variant.lesson)) == {}


def test_a_lab_whose_addresses_break_a_rule_is_refused(lab: Lab) -> None:
    data = lab.model_dump(mode="json")
    data["vrrp_instances"] = {
        f"VI_{n}": {**data["vrrp_instances"]["VI_1"], "router_id": 1} for n in (1, 2)
    }
    with pytest.raises(InputError, match="the lab of a1 breaks a rule: "):
        own_lab(Lab.model_validate(data), ANNA, "c")


# --- files and grades


@pytest.fixture(scope="module")
def made(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("class")
    students = [Student(f"s{n}", f"Jürgen {n}") for n in range(30)]
    course = class_files.Course("net 1", lab, ("forwarding-off", "router-ids"), 1_700_000_000)
    written = class_files.make(course, students, folder)
    assert len(written) == 31
    yield folder


def told(folder: Path, student: str, node: str) -> dict[str, Any]:
    """The lesson.json that a student's seed brings to a node."""
    with zipfile.ZipFile(folder / f"{student}.zip") as archive:
        iso = io.BytesIO(archive.read(f"seeds/{node}.iso"))
    image, text = pycdlib.PyCdlib(), io.BytesIO()
    image.open_fp(iso)
    image.get_file_from_iso_fp(text, rr_path="/user-data")
    image.close()
    config = yaml.safe_load(text.getvalue())
    files = {entry["path"]: entry["content"] for entry in config["write_files"]}
    texts = json.loads(files["/etc/lvslab/texts.json"])
    found: dict[str, Any] = json.loads(texts["files"][LESSON_FILE]["content"])
    return found


def code(folder: Path, student: str, node: str, held: int = 5) -> str:
    """What `labcheck --lesson` prints on a node of a student."""
    found = [{"ok": n < held, "because": ""} for n in range(5)]
    return f"code: {LESSON.code(told(folder, student, node), found, '/nowhere')}\n"


NODES = ("lvs1", "lvs2", "rs1", "rs2")


@pytest.mark.slow
def test_the_key_of_the_class_is_in_no_student_s_file(made: Path) -> None:
    key = (made / class_files.KEY).read_text().strip()
    assert stat.S_IMODE((made / class_files.KEY).stat().st_mode) == 0o600
    for path in made.glob("s*.zip"):
        with zipfile.ZipFile(path) as archive:
            assert not any(key.encode() in archive.read(name) for name in archive.namelist())
    with zipfile.ZipFile(made / class_files.TEACHER) as archive:
        assert archive.read(class_files.KEY).decode().strip() == key
        assert "solutions/router-ids.txt" in archive.namelist()
        rows = list(csv.DictReader(archive.read("students.csv").decode().splitlines()))
    assert [row["name"] for row in rows] == [f"Jürgen {n}" for n in range(30)]
    assert {row["lesson"] for row in rows} == {"forwarding-off", "router-ids"}


@pytest.mark.slow
def test_a_class_of_thirty_is_graded(made: Path, tmp_path: Path) -> None:
    handed_in = tmp_path / "reports"
    handed_in.mkdir()
    for n in range(3, 30):
        text = "".join(code(made, f"s{n}", node) for node in NODES)
        (handed_in / f"s{n}.txt").write_text("Dear teacher,\n" + text)
    whole = [code(made, "s0", node) for node in NODES]
    (handed_in / "s0.txt").write_text("".join(whole[:-1]) + code(made, "s0", "rs2", held=4))
    # s1 gives back what another has, with another name; s2 invents one.
    (handed_in / "s1.txt").write_text("".join(whole).replace("s0/", "s1/"))
    (handed_in / "s2.txt").write_text(
        f"s2/router-ids/lvs1/5-5-0/{'0' * 12}\ns99/x/lvs1/1-1-0/{'1' * 12}"
    )
    overview = class_grade.grade(made, handed_in)
    rows = {row.id: row for row in overview.rows}
    assert [rows[f"s{n}"].result for n in range(3, 30)] == [class_grade.PASSED] * 27
    assert (rows["s0"].result, rows["s0"].missing) == (class_grade.OPEN, ("rs2",))
    assert (rows["s1"].result, rows["s1"].invalid) == (class_grade.NOTHING, 4)
    assert (rows["s2"].result, rows["s2"].invalid) == (class_grade.NOTHING, 1)
    assert overview.strange == ("s99",)
    table = list(csv.DictReader(class_grade.as_csv(overview).splitlines()))
    assert table[0]["missing"] == "rs2" and table[1]["invalid codes"] == "4"
    page = class_grade.as_html(overview)
    assert "27 of 30 passed." in page and "Jürgen 7" in page and class_grade.PROOF[:20] in page


@pytest.mark.slow
def test_a_code_of_another_lesson_does_not_count(made: Path, tmp_path: Path, lab: Lab) -> None:
    course = class_files.Course("net 1", lab, ("forwarding-off", "router-ids"), 0)
    own = lesson_of(course.lessons, Student("s5", ""), "net 1")
    key = class_files.key_in(made)
    other = next(name for name in course.lessons if name != own)
    known = {**told(made, "s5", "lvs1"), "lesson": other}
    known["key"] = student_key(key, "s5", other)
    (tmp_path / "c").write_text(LESSON.code(known, [{"ok": True, "because": ""}], "/nowhere"))
    row = class_grade.grade(made, tmp_path / "c").rows[5]
    assert (row.result, row.invalid) == (class_grade.NOTHING, 1)


@pytest.mark.slow
def test_what_is_hidden_does_not_count_as_held(made: Path) -> None:
    found = [{"ok": True, "because": "the link is down"}, {"ok": True, "because": ""}]
    assert "/1-2-0/" in LESSON.code(told(made, "s0", "lvs1"), found, "/nowhere")


def test_a_name_that_a_spreadsheet_would_compute() -> None:
    row = class_grade.Row("s1", "=1+1", "x", class_grade.PASSED, NODES, (), 0, 0)
    text = class_grade.as_csv(class_grade.Overview("c", (row,), ()))
    assert "s1,'=1+1,x,passed" in text


@pytest.mark.slow
def test_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.csv").write_text("id,name\nx1,Zoë\n")
    folder = ["--folder", str(tmp_path / "out")]
    made = ["class", "make", str(tmp_path / "net.csv"), "--lesson", "router-ids", *folder]
    assert main.main(made) == 0
    key = (tmp_path / "out" / class_files.KEY).read_text()
    assert main.main(made) == 0  # again: codes that were handed in stay valid
    assert (tmp_path / "out" / class_files.KEY).read_text() == key
    codes = tmp_path / "codes.csv"
    codes.write_text("".join(code(tmp_path / "out", "x1", node) for node in NODES))
    page, table = tmp_path / "o.html", tmp_path / "o.csv"
    assert (
        main.main(["class", "grade", str(codes), *folder, "--html", str(page), "--csv", str(table)])
        == 0
    )
    assert "router-ids           passed, 0 hints\n" in capsys.readouterr().out
    assert "Zoë" in page.read_text() and "Zoë" in table.read_text()
    codes.write_text("nothing\n")
    assert main.main(["class", "grade", str(codes), *folder]) == 1
    assert "1 of 1 students have not passed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["grade", "nowhere.csv"], "there is nothing to grade"),
        (["make", "nowhere.csv"], "nowhere.csv: cannot be read: No such file"),
        (["make", "LIST", "--lesson", "arp-flux"], "arp-flux starts from an example, and each"),
        (["make", "LIST", "--lesson", "nope"], "there is no lesson nope"),
    ],
)
def test_what_cannot_be_made_or_graded(
    tmp_path: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / class_files.CLASS).write_text('{"class": "c", "nodes": [], "students": []}')
    class_files.key_in(tmp_path, make=True)
    (tmp_path / "list.csv").write_text("id\nx\n")
    words = [str(tmp_path / "list.csv") if word == "LIST" else word for word in words]
    assert main.main(["class", *words, "--folder", str(tmp_path)]) == 2
    assert says in capsys.readouterr().err


def test_a_folder_that_is_no_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "codes").write_text("x")
    words = ["class", "grade", str(tmp_path / "codes"), "--folder", str(tmp_path)]
    assert main.main(words) == 2
    (tmp_path / class_files.CLASS).write_text("{}")
    assert main.main(words) == 2
    (tmp_path / class_files.KEY).write_text("no key")
    assert main.main(words) == 2
    said = capsys.readouterr().err
    for words_of_it in ("there is no class here", "there is no key of a class", "is damaged"):
        assert words_of_it in said
