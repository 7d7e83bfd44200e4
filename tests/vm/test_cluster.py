"""The whole lab from the artifacts: checklist, failover, connections, and negative controls.

One boot, many experiments: each starts from a checkpoint. An experiment that broke a promise
is repeated only if others took the host's processors meanwhile (lvslab.measure.busy). A negative
control is the same experiment without what the product does, and must be red; where the
fault does harm only at some moments, in one of a few rounds at different moments. How long
things take is measured in bench/.
"""

from __future__ import annotations

import functools
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from lvslab.core.places import default_cache
from lvslab.core.waiting import until
from lvslab.lab import bringup, checklist, checkpoint, faults, status, wire
from lvslab.lab.cluster import Cluster
from lvslab.lab.sources import Settings
from lvslab.measure import experiments, failover
from lvslab.measure.busy import HostWatch
from lvslab.measure.connections import ECHO_SERVER, Connections
from lvslab.measure.experiments import cables
from lvslab.measure.watchers import Tables
from lvslab.model.lab import Lab
from lvslab.model.role import Kind, RoleSpec
from lvslab.render.keepalived import keepalived_conf
from lvslab.render.machine_files import role_files
from lvslab.watch.collector import Collector
from tests.conftest import with_service
from tests.examples import LIMITS, START, saved
from tests.programs import build_py
from tests.watching import (
    BLACK,
    CHROMIUM,
    ORANGE,
    WHITE,
    chromium,
    complaints,
    note_black,
    pill,
    served,
)

pytestmark = pytest.mark.vm

ROOT = Path(__file__).resolve().parents[2]
CONF = "/etc/keepalived/keepalived.conf"
ROUNDS = 4


@pytest.fixture(scope="module")
def booted(lab: Lab, built: Path) -> Iterator[Cluster]:
    """The lab, up from the VMware folders: its checklist has passed, and the checkpoint is saved.

    test_boot.py starts machines from OVAs, and so do those of the examples.
    """
    cluster = Cluster(lab.model_copy(update={"name": "cluster-test"}))
    try:
        bringup.up(cluster, built, default_cache(), Settings(origin="vmware"), limits=LIMITS)
        saved(cluster)
        yield cluster
    finally:
        with cluster.changing():
            cluster.down()


@pytest.fixture
def cluster(booted: Cluster) -> Cluster:
    """The lab as it was when its checklist first passed."""
    checkpoint.restore(booted, START)
    return booted


def directors(cluster: Cluster) -> list[str]:
    return list(cluster.lab.nodes_of(Kind.DIRECTOR))


def test_the_checklist_passes_after_a_restore(cluster: Cluster) -> None:
    findings = checklist.wait(cluster, 60)
    assert checklist.well(findings), [finding for finding in findings if not finding.ok]
    assert {finding.item for finding in findings} == set(range(1, 8))


def test_labcheck_answers_on_a_node_as_a_student_types_it(cluster: Cluster) -> None:
    checklist.wait(cluster, 60)
    typed = ["runuser", "-u", cluster.lab.login.user, "labcheck"]
    answer = cluster.ask("lvs1", typed, timeout=30)
    assert "✓ 1 VRRP addresses where they belong" in answer.out, answer
    assert "run with sudo to ask the neighbours, too" in answer.out


def test_status_tells_owners_from_nodes_and_from_the_wire(cluster: Cluster) -> None:
    checklist.wait(cluster, 60)
    found = until(lambda: status.look(cluster), 60, good=owned_as_expected)
    assert [node.state for node in found.nodes] == ["running"] * 4
    assert all(instance.held_by == [instance.expected] for instance in found.instances)
    assert all(instance.adverts > 1 for instance in found.instances)
    assert found.broken == []


def owned_as_expected(found: status.Status) -> bool:
    return all(instance.ok for instance in found.instances)


