"""The artifacts boot: from the OVA's own disk, with UEFI and SATA, under their names and addresses.

The whole cluster (BIOS, LSI SAS) is in test_cluster.py; here a director and a real server
start with the other firmware and the other controller, and lose their power in their first
boot and after it; two machines with virtio's devices have no seed. Boots are most of the
time: a boot here shows as much as it can.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lvslab.core.errors import StageError
from lvslab.core.events import silent
from lvslab.core.places import EXAMPLES, default_cache
from lvslab.core.waiting import until
from lvslab.formats import seed_iso
from lvslab.lab import bringup, checkpoint
from lvslab.lab.cluster import Cluster
from lvslab.lab.sources import Settings
from lvslab.model.lab import Lab
from lvslab.model.load import load_lab, load_reference
from lvslab.model.role import RoleSpec
from lvslab.render import lab_texts, node_seed

pytestmark = pytest.mark.vm
BOOT_SECONDS = 600
NETWORK_FILE = "/etc/systemd/network/10-cloud-init-eth1.network"
MARK = "/var/lib/cloud/instance/lvslab-written"
BOOT_ID = ["cat", "/proc/sys/kernel/random/boot_id"]


@pytest.fixture(scope="module")
def pair(lab: Lab, built: Path) -> Iterator[Cluster]:
    """lvs1 and rs1 with UEFI, an AHCI disk and E1000 cards; their first two boots were cut.

    First as soon as cloud-init has written the network's files, then as soon as all is up: then
    a file of the seed is empty on both, as a cut leaves a file whose name alone came to the
    disk. The first boot of rs1 counts as whole, that of lvs1 as cut.
    """
    nodes = {name: node for name, node in lab.nodes.items() if name in ("lvs1", "rs1")}
    cluster = Cluster(lab.model_copy(update={"name": "boot-test", "nodes": nodes}))
    settings = Settings(hardware="vmware-sata", firmware="uefi")
    try:
        with cluster.changing():
            cluster.boot(built, default_cache(), settings)
        for node in nodes:
            there = functools.partial(written, cluster, node, NETWORK_FILE)
            assert becomes(there, BOOT_SECONDS), cluster.console_tail(node)
        power_cycle(cluster)
        cluster.run("lvs1", ["truncate", "--size=0", NETWORK_FILE])
        for node in nodes:  # the mark comes a moment after the end of cloud-init
            assert becomes(functools.partial(is_there, cluster, node, MARK))
        cluster.run("lvs1", ["rm", MARK])
        cluster.run("rs1", ["truncate", "--size=0", "/etc/issue"])
        cluster.each(list(nodes), lambda node: cluster.run(node, ["sync", "/etc", NETWORK_FILE]))
        power_cycle(cluster)
        yield cluster
    finally:
        with cluster.changing():
            cluster.down()


def written(cluster: Cluster, node: str, path: str) -> bool:
    return cluster.ask(node, ["test", "-s", path], timeout=5).status == 0


def is_there(cluster: Cluster, node: str, path: str) -> bool:
    return cluster.ask(node, ["test", "-e", path]).status == 0


def power_cycle(cluster: Cluster) -> None:
    """Pull every plug, and wait until the nodes have booted again."""
    for node in cluster.lab.nodes:
        cluster.kill(node)
    cluster.each(list(cluster.lab.nodes), cluster.launch)
    booted(cluster)


def booted(cluster: Cluster) -> None:
    """Wait until every node has come to the end of cloud-init."""
    limits = bringup.Limits(boot_seconds=BOOT_SECONDS)
    cluster.each(
        list(cluster.lab.nodes), lambda node: bringup.wait_for_boot(cluster, node, limits, silent)
    )


def becomes(true: Callable[[], bool], seconds: float = 120) -> bool:
    """Whether a condition becomes true in time; a node that does not answer yet makes it false."""

    def asked() -> bool:
        with contextlib.suppress(StageError):
            return true()
        return False

    return until(asked, seconds, pause=1)


def addresses(cluster: Cluster, node: str) -> dict[str, list[str]]:
    links = json.loads(cluster.run(node, ["ip", "-json", "-4", "address"]))
    return {
        link["ifname"]: [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]]
        for link in links
        if link["ifname"] != "lo"
    }


def test_the_machine_runs_on_uefi_with_vmwares_devices(pair: Cluster) -> None:
    pair.run("lvs1", ["test", "-d", "/sys/firmware/efi"])
    drivers = pair.run("lvs1", ["sh", "-c", "readlink /sys/class/net/eth*/device/driver"])
    assert [line.rpartition("/")[2] for line in drivers.splitlines()] == ["e1000"] * 4
    disk = pair.run("lvs1", ["sh", "-c", "readlink -f /sys/block/sda"])
    assert "/ata" in disk


@pytest.mark.parametrize("node", ["lvs1", "rs1"])
def test_a_node_whose_power_was_cut_has_the_name_and_the_user_of_its_seed(
    pair: Cluster, node: str
) -> None:
    assert pair.run(node, ["hostname"]).strip() == node
    assert pair.run(node, ["id", "-un", pair.lab.login.user])


def test_a_real_server_has_just_the_addresses_of_lab_yaml(pair: Cluster) -> None:
    found = addresses(pair, "rs1")
    assert found["eth1"] == ["192.168.100.10/24"]
    assert found["eth2"] == ["192.168.200.10/24"]


def test_a_director_has_no_address_but_keepalived_s(pair: Cluster) -> None:
    assert pair.run("lvs1", ["sysctl", "-n", "net.ipv4.ip_forward"]).strip() == "1"
    assert pair.run("lvs1", ["systemctl", "is-active", "keepalived"]).strip() == "active"
    # Alone, lvs1 holds every address of the cluster, and its own sources.
    wanted = {
        "eth1": {"192.168.50.251/24", "192.168.50.1/24", "192.168.50.2/24"},
        "eth2": {"192.168.100.251/24", "192.168.100.1/24"},
        "eth3": {"192.168.200.251/24", "192.168.200.1/24"},
    }

    def held() -> bool:
        found = addresses(pair, "lvs1")
        return all(set(found[interface]) == those for interface, those in wanted.items())

    assert becomes(held), addresses(pair, "lvs1")
    pair.run("lvs1", ["systemctl", "stop", "keepalived"], timeout=60)
    assert {i: a for i, a in addresses(pair, "lvs1").items() if i != "eth0" and a} == {}
    pair.run("lvs1", ["systemctl", "start", "keepalived"], timeout=60)
    assert becomes(held), addresses(pair, "lvs1")


def table(cluster: Cluster, name: str) -> str:
    """The routes of a table of rs1; a table without a route does not exist."""
    return cluster.ask("rs1", ["ip", "route", "show", "table", name]).out


def demand_policy_routing(cluster: Cluster) -> None:
    def right() -> bool:
        rules = cluster.run("rs1", ["ip", "rule"])
        tables = [table(cluster, name) for name in ("LVS1", "LVS2")]
        return (
            "from 192.168.100.0/24 lookup LVS1" in rules
            and "from 192.168.200.0/24 lookup LVS2" in rules
            and [len(routes.strip().splitlines()) for routes in tables] == [2, 2]
            and "default via 192.168.100.1 dev eth1" in tables[0]
            and "default via 192.168.200.1 dev eth2" in tables[1]
        )

    assert becomes(right), cluster.run("rs1", ["ip", "route", "show", "table", "all"])


def demand_page(cluster: Cluster) -> None:
    """Apache starts after PHP, and that may be after the end of cloud-init."""

    def asked() -> str:
        return cluster.ask("rs1", ["curl", "-si", "http://192.168.100.10/"], timeout=60).out

    def right() -> bool:
        answer = asked()
        return "200 OK" in answer and "x-real-server: rs1" in answer.lower()

    assert becomes(right), asked()


def test_a_real_server_answers_and_names_itself(pair: Cluster) -> None:
    demand_page(pair)


def test_what_a_cut_first_boot_left_empty_is_written_again(pair: Cluster) -> None:
    """And only then: what is empty after a whole first boot stays empty."""
    assert becomes(functools.partial(has, pair, "lvs1", "eth1", "192.168.50.251/24"))
    assert not written(pair, "rs1", "/etc/issue")


def has(cluster: Cluster, node: str, interface: str, address: str) -> bool:
    return address in addresses(cluster, node).get(interface, [])  # none: it is down


def test_a_checkpoint_holds_uefis_machines_too(pair: Cluster) -> None:
    pair.run("lvs1", ["touch", "/run/before"])
    checkpoint.save(pair, "x")
    pair.run("lvs1", ["rm", "/run/before"])
    checkpoint.restore(pair, "x")
    assert pair.run("lvs1", ["ls", "/run/before"]) == "/run/before\n"


def test_policy_routing_survives_a_link_flap(pair: Cluster) -> None:
    demand_policy_routing(pair)
    pair.run("rs1", ["ip", "link", "set", "eth1", "down"])
    assert "default" not in table(pair, "LVS1")
    pair.run("rs1", ["ip", "link", "set", "eth1", "up"])
    demand_policy_routing(pair)


def test_no_credential_of_the_build_is_on_a_node(pair: Cluster) -> None:
    users = pair.run("lvs1", ["sh", "-c", "getent passwd | cut -d: -f1"]).split()
    assert "bake" not in users
    assert "student" in users
    shadow = pair.run("lvs1", ["getent", "shadow", "root"])
    assert shadow.split(":")[1] in ("*", "!", "!*")


# --- the seed makes the node: none, another one, another lab's, another role's


@pytest.fixture(scope="module")
def blank(lab: Lab, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A director and a real server with virtio's devices and a blank disc in the drive."""
    folder = tmp_path_factory.mktemp("blank")
    nodes = {name: node for name, node in lab.nodes.items() if name in ("lvs2", "rs2")}
    (folder / "ova").symlink_to(built / "ova")
    (folder / "seeds").mkdir()
    for node in nodes:
        (folder / f"seeds/{node}.iso").write_bytes(bytes(1 << 16))
    cluster = Cluster(lab.model_copy(update={"name": "blank-test", "nodes": nodes}))
    with cluster.changing():
        cluster.boot(folder, default_cache(), Settings(hardware="virtio"))
    try:
        cluster.wait_for_agents(list(nodes), BOOT_SECONDS)
        yield cluster
    finally:
        with cluster.changing():
            cluster.down()


