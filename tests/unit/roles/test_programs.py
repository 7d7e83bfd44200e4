"""Each rendered text is read by the real program of the image that reads it there.

Every check has a control: a text with a mistake must be refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from lvslab import render
from lvslab.build.image_root import Ended, ImageRoot
from lvslab.model.lab import Lab
from lvslab.model.role import Kind, RoleSpec
from lvslab.model.rules.login import RESERVED_USERS
from lvslab.render import RenderedFile
from lvslab.render.machine_files import cluster_interfaces
from tests.conftest import ROLES, with_service
from tests.strategies import labs

pytestmark = pytest.mark.slow

Tree = Callable[[str], ImageRoot]
Specs = dict[str, RoleSpec]
CONF = "/etc/keepalived/keepalived.conf"
TEXT = "/tmp/text"
RANDOMLY = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL packer"


# cloud-init


def _schema(tree: ImageRoot, text: str, kind: str) -> Ended:
    argv = ["cloud-init", "schema", "-c", TEXT, "--schema-type", kind]
    return tree.run(argv, {TEXT: RenderedFile(text)})


@pytest.mark.parametrize("role", ROLES)
def test_cloud_init_takes_the_roles_user_data(
    lab: Lab, specs: Specs, program_tree: Tree, role: str
) -> None:
    for text in (
        render.role_user_data(lab, specs[role]),
        render.bake_seed(lab, specs[role], "packer", KEY).user_data,
    ):
        ended = _schema(program_tree(role), text, "cloud-config")
        assert (ended.status, ended.text) == (0, f"Valid schema {TEXT}")


@pytest.mark.parametrize("node", ["lvs1", "rs2"])
def test_cloud_init_takes_the_seeds(lab: Lab, program_tree: Tree, node: str) -> None:
    tree = program_tree(lab.nodes[node].role)
    seed = render.node_seed(lab, node)
    ended = _schema(tree, seed.user_data, "cloud-config")
    assert (ended.status, ended.text) == (0, f"Valid schema {TEXT}")
    ended = _schema(tree, seed.network_config, "network-config")
    assert (ended.status, ended.text) == (0, f"Valid schema {TEXT}")


def test_cloud_init_refuses_a_misspelt_key(lab: Lab, program_tree: Tree) -> None:
    text = render.node_seed(lab, "lvs1").user_data.replace("write_files:", "write_file:")
    ended = _schema(program_tree("director"), text, "cloud-config")
    assert ended.status != 0
    assert "write_file" in ended.text


RENDER_NETWORK = """
import sys, yaml
from cloudinit.net.network_state import parse_net_config_data
from cloudinit.net.networkd import Renderer
state = parse_net_config_data(yaml.safe_load(open("/tmp/text")))
for name, text in sorted(Renderer({})._render_content(state).items()):
    print("==", name)
    print(text)
