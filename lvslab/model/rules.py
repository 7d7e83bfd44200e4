"""What must hold between the values of a lab.

A rule is a small function that yields findings. Most rules are also true of a part of a
lab: two networks that overlap do so whatever else is there. Those that miss something (no
director at all) are only asked of a whole lab, so that an entry which could not be read
does not cause a second, false message.

A rule may take for granted that names point to something and that each value for itself
is right (`names`, `explain`).
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations, pairwise, product

from lvslab.model.lab import MAX_NODES, Lab, Network, Node, Role
from lvslab.model.names import name_findings
from lvslab.model.problems import Finding, Path, dotted, listed

Rule = Callable[[Lab], Iterator[Finding]]

RULES: list[Rule] = []
RULES_OF_A_WHOLE_LAB: list[Rule] = []

PRIVATE = tuple(IPv4Network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
SMALLEST = 29
"""The longest prefix of a network: six addresses, as a VIP, two directors and some servers need."""
RESERVED_HOSTS = {"localhost", "client", "unseeded", "base", *Role}
RESERVED_TABLES = {"all", "default", "local", "main", "unspec"}
TAKEN_PORTS = {22: "SSH", 53: "the resolver"}
RESERVED_USERS = frozenset(
    # users, and groups: a user's own group cannot be made if there is one of that name
    [
        "root",
        "daemon",
        "bin",
        "sys",
        "sync",
        "games",
        "man",
        "lp",
        "mail",
        "news",
        "uucp",
        "proxy",
        "www-data",
        "backup",
        "list",
        "irc",
        "nobody",
        "messagebus",
        "sshd",
        "systemd-network",
        "systemd-resolve",
        "systemd-timesync",
        "keepalived_script",
        "dhcpcd",
        "tcpdump",
        "adm",
        "tty",
        "disk",
        "kmem",
        "dialout",
        "fax",
        "voice",
        "cdrom",
        "floppy",
        "tape",
        "sudo",
        "audio",
        "dip",
        "operator",
        "src",
        "shadow",
        "utmp",
        "video",
        "sasl",
        "plugdev",
        "staff",
        "users",
        "nogroup",
        "systemd-journal",
        "input",
        "sgx",
        "clock",
        "kvm",
        "render",
    ]
)
KEY_FIELDS = {
    "ssh-ed25519": 2,
    "ssh-rsa": 3,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
    "sk-ssh-ed25519@openssh.com": 3,
    "sk-ecdsa-sha2-nistp256@openssh.com": 4,
}
"""The public keys that the images' sshd takes, and how many fields each has (RFC 4253, 6.6)."""


def rule(function: Rule) -> Rule:
    """Registers a rule that is true of a part of a lab as well."""
    RULES.append(function)
    return function


def rule_of_a_whole_lab(function: Rule) -> Rule:
    """Registers a rule that says something is missing."""
    RULES_OF_A_WHOLE_LAB.append(function)
    return function


def check(lab: Lab) -> list[Finding]:
    """Everything that is wrong with a lab that was not read from a file."""
    return name_findings(lab.model_dump(mode="json")) or rule_findings(lab)


def rule_findings(lab: Lab, *, whole: bool = True) -> list[Finding]:
    """What the rules say of a lab whose names all point to something."""
    rules = RULES + RULES_OF_A_WHOLE_LAB if whole else RULES
    return [finding for each in rules for finding in each(lab)]


def _of(lab: Lab, network: str) -> Network:
    return lab.networks[network]


# --- networks and addresses ---------------------------------------------------------------


@rule
def networks_have_a_cidr_or_dhcp(lab: Lab) -> Iterator[Finding]:
    """A host-only network has a cidr; a nat network has neither cidr nor host."""
    for name, network in lab.networks.items():
        path: Path = ("networks", name)
        if network.kind == "host-only" and network.cidr is None:
            right = "add `cidr:`, or `kind: nat` if it is the way out"
            yield Finding(path, f"{name} is a host-only network without a cidr", right, True)
        for key in ("cidr", "host"):
            if network.kind == "nat" and getattr(network, key) is not None:
                what = f"{name} is a nat network, VMware gives it its addresses"
                yield Finding((*path, key), what, f"take `{key}` away", True)


