"""Rules of the real servers' routing tables and of virtual servers."""

from __future__ import annotations

from collections.abc import Iterator

from lvslab.model.family import Address, Family, of_family
from lvslab.model.lab import HealthCheck, Lab, VirtualServer
from lvslab.model.problems import Place, Violation, listed
from lvslab.model.role import Kind
from lvslab.model.rules.registry import rule, rule_of_a_whole_lab

RESERVED_TABLES = {"all", "default", "local", "main", "unspec"}
TAKEN_PORTS = {22: "SSH", 53: "the resolver"}


@rule
def table_names_and_ids_are_free(lab: Lab) -> Iterator[Violation]:
    """A table has its own number, and no name that ip-route(8) knows already."""
    seen: dict[int, str] = {}
    for name, table in lab.tables.items():
        if name in RESERVED_TABLES:
            what = f"{name} cannot be a table's name, Linux has a table of this name"
            yield Violation(("tables", name), what, "choose another name, such as LVS1", True)
        first = seen.setdefault(table.id, name)
        if first != name:
            what = f"{name} and {first} have the same number {table.id}"
            yield Violation(("tables", name, "id"), what, "give each table its own, 1 to 252")


@rule
def a_network_has_one_table(lab: Lab) -> Iterator[Violation]:
    """The rule "from this network" can name one table; each family has rules of its own."""
    seen: dict[tuple[str, Family], str] = {}
    for name, table in lab.tables.items():
        family = lab.table_family(name)
        first = seen.setdefault((table.network, family), name)
        if first != name:
            two = len(lab.networks[table.network].families) > 1
            words, one = (f"{family} on ", f"{family} table") if two else ("", "table")
            what = f"{name} and {first} are both for {words}{table.network}"
            yield Violation(("tables", name, "network"), what, f"keep one {one} for a network")


@rule
def a_gateway_is_on_its_table_s_network(lab: Lab) -> Iterator[Violation]:
    """A gateway is reached directly, so it lies on the table's own network."""
    for name, table in lab.tables.items():
        network = lab.vrrp_instances[table.via].network
        if network != table.network:
            what = f"{name} is for {table.network}, but {table.via} is on {network}"
            fit = [i for i, v in lab.vrrp_instances.items() if v.network == table.network]
            right = f"instances on {table.network} are {listed(fit)}" if fit else "add an instance"
            yield Violation(("tables", name, "via"), what, right)


@rule
def real_servers_are_not_on_the_client_s_network(lab: Lab) -> Iterator[Violation]:
    """A real server on the client's own network would answer it past the director (NAT breaks)."""
    for name, table in lab.tables.items():
        if lab.networks[table.network].hosts:
            what = f"{name} is for {table.network}, which is the client's network"
            right = "use a network without `host`: replies must go through the director"
            yield Violation(("tables", name, "network"), what, right)


@rule
def a_method_says_where_the_real_servers_are(lab: Lab) -> Iterator[Violation]:
    """With NAT by the table of the replies, else by the network: there is no way back to choose."""
    for name, server in lab.virtual_servers.items():
        path: Place = ("virtual_servers", name)
        if server.method == "NAT":
            if server.table is None:
                what = f"{name} has no table, so its real servers would answer past the director"
                yield Violation(path, what, "add `table:`, or write `method: DR`", True)
            if server.network:
                what = f"{name} has a network, which with NAT is that of its table"
                yield Violation((*path, "network"), what, "remove `network`", True)
            continue
        if server.table:
            what = f"{name} has a table, but with {server.method} no reply passes the director"
            yield Violation((*path, "table"), what, "remove `table`, and write `network:`", True)
        if server.network is None:
            what = f"{name}: with {server.method} nothing says where its real servers are"
            yield Violation(
                path, what, "add `network:`, one that they and the directors are on", True
            )


@rule
def directors_are_where_the_real_servers_are(lab: Lab) -> Iterator[Violation]:
    """Direct routing hands a frame to a real server on a network that both are on."""
    for name, server in lab.virtual_servers.items():
        if not lab.answers_directly(name) or not server.network:
            continue
        path: Place = ("virtual_servers", name, "network")
        if lab.networks[server.network].kind == "nat":
            what = f"{name} reaches its real servers on {server.network}, a nat network"
            yield Violation(path, what, "name a host-only network")
            continue
        for node, this in lab.nodes_of(Kind.DIRECTOR).items():
            if server.network not in this.interfaces.values():
                what = f"{node} has no interface on {server.network}, where {name}'s servers are"
                right = f"connect an interface to {server.network}, or name another network"
                yield Violation(("nodes", node, "interfaces"), what, right, True)


