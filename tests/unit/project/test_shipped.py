"""What ships, in the form in which it ships: its Python, its shell and its PowerShell are checked.

test_quality checks the files of the repository; here are the texts that are made of templates, the
shell scripts, and the images' programs with the Python that the images have.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lvslab.core.procs import program
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from tests.conftest import ROOT
from tests.sources import (
    language,
    never_rendered,
    powershell_errors,
    rendered,
    to_check,
    written_in,
)
from tests.unit.project.test_quality import command
from tests.unit.vmware.test_vmnets import with_nat

SETTINGS = ROOT / "pyproject.toml"
IMAGES_PYTHON = "3.13"  # Debian 13's


@pytest.fixture(scope="module")
def texts(lab: Lab, wide_lab: Lab, specs: dict[str, RoleSpec]) -> dict[str, str]:
    """All that is rendered, of labs that take every branch of the templates."""
    return rendered([lab, wide_lab, with_nat(lab, "VMnet9")], specs.values())


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("a.py", "", "python"),
        ("labcheck", "#!/usr/bin/python3 -IS\n", "python"),
        ("tool", "#!/usr/bin/env python3\n", "python"),
        ("tool", "#!/usr/bin/env -S python3.13 -I\n", "python"),
        ("assert.py.j2", "", "python"),
        ("a.sh", "", "shell"),
        ("leave-up", "#!/bin/sh\n", "shell"),
        ("run", "#! /bin/bash -e\n", "shell"),
        ("tool", "#!/usr/bin/env bash\n", "shell"),
        ("networks.ps1.j2", "", "powershell"),
        ("lvs1.vmx", "#!/usr/bin/vmware\n", ""),
        ("page", "#!/usr/bin/shtool\n", ""),
        ("page", "see\n#!/bin/sh\n", ""),
    ],
)
def test_the_language_of_a_program_is_known(name: str, text: str, what: str) -> None:
    assert language(name, text) == what


@pytest.mark.parametrize("what", ["python", "shell", "powershell"])
def test_every_template_of_a_program_is_rendered(texts: dict[str, str], what: str) -> None:
    templates = [path for path in written_in(what) if path.suffix == ".j2"]
    assert templates
    assert never_rendered(templates, texts) == []
    other = Path("roles/common/files/usr/local/bin/other.py.j2")
    assert never_rendered([*templates, other], texts) == [other]


# --- Python


def ruff(*files: Path) -> str:
    """What ruff says against files that are not in the repository."""
    said = ""
    for words in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        done = command(sys.executable, "-m", "ruff", *words, "--config", SETTINGS, *files)
        said += done.stdout + done.stderr if done.returncode else ""
    return said


def mypy(*files: Path) -> str:
    """What mypy says against programs that run in the images."""
    words = ("--config-file", SETTINGS, "--python-version", IMAGES_PYTHON)
    done = command(sys.executable, "-m", "mypy", *words, *files)
    return done.stdout + done.stderr if done.returncode else ""


def python_of_the_images(texts: dict[str, str], folder: Path) -> list[Path]:
    """The programs of the roles: their files, and what their templates become."""
    places = (ROOT / "roles", folder)
    files = to_check("python", texts, folder)
    return [path for path in files if any(place in path.parents for place in places)]


def test_ruff_on_what_is_rendered(texts: dict[str, str], tmp_path: Path) -> None:
    made = [path for path in to_check("python", texts, tmp_path) if tmp_path in path.parents]
    assert len(made) >= 2
    assert ruff(*made) == ""


def test_mypy_on_what_the_images_run(texts: dict[str, str], tmp_path: Path) -> None:
    files = python_of_the_images(texts, tmp_path)
    names = {path.name for path in files}
    assert {"labcheck", "arp-watch", "connection-sync", "0_roles_director_assert.py"} <= names
    assert mypy(*files) == ""


@pytest.mark.slow
def test_ruff_and_mypy_find_a_fault_in_what_is_rendered(
    texts: dict[str, str], tmp_path: Path
) -> None:
    name = "0/roles/director/assert.py"
    wrong = texts[name].replace("import sys\n", "import sys\nimport crypt\n")  # not in 3.13
    (made,) = (
        path
        for path in to_check("python", texts | {name: wrong}, tmp_path)
        if path.read_text() == wrong
    )
    assert "F401" in ruff(made)
    assert "crypt" in mypy(made)


# --- shell


def shellcheck(*files: Path) -> str:
    """What shellcheck says; the dialect is that of the first line."""
    done = command(program("shellcheck"), "--format=gcc", "--norc", *files)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def test_shellcheck_on_every_script(texts: dict[str, str], tmp_path: Path) -> None:
    files = to_check("shell", texts, tmp_path)
    names = {path.name for path in files}
    assert {"run", "first-boot", "leave-up", "hand-over"} <= names
    assert {"0_vmware_networks.sh", "2_vmware_networks.sh", "0_vmware_patch_vmx.sh"} <= names
    assert shellcheck(*files) == ""


@pytest.mark.slow
def test_shellcheck_finds_a_fault_in_what_is_rendered(
    texts: dict[str, str], tmp_path: Path
) -> None:
    name = "0/vmware/networks.sh"
    wrong = texts[name] + "rm $FILE\n"
    files = to_check("shell", texts | {name: wrong}, tmp_path)
    (said,) = shellcheck(*files).splitlines()
    assert "[SC2086]" in said


def test_every_exception_of_shellcheck_says_why(texts: dict[str, str], tmp_path: Path) -> None:
    lines = [
        line
        for path in to_check("shell", texts, tmp_path)
        for line in path.read_text().splitlines()
        if "shellcheck disable" in line
    ]
    assert lines
    assert [line for line in lines if not reasoned(line)] == []
    assert not reasoned("# shellcheck disable=SC2086")
    assert not reasoned("# shellcheck disable=all # never mind")


def reasoned(line: str) -> bool:
    """Whether a line that silences shellcheck names one finding and a reason."""
    directive, _, reason = line.strip().removeprefix("# ").partition(" # ")
    return directive.startswith("shellcheck disable=SC") and "," not in directive and bool(reason)


# --- PowerShell


def test_powershell_is_well_formed(texts: dict[str, str], tmp_path: Path) -> None:
    """There is no PowerShell here to run it: a parser reads it."""
    files = to_check("powershell", texts, tmp_path)
    names = {path.name for path in files}
    assert {"0_vmware_networks.ps1", "2_vmware_networks.ps1", "0_vmware_patch_vmx.ps1"} <= names
    assert [error for path in files for error in powershell_errors(path.read_text())] == []


@pytest.mark.parametrize("broken", ["if ($a) {", "if $a { }", "@('a', 'b'", 'Write-Output "a'])
def test_powershell_that_is_broken_is_found(texts: dict[str, str], broken: str) -> None:
    assert powershell_errors(broken + "\n")
    assert powershell_errors(texts["0/vmware/networks.ps1"] + broken + "\n")