@rule
def one_nat_network(lab: Lab) -> Iterator[Finding]:
    """VMware Workstation on Windows has one nat network."""
    first, *others = [n for n, network in lab.networks.items() if network.kind == "nat"] or [""]
    for name in others:
        what = f"{name} is a second nat network beside {first}, and VMware has only one"
        yield Finding(("networks", name), what, f"use {first} for both, or make it host-only", True)


@rule
def networks_are_private(lab: Lab) -> Iterator[Finding]:
    """A lab's networks are private (RFC 1918, section 3) and have room for its machines."""
    for name, network in lab.networks.items():
        if (cidr := network.cidr) is None:
            continue
        path = ("networks", name, "cidr")
        if not any(cidr.subnet_of(private) for private in PRIVATE):
            right = f"use a part of {listed(PRIVATE)}"
            yield Finding(path, f"{name}'s network {cidr} is not private", right)
        elif cidr.prefixlen > SMALLEST:
            right = f"make it /{SMALLEST} or larger, as a rule /24"
            yield Finding(path, f"{name}'s network {cidr} has no room for a cluster", right)


@rule
def networks_do_not_overlap(lab: Lab) -> Iterator[Finding]:
    """Two networks have no address in common."""
    for (first, a), (second, b) in combinations(lab.networks.items(), 2):
        if a.cidr and b.cidr and a.cidr.overlaps(b.cidr):
            what = f"{second}'s network {b.cidr} overlaps {first}'s ({a.cidr})"
            yield Finding(("networks", second, "cidr"), what, "give each network its own range")


def _addresses(lab: Lab) -> Iterator[tuple[Path, str, IPv4Address, str]]:
    """Every address of the lab: where it stands, whose it is, the address, its network."""
    for name, network in lab.networks.items():
        if network.host:
            yield ("networks", name, "host"), "the host", network.host, name
    for name, node in lab.nodes.items():
        for interface, address in node.addresses.items():
            if interface in node.interfaces:
                path = ("nodes", name, "addresses", interface)
                yield path, f"{name}'s {interface}", address, node.interfaces[interface]
    for name, instance in lab.vrrp_instances.items():
        yield ("vrrp_instances", name, "address"), name, instance.address, instance.network


@rule
def addresses_are_unique(lab: Lab) -> Iterator[Finding]:
    """No address stands twice, be it the host's, a node's or a VRRP instance's."""
    owners: dict[IPv4Address, str] = {}
    for path, owner, address, _ in _addresses(lab):
        if address in owners:
            what = f"{dotted(path)}: {address} is {owners[address]}'s already"
            yield Finding(path, what, "give each its own address")
        else:
            owners[address] = owner


@rule
def addresses_are_in_their_network(lab: Lab) -> Iterator[Finding]:
    """An address lies in its network and is neither the first nor the last of it."""
    for path, _, address, network in _addresses(lab):
        cidr = _of(lab, network).cidr
        if cidr is None or cidr.prefixlen > SMALLEST:
            continue
        right = f"use one from {cidr[1]} to {cidr[-2]}"
        if address not in cidr:
            what = f"{dotted(path)}: {address} is outside {network} ({cidr})"
            yield Finding(path, what, right)
        elif address in (cidr.network_address, cidr.broadcast_address):
            kind = "network" if address == cidr.network_address else "broadcast"
            what = f"{dotted(path)}: {address} is the {kind} address of {network} ({cidr})"
            yield Finding(path, what, right)


@rule_of_a_whole_lab
def the_client_has_an_address(lab: Lab) -> Iterator[Finding]:
    """The host is the client, so it has an address on the network of the VIPs."""
    if not any(network.host for network in lab.networks.values()):
        right = "add `host:` to the network that the virtual servers' addresses are on"
        yield Finding(("networks",), "the host has no address, so there is no client", right, True)