def test_ssh_by_the_labs_key(cluster: Cluster) -> None:
    with cluster.namespace.inside():
        done = subprocess.run(
            cluster.ssh_command("rs1", ["hostname"]), capture_output=True, text=True, timeout=120
        )
    assert (done.stdout, done.returncode) == ("rs1\n", 0), done.stderr


def test_with_nat_each_answer_passes_the_director(cluster: Cluster) -> None:
    checklist.wait(cluster, 60)
    assert wire.answerers(cluster.lab, cluster.namespace, "web1") == {"lvs1"}
    assert wire.answerers(cluster.lab, cluster.namespace, "web2") == {"lvs2"}


def test_a_check_by_script_or_content_takes_a_real_server_out(cluster: Cluster) -> None:
    """The port answers all the time, so a check by TCP would see nothing."""
    lab = cluster.lab
    both = lab.real_servers("web1")
    page = "/var/www/lvslab/index.php"

    def becomes(*servers: str, **check: object) -> bool:
        """Whether lvs1 has these servers, and no other, once it checks like that."""
        if check:
            changed = with_service(lab, check=check)
            cluster.run("lvs1", ["tee", CONF], stdin=keepalived_conf(changed))
            cluster.run("lvs1", ["systemctl", "reload", "keepalived"])
        target = "{}:{}".format(*lab.endpoint("web1"))

        def there() -> set[str]:
            text = cluster.run("lvs1", ["ipvsadm", "-Ln", "-t", target])
            return {name for name, address in both.items() if f"-> {address}:" in text}

        return until(there, 30, good=lambda found: found == set(servers)) == set(servers)

    url = "http://{address}:{port}/"
    curl = ["/usr/bin/curl", "--fail", "--silent", "--output", "/dev/null", url]
    assert becomes("rs1", "rs2", by="script", command=curl, timeout_seconds=5)
    cluster.run("rs1", ["mv", page, "/var/www"])
    assert becomes("rs2")
    cluster.run("rs1", ["mv", "/var/www/index.php", page])
    assert becomes("rs1", "rs2")
    assert becomes("rs1", by="http", content="rs1")
    assert becomes("rs1", "rs2", by="script", command=["/usr/bin/test", "-r", "/etc/passwd"])
    assert becomes(by="script", command=["/usr/bin/test", "-r", "/etc/shadow"]), "it is not root"


def test_nothing_leaves_the_namespace(cluster: Cluster) -> None:
    """No route but the client's network; a node's NAT leads nowhere."""
    with cluster.namespace.inside():
        routes = json.loads(subprocess.check_output(["ip", "-json", "route"]))
    assert [route["dst"] for route in routes] == ["192.168.50.0/24"]
    # without QEMU's restrict=on, 10.0.2.2 is the namespace's own loopback, where SSH's ways in are
    knock = f"timeout 5 bash -c '</dev/tcp/10.0.2.2/{cluster.ssh_port('rs2')}'"
    assert cluster.ask("rs1", ["sh", "-c", knock], timeout=60).status != 0


@pytest.mark.parametrize(
    "name",
    [
        "crash",
        "reboot",
        "pause",
        "stun",
        "clock",
        "disk-full",
        "memory",
        "stop",
        "return",
        "restart",
        "kill-main",
        "kill-vrrp",
        "kill-checkers",
        "reload",
        "reload-changed",
        "networkd-director",
        "networkd-server",
        "dhcp",
        "both-on-one",
        "cut-front",
        "cut-back",
        "flap",
        "silent-lvs1-eth2",
        "split",
        "deaf",
        "server-crash",
        "server-return",
        "servers-stop",
        "servers-return",
        "slow-clients",
    ],
)
def test_a_fault_costs_what_is_promised(booted: Cluster, name: str) -> None:
    found = failover.undisturbed(booted, experiments.everything(booted.lab)[name], START)
    assert found.ok, found.problems


