"""lab.yaml and role.yaml: what is right loads, what is wrong is said in full and in place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lvslab.core.errors import InputError
from lvslab.model import load

ROOT = Path(__file__).parents[3]
BAD = ROOT / "tests" / "bad"
LAB_CASES = yaml.safe_load((BAD / "lab-cases.yaml").read_text())
ROLE_CASES = yaml.safe_load((BAD / "role-cases.yaml").read_text())
PYDANTICS_OWN_WORDS = ("pydantic", "Input should", "input_value", "Extra inputs", "Field required")


def changed(text: str, changes: dict[str, str]) -> str:
    """A text with replacements, each of which must fit exactly once."""
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
        text = text.replace(old, new)
    return text


def complaints(error: load.BadInput, below: Path) -> list[str]:
    """The messages of an error, with file names as seen from a folder."""
    return [line.replace(f"{below}/", "") for line in str(error).splitlines()]


@pytest.mark.parametrize("case", LAB_CASES, ids=lambda case: case["case"])
def test_a_bad_lab_is_reported_in_full(case: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(changed((BAD / "lab.yaml").read_text(), case["change"]))
    with pytest.raises(load.BadInput) as caught:
        load.load_lab(path, [BAD / "roles"])
    assert complaints(caught.value, tmp_path) == [f"lab.yaml:{says}" for says in case["says"]]
    assert isinstance(caught.value, InputError)
    assert caught.value.status == 2
    assert not any(words in str(caught.value) for words in PYDANTICS_OWN_WORDS)
    places = [(problem.line, problem.column) for problem in caught.value.problems]
    assert places == sorted(places)


@pytest.mark.parametrize("case", ROLE_CASES, ids=lambda case: case["case"])
def test_a_bad_role_is_reported_in_full(case: dict[str, Any], tmp_path: Path) -> None:
    for role in ("common", "director"):
        if role in case:
            (tmp_path / role).mkdir()
            (tmp_path / role / "role.yaml").write_text(case[role])
    with pytest.raises(load.BadInput) as caught:
        load.load_role([tmp_path], "director")
    assert complaints(caught.value, tmp_path) == case["says"]


def test_there_are_enough_cases_and_each_has_a_name_of_its_own() -> None:
    names = [case["case"] for case in LAB_CASES + ROLE_CASES]
    assert len(names) >= 70
    assert len(set(names)) == len(names)


def test_the_lab_of_the_article_loads() -> None:
    for path in (ROOT / "lab.yaml", BAD / "lab.yaml"):
        lab = load.load_lab(path, [BAD / "roles"])
        assert lab.owners("VI_3") == ["lvs2", "lvs1"]
        assert str(lab.instance_interface("VI_1")) == "192.168.50.1/24"
        assert lab.client_network == "VMnet1"
        assert {str(a) for a in lab.real_servers("web2").values()} == {
            "192.168.200.10",
            "192.168.200.20",
        }


def test_the_roles_of_the_repository_load() -> None:
    lab = load.load_lab(ROOT / "lab.yaml")
    roles = load.load_roles(lab, [ROOT / "roles"])
    assert set(roles) == {"director", "real-server"}
    for role in roles.values():
        assert "keepalived" in role.packages
        assert len(set(role.packages)) == len(role.packages)


def write_role(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir()
    (folder / name / "role.yaml").write_text(f"name: {name}\nsummary: a role\n{text}")


def test_common_comes_first_and_the_role_has_the_last_word(tmp_path: Path) -> None:
    write_role(
        tmp_path,
        "common",
        "packages: [sudo, nano]\nsysctl: {a.b: 1, c.d: 2}\nmodules: [dummy]\n"
        "enable: [ssh.service]\nhandle: [{paths: [/var/log/*], rule: drop, why: logs}]\n",
    )
    write_role(
        tmp_path,
        "director",
        "packages: [nano, keepalived]\nsysctl: {c.d: 3}\nmask: [apt-daily.timer]\n"
        "handle: [{paths: [/var/log/*], rule: empty, why: logs}]\n",
    )
    role = load.load_role([tmp_path], "director")
    assert role.name == "director"
    assert role.packages == ("sudo", "nano", "keepalived")
    assert role.sysctl == {"a.b": 1, "c.d": 3}
    assert role.modules == ("dummy",)
    assert role.enable == ("ssh.service",)
    assert role.mask == ("apt-daily.timer",)
    assert [entry.rule for entry in role.handle] == ["empty", "drop"]  # the first that fits counts


def test_a_role_without_a_folder(tmp_path: Path) -> None:
    write_role(tmp_path, "director", "packages: [keepalived]\n")
    lab = load.load_lab(ROOT / "lab.yaml")
    with pytest.raises(load.BadInput) as caught:
        load.load_roles(lab, [tmp_path])
    assert complaints(caught.value, tmp_path) == [
        "real-server/role.yaml: cannot be read: No such file or directory; make it, or give "
        "another path"
    ]


def test_mistakes_of_the_lab_and_of_all_roles_at_once(tmp_path: Path) -> None:
    write_role(tmp_path, "director", "packages: [keepalived]\nenabled: []\n")
    write_role(tmp_path, "real-server", "packages: apache2\n")
    lab = tmp_path / "lab.yaml"
    lab.write_text(changed((BAD / "lab.yaml").read_text(), {"router_id: 53": "router_id: 51"}))
    with pytest.raises(load.BadInput) as caught:
        load.load_all(lab, [tmp_path])
    assert [line.split(": ")[0] for line in complaints(caught.value, tmp_path)] == [
        "director/role.yaml:4:1",
        "lab.yaml:49:38",
        "real-server/role.yaml:3:11",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            None,
            "lab.yaml: cannot be read: No such file or directory; make it, or give another path",
        ),
        (b"", "lab.yaml:1:1: the file is empty; copy one from the README or docs"),
        (
            b"# only a comment\n",
            "lab.yaml:1:1: the file is empty; copy one from the README or docs",
        ),
        (b"name: caf\xe9\n", "lab.yaml:1:10: the byte 0xE9 is not UTF-8; save the file as UTF-8"),
        (
            b"a: 1\nname: x\x00y\n",
            "lab.yaml:2:8: the character U+0000 must not be in a YAML file; remove it",
        ),
        (b"x" * (2 << 20), "lab.yaml: larger than 1 MiB; give the path of another file"),
        (b"[" * 1000, "lab.yaml:1:1: nested too deeply; remove the brackets"),
    ],
)
def test_files_that_cannot_be_read(content: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(load.BadInput) as caught:
        load.load_lab(path, [BAD / "roles"])
    assert complaints(caught.value, tmp_path) == [says]


def test_a_file_that_is_not_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("- lvs1\n- lvs2\n")
    with pytest.raises(load.BadInput) as caught:
        load.load_lab(path, [BAD / "roles"])
    (only,) = complaints(caught.value, tmp_path)
    assert only.startswith("lab.yaml:1:1: the file is a list; it must be a mapping with the keys")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(load.BadInput, match="cannot be read: Is a directory"):
        load.load_lab(tmp_path)


def test_aliases_that_multiply_are_stopped(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    path = tmp_path / "lab.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(load.BadInput, match="make this file endless"):
        load.load_lab(path, [BAD / "roles"])


def test_aliases_and_byte_order_marks_and_windows_lines_are_fine(tmp_path: Path) -> None:
    text = changed(
        (BAD / "lab.yaml").read_text(),
        {
            "lvs1:\n    role: director\n    interfaces: {eth0": "lvs1:\n    role: director\n"
            "    interfaces: &wiring {eth0",
            "lvs2:\n    role: director\n    interfaces: {eth0: VMnet8, eth1: VMnet1, "
            "eth2: VMnet12, eth3: VMnet13}": "lvs2:\n    role: director\n    interfaces: *wiring",
        },
    )
    path = tmp_path / "lab.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load.load_lab(path, [BAD / "roles"]) == load.load_lab(BAD / "lab.yaml", [BAD / "roles"])


def test_an_error_names_a_file_below_the_working_directory_by_its_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab.yaml").write_text("name: 1\n")
    with pytest.raises(load.BadInput) as caught:
        load.load_lab(tmp_path / "lab.yaml")
    assert all(problem.file == "lab.yaml" for problem in caught.value.problems)