def shows(cluster: Cluster, node: str, words: str) -> bool:
    """Whether a node's console shows these words within two minutes."""
    screen = ["fold", "-w", "80", "/dev/vcs1"]
    return becomes(lambda: words in " ".join(cluster.run(node, screen).split()))


def test_without_a_seed_a_machine_joins_nothing_and_says_so_on_its_console(
    blank: Cluster,
) -> None:
    for node in blank.lab.nodes:
        assert shows(blank, node, "it has no seed")
        assert not any(addresses(blank, node).values())
    assert blank.ask("lvs2", ["systemctl", "is-active", "keepalived"]).out == "inactive\n"


def swap(cluster: Cluster, **seeds: Path) -> None:
    """Give machines other seeds, and wait until they have booted with them."""
    for node, seed in seeds.items():
        cluster.kill(node)
        shutil.copyfile(seed, cluster.seed(node))
    cluster.each(list(seeds), cluster.launch)
    booted(cluster)


@pytest.fixture(scope="module")
def of_another_lab(lab: Lab, specs: dict[str, RoleSpec], blank: Cluster) -> Cluster:
    """Both have the seed of lvs2 in the article's letter; only one of them is a director."""
    letter = load_lab(EXAMPLES / "letter/lab.yaml")
    seed = blank.state.folder / "letter.iso"
    texts = lab_texts(load_reference(lab), letter, specs["director"])
    seed_iso.write_iso(node_seed(letter, "lvs2", texts), seed, epoch=1)
    swap(blank, lvs2=seed, rs2=seed)
    return blank