def echoing(cluster: Cluster) -> None:
    """Let the real servers echo instead of serving pages."""
    checklist.wait(cluster, 60)
    for server in cluster.lab.nodes_of(Kind.SERVER):
        cluster.run(server, ["systemctl", "stop", "apache2"], timeout=60)
        echo = ["systemd-run", "--unit=echo", "python3", "-c", ECHO_SERVER, "80"]
        cluster.run(server, echo, timeout=60)
    time.sleep(6)  # the directors' checks find the new server


@pytest.mark.long
def test_established_connections_outlive_their_directors_return(cluster: Cluster) -> None:
    """Silent ones, too: no packet of them passes while the director boots."""
    echoing(cluster)
    with Connections(cluster.lab, cluster.namespace, "web1", 200) as connections:
        assert connections.alive(60) == 200
        time.sleep(3.5)
        cluster.kill("lvs1")
        time.sleep(2)
        assert connections.alive(60) == 200
        cluster.launch("lvs1")
        assert until(lambda: advertisers(cluster, "VI_1") == ["lvs1"], 600), "lvs1 does not return"
        assert connections.alive(60) == 200


def without_connection_sync(cluster: Cluster) -> None:
    for node in directors(cluster):
        cluster.run(node, ["systemctl", "stop", "lvslab-sync"], timeout=60)
        for thread in ("master", "backup"):  # they outlive the service
            cluster.ask(node, ["ipvsadm", "--stop-daemon", thread], timeout=60)
        assert "sync" not in cluster.run(node, ["ipvsadm", "--list", "--daemon"])


def advertisers(cluster: Cluster, instance: str) -> list[str]:
    """Who is heard on the wire for an instance within a second."""
    with wire.listening(cluster.lab, cluster.namespace) as tap:
        time.sleep(1)
    return wire.owners(cluster.lab, tap.adverts(), 0)[instance]


def test_every_fault_is_listed_and_healed(cluster: Cluster) -> None:
    faults.cut(cluster, "lvs1", "eth1")
    faults.cut(cluster, "lvs2", "eth3", silent=True)
    faults.stop_service(cluster, "rs1", "apache2")
    cluster.pause("rs2")
    assert [str(fault) for fault in faults.broken(cluster)] == [
        "lvs1 eth1: cable pulled",
        "rs2 is paused",
        "rs1: apache2 stopped",
        "lvs2 eth3: frames dropped, link up",
    ]
    faults.heal(cluster)
    assert faults.broken(cluster) == []
    findings = checklist.wait(cluster, 60)
    assert checklist.well(findings), [finding for finding in findings if not finding.ok]


def test_a_server_without_php_is_taken_out_and_comes_back(cluster: Cluster) -> None:
    """The directors look at its port alone, and Apache without PHP would answer with errors."""
    faults.stop_service(cluster, "rs1", "php8.4-fpm")
    assert cluster.ask("rs1", ["systemctl", "is-active", "apache2"], timeout=60).status != 0
    for director in cluster.lab.nodes_of(Kind.DIRECTOR):
        tables = functools.partial(cluster.run, director, ["ipvsadm", "-Ln"])
        assert "192.168.100.10:80" not in until(
            tables, 30, good=lambda found: "192.168.100.10:80" not in found
        )
    faults.heal(cluster)
    findings = checklist.wait(cluster, 60)
    assert checklist.well(findings), [finding for finding in findings if not finding.ok]


def test_directors_that_do_not_hear_each_other_are_both_master(cluster: Cluster) -> None:
    faults.deafen(cluster, ("lvs1", "lvs2"))
    time.sleep(3)
    found = status.look(cluster)
    assert [sorted(instance.held_by) for instance in found.instances] == [["lvs1", "lvs2"]] * 4
    assert not checklist.well(checklist.check(cluster))
    assert "lvs1 eth1: hears no VRRP" in found.broken
    faults.heal(cluster)
    findings = checklist.wait(cluster, 60)
    assert checklist.well(findings), [finding for finding in findings if not finding.ok]


