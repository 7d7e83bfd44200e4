"""`deploy proxmox` against `fakepve`, which checks each call by the schema of Proxmox VE 9's API.

It proves the calls' syntax and what follows from calling again, and nothing of what a cluster does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lvslab.model.load import load_lab
from tests import proxmox
from tests.authority import Authority, thumbprint
from tests.deploying import ROOT, Desk, log_in

pytestmark = pytest.mark.slow  # a server for each test


@pytest.fixture
def cluster(authority: Authority) -> Iterator[proxmox.Cluster]:
    with proxmox.running(authority) as this:
        yield this


@pytest.fixture
def desk(
    cluster: proxmox.Cluster,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Desk:
    monkeypatch.setenv("LVSLAB_CACHE", str(tmp_path / "cache"))
    log_in(monkeypatch, proxmox.USER, proxmox.SECRET)
    site = {
        "server": f"127.0.0.1:{cluster.port}",
        "ca": str(authority.path),
        "reach": "cluster",
        "tags": "100000-109999",
        "nodes": ["pve1", "pve2"],
        "storage": "disks",
        "files": "files",
        "zone": "labs",
        "numbers": "9000-9999",
    }
    return Desk("proxmox", tmp_path, site, capsys)


def machines(cluster: proxmox.Cluster) -> dict[str, Any]:
    return {vm.name: vm for vm in cluster.vms}


def test_the_lab_is_made_as_the_model_says(desk: Desk, cluster: proxmox.Cluster) -> None:
    assert desk.good().out == "all of the lab lvslab is there\n"
    lab = load_lab(desk.lab_file)
    wires = {vnet["alias"].rpartition("/")[2]: name for name, vnet in cluster.vnets.items()}
    assert {vnet["tag"] for vnet in cluster.vnets.values()} == set(range(100000, 100004))
    assert cluster.in_force == cluster.vnets
    assert all(len(name) <= 8 for name in cluster.vnets)
    for node, this in lab.nodes.items():
        vm = next(vm for vm in cluster.vms if vm.name == f"lvslab-{node}")
        assert vm.status == "running"
        assert vm.config["ide2"].startswith(f"files:iso/lvslab.lvslab.{node}.")
        assert vm.config["memory"] == str(this.memory_mib)
        assert vm.config["scsi0"].startswith(f"disks:vm-{vm.vmid}-disk-0,")
        for number, (interface, network) in enumerate(sorted(this.interfaces.items())):
            wanted = f"e1000={lab.mac(node, interface)},bridge={wires[network]}"
            assert vm.config[f"net{number}"] == wanted
    images = [vm for vm in cluster.vms if vm.template]
    assert len(images) == 2
    assert not any(key.startswith("net") for vm in images for key in vm.config)
    nodes = {vm.name: vm.node for vm in cluster.vms}
    assert nodes["lvslab-lvs1"] != nodes["lvslab-lvs2"]


def test_the_uploaded_image_does_not_stay(desk: Desk, cluster: proxmox.Cluster) -> None:
    desk.good()
    uploads = [path for method, path, _ in cluster.requests if path.endswith("/upload")]
    assert len(uploads) == 6
    kept: Any = cluster.storages["files"]["volumes"]
    assert [name.rpartition(".")[2] for name in kept] == ["iso"] * 4


def test_it_can_be_called_again(desk: Desk, cluster: proxmox.Cluster) -> None:
    desk.good()
    before, applied = machines(cluster), cluster.applied
    assert desk.good("--dry-run").out == "0 steps; nothing was changed\n"
    changing = [method for method, _, _ in cluster.requests if method != "GET"]
    desk.good()
    after = [method for method, _, _ in cluster.requests if method != "GET"]
    assert len(after) == len(changing) + 1  # the login
    assert (machines(cluster), cluster.applied) == (before, applied)
    assert "as they must be" in desk.good("status").out


def test_each_student_has_networks_of_his_own(desk: Desk, cluster: proxmox.Cluster) -> None:
    desk.students = ["alice", "bob"]
    desk.good()
    owner = {name: vnet["alias"].split("/")[2] for name, vnet in cluster.vnets.items()}
    assert sorted(owner.values()) == ["alice"] * 4 + ["bob"] * 4
    for vm in cluster.vms:
        if not vm.template:
            wires = {
                vm.config[key].partition("bridge=")[2] for key in vm.config if key[:3] == "net"
            }
            assert {owner[wire] for wire in wires} == {vm.name.split("-")[1]}
    assert cluster.applied == 1


def test_a_rule_of_the_ha_manager_keeps_directors_apart(
    desk: Desk, cluster: proxmox.Cluster
) -> None:
    desk.site["ha"] = True
    desk.good()
    number = {vm.name: vm.vmid for vm in cluster.vms}
    directors = [f"vm:{number[f'lvslab-lvs{n}']}" for n in (1, 2)]
    (rule,) = cluster.rules.values()
    assert (rule["type"], rule["affinity"]) == ("resource-affinity", "negative")
    assert sorted(rule["resources"].split(",")) == sorted(directors) == sorted(cluster.resources)
    cluster.resources.popitem()
    assert "managed is not all, and must be absent" in desk.run("status").out
    desk.good()
    cluster.rules["lvslab-apart"]["resources"] = directors[0]
    assert "change rule lvslab-apart" in desk.run("status").out
    desk.good()
    desk.good("remove")
    assert (cluster.rules, cluster.resources, cluster.vms) == ({}, {}, [])


# --- what is wrong is seen, and fixed if it is ours ------------------------------------------


def wire_of(cluster: proxmox.Cluster, student: str, network: str) -> str:
    wanted = f"lvslab/lvslab/{student}/{network}"
    return next(name for name, vnet in cluster.vnets.items() if vnet["alias"] == wanted)


@pytest.mark.parametrize(
    ("key", "change", "told"),
    [
        ("net1", lambda text: text.replace("00:50:56", "00:50:57"), "eth1 is lv0186a1 00:50:57:"),
        ("net1", lambda text: text.replace("lv0186a1", "vmbr0"), "eth1 is vmbr0 00:50:56:"),
        ("net1", lambda text: text.replace("e1000", "virtio"), "(virtio), and must be"),
        ("net1", lambda text: text + ",link_down=1", "(its link is down), and must be"),
        ("net1", None, "eth1 is missing, and must be lv0186a1"),
        ("net9", lambda _: "e1000=00:50:56:3f:00:01,bridge=vmbr0", "and must be absent"),
        ("ide2", lambda _: "none,media=cdrom", "seed is none, and must be lvslab.lvslab.lvs1."),
        ("memory", lambda _: "64", "memory is 64, and must be 512"),
        ("cores", lambda _: "4", "cpus is 4, and must be 1"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_seen_and_fixed(
    desk: Desk, cluster: proxmox.Cluster, key: str, change: object, told: str
) -> None:
    desk.good()
    vm = next(vm for vm in cluster.vms if vm.name == "lvslab-lvs1")
    right = dict(vm.config)
    vm.status = vm.qmpstatus = "stopped"
    if callable(change):
        vm.config[key] = change(vm.config.get(key, ""))
    else:
        del vm.config[key]
    seen = desk.run("status")
    assert (seen.status, told in seen.out) == (1, True), seen.out
    desk.good()
    assert {k: str(v) for k, v in vm.config.items()} == {k: str(v) for k, v in right.items()}
    assert vm.status == "running"


def test_what_a_running_machine_keeps_is_said(desk: Desk, cluster: proxmox.Cluster) -> None:
    desk.good()
    vm = next(vm for vm in cluster.vms if vm.name == "lvslab-lvs1")
    vm.config["memory"] = "64"
    ended = desk.run()
    assert ended.status == 4
    assert "this did not become what it must be:" in ended.err
    assert "a machine that runs keeps some values: shut it down" in ended.err


def test_two_students_with_one_vni_are_seen_and_told_apart(
    desk: Desk, cluster: proxmox.Cluster
) -> None:
    desk.students = ["alice", "bob"]
    desk.good()
    one, two = wire_of(cluster, "alice", "VMnet1"), wire_of(cluster, "bob", "VMnet1")
    for vnets in (cluster.vnets, cluster.in_force):
        vnets[two]["tag"] = vnets[one]["tag"]
    seen = desk.run("status")
    told = f"networks with the same number, 100001, hear each other: {one}, {two}\n"
    assert (seen.status, told in seen.out) == (1, True)
    desk.good()
    assert len({vnet["tag"] for vnet in cluster.in_force.values()}) == 8


def test_two_students_with_one_number_in_the_ledger(desk: Desk) -> None:
    desk.students = ["alice", "bob"]
    desk.good()
    ledger = json.loads(desk.ledger.read_text())
    ledger["network"]["bob/VMnet1"] = ledger["network"]["alice/VMnet1"]
    desk.ledger.write_text(json.dumps(ledger))
    ended = desk.run()
    assert ended.status == 2
    assert "alice/VMnet1 and bob/VMnet1 have the same number, 100001 (network)" in ended.err


def test_a_vnet_that_was_not_put_in_force(desk: Desk, cluster: proxmox.Cluster) -> None:
    desk.good()
    name, vnet = cluster.in_force.popitem()
    assert f"change network {name}: not in force is new, and must be absent" in (
        desk.run("status").out
    )
    desk.good()
    assert cluster.in_force[name] == vnet


@pytest.mark.parametrize(
    ("site", "told"),
    [
        (
            {"zone": "office"},
            "the zone office (vlan) leads to a real network through vmbr0; use a zone of kind",
        ),
        ({"zone": "single"}, "the networks of the zone single (simple) end at each node"),
        ({"storage": "tank"}, "pve1 has no storage tank"),
        ({"files": "disks"}, "the storage disks does not take import, iso"),
        ({"storage": "local", "nodes": ["pve1"]}, "the storage local does not take images"),
        ({"files": "local"}, "the storage local is not shared, and the site names several nodes"),
    ],
)
def test_a_cluster_that_is_not_fit_is_refused(
    desk: Desk, cluster: proxmox.Cluster, site: dict[str, object], told: str
) -> None:
    desk.site |= site
    ended = desk.run()
    assert (ended.status, told in ended.err) == (2, True), ended.err
    assert told in desk.run("--dry-run").out
    assert (cluster.vms, cluster.vnets, desk.ledger.exists()) == ([], {}, False)


def test_a_zone_that_ends_at_a_node_will_do_for_one_node(
    desk: Desk, cluster: proxmox.Cluster
) -> None:
    desk.site |= {"zone": "single", "reach": "host", "ha": True}
    desk.students = ["alice", "bob"]
    desk.good()
    nodes: dict[str, set[str]] = {"alice": set(), "bob": set()}
    for vm in cluster.vms:
        if not vm.template:
            nodes[vm.name.split("-")[1]].add(vm.node)
    assert sorted(map(sorted, nodes.values())) == [["pve1"], ["pve2"]]
    assert {rule["affinity"] for rule in cluster.rules.values()} == {"positive"}


# --- half-finished, others, removing -----------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "told"),
    [
        ("/clone", "cannot make machine lvslab-"),
        ("/template", "cannot make image lvslab-image-"),
        ("/upload", "cannot make image lvslab-image-"),
        ("/status/start", "cannot power on lvslab-"),
        ("/cluster/sdn", "Proxmox VE does not apply the networks: "),
    ],
)
def test_a_failure_is_told_and_the_next_call_goes_on(
    desk: Desk, cluster: proxmox.Cluster, suffix: str, told: str
) -> None:
    method = "PUT" if suffix == "/cluster/sdn" else "POST"
    cluster.fail(method, suffix, status=500, message="got timeout", times=1)
    ended = desk.run()
    assert (ended.status, told in ended.err, "got timeout" in ended.err) == (4, True, True)
    desk.good()
    desk.good("status")


def test_a_clone_without_its_settings_is_finished(desk: Desk, cluster: proxmox.Cluster) -> None:
    cluster.fail("PUT", "/config", status=500, message="got timeout", times=1)
    assert desk.run().status == 4
    bare = [vm for vm in cluster.vms if not vm.template and "net0" not in vm.config]
    assert len(bare) == 1
    desk.good()
    assert "net0" in bare[0].config


def test_what_others_made_is_refused_and_never_touched(
    desk: Desk, cluster: proxmox.Cluster
) -> None:
    theirs = cluster.add_vm(9100, "lvslab-rs1", node="pve1")
    cluster.vnets["lv0186a0"] = {"zone": "labs", "tag": 7, "alias": "mine"}
    cluster.in_force["lv0186a0"] = {"zone": "labs", "tag": 7, "alias": "mine"}
    ended = desk.run()
    assert ended.status == 2
    assert "  machine lvslab-rs1, without a mark of ours\n" in ended.err
    assert "  network lv0186a0, without a mark of ours\n" in ended.err
    assert desk.good("remove").out == "0 objects of the lab lvslab are removed\n"
    assert cluster.vms == [theirs]


def test_numbers_of_others_are_left_out(desk: Desk, cluster: proxmox.Cluster) -> None:
    cluster.add_vm(9001, "web1", node="pve2")
    cluster.add_ct(9003, "ct1", node="pve1")
    cluster.vnets["theirs"] = {"zone": "labs", "tag": 100001}
    cluster.in_force["theirs"] = {"zone": "labs", "tag": 100001}
    desk.good()
    assert sorted(vm.vmid for vm in cluster.vms) == [9000, 9001, 9002, 9004, 9005, 9006, 9007]
    tags = sorted(vnet["tag"] for name, vnet in cluster.vnets.items() if name != "theirs")
    assert tags == [100000, 100002, 100003, 100004]


def test_a_number_that_somebody_took_since_is_refused(desk: Desk, cluster: proxmox.Cluster) -> None:
    desk.good()
    desk.good("remove")
    desk.ledger.write_text(json.dumps({"lab": "lvslab", "network": {}, "machine": {"/lvs1": 9042}}))
    cluster.add_vm(9042, "web1", node="pve1")
    ended = desk.run()
    assert ended.status == 2
    assert "lvslab-lvs1 must have the number 9042, which web1 has" in ended.err


def test_the_numbers_are_read_from_the_cluster_if_the_ledger_is_lost(
    desk: Desk, cluster: proxmox.Cluster
) -> None:
    desk.students = ["alice", "bob"]
    desk.good()
    before = json.loads(desk.ledger.read_text())
    desk.ledger.unlink()
    desk.students = ["bob", "alice"]
    assert desk.good("--dry-run").out == "0 steps; nothing was changed\n"
    desk.good()
    assert json.loads(desk.ledger.read_text()) == before


def test_remove_leaves_nothing_of_ours(desk: Desk, cluster: proxmox.Cluster) -> None:
    desk.students = ["alice", "bob"]
    desk.good()
    desk.good("remove", "--student", "alice")
    assert {vm.name.split("-")[1] for vm in cluster.vms} == {"bob", "image"}
    desk.students = []
    desk.good("remove")
    assert (cluster.vms, cluster.vnets, cluster.in_force) == ([], {}, {})
    assert cluster.storages["files"].get("volumes", {}) == {}
    assert cluster.storages["disks"].get("volumes", {}) == {}


@pytest.mark.parametrize("then", ["remove", "up"])
def test_a_removal_that_was_not_put_in_force(
    desk: Desk, cluster: proxmox.Cluster, then: str
) -> None:
    desk.good()
    cluster.fail("PUT", "/cluster/sdn", status=500, message="got timeout", times=1)
    assert desk.run("remove").status == 4
    assert (len(cluster.vnets), len(cluster.in_force)) == (0, 4)
    desk.good(then)
    assert len(cluster.in_force) == len(cluster.vnets) == (4 if then == "up" else 0)


# --- who is who ----------------------------------------------------------------------------


def test_a_certificate_of_another_authority_is_refused(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    desk.site["ca"] = str(Authority(tmp_path, "other").path)
    # Libraries would add this one by themselves.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.path))
    ended = desk.run()
    assert ended.status == 2
    assert "the certificate of 127.0.0.1 is not trusted: " in ended.err


def test_a_certificate_for_another_name_is_refused(desk: Desk, cluster: proxmox.Cluster) -> None:
    desk.site["server"] = f"localhost:{cluster.port}"
    ended = desk.run()
    assert ended.status == 2
    assert "the certificate of localhost is not trusted: " in ended.err


def test_a_thumbprint_in_place_of_an_authority(desk: Desk, authority: Authority) -> None:
    del desk.site["ca"]
    desk.good("--thumbprint", thumbprint(authority.path.with_name("server.pem")))
    ended = desk.run("--thumbprint", "0" * 64)
    assert (ended.status, "shows a certificate whose sha256 is" in ended.err) == (2, True)


def test_a_token_in_place_of_a_password(
    desk: Desk, cluster: proxmox.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.apitokens["teacher@pve!lab"] = "the-token"
    log_in(monkeypatch, "teacher@pve!lab", "the-token")
    desk.good()
    log_in(monkeypatch, "teacher@pve!lab", "another")
    ended = desk.run()
    assert ended.status == 2
    assert "127.0.0.1 refuses the token teacher@pve!lab" in ended.err


def test_a_wrong_password_and_a_second_factor(
    desk: Desk, cluster: proxmox.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.tfa = True
    assert "logs in with a second factor, which nobody can type here" in desk.run().err
    log_in(monkeypatch, proxmox.USER, "not-the-password")
    ended = desk.run("-v")
    assert ended.status == 2
    assert "127.0.0.1 refuses the user teacher@pve with this password" in ended.err
    assert "not-the-password" not in ended.text


def test_no_secret_is_in_what_is_written(desk: Desk) -> None:
    ended = desk.good("-v", "--json")
    assert proxmox.SECRET not in ended.text
    for path in desk.folder.rglob("*"):
        if path.is_file():
            assert proxmox.SECRET.encode() not in path.read_bytes(), path


def test_a_right_that_is_missing_is_named(desk: Desk, cluster: proxmox.Cluster) -> None:
    cluster.acl = {}
    cluster.grant(proxmox.USER, "/", "VM.Audit", "Datastore.Audit", "SDN.Audit")
    ended = desk.run()
    assert ended.status == 4
    assert "Permission check failed (/sdn/zones/labs, SDN.Allocate)" in ended.err
    assert "docs/deploy.md lists the rights" in ended.err


def test_the_rights_of_the_docs_are_enough(desk: Desk, cluster: proxmox.Cluster) -> None:
    """docs/deploy.md has a table: this user has what is in it, and nothing else."""
    text = (ROOT / "docs/deploy.md").read_text()
    table = text[text.index("| on | privileges |") :]
    rows = re.findall(r"^\| ([^|]*`/[^|]*) \| ([^|]+) \|$", table, re.MULTILINE)
    assert len(rows) == 5
    cluster.acl = {}
    for where, privileges in rows:
        names = privileges.split(", ")
        whole = [name if "." in name else f"VM.Config.{name}" for name in names]
        for path in re.findall(r"`(/[^`]*)`", where):
            cluster.grant(proxmox.USER, path, *whole)
    desk.site["ha"] = True
    desk.good()
    desk.good("status")
    desk.good("remove")
    assert (cluster.vms, cluster.vnets) == ([], {})


def test_names_too_long_for_proxmox_are_refused(desk: Desk, cluster: proxmox.Cluster) -> None:
    desk.change_lab("name: lvslab", f"name: {'l' * 31}")
    desk.make_artifacts()
    desk.students = ["s" * 31]
    ended = desk.run()
    assert ended.status == 2
    assert "this platform takes 63" in ended.err
    assert cluster.vms == []


def test_a_student_who_is_not_in_the_class(desk: Desk, cluster: proxmox.Cluster) -> None:
    desk.students = ["Alice.A"]
    ended = desk.run("--student", "bob")
    assert (ended.status, "bob is not in the class" in ended.err) == (2, True)
    assert "it has: alice-a" in ended.err
    desk.students = []
    assert "give the file with --class" in desk.run("--student", "bob").err
    assert cluster.vms == []