@rule
def real_servers_that_answer_directly_reach_the_client(lab: Lab) -> Iterator[Violation]:
    """Direct routing needs a way from each real server to the clients that is not the director."""
    for name, server in lab.virtual_servers.items():
        front, family = lab.vrrp_instances[server.instance].network, lab.family_of(name)
        if not lab.answers_directly(name):
            continue
        for node in lab.real_servers(name):
            if lab.nodes[node].address_on(front, family) is None:
                noun = "address" if not lab.nodes[node].addresses_on(front) else f"{family} address"
                what = (
                    f"{node} cannot answer the clients of {name}: with {server.method} it needs "
                    f"an {noun} on {front}"
                )
                right = "give it an interface and an address there, or write `method: NAT`"
                yield Violation(("nodes", node, "interfaces"), what, right, True)


@rule
def a_service_over_udp_answers_questions(lab: Lab) -> Iterator[Violation]:
    """Of the ways to ask a service only DNS goes over UDP.

    IPVS forgets a packet that it scheduled alone, so with NAT the answer kept the real server's
    address (seen in the lab).
    """
    for name, server in _known(lab).items():
        probe = lab.service(name).probe
        path: Place = ("virtual_servers", name)
        if server.protocol == "UDP" and probe != "dns":
            what = f"{name} is over UDP, but its service {server.service} is asked by {probe}"
            yield Violation(
                (*path, "protocol"), what, "write `protocol: TCP`, or name a DNS service"
            )
        if server.one_packet and server.protocol != "UDP":
            what = f"{name}: only packets of UDP are scheduled one by one"
            yield Violation(
                (*path, "one_packet"), what, "remove it, or write `protocol: UDP`", True
            )
        if server.one_packet and server.method == "NAT":
            what = f"{name}: with NAT nobody takes a packet's answer back that was scheduled alone"
            right = "write `method: DR` or `TUN`, or remove it"
            yield Violation((*path, "one_packet"), what, right, True)
        if server.one_packet and server.persistence:
            what = f"{name}: with one_packet no client stays with a real server"
            yield Violation((*path, "persistence"), what, "keep one of the two", True)


COUNTERS = {"lc": "rr", "wlc": "wrr", "sed": "wrr", "nq": "wrr", "ovf": "wrr"}
"""Schedulers that count a real server's connections, and what comes nearest without counting."""


@rule
def a_scheduler_can_count(lab: Lab) -> Iterator[Violation]:
    """With one_packet there are no connections (net/netfilter/ipvs: they are freed at once)."""
    for name, server in lab.virtual_servers.items():
        if server.one_packet and server.scheduler in COUNTERS:
            what = f"{name}: {server.scheduler} counts connections; with one_packet there are none"
            right = f"write `scheduler: {COUNTERS[server.scheduler]}`"
            yield Violation(("virtual_servers", name, "scheduler"), what, right)


KEYS_OF_CHECKS = {
    "path": "http", "status": "http", "content": "http", "name": "dns",
    "command": "script", "timeout_seconds": "script",
}  # fmt: skip
"""What only some checks have, and how these begin."""

CHECKS_OVER = {"tcp": "TCP", "http": "TCP", "https": "TCP", "dns": "UDP", "udp": "UDP"}


@rule
def a_check_asks_what_the_service_can_answer(lab: Lab) -> Iterator[Violation]:
    """Or every real server is taken out at once."""
    for name, server in _known(lab).items():
        check, probe = server.check, lab.service(name).probe
        path: Place = ("virtual_servers", name, "check")
        by = lab.check_by(name)
        if (over := CHECKS_OVER.get(by, server.protocol)) != server.protocol:
            what = f"{name} is over {server.protocol}, and its check {by} over {over}"
            fit = [each for each, over in CHECKS_OVER.items() if over == server.protocol]
            yield Violation((*path, "by"), what, f"write one of {listed(fit)}")
        elif by in ("http", "https", "dns") and probe != by:
            what = f"{name} is checked by {by}, but its service {server.service} speaks {probe}"
            yield Violation((*path, "by"), what, "write `by: tcp`")
        for key, fits in KEYS_OF_CHECKS.items():
            if getattr(check, key) != getattr(HealthCheck(), key) and not by.startswith(fits):
                what = f"{name}: a check by {by} has no {key}"
                yield Violation((*path, key), what, f"remove it, or write `by: {fits}`", True)