def test_keepalived_that_dies_is_started_again(cluster: Cluster) -> None:
    cluster.run("lvs1", ["pkill", "-KILL", "-x", "keepalived"])
    findings = checklist.wait(cluster, 60)
    assert checklist.well(findings), [finding for finding in findings if not finding.ok]
    starts = cluster.run("lvs1", ["systemctl", "show", "-P", "NRestarts", "keepalived"])
    assert int(starts) > 0


BLACK_SECONDS = 1.5


@CHROMIUM
def test_the_page_turns_orange_into_black_within_a_second_and_a_half(
    booted: Cluster, tmp_path: Path
) -> None:
    """The place of VIP1 at lvs2, in a real browser, after lvs1 lost its power."""
    with (
        served() as page,
        Collector(booted.lab.name, lambda seen: page.tell(*seen)),
        chromium(tmp_path / "chromium") as browser,
    ):
        browser.get(page.url)
        for _ in range(ROUNDS):
            with HostWatch(lambda: booted.engine.processes().values()) as host:
                seconds = black_after_a_kill(booted, browser)
            print(f"black after {seconds:.2f} s; others took {host.taken:.2f} s")
            if seconds < BLACK_SECONDS or host.taken < 0.5:
                break
        assert seconds < BLACK_SECONDS
        assert until(lambda: "lvs2 has 192.168.50.1, " in browser.page_source, 5)
        assert complaints(browser) == []


def black_after_a_kill(cluster: Cluster, browser: Chrome) -> float:
    checkpoint.restore(cluster, START)
    findings = checklist.wait(cluster, 60)
    assert checklist.well(findings), [finding for finding in findings if not finding.ok]
    assert until(lambda: pill(browser, "lvs1", "VI_1")[1] == BLACK, 30)
    assert until(lambda: pill(browser, "lvs2", "VI_1")[:2] == (ORANGE, WHITE), 30)
    black = note_black(browser, "lvs2", "VI_1")
    time.sleep(3)
    assert black() is None, "the control: without a kill nothing turns"
    before = time.time()
    cluster.kill("lvs1")
    found = until(black, 30)
    assert found is not None
    return found - before


def to_the_letter(cluster: Cluster, specs: dict[str, RoleSpec]) -> Cluster:
    """The running lab with `source_addresses: none`: no address but those that VRRP gives."""
    none = cluster.lab.directors.model_copy(update={"source_addresses": "none"})
    letter = Cluster(cluster.lab.model_copy(update={"directors": none}))
    for role, spec in specs.items():
        before, files = role_files(cluster.lab, spec), role_files(letter.lab, spec)
        for node in letter.lab.nodes_with(role):
            for path, file in files.items():
                if before.get(path) != file:
                    letter.run(node, ["tee", path], stdin=file.content)
    for node in directors(letter):
        letter.run(node, ["systemctl", "disable", "--now", "lvslab-sync"], timeout=60)
        letter.run(node, ["systemctl", "restart", "keepalived"], timeout=60)
    return letter


def test_the_articles_letter_passes_the_checklist(
    cluster: Cluster, specs: dict[str, RoleSpec]
) -> None:
    letter = to_the_letter(cluster, specs)
    findings = checklist.wait(letter, 60)
    assert checklist.well(findings), [finding for finding in findings if not finding.ok]
    assert "inet " not in letter.run("lvs2", ["ip", "address", "show", "dev", "eth2"])


# --- negative controls: what the product does is taken away, and the checks turn red


def fails(cluster: Cluster, *items: int, settle: float = 0) -> bool:
    """Whether these items of the checklist fail; after a restart, not before all has settled."""
    time.sleep(settle)

    def red() -> bool:
        return set(items) <= {found.item for found in checklist.check(cluster) if not found.ok}

    return until(red, 30)