"""


def test_cloud_init_writes_the_networkd_files_that_the_roles_add_to(
    lab: Lab, program_tree: Tree
) -> None:
    """The seed's network-config through cloud-init's own renderer: name, address, optional."""
    for node in ("lvs1", "rs1"):
        seed = render.node_seed(lab, node)
        ended = program_tree(lab.nodes[node].role).run(
            ["python3", "-c", RENDER_NETWORK], {TEXT: RenderedFile(seed.network_config)}
        )
        assert ended.status == 0, ended.text
        for interface, address in lab.nodes[node].addresses.items():
            part = ended.text.split(f"== {interface}\n")[1].split("== ")[0]
            assert f"Name={interface}\n" in part
            assert "RequiredForOnline=no\n" in part
            assert "MACAddress" not in part
            assert (f"Address={address}/24\n" in part) == (node == "rs1")


# keepalived


def _keepalived(tree: ImageRoot, lab: Lab, director: str, conf: str) -> Ended:
    """`keepalived -t` as this director, its interfaces present. Any output is an error."""
    files = {CONF: RenderedFile(conf), "/run/lvslab/made-by-tmpfiles": RenderedFile("")}
    argv = ["keepalived", "-t", "-i", director, "-f", CONF]
    return tree.run(argv, files, list(cluster_interfaces(lab, "director")))


def test_keepalived_takes_the_file_on_every_director(
    lab: Lab, wide_lab: Lab, program_tree: Tree
) -> None:
    tree = program_tree("director")
    for this in (lab, wide_lab):
        conf = render.keepalived_conf(this)
        for director in this.nodes_of(Kind.DIRECTOR):
            ended = _keepalived(tree, this, director, conf)
            assert (ended.status, ended.text) == (0, "")


def _keepalived_takes(tree: ImageRoot, lab: Lab, conf: str) -> None:
    """As the first, a middle and the last director of the lab."""
    directors = list(lab.nodes_of(Kind.DIRECTOR))
    for director in {directors[0], directors[len(directors) // 2], directors[-1]}:
        ended = _keepalived(tree, lab, director, conf)
        assert (ended.status, ended.text) == (0, "")


@RANDOMLY
@given(lab=labs())
def test_keepalived_takes_every_lab(program_tree: Tree, lab: Lab) -> None:
    _keepalived_takes(program_tree("director"), lab, render.keepalived_conf(lab))


@RANDOMLY
@given(lab=labs(max_real_servers=15))
def test_every_text_of_every_lab(program_tree: Tree, specs: Specs, lab: Lab) -> None:
    """Nothing is missing in any text, and seeds and keepalived.conf of a random lab are read."""
    texts = render.everything(lab, specs.values())
    conf = texts["roles/director/root/etc/keepalived/keepalived.conf"]
    _keepalived_takes(program_tree("director"), lab, conf)
    for node in lab.nodes:
        data = yaml.safe_load(texts[f"seeds/{node}/user-data"])
        network = yaml.safe_load(texts[f"seeds/{node}/network-config"])
        assert data["hostname"] == node
        assert list(network["ethernets"]) == list(lab.nodes[node].interfaces)
        assert f'displayName = "{lab.name} {node}"' in texts[f"vmware/{node}/{node}.vmx"]
    ports = texts["roles/real-server/root/etc/apache2/ports.conf"]
    assert [int(n) for n in re.findall(r"^Listen (\d+)$", ports, re.M)] == [
        port for service in ("http", "https") for port in lab.ports_wanted(service)
    ]


# Every number of keepalived.conf at the least and at the most that lab.yaml may say.
LEAST: dict[str, Any] = {
    "vrrp": {"advert_seconds": 0.01, "preempt_delay_seconds": 0.001, "garp_repeat": 1},
    "garp_refresh_seconds": 0,
    "check": {"connect_timeout_seconds": 0.01, "delay_loop_seconds": 0.01, "retry": 0}
    | {"delay_before_retry_seconds": 0.01},
    "instance": {"router_id": 1, "priorities": {"lvs1": 2, "lvs2": 1}},
    "weight": 0,
    "track": -1,
}
MOST: dict[str, Any] = {
    "vrrp": {"advert_seconds": 40.95, "preempt_delay_seconds": 1000, "garp_repeat": 20},
    "garp_refresh_seconds": 3600,
    "check": {"connect_timeout_seconds": 60, "delay_loop_seconds": 3600, "retry": 20}
    | {"delay_before_retry_seconds": 60},
    "instance": {"router_id": 255, "priorities": {"lvs1": 254, "lvs2": 253}},
    "weight": 65535,
    "track": -253,
}


def _at_bounds(lab: Lab, bounds: dict[str, Any], *, tracked: bool, version: int = 3) -> Lab:
    data = lab.model_dump(mode="json")
    data["directors"]["vrrp"] |= bounds["vrrp"] | {"version": version}
    data["directors"]["vrrp"]["garp_refresh_seconds"] = bounds["garp_refresh_seconds"]
    if version == 2:
        data["directors"]["vrrp"]["advert_seconds"] = 1 if bounds is LEAST else 255
    data["directors"]["track"] |= {"enabled": tracked, "weight": bounds["track"]}
    for instance in data["vrrp_instances"].values():
        instance |= bounds["instance"] | {"router_id": instance["router_id"]}
    data["vrrp_instances"]["VI_1"] |= bounds["instance"]
    for server in data["virtual_servers"].values():
        server["check"] |= bounds["check"]
        server["weights"] = {"rs1": bounds["weight"], "rs2": 1}
    return Lab.model_validate(data)


@pytest.mark.parametrize("bounds", [LEAST, MOST], ids=["least", "most"])
@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("version", [2, 3])
def test_keepalived_takes_every_number_that_lab_yaml_may_have(
    lab: Lab, program_tree: Tree, bounds: dict[str, Any], tracked: bool, version: int
) -> None:
    this = _at_bounds(lab, bounds, tracked=tracked, version=version)
    _keepalived_takes(program_tree("director"), this, render.keepalived_conf(this))


PAGE = {"by": "http", "content": "x .,:;/=<>()&%+*?@_-"}
SCRIPT = {"by": "script", "command": ["/usr/bin/curl", "--fail", "http://[{address}]:{port}/?a&b"]}


@pytest.mark.parametrize("check", [PAGE, SCRIPT], ids=["content", "script"])
def test_keepalived_takes_every_sign_that_a_check_may_have(
    lab: Lab, program_tree: Tree, check: dict[str, Any]
) -> None:
    this = with_service(lab, check=check)
    conf = render.keepalived_conf(this)
    assert "regex" in conf or "MISC_CHECK" in conf
    _keepalived_takes(program_tree("director"), this, conf)


@pytest.mark.parametrize(("program", "there"), [("curl", True), ("nothing", False)])
def test_a_check_by_script_names_a_program_that_the_image_has(
    lab: Lab, specs: Specs, program_tree: Tree, program: str, there: bool
) -> None:
    """keepalived says nothing, so the role's own assertions do, before the seed is written."""
    check = {"by": "script", "command": [f"/usr/bin/{program}", "{address}"]}
    this = with_service(lab, check=check)
    script = RenderedFile(render.assert_script(this, specs["director"]))
    files = render.role_files(this, specs["director"]) | {"/run/assert.py": script}
    interfaces = list(cluster_interfaces(this, "director"))
    ended = program_tree("director").run(
        ["python3", "/run/assert.py", "readers"], files, interfaces
    )
    wrong = f"FAIL  program of a check: /usr/bin/{program}: is not there"
    assert (ended.status == 0) == there, ended.text
    assert (wrong in ended.text) == (not there)


