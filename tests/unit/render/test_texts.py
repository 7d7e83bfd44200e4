"""The rendered texts: golden files, and what each must and must not say."""

from __future__ import annotations

import hashlib
import json
import re
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from lvslab import render
from lvslab.core.archives import PUBLIC
from lvslab.model.lab import Lab
from lvslab.model.load import load_lab
from lvslab.model.role import Kind, RoleSpec
from lvslab.render import texts
from lvslab.render.machine_files import texts_of_lab
from tests.conftest import ROLES, ROOT, Golden
from tests.strategies import examples

Specs = dict[str, RoleSpec]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL packer"


def rendered(lab: Lab, specs: Specs) -> dict[str, str]:
    """All texts but the copies: of files that are not rendered, and of all texts in one file."""
    copies = {
        f"roles/{role}/root{path}"
        for role, spec in specs.items()
        for path in render.role_files(lab, spec).keys() - texts_of_lab(lab, spec) - {"/etc/issue"}
    }
    every = render.everything(lab, specs.values())
    assert copies <= every.keys()
    return {name: named(text) for name, text in every.items() if name not in copies}


def named(text: str) -> str:
    """A text with the names of Debian's archives in the place of their addresses."""
    for archive, address in PUBLIC.items():
        text = text.replace(address + "\n", f"<{archive}>\n").replace(
            address + "\\n", f"<{archive}>\\n"
        )
    return text


@pytest.fixture
def awkward(tmp_path: Path) -> Lab:
    """A lab whose names YAML 1.1 reads as true or false, unless they are quoted."""
    text = (ROOT / "lab.yaml").read_text()
    for name, other in (
        ("rs2:", "no:"),
        ("user: student", "user: on"),
        ("name: lvslab", "name: yes"),
    ):
        assert text.count(name) == 1
        text = text.replace(name, other)
    (tmp_path / "lab.yaml").write_text(text)
    return load_lab(tmp_path / "lab.yaml")


def test_names_stay_names_in_yaml(awkward: Lab) -> None:
    seed = render.node_seed(awkward, "no")
    user_data, meta_data = yaml.safe_load(seed.user_data), yaml.safe_load(seed.meta_data)
    assert (user_data["hostname"], meta_data["local-hostname"]) == ("no", "no")
    assert (user_data["users"][0]["name"], user_data["users"][0]["gecos"]) == ("on", "yes")


def test_golden_default(lab: Lab, specs: Specs, golden: Golden) -> None:
    golden("default/texts", rendered(lab, specs))


def test_golden_wide(wide_lab: Lab, specs: Specs, golden: Golden) -> None:
    golden("wide/texts", rendered(wide_lab, specs))


def test_rendering_twice_gives_the_same(lab: Lab, specs: Specs) -> None:
    first, second = (render.everything(lab, specs.values()) for _ in range(2))
    assert first == second


def test_a_name_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="instance_id"):
        texts.render("cloud-init/meta-data.j2", {"name": "x"})


@pytest.mark.parametrize("role", ROLES)
def test_user_data_writes_exactly_the_files(lab: Lab, specs: Specs, role: str) -> None:
    data = yaml.safe_load(render.role_user_data(lab, specs[role]))
    written = {
        entry["path"]: render.RenderedFile(entry["content"], int(entry["permissions"], 8))
        for entry in data["write_files"]
    }
    assert written == render.role_files(lab, specs[role])


@pytest.mark.parametrize("role", ROLES)
def test_role_has_no_login_and_no_node(lab: Lab, specs: Specs, role: str) -> None:
    data = yaml.safe_load(render.role_user_data(lab, specs[role]))
    assert set(data) == {"write_files", "runcmd"}
    text = json.dumps(data)
    assert lab.login.password_hash and lab.login.password_hash not in text
    assert "/etc/lvslab/node" not in [entry["path"] for entry in data["write_files"]]