@rule
def the_client_is_on_one_network(lab: Lab) -> Iterator[Finding]:
    """With two `host` addresses it would not be clear where the client is."""
    hosts = [n for n, v in lab.networks.items() if v.host and v.kind == "host-only"]
    first, *others = hosts or [""]
    for name in others:
        what = f"the host, which is the client, has an address on {first} already"
        yield Finding(("networks", name, "host"), what, "keep one of the two", True)


# --- nodes --------------------------------------------------------------------------------


@rule
def not_too_many_nodes(lab: Lab) -> Iterator[Finding]:
    """A node's number is a byte of its MAC addresses."""
    for name in list(lab.nodes)[MAX_NODES : MAX_NODES + 1]:
        what = f"{name} is node {MAX_NODES + 1}"
        yield Finding(("nodes", name), what, f"a lab has at most {MAX_NODES} nodes", True)


@rule
def host_names_are_free(lab: Lab) -> Iterator[Finding]:
    """`localhost` is every machine, `client` the host, `unseeded` a machine without a seed.

    Of the artifacts an OVA is named by a role, and VMware's folder of the base disks is `base`.
    """
    for name in sorted(RESERVED_HOSTS & set(lab.nodes)):
        what = f"{name} cannot be the name of a node, it has another meaning"
        yield Finding(("nodes", name), what, "choose another name, such as rs3", True)


@rule_of_a_whole_lab
def every_role_has_a_node(lab: Lab) -> Iterator[Finding]:
    """There is at least one director and one real server."""
    for role in Role:
        if not lab.nodes_of(role):
            what = f"no node has the role {role}"
            yield Finding(("nodes",), what, f"add a node with `role: {role}`", True)


@rule
def interfaces_count_from_eth0(lab: Lab) -> Iterator[Finding]:
    """A machine's NICs are named in their order, so eth0, eth1, … have no gap."""
    for name, node in lab.nodes.items():
        right = "name the interfaces eth0, eth1, … in order"
        if not node.interfaces:
            path: Path = ("nodes", name, "interfaces")
            yield Finding(path, f"{name} has no interface", right)
        wanted = {f"eth{i}" for i in range(len(node.interfaces))}
        for interface in sorted(set(node.interfaces) - wanted):
            missing = min(wanted - set(node.interfaces))
            path = ("nodes", name, "interfaces", interface)
            yield Finding(path, f"{name} has {interface} but no {missing}", right, True)


@rule
def interfaces_are_on_different_networks(lab: Lab) -> Iterator[Finding]:
    """Two interfaces on one network would make the node's answers go either way."""
    for name, node in lab.nodes.items():
        seen: dict[str, str] = {}
        for interface, network in node.interfaces.items():
            if network in seen:
                what = f"{name} is on {network} with {seen[network]} and with {interface}"
                path = ("nodes", name, "interfaces", interface)
                yield Finding(path, what, "connect each interface to a network of its own")
            seen.setdefault(network, interface)


@rule
def a_role_has_one_wiring(lab: Lab) -> Iterator[Finding]:
    """All nodes of a role have the same interfaces on the same networks: they share an image."""
    for role in Role:
        nodes = lab.nodes_of(role)
        for first, name in product(list(nodes)[:1], list(nodes)[1:]):
            if nodes[name].interfaces != nodes[first].interfaces:
                wiring = listed(f"{i}: {n}" for i, n in nodes[first].interfaces.items())
                what = f"{name} is wired otherwise than {first}, and both are {role}s"
                path = ("nodes", name, "interfaces")
                yield Finding(path, what, f"write {{{wiring}}} for both", True)


@rule
def addresses_have_an_interface(lab: Lab) -> Iterator[Finding]:
    """An address belongs to an interface of the node, on a network that the lab numbers."""
    for name, node in lab.nodes.items():
        for interface in node.addresses:
            path = ("nodes", name, "addresses", interface)
            if interface not in node.interfaces:
                have = listed(node.interfaces)
                right = f"its interfaces are {have}" if have else "it has no interface at all"
                yield Finding(path, f"{name} has no interface {interface}", right, True)
            elif _of(lab, node.interfaces[interface]).kind == "nat":
                what = f"{name}'s {interface} is on a nat network and gets its address by DHCP"
                yield Finding(path, what, "take the address away", True)


