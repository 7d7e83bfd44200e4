#!/usr/bin/env python3
"""Do the tests read what the code promises? Each mutant is the code with one place changed.

    pip install cosmic-ray         # beside what requirements-test.lock has; no other test needs it
    nice -n 19 bench/mutation.py [--sample N] [--seed N] [--until HH:MM] [PART ...]
    bench/mutation.py --mutant lvslab/model/rules/login.py:AddNot:3 [--mutant ...]

A mutant that makes no test of its part fail survives: prints each of them as a difference, and
how many died. Works on a copy of the checkout, one mutant at a time. Of one place one mutant is
taken at random; annotations are left to mypy. Tests that try random inputs are left out.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import random
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.testing import run_tests
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome

ROOT = Path(__file__).resolve().parents[1]
NOT_COPIED = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "artifacts", "dist")
PYTEST = (
    f"{shlex.quote(sys.executable)} -m pytest -x -q -p no:cacheprovider "
    "-p _hypothesis_pytestplugin -m 'not slow and not many and not hypothesis'"
)
SAME_OBJECTS = ("_Is", "_IsNot")
"""Ends of operators that put `is` for `==`: of small numbers and names they say the same."""


@dataclass
class Part:
    """Modules, the tests that should notice, and what became of the mutants."""

    modules: list[str]
    tests: str
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)


def unit(*names: str) -> str:
    """The paths of unit tests, the first of them to be run first."""
    return " ".join(f"tests/unit/{name}" for name in names)


PARTS = {
    "rules": Part(["lvslab/model/rules/*.py"], unit("model/test_load.py", "model")),
    "model": Part(["lvslab/model/*.py"], unit("model", "render/test_texts.py", "render")),
    "ova": Part(["lvslab/verify/ova/*.py"], unit("verify/test_ova.py", "verify")),
    "disks": Part(["lvslab/verify/disks/*.py"], unit("verify/test_inside.py", "verify")),
    "seeds": Part(
        ["lvslab/verify/seeds/*.py"],
        unit("verify/test_seed_readers.py", "verify/test_seeds.py", "verify"),
    ),
    "verify": Part(
        ["lvslab/verify/*.py"], unit("verify/test_machine.py", "formats/test_sign.py", "verify")
    ),
    "vmdk": Part(["lvslab/formats/vmdk/*.py"], unit("formats/test_vmdk.py", "verify/test_ova.py")),
    "formats": Part(["lvslab/formats/*.py"], unit("formats", "export/test_bundle.py")),
    "failover": Part(
        ["lvslab/measure/failover.py", "lvslab/measure/timeline.py", "lvslab/measure/probe.py"],
        unit(*(f"measure/test_{name}.py" for name in ("failover", "probe", "failover_page"))),
    ),
    "grade": Part(
        ["lvslab/lessons/grade.py", "lvslab/lessons/predictions.py"],
        unit("lessons/test_grade.py", "lessons/test_predictions.py", "lessons/test_course.py"),
    ),
}
"""Their names and what belongs to each; the tests that know most of it come first."""


def name_of(mutation: MutationSpec) -> str:
    """What `--mutant` takes: the module, the operator and which of its places."""
    operator = mutation.operator_name.removeprefix("core/")
    return f"{mutation.module_path}:{operator}:{mutation.occurrence}"


def mutants(modules: Iterable[str]) -> Iterator[MutationSpec]:
    """Every mutant of the modules, those of annotations left out."""
    for path in sorted(itertools.chain.from_iterable(map(Path().glob, modules))):
        spans = [
            ((each.lineno, each.col_offset), (each.end_lineno, each.end_col_offset))
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            for each in (getattr(node, "annotation", None), getattr(node, "returns", None))
            if each
        ]
        with use_db(":memory:", WorkDB.Mode.create) as database:
            init([path], database, {})
            found = [mutation for item in database.work_items for mutation in item.mutations]
        for mutation in found:
            start = mutation.start_pos
            if not mutation.operator_name.endswith(SAME_OBJECTS) and not any(
                first <= start < last for first, last in spans
            ):
                yield mutation


def sample(part: Part, number: int, chance: random.Random) -> list[MutationSpec]:
    """`number` mutants of different places, or all places if there are fewer."""
    places: dict[object, list[MutationSpec]] = {}
    for each in mutants(part.modules):
        kind = each.operator_name.split("_")[0]
        places.setdefault((each.module_path, kind, each.start_pos), []).append(each)
    taken = chance.sample(list(places.values()), min(number, len(places)))
    return [chance.choice(of_one_place) for of_one_place in taken]


def measure(part: Part) -> None:
    """How long the part's tests take without a mutant; they pass."""
    start = time.monotonic()
    outcome, output = run_tests(f"{PYTEST} {part.tests}", 1200)
    if outcome is not TestOutcome.SURVIVED:
        sys.exit(f"the tests fail without a mutant:\n{output}")
    part.seconds = time.monotonic() - start