@pytest.mark.parametrize("role", ROLES)
def test_bake_adds_only_what_the_bake_needs(lab: Lab, specs: Specs, role: str) -> None:
    seed = render.bake_seed(lab, specs[role], "packer", KEY + "\n")
    data = yaml.safe_load(seed.user_data)
    own = yaml.safe_load(render.role_user_data(lab, specs[role]))
    assert {key: data[key] for key in own} == own
    assert data["growpart"] == {"mode": "off"}
    assert data["resize_rootfs"] is False
    (user,) = data["users"]
    assert user["ssh_authorized_keys"] == [KEY]
    assert user["lock_passwd"] is True
    assert yaml.safe_load(seed.network_config)["ethernets"] == {
        "eth0": {"optional": True, "dhcp4": True}
    }


def test_node_seed_of_a_real_server(lab: Lab) -> None:
    seed = render.node_seed(lab, "rs1")
    network = yaml.safe_load(seed.network_config)["ethernets"]
    assert network["eth0"]["dhcp4"] is True
    assert network["eth1"]["addresses"] == ["192.168.100.10/24"]
    assert network["eth2"]["addresses"] == ["192.168.200.10/24"]
    assert all(interface["optional"] for interface in network.values())
    assert "mac" not in seed.network_config.replace("MAC address", "")


def test_node_seed_of_a_director_gives_no_address(lab: Lab) -> None:
    network = yaml.safe_load(render.node_seed(lab, "lvs1").network_config)["ethernets"]
    assert list(network) == ["eth0", "eth1", "eth2", "eth3"]
    assert not any("addresses" in interface for interface in network.values())


def test_login_is_for_the_console_and_keys_only(lab: Lab, wide_lab: Lab) -> None:
    with_password = yaml.safe_load(render.node_seed(lab, "lvs1").user_data)
    assert with_password["ssh_pwauth"] is False
    assert with_password["disable_root"] is True
    (user,) = with_password["users"]
    assert (user["name"], user["lock_passwd"]) == ("student", False)
    assert user["hashed_passwd"] == lab.login.password_hash
    (user,) = yaml.safe_load(render.node_seed(wide_lab, "d1").user_data)["users"]
    assert (user["name"], user["lock_passwd"]) == ("pupil", True)
    assert "hashed_passwd" not in user
    assert user["ssh_authorized_keys"] == list(wide_lab.login.ssh_keys)


def test_a_changed_seed_has_another_instance_id(lab: Lab) -> None:
    changed = lab.model_copy(update={"login": lab.login.model_copy(update={"user": "pupil"})})
    before, after = (render.node_seed(one, "rs1").meta_data for one in (lab, changed))
    assert yaml.safe_load(before)["local-hostname"] == "rs1"
    assert yaml.safe_load(before)["instance-id"] != yaml.safe_load(after)["instance-id"]


def test_issue_names_the_seeds(lab: Lab, specs: Specs) -> None:
    issue = render.role_files(lab, specs["director"])["/etc/issue"].content
    assert "lvs1.iso or lvs2.iso" in issue
    issue = render.role_files(lab, specs["real-server"])["/etc/issue"].content
    assert "rs1.iso or rs2.iso" in issue


@pytest.mark.parametrize(
    ("role", "unit"),
    [
        ("director", "keepalived.service.d/10-lvslab.conf"),
        ("director", "lvslab-sync.service"),
        ("director", "lvslab-track.service"),
        ("real-server", "apache2.service.d/10-lvslab.conf"),
        ("real-server", "php8.4-fpm.service.d/10-lvslab.conf"),
    ],
)
def test_nothing_of_the_cluster_starts_without_a_seed(
    lab: Lab, specs: Specs, role: str, unit: str
) -> None:
    text = render.role_files(lab, specs[role])[f"/etc/systemd/system/{unit}"].content
    assert "ConditionPathExists=/etc/lvslab/node\n" in text
    for node in lab.nodes_with(role):
        data = yaml.safe_load(render.node_seed(lab, node).user_data)
        assert "/etc/lvslab/node" in [entry["path"] for entry in data["write_files"]]