def test_a_seed_of_another_lab_brings_what_is_other_there(of_another_lab: Cluster) -> None:
    lvs2 = functools.partial(of_another_lab.run, "lvs2")
    assert "LVSLAB_LAB=letter\n" in lvs2(["cat", "/etc/lvslab/node"])
    assert "vrrp_version 2\n" in lvs2(["cat", "/etc/keepalived/keepalived.conf"])
    assert lvs2(["systemctl", "is-active", "keepalived"]) == "active\n"
    for unit in ("lvslab-sync", "lvslab-track"):
        assert "not-found" in lvs2(["systemctl", "show", "-P", "LoadState", unit])


def test_a_seed_of_another_role_is_refused(of_another_lab: Cluster) -> None:
    assert shows(of_another_lab, "rs2", "this machine is a real-server, and its seed is of lvs2")
    found = addresses(of_another_lab, "rs2")
    assert not any(found.values()), found
    assert of_another_lab.ask("rs2", ["systemctl", "is-active", "apache2"]).out == "inactive\n"


@pytest.fixture(scope="module")
def back_again(of_another_lab: Cluster, built: Path) -> Cluster:
    """Each has the seed of its own, at last; the director starts once more by itself."""
    boot = of_another_lab.run("lvs2", BOOT_ID)
    swap(of_another_lab, lvs2=built / "seeds/lvs2.iso", rs2=built / "seeds/rs2.iso")
    first = of_another_lab.run("lvs2", BOOT_ID)
    assert first != boot
    applied = ["cat", "/var/lib/lvslab/applied"]
    assert becomes(lambda: of_another_lab.run("lvs2", applied) == "\n", BOOT_SECONDS)
    return of_another_lab


def test_with_the_seed_of_its_own_a_machine_is_what_it_was_made_for(back_again: Cluster) -> None:
    assert becomes(functools.partial(has, back_again, "lvs2", "eth1", "192.168.50.252/24"))
    lvs2 = functools.partial(back_again.run, "lvs2")
    assert "vrrp_version 3\n" in lvs2(["cat", "/etc/keepalived/keepalived.conf"])
    assert becomes(lambda: lvs2(["systemctl", "is-active", "lvslab-sync"]) == "active\n")
    assert addresses(back_again, "rs2")["eth1"] == ["192.168.100.20/24"]
    assert becomes(lambda: back_again.run("rs2", ["systemctl", "is-active", "apache2"]) != "")