@pytest.mark.parametrize("number", ["1e-05", "1e+22", "1e3"])
def test_keepalived_refuses_an_exponent(lab: Lab, program_tree: Tree, number: str) -> None:
    conf = render.keepalived_conf(lab)
    assert "delay_loop 0.5\n" in conf
    ended = _keepalived(
        program_tree("director"),
        lab,
        "lvs1",
        conf.replace("delay_loop 0.5", f"delay_loop {number}"),
    )
    assert ended.status != 0 or ended.text
    assert number in ended.text


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("virtual_router_id 51", "virtual_router_id 256", "255"),
        ("        VI_2\n", "        VI_9\n", "VI_9"),
        ("interface eth1", "interface eth7", "eth7"),
        ("/run/lvslab/arp_VMnet12", "/run/nowhere/arp_VMnet12", "arp_VMnet12"),
        ("lvs_method NAT", "lvs_method NOT", "NOT"),
    ],
)
def test_keepalived_refuses_mistakes(
    lab: Lab, program_tree: Tree, right: str, wrong: str, message: str
) -> None:
    conf = render.keepalived_conf(lab)
    assert right in conf
    conf = conf.replace(right, wrong, 1)
    ended = _keepalived(program_tree("director"), lab, "lvs1", conf)
    assert message in ended.text