@pytest.mark.parametrize("role", ROLES)
def test_only_the_images_own_host_name_keeps_a_machine_off_the_networks(
    lab: Lab, specs: Specs, role: str
) -> None:
    name = (ROOT / "roles/common/base/etc/hostname").read_text().strip()
    unit = render.role_files(lab, specs[role])["/etc/systemd/network/05-unseeded.network"].content
    assert f"Host={name}\n" in unit
    assert name not in lab.nodes


def _lines(lab: Lab, director: str) -> list[str]:
    """keepalived.conf as one director reads it, comments left out."""
    found = []
    for line in render.keepalived_conf(lab).splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith("@"):
            if words[0] != f"@{director}":
                continue
            words = words[1:]
        found.append(" ".join(words))
    return found


def _blocks(lines: list[str], kind: str) -> dict[str, list[str]]:
    """The blocks `kind NAME {` of the top level."""
    found: dict[str, list[str]] = {}
    depth, name = 0, None
    for line in lines:
        if depth == 0 and line.startswith(f"{kind} "):
            name = line.removeprefix(f"{kind} ").removesuffix(" {")
            found[name] = []
        elif name is not None:
            found[name].append(line)
        depth += line.count("{") - line.count("}")
        if depth == 0:
            name = None
    return found


@pytest.mark.parametrize("director", ["lvs1", "lvs2"])
def test_keepalived_traps(lab: Lab, director: str) -> None:
    """What the facts warn of: one assertion for each trap."""
    lines = _lines(lab, director)
    assert "state MASTER" not in lines
    assert not [line for line in lines if re.match(r"vrrp_strict|authentication|lvs_sync", line)]
    assert lines.count("warmup 0") == len(lab.virtual_servers)
    assert "static_ipaddress {" in lines
    vips = {instance.address for instance in lab.vrrp_instances.values()}
    for name, block in _blocks(lines, "vrrp_instance").items():
        assert block.count("state BACKUP") == 1
        (source,) = [line.split()[1] for line in block if line.startswith("mcast_src_ip")]
        assert IPv4Address(source) not in vips
        assert f"{lab.vrrp_instances[name].address}/24" in block
        assert f"priority {lab.vrrp_instances[name].priorities[director]}" in block
        assert "track_file {" not in block
    groups = _blocks(lines, "vrrp_sync_group")
    assert groups["VG1"][-4:-1] == ["arp_VMnet1", "arp_VMnet12", "}"]
    assert groups["VG2"][-4:-1] == ["arp_VMnet1", "arp_VMnet13", "}"]


def test_the_articles_letter(lab: Lab) -> None:
    directors = lab.directors.model_copy(update={"source_addresses": "none"})
    lines = _lines(lab.model_copy(update={"directors": directors}), "lvs1")
    assert "static_ipaddress {" not in lines
    assert "mcast_src_ip 192.168.50.251" in lines


def test_without_addresses_a_director_still_has_a_source(wide_lab: Lab) -> None:
    """An interface without an address puts its instance into FAULT unless mcast_src_ip is set."""
    sources = {
        line
        for director in wide_lab.nodes_of(Kind.DIRECTOR)
        for line in _lines(wide_lab, director)
        if line.startswith("mcast_src_ip")
    }
    assert len(sources) == 3


def test_a_director_that_stops_hands_over_first(lab: Lab, specs: Specs) -> None:
    """Its priorities fall below every other while it still serves; a stop waits for that."""
    lines = _lines(lab, "lvs1")
    assert all("leaving" in group for group in _blocks(lines, "vrrp_sync_group").values())
    assert "weight -253" in lines and "init_file 0 overwrite" in lines
    files = render.role_files(lab, specs["director"])
    unit = files["/etc/systemd/system/keepalived.service.d/10-lvslab.conf"].content
    addresses = " ".join(str(this.address) for this in lab.vrrp_instances.values())
    assert f"ExecStop=/usr/local/lib/lvslab/hand-over 14 {addresses}\n" in unit
    assert files["/usr/local/lib/lvslab/hand-over"].mode == 0o755


