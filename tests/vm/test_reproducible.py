"""Built again under other conditions, from a mirror that has moved on: the same bytes.

And the reverse: what a bake leaves that differs from bake to bake is named and stops the build.
"""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lvslab.build import changes, packer, policy
from lvslab.build.pool import Download
from lvslab.cli.main import main
from lvslab.core.events import silent
from lvslab.core.files import remove
from lvslab.core.places import DATA, default_cache
from lvslab.core.stages import NotYetMade
from lvslab.formats import sums
from lvslab.make import Options, Pipeline, trees
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.render import bake_seed
from lvslab.render.machine_files import role_files
from lvslab.render.texts import Seed
from lvslab.reproduce import Build, Comparison, Condition, again, choose, compare, work_folder
from tests.conftest import ROLES

pytestmark = pytest.mark.vm


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A mirror's files; the test shows what matters."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def moved_on(pipeline: Pipeline, built: Path, work: Path) -> Iterator[str]:
    """Two mirrors, today's and an older one: today's lacks what is newest in the lock.

    Both serve the real packages, under the paths that the lock names.
    """
    groups = pipeline.lock.groups
    needed = {p.path: p for name in ("base", "tools", *pipeline.roles) for p in groups[name]}
    served: list[Download] = [*needed.values(), packer.PINNED]
    for number, package in enumerate(served):
        place = "older" if number % 7 == 0 else "today"
        target = work / "mirrors" / place / package.archive / package.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(pipeline.pool.path(package))
    handler = functools.partial(Quiet, directory=str(work / "mirrors"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        yield f"{base}/today {base}/older"
        server.shutdown()


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    """A folder that other users may enter, unlike pytest's own."""
    with work_folder(Path("/var/tmp"), keep=False) as folder:
        yield folder


Twice = tuple[tuple[Condition, ...], Comparison]


@pytest.fixture(scope="module")
def twice(built: Path, work: Path, moved_on: str) -> Twice:
    """The session's build, and the same again under other conditions, with an empty pool."""
    first = Build.load(built / "build.json", default_cache())
    second, options = work / "second", Options(work / "nothing", work, mirror=moved_on)
    conditions = choose(second, options.jobs)
    second.mkdir()
    made = again.rebuild(first, DATA, second, options, conditions, silent)
    return conditions.shown, compare(first, made)


def test_every_stage_and_every_artifact_is_the_same(twice: Twice) -> None:
    _, comparison = twice
    shown = [(row.stage, row.file, *row.lines) for row in comparison.differences]
    assert shown == []
    assert comparison.notes == ()
    assert comparison.size > 1_000_000_000


def test_the_conditions_were_others(twice: Twice) -> None:
    conditions, _ = twice
    same = {row.name: row.why_not for row in conditions if row.why_not}
    # What a host may not be able to vary; anything else must have been another.
    assert same.keys() <= {"user", "host name"}, same


def test_the_older_mirror_was_needed(twice: Twice, moved_on: str, work: Path) -> None:
    older = list((work / "mirrors/older").rglob("*.deb"))
    assert len(older) > 30
    fetched = {path.stem for path in (work / "second/cache/pool").rglob("*.deb")}
    assert {path.resolve().stem for path in older} <= fetched


def handled_in_fact(pipeline: Pipeline, role: str) -> list[str]:
    """The rules of a role that the real bake needed: without each, something is undeclared."""
    spec, made = pipeline.roles[role], changes.load(pipeline.changes(role) / "changes.jsonl")
    own = role_files(pipeline.lab, spec)
    needed: list[str] = []
    for rule in spec.handle:
        others = tuple(other for other in spec.handle if other is not rule)
        verdicts = policy.judge(made, spec.model_copy(update={"handle": others}), own)
        if any(verdict.rule == "undeclared" for verdict in verdicts):
            needed += rule.paths
    return needed


@pytest.mark.parametrize("role", ROLES)
def test_what_a_bake_leaves_by_chance_or_clock_stops_the_build_unless_a_rule_handles_it(
    pipeline: Pipeline, built: Path, role: str
) -> None:
    needed = handled_in_fact(pipeline, role)
    assert "/etc/machine-id" in needed  # random
    assert any(path.startswith("/etc/ssh/ssh_host_") for path in needed)  # random
    assert any(path.startswith("/var/log") for path in needed)  # the clock


PLANTED = """
date +%s.%N >/etc/built-at
head -c 16 /dev/urandom | base64 >/srv/random
echo 192.0.2.1 undeclared >>/etc/hosts.allow
chmod 0600 /etc/debian_version
rm /etc/issue.net
"""


def test_what_is_planted_in_a_role_stops_the_build_and_is_named(
    built: Path,
    specs: dict[str, RoleSpec],
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The verb itself, with a role whose bake does more than it declares."""
    role, out = "real-server", tmp_path / "artifacts"

    def planted(lab: Lab, spec: RoleSpec, user: str, key: str) -> Seed:
        right = bake_seed(lab, spec, user, key)
        data = yaml.safe_load(right.user_data)
        data["runcmd"] = [*data.get("runcmd", []), ["sh", "-ec", PLANTED]]
        return replace(right, user_data="#cloud-config\n" + yaml.safe_dump(data))

    monkeypatch.setattr(trees, "bake_seed", planted)
    try:
        assert main(["images", "--role", role, "--out", str(out)]) == 4
    finally:  # or it would be this role's newest bake in the cache
        with suppress(NotYetMade):
            options = Options(default_cache(), out, dry=True)
            remove(Pipeline(lab, {role: specs[role]}, options).changes(role))
    assert sums.artifacts(out) == []
    shown = capsys.readouterr().err
    assert "changed 5 path" in shown
    for line in (
        "added /etc/built-at",
        "added /srv/random",
        "changed /etc/hosts.allow",
        "+192.0.2.1 undeclared",
        "changed /etc/debian_version",
        "mode: 0644 -> 0600",
        "removed /etc/issue.net",
        f"roles/{role}/role.yaml",
    ):
        assert line in shown
