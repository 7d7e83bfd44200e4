"""Programs in tests: build.py itself, and those of an image that are Python."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def build_py(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of the command line as a user does."""
    argv = [sys.executable, "-m", "lvslab.cli", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=3000)


def loaded(program: Path) -> ModuleType:
    """A program of an image that is Python and has no `.py`, as a module (no bytecode is left)."""
    loader = SourceFileLoader(program.name.replace("-", "_"), str(program))
    spec = spec_from_loader(loader.name, loader)
    assert spec
    module = module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module