# systemd, sshd, Apache, shells


@pytest.mark.parametrize(
    ("role", "units"),
    [
        ("director", ["keepalived.service", "lvslab-sync.service", "lvslab-track.service"]),
        ("real-server", ["apache2.service", "php8.4-fpm.service"]),
    ],
)
def test_systemd_takes_the_units(
    lab: Lab, specs: Specs, program_tree: Tree, role: str, units: list[str]
) -> None:
    files = render.role_files(lab, specs[role])
    argv = ["systemd-analyze", "verify", "--man=no", *units]
    ended = program_tree(role).run(argv, files)
    assert (ended.status, ended.text) == (0, "")


def test_systemd_refuses_a_misspelt_setting(lab: Lab, specs: Specs, program_tree: Tree) -> None:
    files = render.role_files(lab, specs["director"])
    unit = "/etc/systemd/system/lvslab-sync.service"
    files[unit] = RenderedFile(files[unit].content.replace("Restart=", "Restarts="))
    argv = ["systemd-analyze", "verify", "--man=no", "lvslab-sync.service"]
    assert "Restarts" in program_tree("director").run(argv, files).text


@pytest.mark.parametrize("role", ROLES)
def test_sshd_takes_no_password(lab: Lab, specs: Specs, program_tree: Tree, role: str) -> None:
    script = "mkdir -p /run/sshd; ssh-keygen -qA 2>&1; sshd -t && sshd -T"
    ended = program_tree(role).run(["sh", "-c", script], render.role_files(lab, specs[role]))
    assert ended.status == 0, ended.text
    said = ended.text.splitlines()
    assert "passwordauthentication no" in said
    assert "kbdinteractiveauthentication no" in said
    assert "permitrootlogin no" in said
    assert [line for line in said if line.startswith("hostkey ")] == [
        "hostkey /etc/ssh/ssh_host_ed25519_key"
    ]


def test_apache_takes_the_site(lab: Lab, specs: Specs, program_tree: Tree) -> None:
    files = render.role_files(lab, specs["real-server"])
    tree = program_tree("real-server")
    assert tree.run(["apache2ctl", "configtest"], files).text == "Syntax OK"
    site = "/etc/apache2/sites-available/000-default.conf"
    files[site] = RenderedFile(files[site].content.replace("DocumentRoot", "DocumentRoots"))
    assert "DocumentRoots" in tree.run(["apache2ctl", "configtest"], files).text


def test_the_page_names_the_node_on_every_port(
    lab: Lab, wide_lab: Lab, specs: Specs, program_tree: Tree
) -> None:
    """Apache itself serves the page, on a host whose name no file of the role has."""
    script = (
        "ip link set lo up; mkdir -p /var/log/apache2 /run/apache2 /run/lock /run/php; "
        "unshare --uts sh -c 'hostname rs77; php-fpm8.4; apache2ctl start; sleep 1; "
        "for port in 80 81 8080; do curl -sSi http://127.0.0.1:$port/; done; apache2ctl stop; "
        "kill $(cat /run/php/php8.4-fpm.pid)'"
    )
    for this, ports in ((lab, [80]), (wide_lab, [80, 8080])):
        assert this.ports_wanted("http") == ports
        files = render.role_files(this, specs["real-server"])
        ended = program_tree("real-server").run(["sh", "-c", script], files)
        assert ended.text.count("200 OK") == len(ports), ended.text
        assert ended.text.count("X-Real-Server: rs77") == len(ports)
        assert ended.text.count("<h1>rs77</h1>") == len(ports)
        assert "Failed to connect to 127.0.0.1 port 81" in ended.text