def reconfigure(cluster: Cluster, change: Callable[[str], str]) -> None:
    """Change keepalived.conf on every director, and start keepalived with it."""
    for node in directors(cluster):
        before = cluster.run(node, ["cat", CONF])
        after = change(before)
        assert after != before
        cluster.run(node, ["tee", CONF], stdin=after)
    cluster.each(
        directors(cluster),
        lambda node: cluster.run(node, ["systemctl", "restart", "keepalived"], timeout=90),
    )


def without(pattern: str) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, "", text, flags=re.MULTILINE | re.DOTALL)


def test_without_a_rule_the_check_is_red(cluster: Cluster) -> None:
    cluster.run("rs1", ["ip", "rule", "del", "from", "192.168.100.0/24"])
    assert fails(cluster, 3)


def test_without_a_route_the_check_is_red(cluster: Cluster) -> None:
    cluster.run("rs2", ["ip", "route", "flush", "table", "LVS2"])
    assert fails(cluster, 4)


def test_with_a_reverse_path_check_the_check_is_red(cluster: Cluster) -> None:
    for node in directors(cluster):
        cluster.run(node, ["sysctl", "-w", "net.ipv4.conf.eth1.rp_filter=1"])
    assert fails(cluster, 5)


def test_without_forwarding_checks_are_red(cluster: Cluster) -> None:
    cluster.run("lvs2", ["sysctl", "-w", "net.ipv4.ip_forward=0"])
    assert fails(cluster, 5, 7)


def test_with_host_prefixes_the_check_is_red(cluster: Cluster) -> None:
    reconfigure(cluster, lambda text: text.replace(".1/24", ".1/32").replace(".2/24", ".2/32"))
    assert fails(cluster, 1, settle=8)


def test_without_source_addresses_the_check_is_red(cluster: Cluster) -> None:
    reconfigure(cluster, without(r"^static_ipaddress \{.*?^\}"))
    assert fails(cluster, 6, settle=8)


@pytest.mark.long
def test_without_a_source_for_adverts_the_articles_letter_is_red(
    cluster: Cluster, specs: dict[str, RoleSpec]
) -> None:
    """keepalived puts an instance on an interface without an address into FAULT."""
    letter = to_the_letter(cluster, specs)
    reconfigure(letter, without(r"^ *@\w+ mcast_src_ip [^\n]*$"))
    assert fails(letter, 1, settle=8)


@pytest.mark.long
def test_without_sync_groups_a_pulled_cable_is_red(cluster: Cluster) -> None:
    reconfigure(cluster, without(r"^vrrp_sync_group .*?^\}"))
    settle(cluster)
    assert red(cluster, "cut-back", "VI_1 is advertised by lvs1, not lvs2")


def settle(cluster: Cluster) -> None:
    """The changed cluster, calm, as the checkpoint that a control starts from."""
    checklist.wait(cluster, 60)
    checkpoint.save(cluster, "control")


def on_directors(cluster: Cluster, *argv: str) -> None:
    cluster.each(directors(cluster), lambda node: cluster.run(node, argv, timeout=60))


def red(cluster: Cluster, experiment: str | experiments.Experiment, words: str) -> bool:
    """Whether a run breaks the promise that a problem with these words names.

    Some faults do harm only at some moments of the guests' timers: a few are tried.
    """
    if isinstance(experiment, str):
        experiment = experiments.everything(cluster.lab)[experiment]
    for number in range(ROUNDS):
        found = failover.once(cluster, experiment, "control", failover.phase_of(number))
        if any(words in problem for problem in found.problems):
            return True
        print(found.problems)  # for the reader of a failure
    return False


TELLS = (
    r"^ *(vrrp_higher_prio_send_advert|vrrp_garp_lower_prio_\w+|vrrp_garp_master_refresh) [^\n]*$"
)


def heal_one_after_the_other(cluster: Cluster) -> None:
    """The lower director of VI_1 hears the higher one first, and falls silent unheard."""
    faults.heal(cluster, "lvs2")
    time.sleep(0.5)
    faults.heal(cluster, "lvs1")