@rule
def directors_have_source_addresses(lab: Lab) -> Iterator[Finding]:
    """With `source_addresses: own`, a director has one on every network with a VRRP instance."""
    if lab.directors.source_addresses != "own":
        return
    used = dict.fromkeys(instance.network for instance in lab.vrrp_instances.values())
    networks = [network for network in used if _of(lab, network).kind == "host-only"]
    for name, node in lab.nodes_of(Role.DIRECTOR).items():
        for network in networks:
            right = "or write `source_addresses: none` under `directors`"
            yield from _lacking_address(name, node, network, "source address", f", {right}")


@rule
def real_servers_have_addresses(lab: Lab) -> Iterator[Finding]:
    """A real server has an address on the network of every table."""
    networks = dict.fromkeys(table.network for table in lab.tables.values())
    for name, node in lab.nodes_of(Role.REAL_SERVER).items():
        for network in networks:
            if network in node.interfaces.values():
                yield from _lacking_address(name, node, network, "address", "")
            else:
                what = f"{name} has no interface on {network}, which has a routing table"
                path = ("nodes", name, "interfaces")
                yield Finding(path, what, f"connect an interface to {network}", True)


def _lacking_address(
    name: str, node: Node, network: str, noun: str, otherwise: str
) -> Iterator[Finding]:
    there = [interface for interface, behind in node.interfaces.items() if behind == network]
    if there and not any(interface in node.addresses for interface in there):
        what = f"{name} has no {noun} on {network}"
        right = f"add `{there[0]}: …` to its addresses{otherwise}"
        yield Finding(("nodes", name, "addresses"), what, right, True)


# --- VRRP ---------------------------------------------------------------------------------


@rule
def instances_are_on_host_only_networks(lab: Lab) -> Iterator[Finding]:
    """VRRP stays inside the lab."""
    for name, instance in lab.vrrp_instances.items():
        if _of(lab, instance.network).kind == "nat":
            what = f"{name} is on {instance.network}, a nat network"
            path = ("vrrp_instances", name, "network")
            yield Finding(path, what, "put it on a host-only network")


@rule
def router_ids_are_unique(lab: Lab) -> Iterator[Finding]:
    """A virtual router id stands once on a network (RFC 5798, 5.2.3)."""
    seen: dict[tuple[str, int], str] = {}
    for name, instance in lab.vrrp_instances.items():
        first = seen.setdefault((instance.network, instance.router_id), name)
        if first != name:
            what = f"{name} has router id {instance.router_id} on {instance.network}, as {first}"
            path = ("vrrp_instances", name, "router_id")
            yield Finding(path, what, "give each instance of a network its own, 1 to 255")


@rule
def priorities_are_of_directors(lab: Lab) -> Iterator[Finding]:
    """An instance has a priority for every director, which is on its network, and no other node."""
    directors = lab.nodes_of(Role.DIRECTOR)
    for name, instance in lab.vrrp_instances.items():
        path: Path = ("vrrp_instances", name, "priorities")
        for node in instance.priorities:
            if directors and node not in directors:
                what = f"{name} has a priority for {node}, which is a {lab.nodes[node].role}"
                yield Finding((*path, node), what, f"directors are {listed(directors)}", True)
        for node in directors:
            if node not in instance.priorities:
                yield Finding(path, f"{name} has no priority for {node}", f"add `{node}: …`", True)
            elif instance.network not in directors[node].interfaces.values():
                what = f"{node} has no interface on {instance.network}, the network of {name}"
                right = f"connect an interface to {instance.network}"
                yield Finding(("nodes", node, "interfaces"), what, right, True)


