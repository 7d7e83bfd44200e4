"""labcheck with a list that is cut off, lacks something or has other types: never a traceback."""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvslab.model.lab import Lab
from lvslab.render import node_facts
from tests.strategies import examples, labs, share, sparse, variants
from tests.unit.roles.test_labcheck import LABCHECK, PROGRAM

pytestmark = pytest.mark.many

MACHINES = ["lvs1", "rs1", "client"]
ODD: list[Any] = [None, True, 0, -1, 65536, 1.5, 1e999, 10**400, "", "x", "1.2.3.4/99", "a\nb"]
ODD += ["\ud800", "\0", "/", "http://x/", "http://1.2.3.4:99999/", "256.1.1.1", [], {}, [[]], [{}]]
ODD += [{"": 1}, "x" * 5000]
MANY = examples(300)


@pytest.fixture(autouse=True)
def still_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that answers at once, and nothing: what is fuzzed here is the list."""
    monkeypatch.setattr(LABCHECK, "links", lambda: {})
    monkeypatch.setattr(LABCHECK, "ipvs_table", lambda: {})
    monkeypatch.setattr(LABCHECK, "ip_json", lambda *_: [])
    monkeypatch.setattr(LABCHECK, "get", lambda _: OSError("nobody is there"))
    monkeypatch.setattr(LABCHECK, "neighbour_answers", lambda *_, **__: [])


READ_WORDS = LABCHECK.arguments


@cache
def parsed(*words: str) -> argparse.Namespace:
    """What labcheck makes of its words: thousands of lists are tried with the same ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["labcheck", *words])
        options = READ_WORDS()
    assert isinstance(options, argparse.Namespace)
    return options