@pytest.mark.long
@pytest.mark.parametrize("told", [True, False])
def test_after_a_split_brain_neighbours_must_be_informed(cluster: Cluster, told: bool) -> None:
    if not told:
        reconfigure(cluster, without(TELLS))
    settle(cluster)
    split = experiments.everything(cluster.lab)["split"]
    staged = replace(split, fault=heal_one_after_the_other, zero="end")
    found = failover.undisturbed(cluster, staged, "control")
    wrong = [problem for problem in found.problems if "sends 192.168.50.1 to" in problem]
    assert bool(wrong) is not told, found.problems
    assert found.ok is told, found.problems


def test_a_group_that_is_left_is_red(cluster: Cluster) -> None:
    """arp-watch holds the adverts' group while keepalived leaves it to read its file again."""
    on_directors(cluster, "systemctl", "stop", "lvslab-track")
    settle(cluster)
    assert red(cluster, "reload", "web1 lost")


@pytest.mark.long
def test_with_lldp_a_restart_of_networkd_is_red(cluster: Cluster) -> None:
    folder = "/etc/systemd/network/10-cloud-init-eth1.network.d"
    cluster.run("rs1", ["sed", "-i", "s/^LLDP=no/LLDP=yes/", f"{folder}/50-lvslab.conf"])
    cluster.run("rs1", ["systemctl", "restart", "systemd-networkd"], timeout=60)
    settle(cluster)
    assert red(cluster, "networkd-server", "web1 lost")


@pytest.mark.long
def test_with_links_brought_up_again_a_restart_of_networkd_is_red(cluster: Cluster) -> None:
    cluster.run("rs1", ["rm", "/usr/local/lib/lvslab/leave-up"])
    cluster.run("rs1", ["sh", "-c", "rm -f /run/systemd/network/*/60-up.conf"])
    settle(cluster)
    assert red(cluster, "networkd-server", "web1 lost")


def test_with_the_kernels_limit_of_icmp_not_all_are_refused_at_once(cluster: Cluster) -> None:
    on_directors(cluster, "sysctl", "-w", "net.ipv4.icmp_ratemask=6168")
    settle(cluster)
    assert red(cluster, "servers-stop", "longest wait until refused")


@pytest.mark.long
def test_if_directors_do_not_hear_it_a_server_that_is_back_is_red(cluster: Cluster) -> None:
    """Once Apache has started again, its answers to the directors' own addresses get lost."""
    lab = cluster.lab
    lose = "".join(
        f"ExecStartPre=ip route replace blackhole {address} table {name}\\n"
        for name, table in lab.tables.items()
        for director in directors(cluster)
        for address in lab.nodes[director].addresses_at(lab.directors_interface_on(table.network))
    )
    folder = "/run/systemd/system/apache2.service.d"
    text = f"mkdir -p {folder} && printf '[Service]\\n{lose}' >{folder}/20-lose.conf"
    cluster.run("rs1", ["sh", "-c", text])
    cluster.run("rs1", ["systemctl", "daemon-reload"], timeout=60)
    settle(cluster)
    assert red(cluster, "servers-return", "the last lost request after")


# A refusal (RST, RFC 9293, section 3.1) that no connection of IPVS waits for any more.
REFUSE = """\
import socket, struct, sys
own, client, port = sys.argv[1:]
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as wire:
    wire.bind((own, 0))
    wire.sendto(struct.pack("!HHIIBBHHH", 80, int(port), 0, 0, 5 << 4, 4, 0, 0, 0), (client, 0))
"""
REFUSED_PORT = 9  # below those that the kernel gives to clients


def who_refuses(cluster: Cluster) -> str:
    """Whose refusal reaches the client when rs1 refuses late what web1 was asked."""
    with cluster.namespace.inside():
        heard = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect(cluster.lab.endpoint("web1"))
            client = asking.getsockname()[0]
    with heard:
        heard.settimeout(30)
        own = str(cluster.lab.real_servers("web1")["rs1"])
        cluster.run("rs1", ["python3", "-c", REFUSE, own, client, str(REFUSED_PORT)])
        while True:
            packet, (sender, _) = heard.recvfrom(100)
            if packet[22:24] == REFUSED_PORT.to_bytes(2, "big"):
                return str(sender)