@rule
def a_check_by_script_names_a_program(lab: Lab) -> Iterator[Violation]:
    """keepalived runs it without a shell, and looks for it nowhere else (keepalived.conf(5))."""
    for name, server in _known(lab).items():
        command = server.check.command
        named = bool(command) and command[0].startswith("/")
        if lab.check_by(name) == "script" and not named:
            what = f"{name}: a check by script needs a program's path"
            path: Place = ("virtual_servers", name, "check", "command")
            yield Violation(path, what, "write `command: [/usr/bin/curl, --fail, …]`")


@rule
def a_sorry_server_can_serve(lab: Lab) -> Iterator[Violation]:
    """It is reached like a real server, and has the service."""
    for name, server in _known(lab).items():
        node, path = server.sorry_server, ("virtual_servers", name, "sorry_server")
        if node is None:
            continue
        network = lab.network_of(name)
        if missing := set(server.services) - lab.services_of(node).keys():
            what = f"{name}: {node} has no service {min(missing)} to be sorry with"
            yield Violation(path, what, "name a node whose role has it")
        elif node not in lab.servers_beside(name):
            there = lab.nodes[node].addresses_on(network)
            noun = f"{lab.family_of(name)} address" if there else "address"
            what = f"{name}: its sorry server {node} has no {noun} on {network}"
            yield Violation(path, what, f"name a real server on {network}")
        elif node in server.weights:
            what = f"{name} has a weight for {node}, its sorry server, which serves alone"
            place: Place = ("virtual_servers", name, "weights", node)
            yield Violation(place, what, "remove it, or name another sorry server", True)


@rule_of_a_whole_lab
def a_quorum_can_be_reached(lab: Lab) -> Iterator[Violation]:
    """All real servers together have as much weight as the quorum."""
    for name, server in lab.virtual_servers.items():
        servers = lab.real_servers(name)
        weight = sum(server.weights.get(node, 1) for node in servers)
        if servers and 0 < weight < server.quorum:
            what = f"{name} never has its quorum of {server.quorum}: all weights are {weight}"
            path: Place = ("virtual_servers", name, "quorum")
            yield Violation(path, what, f"write {weight} or less")


@rule
def virtual_servers_are_on_the_client_s_network(lab: Lab) -> Iterator[Violation]:
    """The client has no router, so a VIP is on its own network."""
    if not any(network.hosts for network in lab.networks.values()):
        return
    for name, server in lab.virtual_servers.items():
        network = lab.vrrp_instances[server.instance].network
        hosts, family = lab.networks[network].hosts, lab.family_of(name)
        path: Place = ("virtual_servers", name, "instance")
        if not hosts:
            what = f"{name} uses the address of {server.instance} on {network}, without a client"
            yield Violation(path, what, "name an instance on the network that has `host`")
        elif of_family(hosts, family) is None:
            what = f"{name} is {family}, and the host, its client, has no {family} address"
            yield Violation(path, what, f"add one to `host:` of {network}")


def _known(lab: Lab) -> dict[str, VirtualServer]:
    """The virtual servers whose services real servers have."""
    offered = {service for node in lab.nodes_of(Kind.SERVER) for service in lab.services_of(node)}
    return {
        name: this for name, this in lab.virtual_servers.items() if offered >= set(this.services)
    }


@rule_of_a_whole_lab
def somebody_has_the_service(lab: Lab) -> Iterator[Violation]:
    """The role of a real server on the virtual server's network has its service."""
    for name, server in lab.virtual_servers.items():
        network = lab.network_of(name)
        there = lab.servers_beside(name)
        if there and not lab.real_servers(name):
            have = sorted({service for node in there for service in lab.services_of(node)})
            wanted = " and ".join(server.services)
            what = f"{name} is the service {wanted}, which no real server on {network} has"
            right = f"they have {listed(have)}" if have else "their roles have no service at all"
            where = "network" if lab.answers_directly(name) else "table"
            key = "also" if server.also else "service" if server.service != "http" else where
            path = ("virtual_servers", name, key)
            yield Violation(path, what, right)


