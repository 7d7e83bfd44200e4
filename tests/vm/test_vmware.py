"""The VMware folders boot: QEMU gets what each .vmx says, and the checklist passes.

`lab up` goes on from the checkpoint that test_cluster.py has made from the same folders, if that
ran before; alone it boots.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvslab.core.files import sha256_file
from lvslab.lab import checklist
from lvslab.lab.cluster import Cluster
from lvslab.model.lab import Lab
from tests.documents import ROOT, Example, examples, sheet_commands
from tests.programs import build_py

pytestmark = pytest.mark.vm
NAME = "vmware-test"


@pytest.fixture(scope="module")
def cluster(lab: Lab, built: Path) -> Iterator[Cluster]:
    """The whole lab, from artifacts/vmware, started as a user does."""
    made = Cluster(lab.model_copy(update={"name": NAME}))
    words = ["lab", "up", "--name", NAME, "--from", "vmware"]
    try:
        done = build_py(*words, "--artifacts", str(built))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "is up: the checklist passes" in done.stdout
        yield made
    finally:
        build_py("lab", "down", "--name", NAME)


def test_the_checklist_passes(cluster: Cluster) -> None:
    assert checklist.well(checklist.wait(cluster, 60))


def test_the_guests_have_the_macs_of_their_vmx(cluster: Cluster) -> None:
    for node, this in cluster.lab.nodes.items():
        links = json.loads(cluster.run(node, ["ip", "-json", "link"]))
        found = {link["ifname"]: link["address"] for link in links if link["ifname"] != "lo"}
        assert found == {i: cluster.lab.mac(node, i) for i in this.interfaces}


def test_base_disks_and_children_are_as_they_were(cluster: Cluster, built: Path) -> None:
    """While four machines run on them."""
    lines = (built / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    disks = sorted((built / "vmware").rglob("*.vmdk"))
    assert len(disks) == 6
    for disk in disks:
        assert sha256_file(disk) == sums[disk.relative_to(built).as_posix()]


# --- the examples of docs/ that need artifacts or a running lab


def typed(cluster: Cluster, example: Example) -> int:
    """The status of a command that the class user types on a node: with that user's PATH."""
    words = ["runuser", "-l", cluster.lab.login.user, "-c", example.command]
    done = cluster.ask(example.node, words, timeout=120)
    if done.status:
        print(done)
    return done.status


@pytest.mark.parametrize("example", examples("console node"), ids=str)
def test_documented_commands_on_a_node(cluster: Cluster, example: Example) -> None:
    assert typed(cluster, example) == 0


@pytest.mark.parametrize("example", sheet_commands(), ids=str)
def test_the_commands_of_the_student_sheet(cluster: Cluster, example: Example) -> None:
    assert typed(cluster, example) == 0


def test_what_a_user_cannot_type_is_noticed(cluster: Cluster) -> None:
    """Else the tests above would pass with root's PATH and rights."""
    for command in ("ipvsadm -Ln", "sysctl net.ipv4.ip_forward", "tcpdump -c 1 -i eth1"):
        assert typed(cluster, Example("", "console node", "lvs1", command)) != 0


@pytest.mark.parametrize("example", examples("console lab"), ids=str)
def test_documented_commands_of_the_lab(cluster: Cluster, example: Example) -> None:
    """In their order: one kills a director, a later one starts it again."""
    group, verb, *words = example.words[2:]
    assert (example.words[:2], group in ("lab", "lesson")) == (["python3", "build.py"], True)
    done = build_py(group, verb, "--name", cluster.lab.name, *words)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("example", examples("console build"), ids=str)
def test_documented_commands_of_the_build(built: Path, example: Example) -> None:
    """In their order; the cache has all that `built` needed, so nothing is baked again."""
    if example.words[:2] == ["python3", "build.py"]:
        done = build_py(*example.words[2:])
    else:
        done = subprocess.run(example.words, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