@rule
def priorities_differ(lab: Lab) -> Iterator[Finding]:
    """With equal priorities the higher address would win, which nobody wrote down."""
    for name, instance in lab.vrrp_instances.items():
        seen: dict[int, str] = {}
        for node, priority in instance.priorities.items():
            first = seen.setdefault(priority, node)
            if first != node:
                what = f"{first} and {node} have the same priority {priority} for {name}"
                path = ("vrrp_instances", name, "priorities", node)
                yield Finding(path, what, "give each director its own; the highest is the owner")


@rule
def instances_are_in_one_group(lab: Lab) -> Iterator[Finding]:
    """An instance moves with one group."""
    seen: dict[str, str] = {}
    for group, members in lab.sync_groups.items():
        for index, member in enumerate(members):
            if member in seen:
                what = f"{member} is in sync group {seen[member]} already"
                yield Finding(("sync_groups", group, index), what, "keep it in one group, once")
            seen.setdefault(member, group)


@rule_of_a_whole_lab
def groups_have_two_members(lab: Lab) -> Iterator[Finding]:
    """keepalived ignores a sync group of one instance and says so."""
    for group, members in lab.sync_groups.items():
        if len(members) < 2:
            what = f"sync group {group} has {len(members)} member{'s' * (not members)}"
            right = "a group holds at least two instances: a VIP and its return path"
            yield Finding(("sync_groups", group), what, right)


@rule
def a_group_has_one_order(lab: Lab) -> Iterator[Finding]:
    """All instances of a group have the same priorities: the group moves as one."""
    for group, members in lab.sync_groups.items():
        for first, other in pairwise(dict.fromkeys(members)):
            wanted = lab.vrrp_instances[first].priorities
            found = lab.vrrp_instances[other].priorities
            if any(wanted.get(node, priority) != priority for node, priority in found.items()):
                what = f"{other} and {first} have different priorities, and {group} moves as one"
                same = listed(f"{node}: {priority}" for node, priority in wanted.items())
                path = ("vrrp_instances", other, "priorities")
                yield Finding(path, what, f"write {{{same}}} for both, or part the group")


@rule
def adverts_fit_the_version(lab: Lab) -> Iterator[Finding]:
    """VRRPv2 counts seconds (RFC 3768, 5.3.7), v3 hundredths in 12 bits (RFC 5798, 5.2.7)."""
    vrrp = lab.directors.vrrp
    path = ("directors", "vrrp", "advert_seconds")
    written = f"{vrrp.advert_seconds:g}"
    if vrrp.version == 2 and (vrrp.advert_seconds < 1 or vrrp.advert_seconds % 1):
        what = f"VRRP version 2 cannot advertise every {written} s"
        yield Finding(path, what, "write whole seconds from 1 to 255, or `version: 3`")
    hundredths = vrrp.advert_seconds * 100
    uneven = abs(hundredths - round(hundredths)) > 1e-6
    if vrrp.version == 3 and (vrrp.advert_seconds > 40.95 or uneven):
        what = f"VRRP version 3 cannot advertise every {written} s"
        yield Finding(path, what, "write 0.01 to 40.95, in steps of 0.01")


@rule_of_a_whole_lab
def the_track_script_can_move_a_group(lab: Lab) -> Iterator[Finding]:
    """A director whose script fails falls below the next one."""
    track = lab.directors.track
    if not track.enabled:
        return
    gaps = [(0, "", "", "")]
    for name in [i for members in lab.sync_groups.values() for i in members]:
        priorities = lab.vrrp_instances[name].priorities
        for first, second in list(pairwise(lab.owners(name)))[:1]:
            gaps.append((priorities[first] - priorities[second], name, first, second))
    gap, name, first, second = max(gaps, key=lambda entry: entry[0])
    if gap + track.weight >= 0:
        what = (
            f"a failing track script takes {-track.weight} from {first}'s priority for {name}, "
            f"and it is {gap} above {second}'s"
        )
        right = f"write {-gap - 1} or less, or bring the two closer"
        yield Finding(("directors", "track", "weight"), what, right)


# --- routing tables and virtual servers ---------------------------------------------------