@rule
def services_are_unique(lab: Lab) -> Iterator[Violation]:
    """An address and a port are one virtual server."""
    seen: dict[tuple[Address, int, str], str] = {}
    for name, server in _known(lab).items():
        address = lab.vrrp_instances[server.instance].address
        for port in lab.ports_of(name).values():
            first = seen.setdefault((address, port, server.protocol), name)
            if first != name:
                what = f"{name} and {first} are both {address} port {port}"
                path: Place = ("virtual_servers", name)
                yield Violation(path, what, "give one of them another port or instance", True)


@rule
def further_services_fit_the_first(lab: Lab) -> Iterator[Violation]:
    """What gets one mark: TCP, each service once, each on a port of its own."""
    for name, server in _known(lab).items():
        path: Place = ("virtual_servers", name, "also")
        if not server.also:
            continue
        if lab.directors.source_addresses == "none":
            # keepalived knows by an address when to suspend its checks, and a mark has none.
            what = f"{name} has one mark, and a director without an address cannot check for it"
            right = "write `source_addresses: own`, or remove `also`"
            yield Violation(path, what, right, True)
        if server.protocol != "TCP":
            what = f"{name} is over {server.protocol}, and further services are over TCP"
            yield Violation(path, what, "give them a virtual server of their own", True)
        ports: dict[int, str] = {}
        for service in server.services:
            port = lab.ports_of(name)[service]
            first = ports.setdefault(port, service)
            if server.services.count(service) > 1:
                what = f"{name} has the service {service} twice"
                yield Violation(path, what, "name each service once", True)
                break
            if first != service:
                what = f"{name}: {first} and {service} are both on port {port}"
                yield Violation(path, what, "give the first another `port`", True)


@rule
def ports_are_free(lab: Lab) -> Iterator[Violation]:
    """A real server serves on the same port, which no other program of its may have."""
    for name in _known(lab):
        usual, port = lab.service(name).port, lab.port_of(name)
        if (program := TAKEN_PORTS.get(port)) and port != usual:
            what = f"{name} is on port {port}, which {program} uses on every real server"
            path = ("virtual_servers", name, "port")
            yield Violation(path, what, f"choose another, such as {usual}")


@rule_of_a_whole_lab
def a_vip_and_its_return_path_move_together(lab: Lab) -> Iterator[Violation]:
    """With NAT the replies must pass the director that has the VIP, so both are one group."""
    for name, server in lab.virtual_servers.items():
        if server.table is None:
            continue
        via = lab.tables[server.table].via
        group, other = lab.group_of(server.instance), lab.group_of(via)
        if group is None or group != other:
            what = (
                f"{name}: its address {server.instance} and its return path {via} can be on "
                "different directors"
            )
            right = f"put {server.instance} and {via} into one sync group"
            path: Place = ("virtual_servers", name, "table")
            yield Violation(path, what, right)


@rule
def weights_are_of_real_servers(lab: Lab) -> Iterator[Violation]:
    """Weights name real servers, mean something to the scheduler, and are not all 0."""
    servers = lab.nodes_of(Kind.SERVER)
    for name, virtual in lab.virtual_servers.items():
        path: Place = ("virtual_servers", name, "weights")
        for node, weight in virtual.weights.items():
            if node not in servers:
                what = f"{name} has a weight for {node}, which is a {lab.nodes[node].role}"
                right = f"real servers are {listed(servers)}"
                yield Violation((*path, node), what, right, True)
            elif weight > 1 and virtual.scheduler in ("rr", "lc"):
                what = f"{name}'s scheduler {virtual.scheduler} ignores weights above 1"
                right = f"write `scheduler: w{virtual.scheduler}`, or remove the weight"
                yield Violation((*path, node), what, right, True)


@rule_of_a_whole_lab
def someone_serves(lab: Lab) -> Iterator[Violation]:
    """At least one real server has a weight above 0."""
    for name, virtual in lab.virtual_servers.items():
        servers = lab.real_servers(name)
        if servers and all(virtual.weights.get(node, 1) == 0 for node in servers):
            path = ("virtual_servers", name, "weights")
            what = f"{name}: every real server has the weight 0, so none gets a client"
            yield Violation(path, what, "give one of them 1 or more", True)


@rule_of_a_whole_lab
def there_is_a_service(lab: Lab) -> Iterator[Violation]:
    """A lab has something to reach."""
    if not lab.virtual_servers:
        what = "there is no virtual server"
        yield Violation(("virtual_servers",), what, "add one, such as `web1`", True)