@pytest.mark.parametrize("corrected", [True, False])
def test_a_late_refusal_comes_from_the_address_that_was_asked(
    cluster: Cluster, corrected: bool
) -> None:
    if not corrected:
        on_directors(cluster, "systemctl", "stop", "lvslab-packets")
    asked, _ = cluster.lab.endpoint("web1")
    own = str(cluster.lab.real_servers("web1")["rs1"])
    assert who_refuses(cluster) == (asked if corrected else own)


@pytest.mark.long
def test_without_a_time_to_settle_a_loose_cable_is_red(cluster: Cluster) -> None:
    unit = "/etc/systemd/system/lvslab-track.service"
    for node in directors(cluster):
        cluster.run(node, ["sed", "-i", r"s/\(arp-watch [0-9.]* [0-9]* [0-9]*\) 5/\1 0/", unit])
    on_directors(cluster, "systemctl", "daemon-reload")
    on_directors(cluster, "systemctl", "restart", "lvslab-track")
    settle(cluster)
    flap = experiments.everything(cluster.lab)["flap"]
    slow = replace(flap, fault=cables.flapping("lvs1", "eth1", there=4.0, times=2))
    assert red(cluster, slow, "VI_1 moved")


@pytest.mark.long
def test_without_a_restart_a_killed_keepalived_is_red(cluster: Cluster) -> None:
    drop_in = "/etc/systemd/system/keepalived.service.d/10-lvslab.conf"
    on_directors(cluster, "sed", "-i", "s/^Restart=always/Restart=no/", drop_in)
    on_directors(cluster, "systemctl", "daemon-reload")
    settle(cluster)
    assert red(cluster, "kill-main", "VI_1 is advertised by lvs2, not lvs1")


@pytest.mark.long
def test_with_few_threads_slow_clients_are_red(cluster: Cluster) -> None:
    for server in cluster.lab.nodes_of(Kind.SERVER):
        fewer = [
            "sed",
            "-i",
            "-E",
            r"s/^(MaxRequestWorkers|MaxSpareThreads|ThreadsPerChild) .*/\1 64/",
        ]
        cluster.run(server, [*fewer, "/etc/apache2/conf-enabled/lvslab.conf"])
        cluster.run(server, ["systemctl", "restart", "apache2"], timeout=90)
    settle(cluster)
    assert red(cluster, "slow-clients", "slowest page")


def test_without_connection_sync_established_requests_die(cluster: Cluster) -> None:
    without_connection_sync(cluster)
    settle(cluster)
    assert red(cluster, "crash", "established connections are alive")


def test_a_table_that_is_empty_is_seen(cluster: Cluster) -> None:
    settle(cluster)
    stop = replace(experiments.everything(cluster.lab)["servers-stop"], watchers=(Tables,))
    assert red(cluster, stop, "a table was empty")


def test_without_the_watch_a_silent_cut_is_red(cluster: Cluster) -> None:
    on_directors(cluster, "systemctl", "stop", "lvslab-track")
    checkpoint.save(cluster, "control")
    assert red(cluster, "silent-lvs1-eth2", "longest gap")


# --- the verbs, as a user types them


