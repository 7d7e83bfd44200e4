"""`settle` and `apply-texts`: a machine becomes what its seed says, and back again."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvslab.core.places import ROLES
from lvslab.model.lab import Lab
from lvslab.model.load import load_reference
from lvslab.model.role import RoleSpec
from lvslab.render import lab_texts, node_seed, role_files
from lvslab.render.machine_files import texts_of_lab
from tests.programs import loaded

PROGRAMS = ROLES / "common/files/usr/local/lib/lvslab"
SETTLE = PROGRAMS / "settle"
apply_texts = loaded(PROGRAMS / "apply-texts")
Specs = dict[str, RoleSpec]


class Disk:
    """The files of a machine, made from its role's, and what cloud-init writes from a seed."""

    def __init__(self, root: Path, reference: Lab, spec: RoleSpec) -> None:
        self.root, self.reference, self.spec = root, reference, spec
        for path, file in role_files(reference, spec).items():
            self.write(path, file.content)

    def write(self, path: str, text: str) -> None:
        there = self.root / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def give(self, lab: Lab, node: str) -> None:
        """What cloud-init writes from the node's seed."""
        seed = node_seed(lab, node, lab_texts(self.reference, lab, self.spec))
        for file in yaml.safe_load(seed.user_data)["write_files"]:
            self.write(file["path"], file["content"])

    def machine(self) -> Any:
        return apply_texts.Machine(self.root, quiet=True)

    def boot(self) -> None:
        machine = self.machine()
        machine.apply(machine.seed(), machine.before())

    def is_of(self, lab: Lab) -> bool:
        """Whether every text that a lab may change is as this lab wants it, and nothing is left."""
        wanted = texts_of_lab(lab, self.spec)
        gone = texts_of_lab(self.reference, self.spec).keys() - wanted.keys()
        return all(self.read(path) == file.content for path, file in wanted.items()) and not any(
            (self.root / path.lstrip("/")).exists() for path in gone
        )


@pytest.fixture
def disk(lab: Lab, specs: Specs, tmp_path: Path) -> Disk:
    return Disk(tmp_path, load_reference(lab), specs["director"])


@pytest.fixture
def renumbered(lab: Lab) -> Lab:
    """The same lab with another router id and another table's number."""
    instances = dict(lab.vrrp_instances)
    instances["VI_1"] = instances["VI_1"].model_copy(update={"router_id": 61})
    tables = {**lab.tables, "LVS1": lab.tables["LVS1"].model_copy(update={"id": 111})}
    return lab.model_copy(update={"vrrp_instances": instances, "tables": tables})


def test_the_default_lab_changes_nothing(lab: Lab, specs: Specs) -> None:
    """So its seeds bring no texts, and their sums are those of the release."""
    for spec in specs.values():
        assert lab_texts(load_reference(lab), lab, spec) == ""


def test_only_what_differs_is_in_a_seed(lab: Lab, renumbered: Lab, specs: Specs) -> None:
    texts = json.loads(lab_texts(load_reference(lab), renumbered, specs["real-server"]))
    assert sorted(texts["files"]) == [
        "/etc/iproute2/rt_tables.d/lvslab.conf",
        "/etc/systemd/network/10-cloud-init-eth1.network.d/50-lvslab.conf",
        "/etc/systemd/networkd.conf.d/10-lvslab.conf",
    ]
    assert texts["remove"] == texts["enable"] == texts["disable"] == []


def test_a_machine_gets_the_texts_of_its_seeds_lab_and_back_again(
    disk: Disk, lab: Lab, wide_lab: Lab, renumbered: Lab
) -> None:
    for this, node in (
        (renumbered, "lvs1"), (wide_lab, "d1"), (renumbered, "lvs2"), (lab, "lvs1"),
    ):  # fmt: skip
        disk.give(this, node)
        assert not disk.is_of(this)
        disk.boot()
        assert disk.is_of(this)


def test_rules_and_routes_of_the_earlier_lab_go_before_networkd_reads_its_files(
    disk: Disk, renumbered: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """networkd leaves them, and then a table of the checklist has more than one rule."""
    disk.give(renumbered, "lvs1")
    disk.boot()
    said = capsys.readouterr().out.splitlines()
    at = said.index("systemctl restart systemd-networkd")
    assert said[at - 4 : at] == [
        "ip -4 rule flush protocol static",
        "ip -4 route flush table all protocol static",
        "ip -6 rule flush protocol static",
        "ip -6 route flush table all protocol static",
    ]
    disk.boot()
    assert "flush" not in capsys.readouterr().out  # nothing has changed


STALE = """\
ip link set lo up
ip link add eth1 type bridge
ip link set eth1 up
for family in "-4 10.0.0. 24" "-6 fd00:: 64"; do
    set -- $family
    ip address add "$2"1/"$3" dev eth1
    ip $1 rule add from "$2"0/"$3" lookup 101 priority 1101 protocol static
    ip $1 rule add from "$2"0/"$3" lookup 102 priority 1102 protocol boot
    ip $1 route add default via "$2"9 table 101 protocol static
    ip $1 route add default via "$2"9 table 102 protocol boot
done
"""
"""What networkd has set (table 101), and what a student has (table 102), in both families."""

LEFT = "for f in -4 -6; do ip $f rule; ip $f route show table all; done\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here")
@pytest.mark.parametrize(("flush", "stays"), [(True, False), (False, True)])
def test_what_a_student_set_stays_and_what_networkd_set_goes(
    disk: Disk, lab: Lab, capsys: pytest.CaptureFixture[str], flush: bool, stays: bool
) -> None:
    disk.give(lab, "lvs1")
    disk.machine().network_again()
    said = capsys.readouterr().out
    asked = "".join(line + "\n" for line in said.splitlines() if line.startswith("ip "))
    script = "set -eu\n" + STALE + (asked if flush else "") + LEFT
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("lookup 101") == done.stdout.count(" table 101 ") == 2 * stays
    assert done.stdout.count("lookup 102") == done.stdout.count(" table 102 ") == 2
    assert done.stdout.count("lookup main") == 2 and "fd00::/64 dev eth1" in done.stdout


