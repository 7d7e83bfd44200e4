"""What a build made, looked at before it counts as made: no artifact leaves that `verify` refuses.

What passed is remembered by its sum, so an unchanged artifact is not looked at again, and one
that was refused is refused by every later run, too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lvslab.core.code import reached, source_digest
from lvslab.core.errors import StageError
from lvslab.core.events import Listener, StageDone, StageFailed, StageProgress, StageStarted
from lvslab.core.files import write_atomic
from lvslab.core.places import PROGRAM
from lvslab.core.stages import digest
from lvslab.model.lab import Lab

if TYPE_CHECKING:
    from lvslab.verify import Finding

_STAGE = "verify"
_KEPT = 2000
RULES = ("lvslab.verify",)
"""All rules are reached from here (see `core.code`)."""
_BESIDE = (".vmx", ".vmdk")
"""Kinds whose rules look at the files beside them, too."""


def examine(
    lab: Lab, out: Path, sums: Mapping[Path, str], cache: Path, listener: Listener
) -> list[Finding]:
    """Verify the artifacts of a build; the findings of those that had to be looked at.

    `sums` are the artifacts below `out` with their sha256. Raises StageError that names file
    and rule if one is refused.
    """
    memory = cache / "notes" / "verified.json"
    passed = _read(memory)
    known = set(passed)
    keys = {path: key for path, key in _keys(lab, out, sums).items() if key not in known}
    if not keys:
        return []
    start = time.monotonic()
    listener(StageStarted(_STAGE))
    try:
        findings = _looked_at(lab, list(keys), listener)
    except Exception as error:
        listener(StageFailed(_STAGE, time.monotonic() - start, str(error)))
        raise
    with suppress(OSError):  # a cache that cannot be written: looked at again the next time
        write_atomic(memory, json.dumps([*passed, *keys.values()][-_KEPT:]))
    listener(StageDone(_STAGE, time.monotonic() - start))
    return findings


def _looked_at(lab: Lab, paths: list[Path], listener: Listener) -> list[Finding]:
    from lvslab.verify import KINDS, Outcome, verify  # late: most builds need it not at all

    findings: list[Finding] = []
    for number, path in enumerate(paths):
        listener(StageProgress(_STAGE, number, len(paths), "artifacts", path.name))
        if path.suffix in KINDS:
            findings += verify(path, lab)
    for finding in findings:
        if finding.error:  # of the rule itself, which says nothing of the artifact
            raise finding.error
    refused = [f for f in findings if f.outcome is Outcome.FAIL]
    if refused:
        first = refused[0]
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise StageError(
            f"what was made is refused: {first.rule.id}: {first.sentence}{more}",
            where=first.artifact,
            hint=f"the rule: {first.rule.what}; `{PROGRAM} verify` shows all",
        )
    return findings


def _keys(lab: Lab, out: Path, sums: Mapping[Path, str]) -> dict[Path, str]:
    """For each artifact a digest of what its findings depend on: its bytes, the rules, the lab."""
    rules = source_digest(reached(RULES))
    described = digest(json.loads(lab.model_dump_json()))
    beside = digest({path.relative_to(out).as_posix(): value for path, value in sums.items()})

    def key(path: Path) -> str:
        of_node, of_folder = path.stem in lab.nodes, path.suffix in _BESIDE
        depends = [rules, described if of_node else "", beside if of_node and of_folder else ""]
        return digest([path.relative_to(out).as_posix(), sums[path], *depends])

    return {path: key(path) for path in sums}


def _read(memory: Path) -> list[str]:
    try:
        found = json.loads(memory.read_text())
    except (FileNotFoundError, ValueError):
        return []
    return [key for key in found if isinstance(key, str)] if isinstance(found, list) else []