def judge(part: Part, mutation: MutationSpec) -> None:
    """Run the part's tests with one mutant, and print what became of it."""
    result = mutate_and_test([mutation], f"{PYTEST} {part.tests}", 30 + 5 * part.seconds)
    late = result.output == "timeout"
    outcome = "late" if late else str(result.test_outcome.value)
    part.outcomes[outcome] += 1
    print(f"{outcome:10} {name_of(mutation)}", flush=True)
    if result.test_outcome is not TestOutcome.KILLED:
        print(result.diff if result.diff else result.output, flush=True)


def table(parts: dict[str, Part]) -> str:
    """A row for each part that had a mutant, and one for all."""
    whole = sum((part.outcomes for part in parts.values()), Counter())
    rows = [(name, part.outcomes) for name, part in parts.items() if part.outcomes]
    lines = ["| part | mutants | killed | of them by time | survived | score |", "|---" * 6 + "|"]
    for name, seen in [*rows, ("all", whole)]:
        dead = seen["killed"] + seen["late"]
        lines.append(
            f"| {name} | {seen.total()} | {dead} | {seen['late']} | {seen['survived']} | "
            f"{dead / max(1, seen.total()):.0%} |"
        )
    return "\n".join(lines)


def chosen(options: argparse.Namespace) -> list[tuple[Part, MutationSpec]]:
    """The mutants that were asked for, in any order, so that half of them are a sample, too."""
    parts = {name: PARTS[name] for name in options.part or PARTS}
    if options.mutant:
        return [
            (part, each)
            for part in parts.values()
            for each in mutants(part.modules)
            if name_of(each) in options.mutant
        ]
    chance = random.Random(options.seed)
    drawn = [
        (part, each) for part in parts.values() for each in sample(part, options.sample, chance)
    ]
    return chance.sample(drawn, len(drawn))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=50, metavar="N", help="of each part")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--until", metavar="HH:MM", help="begin no mutant after this time")
    parser.add_argument("--mutant", action="append", metavar="NAME", help="only this one")
    parser.add_argument("part", nargs="*", help=", ".join(PARTS))
    options = parser.parse_args()
    if unknown := set(options.part) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    """The command line."""
    options = arguments()
    until = datetime.max
    if options.until:
        clock = datetime.strptime(options.until, "%H:%M").time()
        until = datetime.combine(datetime.now().date(), clock)
        until += timedelta(days=until < datetime.now())
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        shutil.copytree(ROOT, Path(folder) / "lvslab", ignore=NOT_COPIED)
        os.chdir(Path(folder) / "lvslab")
        asked = chosen(options)
        for part in {id(part): part for part, _ in asked}.values():
            measure(part)
        for part, mutation in asked:
            if datetime.now() >= until:
                break
            judge(part, mutation)
    print(table(PARTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
