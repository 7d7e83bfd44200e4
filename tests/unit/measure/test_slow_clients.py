"""Clients in the middle of a request keep nobody else waiting: the image's own Apache and PHP.

`lab failover` has the strict limit; here other tests may keep the host busy at the same time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest

from lvslab import render
from lvslab.build.image_root import ImageRoot
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.render import RenderedFile
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

Tree = Callable[[str], ImageRoot]
Specs = dict[str, RoleSpec]
COUNT = 200
SITE = "/etc/apache2/sites-available/000-default.conf"
LIMITS = "/etc/apache2/conf-enabled/lvslab.conf"
UNIT = "/etc/systemd/system/apache2.service.d/10-lvslab.conf"
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


def beside(
    tree: ImageRoot, files: Mapping[str, RenderedFile], kind: str, *then: str
) -> tuple[float, ...]:
    """Quiet median and longest answer in seconds, and how many slow clients are left.

    `then` is a program that is run when they are there.
    """
    program = RenderedFile((ROOT / "tests" / "slow_clients.py").read_text("utf-8"))
    argv = ["sh", "-c", SCRIPT, "sh", kind, str(COUNT), *then]
    ended = tree.run(argv, {**files, "/tmp/slow-clients": program})
    return tuple(map(float, ended.text.splitlines()[-1].split()))


@pytest.mark.parametrize("kind", ["header", "body", "chunked", "reader"])
def test_slow_clients_delay_nobody(lab: Lab, specs: Specs, program_tree: Tree, kind: str) -> None:
    files = render.role_files(lab, specs["real-server"])
    _, worst, left = beside(program_tree("real-server"), files, kind)
    assert worst < 1
    assert left == (0 if kind == "reader" else COUNT), "a slow client was sent away"


@pytest.mark.parametrize(
    ("path", "right", "wrong", "kind"),
    [
        (SITE, "SetInputFilter BUFFER", "", "body"),
        (SITE, "SetEnv proxy-sendcl 1", "", "body"),
        (LIMITS, "ThreadsPerChild       256", "ThreadsPerChild 20", "header"),
    ],
    ids=["no buffer", "no spooling", "few threads"],
)
def test_without_each_setting_others_wait(
    lab: Lab, specs: Specs, program_tree: Tree, path: str, right: str, wrong: str, kind: str
) -> None:
    files = dict(render.role_files(lab, specs["real-server"]))
    assert right in files[path].content
    files[path] = RenderedFile(files[path].content.replace(right, wrong))
    assert beside(program_tree("real-server"), files, kind)[1] > 2


@pytest.mark.parametrize(("limit", "fine"), [("6", True), ("2", False)])
def test_a_reload_beside_slow_clients(
    lab: Lab, specs: Specs, program_tree: Tree, limit: str, fine: bool
) -> None:
    """The old processes keep their slow clients; without room for new ones nobody is served."""
    files = dict(render.role_files(lab, specs["real-server"]))
    right = "ServerLimit             6"
    assert right in files[LIMITS].content
    text = files[LIMITS].content.replace(right, f"ServerLimit {limit}")
    files[LIMITS] = RenderedFile(text)
    reload = ("apache2ctl", "graceful")
    _, worst, _ = beside(program_tree("real-server"), files, "header", *reload)
    assert (worst < 1) is fine


def test_systemd_allows_every_thread_that_apache_may_need(lab: Lab, specs: Specs) -> None:
    """Else Apache ends by itself on a machine with little memory: systemd counts threads, too."""
    files = render.role_files(lab, specs["real-server"])
    limits = dict(re.findall(r"^(\w+) +(\d+)$", files[LIMITS].content, re.MULTILINE))
    (allowed,) = re.findall(r"^TasksMax=(\d+)$", files[UNIT].content, re.MULTILINE)
    beside_workers = 2  # a process has its first thread and the one that listens
    each = int(limits["ThreadsPerChild"]) + beside_workers
    assert int(allowed) > int(limits["ServerLimit"]) * each
