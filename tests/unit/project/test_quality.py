"""The whole code base: linters, types, the order of the layers, and what no file may contain."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from tests.sources import NOT_OURS, our_files, written_in

ROOT = Path(__file__).resolve().parents[3]
LAYERS = (
    "core",
    "model",
    "formats",
    "render",
    "verify",
    "build",
    "export",
    "lab",
    "make",
    "measure",
    "lessons",
    "watch",
    "vmware",
    "deploy",
    "reproduce",
    "cli",
)


def command(*words: str | Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize("words", [("check",), ("format", "--check")], ids="_".join)
def test_ruff(words: tuple[str, ...]) -> None:
    done = command(sys.executable, "-m", "ruff", *words, ".")
    assert done.returncode == 0, done.stdout + done.stderr


def unseen(seen: Iterable[str], files: Iterable[Path]) -> list[str]:
    """The Python programs that a tool, which names what it looked at, has not seen."""
    paths = {ROOT / path for path in seen}
    return sorted(str(path) for path in files if path.suffix != ".j2" and path not in paths)


def test_ruff_sees_every_python_program() -> None:
    shown = command(sys.executable, "-m", "ruff", "check", "--show-files", ".").stdout
    assert unseen(shown.splitlines(), written_in("python")) == []


def test_ruff_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import os, sys\n")
    assert command(sys.executable, "-m", "ruff", "check", "--no-cache", bad).returncode == 1


def test_mypy_strict_on_every_python_program() -> None:
    done = command(sys.executable, "-m", "mypy", "--verbose")
    assert done.returncode == 0, done.stdout
    shown = re.findall(r"Found source: +BuildSource\(path='([^']+)'", done.stderr)
    assert unseen(shown, written_in("python")) == []


def test_a_program_that_no_tool_sees_is_found(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/usr/bin/python3 -IS\n")
    (tmp_path / "module.py").write_text("")
    (tmp_path / "page").write_text("#!/bin/sh\n")
    programs = written_in("python", tmp_path)
    assert unseen([str(tmp_path / "module.py")], programs) == [str(tmp_path / "tool")]
    assert unseen(map(str, programs), programs) == []


def test_mypy_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f(x):\n    return x\n")
    settings = ROOT / "pyproject.toml"
    done = command(sys.executable, "-m", "mypy", "--config-file", settings, bad)
    assert done.returncode == 1
    assert "no-untyped-def" in done.stdout


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """Line and full module name of every import in a file, also those inside functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def layer_of(module: str) -> int | None:
    """The place of a module in LAYERS; None if it is not ours or belongs to no layer."""
    parts = module.split(".")
    if parts[0] != "lvslab" or len(parts) < 2 or parts[1] not in LAYERS:
        return None
    return LAYERS.index(parts[1])


def wrong_imports(top: Path) -> list[str]:
    """Every import below `top`/lvslab of something that comes later in the order."""
    found = []
    for path in sorted((top / "lvslab").rglob("*.py")):
        relative = path.relative_to(top)
        own = layer_of(".".join(relative.with_suffix("").parts))
        for number, name in imports(path, ".".join(relative.parent.parts)):
            other = layer_of(name)
            if own is not None and other is not None and other > own:
                found.append(f"{relative}:{number}: {LAYERS[own]} imports {name}")
    return found


def test_every_module_belongs_to_a_layer() -> None:
    top = {path.stem for path in (ROOT / "lvslab").glob("*") if path.name not in NOT_OURS}
    assert top - {"__init__"} <= set(LAYERS)


def test_the_unit_tests_have_the_rooms_of_the_package() -> None:
    """And two more: for what is no module of it, and for the project as a whole."""
    rooms = {path.parent.name for path in (ROOT / "tests/unit").glob("*/__init__.py")}
    assert rooms == {*LAYERS, "roles", "project"}
    assert list((ROOT / "tests/unit").glob("test_*.py")) == []