def test_the_verbs_do_what_they_say(cluster: Cluster, tmp_path: Path) -> None:
    def lab(verb: str, *words: str, status: int = 0) -> str:
        done = build_py("lab", verb, "--name", cluster.lab.name, *words)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    checklist.wait(cluster, 60)
    assert "HTTP/1.1 200" in lab("client", "--", "curl", "-si", "http://192.168.50.1/")
    assert lab("ssh", "rs2", "--", "hostname") == "rs2\n"
    assert "login:" in lab("console", "lvs1")
    packets = tmp_path / "vrrp.pcap"
    words = [sys.executable, "-m", "lvslab.cli", "lab", "capture", "--name", cluster.lab.name]
    tcpdump = subprocess.Popen([*words, "VMnet1", "-o", str(packets)], cwd=ROOT)
    try:
        assert until(lambda: packets.exists() and packets.stat().st_size >= 1000, 60)
    finally:
        tcpdump.terminate()
        tcpdump.wait()
    assert packets.read_bytes()[:4] == bytes.fromhex("d4c3b2a1")  # pcap(5)
    lab("cut", "lvs1", "eth1")
    lab("split", "lvs1", "lvs2")
    lab("stop-service", "rs1", "apache2")
    lab("pause", "rs2")
    assert "broken: lvs1 eth1: cable pulled" in lab("status")
    assert "rs2 is paused" in lab("status", "--json")
    lab("check", "--wait", "0", status=1)
    lab("save", "x", status=2)
    lab("start", "rs2")
    assert "healed: rs1: apache2 stopped" in lab("heal")
    assert "nothing was broken" in lab("heal")
    lab("check", "--wait", "60")
    assert "saved as x" in lab("save", "x")
    lab("kill", "rs1")
    assert "the checklist passes" in lab("restore", "x")


def test_failover_shows_a_table_and_draws_a_picture(cluster: Cluster, tmp_path: Path) -> None:
    picture = tmp_path / "failover.svg"
    words = ["failover", "--name", cluster.lab.name, "stop", "--svg", str(picture)]
    done = build_py("lab", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^stop .* rs1 \d+, rs2 \d+ ✓$", done.stdout, re.MULTILINE), done.stdout
    assert picture.read_text().startswith("<svg")


def test_the_next_start_goes_on_from_the_checkpoint_of_the_first(
    booted: Cluster, built: Path
) -> None:
    """After `down`, and with the clock of today."""
    boot = ["cat", "/proc/sys/kernel/random/boot_id"]
    checkpoint.restore(booted, START)
    before = booted.each(list(booted.lab.nodes), lambda node: booted.run(node, boot))
    name = ["--name", booted.lab.name]
    assert build_py("lab", "down", *name).returncode == 0
    done = build_py("lab", "up", *name, "--from", "vmware", "--artifacts", str(built))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the nodes go on from a checkpoint of" in done.stderr
    for node in booted.lab.nodes:
        assert booted.run(node, boot) == before[node]
        assert abs(float(booted.run(node, ["date", "+%s"])) - time.time()) < 60
    done = build_py("lab", "restore", "up", *name)  # a checkpoint like any other
    assert done.returncode == 0, done.stdout + done.stderr


# --- power: what a killed `lab up` leaves, and what `lab down` does not leave


def test_down_leaves_nothing_behind_even_after_a_killed_up(built: Path, tmp_path: Path) -> None:
    """`lab up` is killed while its nodes boot; a second one goes on; then nothing is left."""
    words = [sys.executable, "-m", "lvslab.cli", "lab"]
    name = ["--name", "kill-test"]
    up = subprocess.Popen([*words, "up", "--cold", *name, "--artifacts", str(built)], cwd=ROOT)
    try:

        def all_run() -> Cluster | None:
            known = Cluster.known("kill-test")
            if known is None or len(known.engine.processes()) < len(known.lab.nodes):
                return None
            return known

        known = until(all_run, 300)
        assert known, up.poll()
        up.kill()
        up.wait()
        machines = known.engine.processes()
        assert known.boot(built, default_cache(), known.settings) == []
        assert known.engine.processes() == machines
    finally:
        up.kill()
        subprocess.run([*words, "down", *name], cwd=ROOT, check=True, timeout=120)
    assert not known.namespace.exists()
    assert not known.state.folder.exists() and not known.state.lock.exists()
    gone = until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in machines.values()), 10)
    assert gone  # init reaps them
