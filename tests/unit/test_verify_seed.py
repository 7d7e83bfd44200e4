"""Seeds: a right one passes, each broken one is refused by its rule."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lvslab.check.verify import RULES, Outcome, verify
from lvslab.export import seed as export
from lvslab.export import vmdk
from lvslab.model.lab import Lab
from lvslab.render import Seed, node_seed

EPOCH = 1_700_000_000


def failing(path: Path, lab: Lab | None) -> set[str]:
    return {f.rule.id for f in verify(path, lab) if f.outcome is Outcome.FAIL}


def written(seed: Seed, path: Path) -> Path:
    export.write_iso(seed, path, epoch=EPOCH)
    return path


@pytest.mark.parametrize("node", ["lvs1", "lvs2", "rs1", "rs2"])
def test_each_seed_of_the_lab_passes(lab: Lab, tmp_path: Path, node: str) -> None:
    findings = verify(written(node_seed(lab, node), tmp_path / f"{node}.iso"), lab)
    assert [f for f in findings if f.outcome is not Outcome.PASS] == []
    assert {f.rule.id for f in findings} == {rule for rule in RULES if rule.startswith("seed-")}


CASES: list[tuple[str, str, str, str, set[str]]] = [
    ("no header", "user_data", "#cloud-config\n", "\n", {"seed-user-data"}),
    (
        "not YAML",
        "user_data",
        'hostname: "rs1"',
        "hostname: [rs1",
        {"seed-user-data", "seed-no-plain-password"},
    ),
    ("another node", "meta_data", 'local-hostname: "rs1"', "local-hostname: rs2", {"seed-node"}),
    ("no instance id", "meta_data", "instance-id:", "instance:", {"seed-node"}),
    ("not a mapping", "meta_data", 'local-hostname: "rs1"', "- rs1", {"seed-node"}),
    (
        "by MAC address",
        "network_config",
        "  eth1:\n",
        "  eth1:\n    match: {macaddress: '00:50:56:00:00:01'}\n",
        {"seed-interfaces"},
    ),
    (
        "version 1",
        "network_config",
        "version: 2",
        "version: 1",
        {"seed-interfaces", "seed-addresses"},
    ),
    (
        "an interface that the node lacks",
        "network_config",
        "  eth2:\n",
        "  eth7:\n",
        {"seed-interfaces", "seed-addresses"},
    ),
    ("another's address", "network_config", "100.10/24", "100.20/24", {"seed-addresses"}),
    ("another prefix", "network_config", "100.10/24", "100.10/32", {"seed-addresses"}),
    (
        "one address twice",
        "network_config",
        "192.168.200.10/24",
        "192.168.100.10/24",
        {"seed-addresses"},
    ),
    (
        "SSH by password",
        "user_data",
        "ssh_pwauth: false",
        "ssh_pwauth: true",
        {"seed-no-plain-password"},
    ),
    (
        "plain password of a user",
        "user_data",
        "hashed_passwd:",
        "plain_text_passwd:",
        {"seed-no-plain-password"},
    ),
    (
        "plain password",
        "user_data",
        "ssh_pwauth: false",
        "ssh_pwauth: false\npassword: secret",
        {"seed-no-plain-password"},
    ),
    (
        "plain password by chpasswd",
        "user_data",
        "ssh_pwauth: false",
        "ssh_pwauth: false\nchpasswd: {users: [{name: a, password: b, type: text}]}",
        {"seed-no-plain-password"},
    ),
    (
        "plain password in a list",
        "user_data",
        "ssh_pwauth: false",
        "ssh_pwauth: false\nchpasswd: {list: ['root:secret']}",
        {"seed-no-plain-password"},
    ),
    (
        "host keys",
        "user_data",
        "ssh_pwauth: false",
        "ssh_pwauth: false\nssh_keys: {ed25519_private: x}",
        {"seed-no-plain-password"},
    ),
]


@pytest.mark.parametrize(
    ("part", "old", "new", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_a_broken_seed_is_refused(
    lab: Lab, tmp_path: Path, part: str, old: str, new: str, expected: set[str]
) -> None:
    seed = node_seed(lab, "rs1")
    text = getattr(seed, part)
    assert old in text
    broken = dataclasses.replace(seed, **{part: text.replace(old, new)})
    assert failing(written(broken, tmp_path / "rs1.iso"), lab) == expected


def test_a_seed_under_another_name_is_refused(lab: Lab, tmp_path: Path) -> None:
    assert failing(written(node_seed(lab, "rs1"), tmp_path / "rs2.iso"), None) == {"seed-node"}


def test_a_seed_of_a_node_that_the_lab_lacks_is_refused(lab: Lab, tmp_path: Path) -> None:
    nodes = {name: node for name, node in lab.nodes.items() if name != "rs1"}
    smaller = lab.model_copy(update={"nodes": nodes})
    assert failing(written(node_seed(lab, "rs1"), tmp_path / "rs1.iso"), smaller) == {"seed-node"}


def test_another_label_is_refused(lab: Lab, tmp_path: Path) -> None:
    path = written(node_seed(lab, "rs1"), tmp_path / "rs1.iso")
    data = path.read_bytes()
    assert data.count(b"cidata  ") >= 1
    path.write_bytes(data.replace(b"cidata  ", b"config-2"))
    assert failing(path, lab) == {"seed-label"}


def test_a_missing_file_is_refused(lab: Lab, tmp_path: Path) -> None:
    path = written(node_seed(lab, "rs1"), tmp_path / "rs1.iso")
    path.write_bytes(path.read_bytes().replace(b"network-config", b"network-confog"))
    assert "seed-files" in failing(path, lab)


def test_what_is_no_iso_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rs1.iso").write_bytes(bytes(100_000))
    assert failing(tmp_path / "rs1.iso", None) == {"seed-label", "seed-files"}


def test_a_seed_as_a_disk_is_looked_at_as_a_seed(lab: Lab, tmp_path: Path) -> None:
    iso = written(node_seed(lab, "rs1"), tmp_path / "seed.raw")
    vmdk.write_stream_optimized(iso, tmp_path / "rs1.vmdk")
    findings = verify(tmp_path / "rs1.vmdk", lab)
    assert [f for f in findings if f.outcome is not Outcome.PASS] == []
    assert "seed-node" in {f.rule.id for f in findings}


def test_every_rule_of_a_seed_is_broken_by_a_case() -> None:
    broken = set().union(*(case[4] for case in CASES)) | {"seed-label", "seed-files"}
    assert {rule for rule in RULES if rule.startswith("seed-")} == broken