def left_out(folders: Iterable[str], patterns: Iterable[str]) -> set[str]:
    """The folders into which pytest does not look (its setting norecursedirs)."""
    given = list(patterns)
    return {name for name in folders if any(fnmatch(name, pattern) for pattern in given)}


def test_pytest_looks_into_every_folder_of_tests(pytestconfig: pytest.Config) -> None:
    tests = ROOT / "tests"
    files = [path.relative_to(tests) for path in tests.rglob("test_*.py")]
    folders = {folder for path in files for folder in path.parts[:-1]}
    assert "build" in folders
    assert left_out(folders, pytestconfig.getini("norecursedirs")) == set()
    assert left_out(folders, ["build", "CVS"]) == {"build"}


def test_no_folder_of_the_package_has_more_than_3000_lines() -> None:
    lines: Counter[str] = Counter()
    for path in (ROOT / "lvslab").rglob("*.py"):
        lines[str(path.parent)] += len(path.read_text().splitlines())
    assert {folder: count for folder, count in lines.items() if count > 3000} == {}


def test_no_two_modules_or_classes_of_the_package_have_one_name() -> None:
    modules = [path.stem for path in (ROOT / "lvslab").rglob("*.py") if path.stem[0] != "_"]
    classes = [
        node.name
        for path in (ROOT / "lvslab").rglob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
    ]
    for names in (modules, classes):
        assert [name for name, count in Counter(names).items() if count > 1] == []


def test_imports_follow_the_order() -> None:
    assert wrong_imports(ROOT) == []


@pytest.mark.parametrize(
    "text",
    [
        "import lvslab.cli.main\n",
        "from lvslab.cli import main\n",
        "from lvslab import make\n",
        "from ..cli import main\n",
        "def f():\n    from lvslab.lab.qemu import qmp\n",
    ],
)
def test_an_import_against_the_order_is_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "lvslab/core").mkdir(parents=True)
    (tmp_path / "lvslab/core/bad.py").write_text(
        f"import os\nfrom lvslab.core import files\n{text}"
    )
    assert len(wrong_imports(tmp_path)) == 1


def test_what_build_py_imports_is_standard_library_only() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import build, lvslab.core.venv_maker"
    done = command(sys.executable, "-S", "-I", "-c", code)
    assert done.returncode == 0, done.stderr
    control = command(sys.executable, "-S", "-I", "-c", f"{code}, click")
    assert "No module named 'click'" in control.stderr


# Put together here, so that this file does not contain them.
FORBIDDEN = tuple(
    "".join(parts)
    for parts in (
        ("deb.", "debian.org"),
        ("security.", "debian.org"),
        ("py", "pi.org"),
        ("files.", "pythonhosted.org"),
        ("registry.", "npmjs.org"),
        ("/wo", "rk/main"),
        ("/wo", "rk/shared"),
        ("/tm", "p/w/"),
        ("/root/", ".pyenv"),
        ("PRIVATE", " KEY-----\n"),
    )
)


def unclean(path: Path) -> list[str]:
    """What is wrong with a text file; a binary file (one with a NUL) has no text to check."""
    data = path.read_bytes()
    if b"\0" in data:
        return []
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return [f"{path}: not UTF-8"]
    found = [f"{path}: contains {word!r}" for word in FORBIDDEN if word in text]
    if "\r" in text:
        found.append(f"{path}: carriage return")
    if text and not text.endswith("\n"):
        found.append(f"{path}: no newline at the end")
    for number, line in enumerate(text.split("\n"), 1):
        if line.rstrip(" \t") != line:
            found.append(f"{path}:{number}: blank at the end of the line")
    return found


def test_text_is_clean() -> None:
    assert [fault for path in our_files() if path.is_file() for fault in unclean(path)] == []


@pytest.mark.parametrize(
    "data",
    [f"see {word}\n".encode() for word in FORBIDDEN]
    + [b"no newline", b"blank \n", b"windows\r\n", b"\xff\xfe\n"],
)
def test_unclean_text_is_found(tmp_path: Path, data: bytes) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(data)
    assert unclean(bad)


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in (ROOT / "lvslab").rglob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno > 60
    ]
    assert long == []