def test_units_that_a_lab_does_without_are_disabled_and_come_back(
    disk: Disk, lab: Lab, wide_lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    units = "lvslab-sync.service lvslab-track.service"
    disk.give(wide_lab, "d1")
    disk.boot()
    said = capsys.readouterr().out
    assert f"systemctl disable --now --no-reload {units}\n" in said
    assert "systemctl daemon-reload\n" in said and "systemctl enable" not in said
    disk.give(lab, "lvs1")
    disk.boot()
    said = capsys.readouterr().out
    assert f"systemctl enable --no-reload {units}\n" in said
    assert f"systemctl start --no-block {units}\n" in said and "disable" not in said


def settled(disk: Disk) -> str:
    """What `settle` says; the program that it may start says only that it was started."""
    program = disk.root / "usr/local/lib/lvslab/apply-texts"
    program.write_text("#!/bin/sh\necho texts are applied\n")
    program.chmod(0o755)
    done = subprocess.run([SETTLE, disk.root], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_texts_are_applied_once_for_each_seed(disk: Disk, lab: Lab, renumbered: Lab) -> None:
    """So what a student changed stays as long as the seed is the same."""
    assert settled(disk) == ""  # no seed
    disk.give(lab, "lvs1")
    assert settled(disk) == ""
    disk.give(renumbered, "lvs1")
    assert settled(disk) == "texts are applied\n"
    disk.boot()
    assert settled(disk) == ""
    disk.give(lab, "lvs1")
    assert settled(disk) == "texts are applied\n"


def test_a_machine_with_the_seed_of_another_node_says_so(disk: Disk, lab: Lab) -> None:
    disk.give(lab, "lvs1")
    assert settled(disk) == ""
    disk.give(lab, "lvs2")
    assert settled(disk) == "this machine was lvs1; by its seed it is lvs2 now\n"
    assert settled(disk) == ""


def test_the_seed_of_another_role_is_looked_at(disk: Disk, lab: Lab) -> None:
    of_another_role(disk)
    assert settled(disk) == "texts are applied\n"


@pytest.mark.parametrize("steps", range(1, 12))
def test_power_lost_at_any_moment_is_made_good_by_the_next_boot(
    disk: Disk, lab: Lab, wide_lab: Lab, renumbered: Lab, steps: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The power goes after so many files; then the machine gets its old seed again."""
    disk.give(renumbered, "lvs1")
    disk.boot()
    keep: Callable[..., None] = apply_texts.keep
    left = [steps]

    def cut(*words: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise SystemExit
        keep(*words)

    disk.give(wide_lab, "d1")
    with monkeypatch.context() as patch:
        patch.setattr(apply_texts, "keep", cut)
        with pytest.raises(SystemExit):
            disk.boot()
    disk.give(lab, "lvs1")
    disk.boot()
    assert disk.is_of(lab)


def damaged(disk: Disk) -> None:
    disk.write("/etc/lvslab/texts.json", disk.read("/etc/lvslab/texts.json")[:-9])


def damaged_inside(disk: Disk) -> None:
    texts = json.loads(disk.read("/etc/lvslab/texts.json"))
    first = next(iter(texts["files"].values()))
    first["content"] += "#"
    disk.write("/etc/lvslab/texts.json", json.dumps(texts))
    name = hashlib.sha256(disk.read("/etc/lvslab/texts.json").encode()).hexdigest()
    disk.write("/etc/lvslab/node", f"LVSLAB_NODE=lvs1\nLVSLAB_ROLE=director\nLVSLAB_TEXTS={name}\n")


def of_another_release(disk: Disk) -> None:
    image = json.loads(disk.read("/usr/local/lib/lvslab/texts.json"))
    disk.write("/usr/local/lib/lvslab/texts.json", json.dumps(image))


def of_another_role(disk: Disk) -> None:
    disk.write("/etc/lvslab/node", "LVSLAB_NODE=rs1\nLVSLAB_ROLE=real-server\n")


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (damaged, "the texts of the seed are damaged"),
        (damaged_inside, "the seed's text for "),
        (of_another_release, "the seed was made for images of another release"),
        (of_another_role, "this machine is a director, and its seed is of rs1, a real-server"),
    ],
)
def test_a_seed_that_does_not_fit_is_refused_and_nothing_of_the_cluster_starts(
    disk: Disk, renumbered: Lab, harm: Callable[[Disk], None], why: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    disk.give(renumbered, "lvs1")
    harm(disk)
    disk.write("/etc/systemd/network/10-cloud-init-eth1.network", "[Match]\nName=eth1\n")
    (disk.root / "sys/class/net/eth1").mkdir(parents=True)
    machine = disk.machine()
    with pytest.raises(apply_texts.Refused, match=why) as refused:
        machine.seed()
    machine.refuse(str(refused.value))
    assert not (disk.root / "etc/lvslab/node").exists()  # what every service waits for
    assert not list((disk.root / "etc/systemd/network").glob("10-cloud-init-*.network"))
    assert why in disk.read("/etc/issue")
    assert capsys.readouterr().out.splitlines() == [
        "systemctl restart systemd-networkd",
        "ip address flush dev eth1",
        "ip link set eth1 down",
    ]
