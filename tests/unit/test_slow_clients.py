"""Clients in the middle of a request keep nobody else waiting: the image's own Apache and PHP.

`lab failover` has the strict limit; here other tests may keep the host busy at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from lvslab import render
from lvslab.model.lab import Lab, Role
from lvslab.model.role import RoleSpec
from lvslab.render import RenderedFile
from tests.conftest import ROOT
from tests.programs import ProgramTree

Tree = Callable[[Role], ProgramTree]
Specs = dict[Role, RoleSpec]
COUNT = 200
SITE = "/etc/apache2/sites-available/000-default.conf"
LIMITS = "/etc/apache2/conf-enabled/lvslab.conf"
SCRIPT = """
ip link set lo up
mkdir -p /var/log/apache2 /run/apache2 /run/lock /run/php
php-fpm8.4
apache2ctl start
sleep 1
python3 /tmp/slow-clients "$@"
apache2ctl stop >/dev/null 2>&1
kill $(cat /run/php/php8.4-fpm.pid)
"""


def beside(tree: ProgramTree, files: Mapping[str, RenderedFile], kind: str) -> tuple[float, ...]:
    """Quiet median and longest answer in seconds, and how many slow clients are left."""
    program = RenderedFile((ROOT / "tests" / "slow_clients.py").read_text("utf-8"))
    argv = ["sh", "-c", SCRIPT, "sh", kind, str(COUNT)]
    ended = tree.run(argv, {**files, "/tmp/slow-clients": program})
    return tuple(map(float, ended.text.splitlines()[-1].split()))


@pytest.mark.parametrize("kind", ["header", "body", "chunked", "reader"])
def test_slow_clients_delay_nobody(lab: Lab, specs: Specs, program_tree: Tree, kind: str) -> None:
    files = render.role_files(lab, specs[Role.REAL_SERVER])
    _, worst, left = beside(program_tree(Role.REAL_SERVER), files, kind)
    assert worst < 1
    assert left == (0 if kind == "reader" else COUNT), "a slow client was sent away"


@pytest.mark.parametrize(
    ("path", "right", "wrong", "kind"),
    [
        (SITE, "SetInputFilter BUFFER", "", "body"),
        (SITE, "SetEnv proxy-sendcl 1", "", "body"),
        (LIMITS, "ThreadsPerChild       256", "ThreadsPerChild 64", "header"),
    ],
    ids=["no buffer", "no spooling", "few threads"],
)
def test_without_each_setting_others_wait(
    lab: Lab, specs: Specs, program_tree: Tree, path: str, right: str, wrong: str, kind: str
) -> None:
    files = dict(render.role_files(lab, specs[Role.REAL_SERVER]))
    assert right in files[path].content
    files[path] = RenderedFile(files[path].content.replace(right, wrong))
    assert beside(program_tree(Role.REAL_SERVER), files, kind)[1] > 2