WITH_TEST_LOCK = ("docs.py", "release.py")
"""Verbs for those who change the project: build.py gives them the packages of the tests."""


@cache
def packages() -> Mapping[str, list[str]]:
    """The distributions of each module that can be imported."""
    return metadata.packages_distributions()


def undeclared(folder: Path, lock: str, without: Iterable[str] = ()) -> set[str]:
    """The third-party modules imported below `folder` whose package is not in `lock`."""
    owners = packages()
    used = {
        name.partition(".")[0]
        for path in folder.rglob("*.py")
        if path.name not in without
        for _, name in imports(path, "none")
    }
    third_party = used - sys.stdlib_module_names - {"lvslab", "tests", "build", "none"}
    third_party -= {path.stem for path in folder.rglob("*.py")}
    locked = {line.partition("==")[0] for line in lock.splitlines() if "==" in line}

    def known(module: str) -> bool:
        found = owners.get(module, []) if "." not in module else [module]
        names = {re.sub(r"[-_.]+", "-", owner).lower() for owner in found}
        return bool(names & locked)

    return {module for module in third_party if not known(module)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "lock"),
    [("lvslab", "requirements.lock"), ("tests", "requirements-test.lock")],
)
def test_imports_are_in_the_lock(folder: str, lock: str) -> None:
    text = (ROOT / lock).read_text()
    without = WITH_TEST_LOCK if folder == "lvslab" else ()
    assert undeclared(ROOT / folder, text, without) == set()
    assert undeclared(ROOT / "lvslab", (ROOT / "requirements-test.lock").read_text()) == set()
    assert "yaml" in undeclared(ROOT / folder, re.sub(r"(?m)^pyyaml==", "other==", text))


def test_the_locks_hold_every_requirement_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = project["dependencies"] + extras["checkout"] + extras["deploy"]
    for name, wanted in (("requirements", needed), ("requirements-test", needed + extras["test"])):
        lock = (ROOT / f"{name}.lock").read_text()
        for package in wanted:
            entry = f"\n{package.lower().replace('.', '-')}=="
            assert entry in f"\n{lock}", f"{name}.lock lacks {package}"
        entries = [line for line in lock.splitlines() if line and line[0] not in " #"]
        assert entries
        assert all(entry.endswith("\\") for entry in entries), "an entry without a hash"
        assert "://" not in lock


HOOKS = (ROOT / ".pre-commit-config.yaml").read_text()


def wrong_hooks(text: str) -> list[str]:
    """What is wrong with the settings of pre-commit: hooks that fetch, or that are no test."""
    found = []
    for source in yaml.safe_load(text)["repos"]:
        if source["repo"] != "local":
            found.append(f"{source['repo']} is fetched")
            continue
        for hook in source["hooks"]:
            *words, path = hook["entry"].split()
            if hook["language"] != "system":
                found.append(f"{hook['id']}: {hook['language']} fetches packages")
            if words != ["python3", "build.py", "test", "--fast", "--", "-q"]:
                found.append(f"{hook['id']} is no test")
            if not (ROOT / path).is_file():
                found.append(f"{hook['id']}: there is no {path}")
            if hook["pass_filenames"] or not hook["always_run"]:
                found.append(f"{hook['id']} does not look at everything")
    return found


def test_the_hooks_are_tests_and_fetch_nothing() -> None:
    assert wrong_hooks(HOOKS) == []
    assert {"tests/unit/project/test_quality.py", "tests/unit/project/test_shipped.py"} <= set(
        HOOKS.split()
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("repo: local", "repo: https://example.org/hooks"),
        ("language: system", "language: python"),
        ("build.py test", "build.py images"),
        ("test_quality.py", "test_nothing.py"),
        ("pass_filenames: false", "pass_filenames: true"),
        ("always_run: true", "always_run: false"),
    ],
)
def test_a_wrong_hook_is_found(old: str, new: str) -> None:
    assert old in HOOKS
    assert wrong_hooks(HOOKS.replace(old, new))