def typed(path: Path, machine: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit status of labcheck; whatever it raises is raised here."""
    options = parsed("--node", machine, "--expect", str(path), *words)
    monkeypatch.setattr(LABCHECK, "arguments", lambda: options)
    status = LABCHECK.main()
    assert status in (0, 1, 2)
    return int(status)


def told(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence on stderr: what, where, and how to fix it."""
    said = capsys.readouterr()
    assert said.out == ""
    [line] = said.err.splitlines()
    assert line.startswith(f"labcheck: {path}")
    assert line.endswith(LABCHECK.REPAIR)
    return line


def everywhere(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value below a value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, below in list(entries):
        yield (*path, key)
        if isinstance(below, dict | list):
            yield from everywhere(below, (*path, key))


def changed(everything: Any, path: tuple[Any, ...], change: Any) -> Any:
    """One value changed, or gone if `change` is Ellipsis; only what is above it is copied."""
    new = here = copy.copy(everything)
    for key in path[:-1]:
        here[key] = copy.copy(here[key])
        here = here[key]
    if change is ...:
        del here[path[-1]]
    else:
        here[path[-1]] = change
    return new


def of_machine(path: tuple[Any, ...], machine: str) -> bool:
    """Whether a value is one that labcheck on this machine looks at."""
    return path[:1] == ("client",) if machine == "client" else path[:2] == ("nodes", machine)


def test_a_list_cut_off_anywhere_is_reported(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = node_facts.text(lab)
    path = tmp_path / "list.json"
    for end in sparse(range(len(text))):
        path.write_text(text[:end])
        assert typed(path, MACHINES[end % 3], monkeypatch) == 2
        line = told(path, capsys)
        assert re.search(r"cut off or damaged at line \d+", line)
    path.write_text(text)
    assert typed(path, "lvs1", monkeypatch) == 1  # the control: whole, it is used
    assert "lvs1 (director)" in capsys.readouterr().out


@pytest.mark.parametrize("machine", MACHINES)
def test_a_list_that_lacks_something_is_reported(
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    machine: str,
) -> None:
    everything = node_facts.expectations(lab)
    path = tmp_path / "list.json"
    for place in sparse(everywhere(everything)):
        path.write_text(json.dumps(changed(everything, place, ...)))
        status = typed(path, machine, monkeypatch)
        named = of_machine(place, machine) and isinstance(place[-1], str)
        whole = ("client",) if machine == "client" else ("nodes", machine)
        if place == ("nodes",) or (named and place != whole and place[-2] not in _FREE):
            assert status == 2
            assert f"{place[-1]} is missing" in told(path, capsys)
        elif place == whole and machine != "client":
            assert status == 2
            assert f"this machine is {machine}; the lab has" in capsys.readouterr().err
        else:
            assert status == (2 if place == whole else 1) or place[-1] == 0
            capsys.readouterr()


_FREE = ("kernel", "interfaces", "tables")
"""Mappings whose keys are the lab's own names: one less is another lab, not a damaged list."""


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("words", variants([], ["--json"]))
def test_a_list_with_other_types_is_reported(
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    machine: str,
    words: list[str],
) -> None:
    everything = node_facts.expectations(lab)
    path = tmp_path / "list.json"
    refused = 0
    places = [p for p in everywhere(everything) if of_machine(p, machine) or len(p) <= 2]
    for place in sparse(places):
        for odd in ODD:
            path.write_text(json.dumps(changed(everything, place, odd)))
            if typed(path, machine, monkeypatch, *words) == 2:
                refused += 1
                line = capsys.readouterr().err
                assert re.fullmatch(r"labcheck: .+\n", line)
                assert line.rstrip().endswith((LABCHECK.REPAIR, "has it its seed?"))
            else:
                capsys.readouterr()
    assert refused > share(500)


def test_the_list_s_test_is_what_finds_it(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The control: without it the program fails, or calls a list with nothing in it sound."""
    monkeypatch.setattr(LABCHECK, "demand", lambda *_: None)
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"client": node_facts.expectations(lab)["client"]}))
    with pytest.raises(KeyError):
        typed(path, "lvs1", monkeypatch)
    path.write_text(json.dumps({"nodes": {"rs1": []}}))
    with pytest.raises(TypeError):
        typed(path, "rs1", monkeypatch)
    capsys.readouterr()


def test_a_role_it_does_not_know_is_reported(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = node_facts.expectations(lab)
    path = tmp_path / "list.json"
    for machine, role in (("lvs1", "witness"), ("rs1", "client"), ("client", "director")):
        this = everything["client"] if machine == "client" else everything["nodes"][machine]
        changed_one = copy.deepcopy(everything)
        (changed_one["client"] if machine == "client" else changed_one["nodes"][machine])[
            "kind"
        ] = role
        path.write_text(json.dumps(changed_one))
        assert typed(path, machine, monkeypatch) == 2
        line = told(path, capsys)
        assert f'kind is "{role}", and this labcheck knows ' in line
        assert this["kind"] in line


@MANY
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list"
        path.write_bytes(data)
        with pytest.raises(LABCHECK.Damaged):
            LABCHECK.read_list(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(["nodes", "client", "lvs1", "kind", "vrrp", "x"]), below)
    ),
)


@MANY
@given(JSON)
def test_any_json(data: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list"
        path.write_text(json.dumps(data))
        for machine in MACHINES:
            try:
                assert LABCHECK.facts_of(LABCHECK.read_list(path), machine) is None
            except LABCHECK.Damaged as error:
                assert str(error)


@examples(15)
@given(labs(max_real_servers=12))
def test_every_lab_s_list_is_whole(lab: Lab) -> None:
    """The control: what is refused above is not what the images have."""
    everything = node_facts.expectations(lab)
    for machine in [*lab.nodes, "client"]:
        assert LABCHECK.facts_of(everything, machine)


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 100_000, "9" * 5000, "\ufeff{}", "NaN"])
def test_what_python_s_parser_itself_fails_at(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list.json"
    path.write_text(text)
    assert typed(path, "lvs1", monkeypatch) == 2
    told(path, capsys)


# --- the program itself, as a student starts it


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may read, with the program in it."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        shutil.copy(PROGRAM, folder / "labcheck")
        yield folder


# The tests' own Python may be in a folder that only its owner may enter.
PYTHON = shutil.which("python3", path="/usr/bin:/bin") or sys.executable


def started(place: Path, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    argv = [PYTHON, "-IS", str(place / "labcheck"), "--expect", str(place / "list.json")]
    more.setdefault("stdout", subprocess.PIPE)
    done = subprocess.run(
        [*argv, *words], stderr=subprocess.PIPE, text=True, errors="replace", timeout=60, **more
    )
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    return done


NOBODY: dict[str, Any] = (
    {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
)


@pytest.mark.parametrize("machine", MACHINES)
def test_an_ordinary_user(place: Path, lab: Lab, machine: str) -> None:
    (place / "list.json").write_text(node_facts.text(lab))
    done = started(place, "--node", machine, **NOBODY)
    assert done.returncode == 1
    assert done.stderr == ""
    assert done.stdout.startswith(f"{machine} (")


@pytest.mark.parametrize("mode", [0o000, 0o200])
def test_a_list_that_an_ordinary_user_may_not_read(place: Path, lab: Lab, mode: int) -> None:
    (place / "list.json").write_text(node_facts.text(lab))
    (place / "list.json").chmod(mode)
    done = started(place, "--node", "lvs1", **NOBODY)
    assert (done.returncode, done.stdout) == (2, "")
    words = "cannot be read: Permission denied; try sudo labcheck\n"
    assert done.stderr == f"labcheck: {place / 'list.json'} {words}"


def test_a_list_that_is_a_folder_or_none(place: Path) -> None:
    assert "cannot be read: [Errno 2] No such file" in started(place).stderr
    (place / "list.json").mkdir()
    done = started(place)
    assert done.returncode == 2
    assert "cannot be read: [Errno 21] Is a directory" in done.stderr
    assert done.stderr.endswith(f"{LABCHECK.REPAIR}\n")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_list_that_was_cut_off(place: Path, lab: Lab, share: float) -> None:
    text = node_facts.text(lab)
    (place / "list.json").write_text(text[: int(share * len(text))])
    done = started(place, "--node", "rs1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "list.json: it is cut off or damaged at line " in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_program_to_ask(place: Path, lab: Lab) -> None:
    (place / "list.json").write_text(node_facts.text(lab))
    done = started(place, "--node", "rs1", "--json", env={"PATH": str(place)})
    assert done.returncode == 1
    says = [finding["says"] for finding in json.loads(done.stdout)]
    assert any("cannot be checked: " in text and "'ip'" in text for text in says)


@pytest.mark.parametrize("answer", ["", "[", "{}", "[1]", '[{"ifname": "eth1"}]', "null", "\\0377"])
def test_a_program_that_answers_strangely(place: Path, lab: Lab, answer: str) -> None:
    (place / "list.json").write_text(node_facts.text(lab))
    ip = place / "ip"
    ip.write_text(f"#!/bin/sh\nprintf '{answer}'\n")
    ip.chmod(0o755)
    for machine in MACHINES:
        done = started(place, "--node", machine, env={"PATH": f"{place}:{os.environ['PATH']}"})
        assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("words", [["--wait", "nan"], ["--wait", "-1"], ["--wait", "inf"], ["-x"]])
def test_wrong_usage(place: Path, lab: Lab, words: list[str]) -> None:
    (place / "list.json").write_text(node_facts.text(lab))
    done = started(place, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: labcheck" in done.stderr


def test_a_terminal_without_such_letters(place: Path, lab: Lab) -> None:
    (place / "list.json").write_text(node_facts.text(lab))
    for words in ([], ["--json"]):
        argv = [sys.executable, "-S", str(place / "labcheck"), "--expect", str(place / "list.json")]
        done = subprocess.run(
            [*argv, "--node", "lvs1", *words],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )
        assert (done.returncode, done.stderr) == (1, "")
    done = subprocess.run(
        [*argv, "--node", "lvs1"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert "\\u2717 1 VRRP addresses" in done.stdout


def test_output_that_nobody_takes(place: Path, lab: Lab) -> None:
    (place / "list.json").write_text(node_facts.text(lab))
    with Path("/dev/full").open("w") as full:
        done = started(place, "--node", "lvs1", stdout=full)
    assert done.returncode == 2
    assert done.stderr == "labcheck: the findings cannot be written: No space left on device\n"
    ours, theirs = os.pipe()
    os.close(ours)
    done = started(place, "--node", "lvs1", stdout=theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")
    command = f"exec '{sys.executable}' -IS '{place}/labcheck' --expect '{place}/list.json' >&-"
    closed = subprocess.run(
        ["sh", "-c", f"{command} --node lvs1"], stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert (closed.returncode, closed.stderr) == (1, "")