def test_connection_sync_is_a_unit_of_its_own(lab: Lab, wide_lab: Lab, specs: Specs) -> None:
    files = render.role_files(lab, specs["director"])
    unit = files["/etc/systemd/system/lvslab-sync.service"].content
    assert "connection-sync eth2 50" in unit
    assert "Restart=always" in unit
    assert files["/usr/local/lib/lvslab/connection-sync"].mode == 0o755
    without = render.role_files(wide_lab, specs["director"])
    assert not [path for path in without if path.endswith("sync.service")]


def test_who_is_asked_by_arp(lab: Lab, wide_lab: Lab, specs: Specs) -> None:
    """On a backend network the real servers; on the clients' the host and the directors."""
    files = render.role_files(lab, specs["director"])
    unit = files["/etc/systemd/system/lvslab-track.service"].content
    assert "arp-watch 0.4 3 2 5 " in unit
    assert "arp_VMnet1=eth1=192.168.50.100,192.168.50.251,192.168.50.252 " in unit
    assert "arp_VMnet12=eth2=192.168.100.10,192.168.100.20 " in unit
    without = render.role_files(wide_lab, specs["director"])
    assert not [path for path in without if path.endswith("track.service")]
    assert "track_file arp_" not in render.keepalived_conf(wide_lab)


def test_preempting_waits_in_one_place_only(lab: Lab, wide_lab: Lab) -> None:
    """keepalived's preempt_delay would hold up the takeover from a director cut off silently."""
    assert "preempt_delay" not in render.keepalived_conf(lab)
    assert render.keepalived_conf(wide_lab).count("preempt_delay 5") == 2


def test_kernel_settings_of_directors(lab: Lab, specs: Specs) -> None:
    text = render.role_files(lab, specs["director"])["/etc/sysctl.d/60-lvslab.conf"].content
    settings = dict(
        line.split(" = ") for line in text.splitlines() if line and not line.startswith("#")
    )
    assert settings["net.ipv4.ip_forward"] == "1"
    assert settings["net.ipv4.vs.expire_nodest_conn"] == "1"
    for scope in ("all", "eth1", "eth2", "eth3"):
        assert settings[f"net.ipv4.conf.{scope}.rp_filter"] == "0"
        assert settings[f"net.ipv4.conf.{scope}.promote_secondaries"] == "1"


def test_schedulers_are_loaded(wide_lab: Lab, specs: Specs) -> None:
    files = render.role_files(wide_lab, specs["director"])
    modules = files["/etc/modules-load.d/lvslab.conf"].content.split("\n")
    assert {"ip_vs", "ip_vs_wlc", "ip_vs_mh"} <= set(modules)


@pytest.mark.parametrize("role", ROLES)
def test_assert_script_is_python_and_knows_every_file(lab: Lab, specs: Specs, role: str) -> None:
    script = render.assert_script(lab, specs[role])
    compile(script, "assert.py", "exec")
    for path, file in render.role_files(lab, specs[role]).items():
        assert path in script
        assert hashlib.sha256(file.content.encode()).hexdigest() in script


_TEXTS = st.text(
    st.characters(blacklist_categories=("C", "Zl", "Zp")) | st.sampled_from(" \n\t:#'-|")
)


@examples(300)
@given(st.lists(st.dictionaries(st.sampled_from(["path", "content"]), _TEXTS), min_size=1))
def test_files_as_yaml_are_the_same_files_and_more_may_follow(files: list[dict[str, str]]) -> None:
    text = texts.to_yaml(files)
    assert yaml.safe_load(f"files:\n{text}more: 1\n") == {"files": files, "more": 1}


def test_a_text_with_empty_lines_at_its_end_does_not_end_the_document() -> None:
    files = [{"path": "/etc/a", "content": "a\n\n"}, {"path": "/etc/b", "content": "  ...\n"}]
    assert yaml.dump(files[:1], Dumper=texts._Dumper).endswith("\n...\n"), "the control"
    for some in (files, files[:1], files[1:]):
        assert "\n...\n" not in texts.to_yaml(some)
        assert yaml.safe_load(texts.to_yaml(some)) == some