@rule
def table_names_and_ids_are_free(lab: Lab) -> Iterator[Finding]:
    """A table has its own number, and no name that ip-route(8) knows already."""
    seen: dict[int, str] = {}
    for name, table in lab.tables.items():
        if name in RESERVED_TABLES:
            what = f"{name} cannot be a table's name, Linux has one of that name"
            yield Finding(("tables", name), what, "choose another name, such as LVS1", True)
        first = seen.setdefault(table.id, name)
        if first != name:
            what = f"{name} has the number {table.id}, as {first}"
            yield Finding(("tables", name, "id"), what, "give each table its own, 1 to 252")


@rule
def a_network_has_one_table(lab: Lab) -> Iterator[Finding]:
    """The rule "from this network" can name one table."""
    seen: dict[str, str] = {}
    for name, table in lab.tables.items():
        first = seen.setdefault(table.network, name)
        if first != name:
            what = f"{name} is for {table.network}, as {first}"
            yield Finding(("tables", name, "network"), what, "keep one table for a network")


@rule
def a_gateway_is_on_its_table_s_network(lab: Lab) -> Iterator[Finding]:
    """A gateway is reached directly, so it lies on the table's own network."""
    for name, table in lab.tables.items():
        network = lab.vrrp_instances[table.via].network
        if network != table.network:
            what = f"{name} is for {table.network}, but {table.via} is on {network}"
            fit = [i for i, v in lab.vrrp_instances.items() if v.network == table.network]
            right = f"instances on {table.network} are {listed(fit)}" if fit else "add an instance"
            yield Finding(("tables", name, "via"), what, right)


@rule
def real_servers_are_not_on_the_client_s_network(lab: Lab) -> Iterator[Finding]:
    """A real server on the client's own network would answer it past the director (NAT breaks)."""
    for name, table in lab.tables.items():
        if _of(lab, table.network).host:
            what = f"{name} is for {table.network}, which the client is on"
            right = "put the real servers on a network without `host`, or replies pass the director"
            yield Finding(("tables", name, "network"), what, right)


@rule
def virtual_servers_are_on_the_client_s_network(lab: Lab) -> Iterator[Finding]:
    """The client has no router, so a VIP is on its own network."""
    if not any(network.host for network in lab.networks.values()):
        return
    for name, server in lab.virtual_servers.items():
        network = lab.vrrp_instances[server.instance].network
        if not _of(lab, network).host:
            what = f"{name}'s address is that of {server.instance}, on {network}, without a client"
            right = "name an instance on the network that has `host`"
            yield Finding(("virtual_servers", name, "instance"), what, right)


@rule
def services_are_unique(lab: Lab) -> Iterator[Finding]:
    """An address and a port are one virtual server."""
    seen: dict[tuple[IPv4Address, int], str] = {}
    for name, server in lab.virtual_servers.items():
        service = (lab.vrrp_instances[server.instance].address, server.port)
        first = seen.setdefault(service, name)
        if first != name:
            what = f"{name} and {first} are both {service[0]} port {service[1]}"
            path: Path = ("virtual_servers", name)
            yield Finding(path, what, "give one of them another port or instance", True)


@rule
def ports_are_free(lab: Lab) -> Iterator[Finding]:
    """A real server serves on the same port, which no other program of its may have."""
    for name, server in lab.virtual_servers.items():
        if program := TAKEN_PORTS.get(server.port):
            what = f"{name} is on port {server.port}, which {program} has on every real server"
            yield Finding(("virtual_servers", name, "port"), what, "choose another, such as 80")


@rule_of_a_whole_lab
def a_vip_and_its_return_path_move_together(lab: Lab) -> Iterator[Finding]:
    """With NAT the replies must pass the director that has the VIP, so both are one group."""
    for name, server in lab.virtual_servers.items():
        via = lab.tables[server.table].via
        group, other = lab.group_of(server.instance), lab.group_of(via)
        if group is None or group != other:
            what = (
                f"{name}: its address {server.instance} and its return path {via} can be on "
                "different directors"
            )
            right = f"put {server.instance} and {via} into one sync group"
            path: Path = ("virtual_servers", name, "table")
            yield Finding(path, what, right)


