"""Roles are data: another role is another folder, and no line of code knows its name."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import get_args

import pytest
import yaml

from lvslab import render
from lvslab.core.places import DATA, ROLE_FOLDERS
from lvslab.measure.speech import SPEECHES
from lvslab.model import load
from lvslab.model.lab import Lab, LabFile
from lvslab.model.role import Kind, Probe, RoleSpec
from lvslab.render import node_facts
from lvslab.render.kinds import KINDS
from lvslab.render.picture import svg

EXAMPLE = DATA / "examples" / "dns" / "lab.yaml"
Loaded = tuple[Lab, dict[str, RoleSpec]]


@pytest.fixture(scope="module")
def dns() -> Loaded:
    """The example with DNS servers and a client inside the lab."""
    return load.load_all(EXAMPLE)


def test_every_kind_has_a_module() -> None:
    assert set(KINDS) == set(Kind)


def test_a_virtual_server_takes_port_and_servers_from_its_service(dns: Loaded) -> None:
    lab, _ = dns
    assert lab.endpoint("names1") == ("192.168.50.1", 53)
    assert list(lab.real_servers("names1")) == ["ns1", "ns2"]
    assert lab.ports_wanted("dns") == [53]
    assert lab.ports_wanted("http") == []


def test_a_port_of_its_own_comes_before_the_service_s() -> None:
    text = EXAMPLE.read_text().replace(
        "names1: {instance: VI_1,", "names1: {instance: VI_1, port: 5353,"
    )
    lab = Lab.with_roles(
        LabFile.model_validate(yaml.safe_load(text)), load.heads(ROLE_FOLDERS).roles
    )
    assert lab.endpoint("names1") == ("192.168.50.1", 5353)
    assert lab.ports_wanted("dns") == [53, 5353]


def test_the_image_of_a_role_comes_from_a_lab_that_does_not_have_it(dns: Loaded) -> None:
    """Images are baked from the reference lab, which has two roles."""
    lab, specs = dns
    reference = load.load_reference(lab)
    assert "dns-server" not in reference.roles
    for spec in specs.values():
        assert "unbound" in render.assert_script(reference, spec) or spec.name != "dns-server"
        assert render.lab_texts(reference, lab, spec)


def test_servers_and_hosts_have_the_addresses_of_lab_yaml(dns: Loaded) -> None:
    lab, _ = dns
    for node, eth1 in (("ns1", "192.168.100.10/24"), ("pc1", "192.168.50.10/24")):
        network = yaml.safe_load(render.node_seed(lab, node).network_config)
        assert network["ethernets"]["eth1"]["addresses"] == [eth1]
    director = yaml.safe_load(render.node_seed(lab, "lvs1").network_config)
    assert "addresses" not in director["ethernets"]["eth1"]


def test_policy_routing_is_of_the_kind_not_of_a_role(dns: Loaded) -> None:
    lab, specs = dns
    path = "/etc/systemd/network/10-cloud-init-eth1.network.d/50-lvslab.conf"
    assert "Table=LVS1" in render.role_files(lab, specs["dns-server"])[path].content
    assert path not in render.role_files(lab, specs["client"])


def test_each_node_is_checked_as_its_kind(dns: Loaded) -> None:
    lab, _ = dns
    facts = json.loads(node_facts.text(lab))
    assert facts["nodes"]["ns1"]["serves"] == [
        {"service": "dns", "place": "127.0.0.1:53", "probe": probe, "unit": "unbound.service"}
        for probe in ("dns", "dns-udp")
    ]
    assert set(facts["nodes"]["pc1"]) == {"kind", "interfaces"}
    interface = facts["nodes"]["pc1"]["interfaces"]["eth1"]
    assert interface["own"] == ["192.168.50.10/24"]
    assert interface["neighbours"] == ["192.168.50.1", "192.168.50.2"]
    asked = facts["client"]["services"]
    assert [(one["service"], one["probe"]) for one in asked] == [
        ("192.168.50.1:53", "dns"),
        ("192.168.50.2:53", "dns"),
        ("192.168.50.1:53", "dns-udp"),
        ("192.168.50.2:53", "dns-udp"),
    ]


def test_all_machines_are_drawn(dns: Loaded) -> None:
    picture = svg(dns[0])
    for word in (
        "pc1",
        "192.168.50.10/24",
        "client",
        "ns1",
        "ns2",
        "lvs1",
        "names1 192.168.50.1:53",
    ):
        assert f">{word}" in picture or f" {word}" in picture, word


def test_a_role_that_nobody_knows_needs_a_folder_and_no_code(tmp_path: Path) -> None:
    """The DNS server under another name, with another service: loaded and rendered in full."""
    shutil.copytree(DATA / "examples/roles/dns-server", tmp_path / "roles/oracle")
    role = tmp_path / "roles/oracle/role.yaml"
    text = role.read_text().replace("name: dns-server", "name: oracle")
    role.write_text(text.replace("  dns: {unit", "  answers: {unit"))
    conf = next((tmp_path / "roles/oracle").rglob("lvslab.conf.j2"))
    conf.write_text(conf.read_text().replace("served.dns", "served.answers"))
    (tmp_path / "lab.yaml").write_text(
        EXAMPLE.read_text()
        .replace("role: dns-server", "role: oracle")
        .replace("service: dns", "service: answers, port: 99")
    )
    lab, specs = load.load_all(tmp_path / "lab.yaml", [*ROLE_FOLDERS, tmp_path / "roles"])
    texts = render.everything(lab, specs.values())
    assert "0.0.0.0@99" in texts["roles/oracle/root/etc/unbound/unbound.conf.d/lvslab.conf"]
    conf_text = texts["roles/director/root/etc/keepalived/keepalived.conf"]
    assert "virtual_server 192.168.50.1 99 {" in conf_text
    assert "oracle" in texts["vmware/ns1/ns1.vmx"]


def test_nothing_but_a_role_s_own_folder_knows_its_programs() -> None:
    """No word of Apache or PHP in the code, and none in what all roles share."""
    words = re.compile(r"apache|php", re.IGNORECASE)
    allowed = re.compile(r"such as apache2\.service")  # the example in an error message
    found = []
    for folder in ("lvslab", "roles/common", "roles/director", "cloud-init", "packer"):
        for path in (DATA / folder).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                text = allowed.sub("", path.read_text("utf-8"))
                found += [f"{path}: {word}" for word in words.findall(text)]
    assert found == []


def test_no_code_outside_the_kinds_compares_a_role_s_name() -> None:
    found = [
        str(path)
        for path in (DATA / "lvslab").rglob("*.py")
        if re.search(r"""role\w* [!=]= ["']|== ["'](director|real-server)["']""", path.read_text())
    ]
    assert found == []


def test_every_probe_can_be_asked_or_is_only_connected_to() -> None:
    assert {*SPEECHES, "tcp", "https"} == {*get_args(Probe), "dns-udp"}