def test_the_bake_sees_a_port_without_a_site(
    wide_lab: Lab, specs: Specs, program_tree: Tree
) -> None:
    """The assertions' own check of Apache, run on the image's programs."""
    spec = specs["real-server"]
    files = render.role_files(wide_lab, spec)
    whole = render.assert_script(wide_lab, spec).removesuffix("main()\n")
    files["/tmp/assert"] = RenderedFile(whole + "programs()\n")
    tree = program_tree("real-server")

    def said() -> list[str]:
        lines = tree.run(["python3", "/tmp/assert"], files).text.splitlines()
        return [line for line in lines if "port" in line]

    assert said() == ["ok    apache's site on port 80", "ok    apache's site on port 8080"]
    site = "/etc/apache2/sites-available/000-default.conf"
    files[site] = RenderedFile(files[site].content.replace(" *:8080", ""))
    assert said()[1] == "FAIL  apache's site on port 8080: does not say '*:8080 '"


def test_names_of_the_tables(lab: Lab, specs: Specs, program_tree: Tree) -> None:
    script = "ip link set lo up; ip rule add from 192.168.100.0/24 lookup LVS1; ip rule"
    for role in ROLES:
        files = render.role_files(lab, specs[role])
        ended = program_tree(role).run(["sh", "-c", script], files)
        assert "from 192.168.100.0/24 lookup LVS1" in ended.text


@pytest.mark.parametrize("role", ROLES)
def test_the_class_user_is_none_of_the_image_s(program_tree: Tree, role: str) -> None:
    """Names with _ cannot be the class user's."""
    ended = program_tree(role).run(["sh", "-c", "cut -d: -f1 /etc/passwd /etc/group"])
    names = {name for name in ended.text.split() if not name.startswith("_")}
    assert {"root", "staff", "tcpdump"} <= names
    assert names <= RESERVED_USERS


@pytest.mark.parametrize("role", ROLES)
def test_shells_take_the_scripts(lab: Lab, specs: Specs, program_tree: Tree, role: str) -> None:
    files = render.role_files(lab, specs[role])
    for path, file in files.items():
        if file.content.startswith("#!/bin/"):
            shell = file.content.splitlines()[0].removeprefix("#!")
            ended = program_tree(role).run([shell, "-n", path], files)
            assert (ended.status, ended.text) == (0, "")


def test_arp_watch(lab: Lab, specs: Specs, program_tree: Tree) -> None:
    """The network's state: nobody there, somebody answers, silence with the link up, link down."""
    script = """
        unshare --net sleep 60 & other=$!
        sleep 0.5
        ip link set peth1 netns $other
        there() { nsenter --net=/proc/$other/ns/net "$@"; }
        there ip link set peth1 up
        /usr/local/lib/lvslab/arp-watch 0.1 3 2 1 net=eth1=10.7.0.3,10.7.0.2 &
        until_is() {
            for i in $(seq 50); do
                [ "$(cat /run/lvslab/net 2>/dev/null)" = "$1" ] && echo "$2" && return
                sleep 0.1
            done
            echo "never $1: $2"
        }
        until_is 1 'begins as silent'
        there ip address add 10.7.0.2/24 dev peth1
        until_is 0 "somebody answers"
        there ip address flush dev peth1
        until_is 1 'nobody answers, the link is up'
        there ip address add 10.7.0.2/24 dev peth1
        until_is 0 'again'
        ip link set eth1 down
        until_is 1 'link down'
        ip link set eth1 up
        until_is 0 'link up'
        kill $!
        /usr/local/lib/lvslab/arp-watch 0.1 1000 2 0 net=eth1=10.7.0.2 &
        there ip link set peth1 down
        until_is 1 'no link, long before ARP says so'
        kill $! $other
    """
    files = render.role_files(lab, specs["director"])
    files["/run/lvslab/made-by-tmpfiles"] = RenderedFile("")
    ended = program_tree("director").run(["bash", "-c", script], files, ["eth1"])
    said = [line for line in ended.text.splitlines() if not line.startswith("net: ")]
    assert said == [
        "begins as silent",
        "somebody answers",
        "nobody answers, the link is up",
        "again",
        "link down",
        "link up",
        "no link, long before ARP says so",
    ]