@rule
def weights_are_of_real_servers(lab: Lab) -> Iterator[Finding]:
    """Weights name real servers, mean something to the scheduler, and are not all 0."""
    servers = lab.nodes_of(Role.REAL_SERVER)
    for name, virtual in lab.virtual_servers.items():
        path: Path = ("virtual_servers", name, "weights")
        for node, weight in virtual.weights.items():
            if node not in servers:
                what = f"{name} has a weight for {node}, which is a {lab.nodes[node].role}"
                right = f"real servers are {listed(servers)}"
                yield Finding((*path, node), what, right, True)
            elif weight > 1 and virtual.scheduler in ("rr", "lc"):
                what = f"{name}'s scheduler {virtual.scheduler} does not look at weights above 1"
                right = f"write `scheduler: w{virtual.scheduler}`, or take the weight away"
                yield Finding((*path, node), what, right, True)


@rule_of_a_whole_lab
def someone_serves(lab: Lab) -> Iterator[Finding]:
    """At least one real server has a weight above 0."""
    servers = lab.nodes_of(Role.REAL_SERVER)
    for name, virtual in lab.virtual_servers.items():
        if servers and all(virtual.weights.get(node, 1) == 0 for node in servers):
            path = ("virtual_servers", name, "weights")
            what = f"{name}: every real server has the weight 0, so nobody serves"
            yield Finding(path, what, "give one of them 1 or more", True)


@rule_of_a_whole_lab
def there_is_a_service(lab: Lab) -> Iterator[Finding]:
    """A lab has something to reach."""
    if not lab.virtual_servers:
        what = "there is no virtual server"
        yield Finding(("virtual_servers",), what, "add one, such as `web1`", True)


# --- log-in -------------------------------------------------------------------------------


@rule
def the_class_user_is_nobody_else(lab: Lab) -> Iterator[Finding]:
    """The class user is a user of its own, not one that the images have, nor a group of theirs."""
    if lab.login.user in RESERVED_USERS:
        what = f"{lab.login.user} is a user or a group that Debian has already"
        yield Finding(("login", "user"), what, "choose another name, such as student")


@rule_of_a_whole_lab
def someone_can_log_in(lab: Lab) -> Iterator[Finding]:
    """There is a password or a key."""
    if lab.login.password_hash is None and not lab.login.ssh_keys:
        what = f"{lab.login.user} has neither a password nor a key, so nobody can log in"
        right = "add `password_hash:` (openssl passwd -6) or `ssh_keys:`"
        yield Finding(("login",), what, right, True)


@rule
def keys_are_whole(lab: Lab) -> Iterator[Finding]:
    """sshd passes over a key that it cannot read, and nobody is told."""
    for index, key in enumerate(lab.login.ssh_keys):
        if not _is_public_key(key):
            what = f"{key.split()[0]} … in login.ssh_keys is not a public key that sshd can read"
            right = "copy the whole line of a file such as ~/.ssh/id_ed25519.pub"
            yield Finding(("login", "ssh_keys", index), what, right)


def _is_public_key(line: str) -> bool:
    """Whether a line has a key with all its fields, the first of which repeats its kind."""
    kind, text = line.split(" ")[:2]
    try:
        rest = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    fields = []
    while rest:
        end = 4 + int.from_bytes(rest[:4])
        if len(rest) < end:
            return False
        fields.append(rest[4:end])
        rest = rest[end:]
    return len(fields) == KEY_FIELDS.get(kind) and fields[0] == kind.encode()


@rule
def keys_are_there_once(lab: Lab) -> Iterator[Finding]:
    """A key that stands twice is probably one that was meant to be another."""
    for key, times in Counter(lab.login.ssh_keys).items():
        if times > 1:
            index = len(lab.login.ssh_keys) - 1 - lab.login.ssh_keys[::-1].index(key)
            what = f"a key stands {times} times in login.ssh_keys"
            yield Finding(("login", "ssh_keys", index), what, "keep it once")
