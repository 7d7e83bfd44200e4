"""The lab as lab.yaml says it: networks, nodes, VRRP instances, virtual servers.

These classes hold values and answer questions about them; what must hold between
values is in `rules`; `load` knows where a value is in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from lvslab.model.family import (
    FAMILIES,
    IPV6,
    Address,
    AddressInterface,
    Cidr,
    Family,
    family_of,
    of_family,
    with_prefix,
)
from lvslab.model.role import Kind, Role, RoleName, Service
from lvslab.model.shapes import HostName, InterfaceName, Name, NetworkName, Port, Strict, shaped

NAT_NETWORK = "VMnet8"
"""The network that VMware itself means by `nat`."""

MAX_NODES = 210
"""So that a node's number fits in one byte of its MAC addresses, with room to spare."""

_T = TypeVar("_T")
Pair = Annotated[tuple[_T, ...], Field(min_length=1)]
"""A list in the place of one value: one of each family (`rules`)."""


def _each(value: _T | tuple[_T, ...] | None) -> tuple[_T, ...]:
    """One value, a list of them or none, as a list."""
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


class Network(Strict):
    """A VMware virtual network. `nat` networks give addresses by DHCP; the lab ignores them."""

    kind: Literal["host-only", "nat"] = Field(
        "host-only", description="host-only: the lab's own; nat: the way out, not the cluster's"
    )
    cidr: Cidr | Pair[Cidr] | None = Field(
        None,
        description="private network, or a list of one of each family; required if host-only, "
        "absent if nat",
    )
    host: Address | Pair[Address] | None = Field(
        None,
        description="address of the host itself (the client), on one network only; or a list of "
        "one of each family",
    )

    @property
    def cidrs(self) -> tuple[Cidr, ...]:
        """Its networks, one of each family at most (`rules`)."""
        return _each(self.cidr)

    @property
    def hosts(self) -> tuple[Address, ...]:
        """The host's addresses on it."""
        return _each(self.host)

    @property
    def families(self) -> tuple[Family, ...]:
        """The families that it has a network of."""
        return tuple(family for family in FAMILIES if of_family(self.cidrs, family))


class Node(Strict):
    """One machine: its role, the network behind each interface, and its own addresses."""

    role: RoleName = Field(description="which image the node starts from: a folder of roles/")
    interfaces: dict[InterfaceName, NetworkName] = Field(
        description="interface name to network name; the same for all nodes of a role"
    )
    addresses: dict[InterfaceName, Address | Pair[Address]] = Field(
        default_factory=dict,
        description="real server: static addresses; director: keepalived's source addresses; or "
        "a list of one of each family",
    )
    memory_mib: int = Field(
        512, ge=256, le=65536, multiple_of=4, description="memory in MiB, a multiple of 4"
    )
    cpus: int = Field(1, ge=1, le=16, description="virtual CPUs; hardware version 14 has 16")

    def addresses_at(self, interface: str) -> tuple[Address, ...]:
        """The machine's own addresses on an interface."""
        return _each(self.addresses.get(interface))

    def addresses_on(self, network: str) -> tuple[Address, ...]:
        """The machine's own addresses on a network."""
        behind = (self.addresses_at(i) for i, n in self.interfaces.items() if n == network)
        return next(filter(None, behind), ())

    def address_on(self, network: str, family: Family) -> Address | None:
        """The machine's own address of a family on a network; None if it has none there."""
        return of_family(self.addresses_on(network), family)


class VrrpInstance(Strict):
    """A VRRP instance: one address on one network and the directors' priorities for it."""

    network: NetworkName = Field(description="the network that has the address")
    router_id: int = Field(ge=1, le=255, description="virtual router id (RFC 5798, 5.2.3)")
    address: Address = Field(description="the address that moves between the directors")
    priorities: dict[HostName, Annotated[int, Field(ge=1, le=254)]] = Field(
        description="director to priority; the highest owns the address"
    )

    @property
    def family(self) -> Family:
        """What its adverts are sent over, and what it gives an address of."""
        return family_of(self.address)


class Vrrp(Strict):
    """How all VRRP instances advertise and fail over (RFC 5798; keepalived.conf(5))."""

    version: Literal[2, 3] = Field(3, description="3 can advertise more often than once a second")
    advert_seconds: float = Field(
        0.21, ge=0.01, le=255, description="between two adverts; version 2: whole seconds"
    )
    preempt_delay_seconds: float = Field(
        5, ge=0, le=1000, description="wait of a director that returns, for its addresses"
    )
    garp_repeat: int = Field(3, ge=1, le=20, description="gratuitous ARPs sent on takeover")
    garp_refresh_seconds: int = Field(
        1, ge=0, le=3600, description="between two gratuitous ARPs of a master; 0: never"
    )

    def down_seconds(self, priority: int) -> float:
        """How long a backup of this priority waits for adverts before it takes over.

        Master_Down_Interval = 3 * Advertisement_Interval + Skew_Time, and Skew_Time is
        (256 - priority) / 256 of an interval (RFC 5798, 6.1) or of a second (RFC 3768, 6.1).
        """
        unit = self.advert_seconds if self.version == 3 else 1.0
        return 3 * self.advert_seconds + (256 - priority) / 256 * unit


class Track(Strict):
    """The script on each sync group that asks the real servers by ARP."""

    enabled: bool = Field(True, description="false: a silently dead network moves nothing")
    interval_seconds: float = Field(0.4, ge=0.1, le=60, description="between two questions")
    fall: int = Field(3, ge=1, le=20, description="failures in a row that count as down")
    rise: int = Field(2, ge=1, le=20, description="successes in a row that count as up")
    weight: int = Field(-60, ge=-253, le=-1, description="added to the priorities while down")


class Directors(Strict):
    """What all directors have in common."""

    source_addresses: Literal["own", "none"] = Field(
        "own", description="none: as in the article, no address until VRRP is master"
    )
    vrrp: Vrrp = Field(Vrrp(), description="adverts and takeover")
    track: Track = Field(Track(), description="the script that watches the real servers' networks")
    connection_sync: bool = Field(
        True, description="directors tell each other their connections, so that these survive"
    )
    sync_id: int = Field(50, ge=1, le=255, description="tells two labs' connection sync apart")


class RoutingTable(Strict):
    """A routing table of the real servers: one network, default through a VRRP address."""

    id: int = Field(ge=1, le=252, description="number of the table, as in rt_tables")
    network: NetworkName = Field(
        description="the network whose addresses answer through this table"
    )
    via: Name = Field(description="the VRRP instance whose address is the gateway")


_CONTENT = r"^[A-Za-z0-9 .,:;/=<>()&%+*?@_-]{1,100}$"
_WORD = r"^(?:[A-Za-z0-9_./:=,@%+?&\[\]-]|\{address\}|\{port\})+$"


class HealthCheck(Strict):
    """How a director checks a real server (keepalived.conf(5)).

    `tcp` opens a connection, `http` and `https` ask for a page, `dns` for a name, `udp` sends a
    packet and takes silence for health: only a refusal is a failure. `script` runs a program of the
    directors, as the user nobody; it ends with status 0 if all is well. Further services of a
    virtual server (`also`) are each checked by `tcp`.
    """

    by: Literal["tcp", "http", "https", "dns", "udp", "script"] | None = Field(
        None, description="tcp with TCP; with UDP dns if the service is asked so, else udp"
    )
    path: Annotated[str, shaped(r"^/[!-~]*$", "a path that begins with /")] = Field(
        "/", description="http, https: the page"
    )
    status: int = Field(200, ge=100, le=599, description="http, https: the right status")
    content: (
        Annotated[str, shaped(_CONTENT, "letters, digits and plain signs, no quotes")] | None
    ) = Field(None, description="http, https: a text that the page must have")
    name: Annotated[str, shaped(r"^[A-Za-z0-9._-]{1,253}$", "a name of DNS")] | None = Field(
        None, description="dns: the name asked for; the virtual server's in the lab if none"
    )
    command: list[
        Annotated[str, shaped(_WORD, "a word without blanks, quotes or other braces")]
    ] = Field(
        [],
        description="script: the program's path and its words; {address} and {port} are those of"
        " the real server",
    )
    timeout_seconds: int = Field(1, ge=1, le=60, description="script: so long it may take")

    connect_timeout_seconds: float = Field(0.5, ge=0.01, le=60, description="to open a connection")
    delay_loop_seconds: float = Field(0.5, ge=0.01, le=3600, description="between two checks")
    retry: int = Field(1, ge=0, le=20, description="further tries before a server is down")
    delay_before_retry_seconds: float = Field(0.2, ge=0.01, le=60, description="between two tries")


Scheduler = Literal[
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "sed", "nq", "fo", "ovf", "twos"
]
"""All that the kernel of the image has (net/netfilter/ipvs)."""


class Persistence(Strict):
    """How long, and how alike, clients are taken for one (ipvsadm(8), --persistent, --netmask)."""

    seconds: int = Field(360, ge=1, le=86400, description="after its last connection")
    prefix: int | None = Field(
        None, ge=1, le=128, description="so many bits of the client's address; all if none"
    )


class VirtualServer(Strict):
    """A service of the cluster: a VRRP address, a port, and the network of its real servers."""

    instance: Name = Field(description="the VRRP instance whose address clients use (the VIP)")
    service: Name = Field("http", description="what the real servers' roles call what it serves")
    port: Port | None = Field(
        None, description="TCP port, the same on the real servers; the service's usual one if none"
    )
    also: tuple[Name, ...] = Field(
        (),
        description="further services of the same real servers, on their usual ports: a client has "
        "one real server for all of them, because their packets get one firewall mark",
    )
    protocol: Literal["TCP", "UDP"] = Field("TCP", description="what the clients speak")
    one_packet: bool = Field(
        False, description="UDP: each packet is scheduled by itself (ipvsadm(8), --ops)"
    )
    persistence: Persistence | None = Field(
        None, description="a client stays with one real server for a time"
    )
    inhibit: bool = Field(
        False, description="a real server that fails its check stays in the table with weight 0"
    )
    quorum: int = Field(
        1, ge=1, le=1000, description="so much weight must be alive, or the sorry server serves"
    )
    sorry_server: HostName | None = Field(
        None, description="the node that serves while there is no quorum"
    )
    method: Literal["NAT", "DR", "TUN"] = Field(
        "NAT",
        description="how packets reach the real servers: NAT; DR (direct routing) and TUN (IP in "
        "IP): they answer the client themselves",
    )
    scheduler: Scheduler = Field("rr", description="who gets the next connection (ipvsadm(8))")
    table: Name | None = Field(
        None, description="NAT: the routing table through which the real servers answer"
    )
    network: NetworkName | None = Field(
        None, description="DR, TUN: the network on which the directors reach the real servers"
    )
    weights: dict[HostName, Annotated[int, Field(ge=0, le=65535)]] = Field(
        default_factory=dict, description="real server to weight; 1 if not given, 0: no new clients"
    )
    check: HealthCheck = Field(HealthCheck(), description="how a real server is checked")

    @property
    def services(self) -> tuple[str, ...]:
        """All that it serves, `service` first."""
        return (self.service, *self.also)


class Login(Strict):
    """The class user in every seed: password on the console only, SSH by key only."""

    user: Annotated[
        str,
        shaped(
            r"^[a-z][a-z0-9-]{0,30}$",
            "a user name of at most 31 small letters, digits and -, a letter first",
        ),
    ] = Field("student", description="name of the user")
    password_hash: (
        Annotated[
            str,
            shaped(
                r"^(\$6\$(rounds=[1-9][0-9]{3,8}\$)?[^\s$:]{1,16}\$[./0-9A-Za-z]{86}"
                r"|\$y\$[./0-9A-Za-z]+\$[./0-9A-Za-z]{0,86}\$[./0-9A-Za-z]{43})$",
                "a whole hash that begins with $6$ or $y$ (crypt(5)), made by `openssl passwd -6`",
            ),
        ]
        | None
    ) = Field(None, description="crypt(5) hash, made by `openssl passwd -6`; absent: no password")
    ssh_keys: tuple[
        Annotated[
            str,
            shaped(
                r"^(ssh|ecdsa|sk)-[!-~]+ [!-~]+( [^\x00-\x1f\x7f]*)?$",
                "a public key in one line, as in ~/.ssh/id_ed25519.pub",
            ),
        ],
        ...,
    ] = Field((), description="public keys that may log in")


class Debian(Strict):
    """Which Debian the images are made of.

    One release only: the disks are made by the release's own tools, and trixie's mke2fs is the
    first that reads a tar (`lvslab.build.lockfile.TOOLS`).
    """

    suite: Literal["trixie"] = Field("trixie", description="code name of the release")


class Disk(Strict):
    """The disk of every image."""

    size_mib: int = Field(4096, ge=2048, le=65536, multiple_of=64, description="size in MiB")


class LabFile(Strict):
    """The whole of lab.yaml, as it is written."""

    name: HostName = Field("lvslab", description="name of the lab")
    number: int = Field(1, ge=1, le=63, description="tells two labs on one network apart (MACs)")
    debian: Debian = Field(Debian(), description="what the images are made of")
    disk: Disk = Field(Disk(), description="the disk of every image")
    login: Login = Field(Login(), description="the class user, in the seeds only")
    networks: dict[NetworkName, Network] = Field(description="VMware's networks that the lab uses")
    nodes: dict[HostName, Node] = Field(description="the machines")
    directors: Directors = Field(Directors(), description="what all directors have in common")
    vrrp_instances: dict[Name, VrrpInstance] = Field(
        description="the addresses that move between the directors"
    )
    sync_groups: dict[Name, tuple[Name, ...]] = Field(
        default_factory=dict,
        description="VRRP instances that move together: a VIP and its return path",
    )
    tables: dict[Name, RoutingTable] = Field(
        default_factory=dict,
        description="routing tables of the real servers; a name is what `ip rule` shows",
    )
    virtual_servers: dict[Name, VirtualServer] = Field(description="the services of the cluster")


class Lab(LabFile):
    """A lab.yaml, and what the roles that it names are (`with_roles`)."""

    roles: dict[RoleName, Role] = Field(description="by name, only those that nodes have")

    @classmethod
    def with_roles(cls, file: LabFile, known: Mapping[str, Role]) -> Lab:
        """The lab of a file whose nodes have known roles. Raises KeyError if one is not known."""
        names = sorted({node.role for node in file.nodes.values()})
        roles = {name: known[name].head() for name in names}
        values = {name: getattr(file, name) for name in LabFile.model_fields}
        return cls(**values, roles=roles)

    def kind_of(self, node: str) -> Kind:
        """What kind of machine a node is."""
        return self.roles[self.nodes[node].role].kind

    def nodes_of(self, kind: Kind) -> dict[str, Node]:
        """The nodes of one kind, in the file's order."""
        return {name: node for name, node in self.nodes.items() if self.kind_of(name) == kind}

    def nodes_with(self, role: str) -> dict[str, Node]:
        """The nodes of one role, in the file's order."""
        return {name: node for name, node in self.nodes.items() if node.role == role}

    def cidr(self, network: str, family: Family) -> Cidr:
        """What a host-only network is in a family (`rules`: it is, where this is asked)."""
        cidr = of_family(self.networks[network].cidrs, family)
        assert cidr is not None
        return cidr

    def directors_interface_on(self, network: str) -> str:
        """The interface that all directors have on a network (`rules`: it is the same one).

        Raises KeyError if they have none there.
        """
        for node in self.nodes_of(Kind.DIRECTOR).values():
            for interface, behind in node.interfaces.items():
                if behind == network:
                    return interface
        raise KeyError(f"no director has an interface on {network}")

    def addresses_of(self, node: str, network: str) -> tuple[AddressInterface, ...]:
        """A node's own addresses on a network, with the network's prefix."""
        return self._with_prefixes(self.nodes[node].addresses_on(network), network)

    def address_of(self, node: str, network: str, family: Family) -> AddressInterface | None:
        """A node's own address of a family on a network, with the network's prefix."""
        return of_family(self.addresses_of(node, network), family)

    def hosts_on(self, network: str) -> tuple[AddressInterface, ...]:
        """The host's own addresses on a network, with the network's prefix."""
        return self._with_prefixes(self.networks[network].hosts, network)

    def _with_prefixes(
        self, addresses: tuple[Address, ...], network: str
    ) -> tuple[AddressInterface, ...]:
        cidrs = (self.cidr(network, family_of(address)) for address in addresses)
        return tuple(with_prefix(a, c.prefixlen) for a, c in zip(addresses, cidrs, strict=True))

    def instance_interface(self, instance: str) -> AddressInterface:
        """The address of a VRRP instance with its network's prefix (a VIP needs it, not /32)."""
        this = self.vrrp_instances[instance]
        return with_prefix(this.address, self.cidr(this.network, this.family).prefixlen)

    def family_of(self, virtual_server: str) -> Family:
        """The family of a virtual server: that of its address."""
        return self.vrrp_instances[self.virtual_servers[virtual_server].instance].family

    def table_family(self, table: str) -> Family:
        """The family of a routing table: that of its gateway."""
        return self.vrrp_instances[self.tables[table].via].family

    @cached_property
    def speaks_ipv6(self) -> bool:
        """Whether any network of the lab is an IPv6 one."""
        return any(IPV6 in network.families for network in self.networks.values())

    def group_of(self, instance: str) -> str | None:
        """The sync group that an instance belongs to."""
        return next((g for g, members in self.sync_groups.items() if instance in members), None)

    def owners(self, instance: str) -> list[str]:
        """The directors of an instance, the preferred owner first."""
        priorities = self.vrrp_instances[instance].priorities
        return sorted(priorities, key=lambda node: -priorities[node])

    def network_of(self, virtual_server: str) -> str:
        """The network on which the directors reach the real servers of a virtual server.

        Empty if nothing says it (`rules` refuses that).
        """
        this = self.virtual_servers[virtual_server]
        if this.method == "NAT":
            return self.tables[this.table].network if this.table else ""
        return this.network or ""

    def answers_directly(self, virtual_server: str) -> bool:
        """Whether the real servers answer the client past the director."""
        return self.virtual_servers[virtual_server].method != "NAT"

    def tunnels_to(self, node: str) -> bool:
        """Whether packets come to a real server inside others (TUN)."""
        return any(
            this.method == "TUN" and node in self.real_servers(name)
            for name, this in self.virtual_servers.items()
        )

    def held_by(self, node: str) -> list[Address]:
        """The addresses of services that a real server has for itself, and tells nobody of."""
        return list(
            dict.fromkeys(
                self.vrrp_instances[this.instance].address
                for name, this in self.virtual_servers.items()
                if self.answers_directly(name) and node in self.real_servers(name)
            )
        )

    def real_servers(self, virtual_server: str) -> dict[str, Address]:
        """Real server names and addresses behind a virtual server, in the file's order."""
        this = self.virtual_servers[virtual_server]
        return {
            name: ip
            for name, ip in self.servers_beside(virtual_server).items()
            if self.services_of(name).keys() >= set(this.services) and name != this.sorry_server
        }

    def servers_beside(self, virtual_server: str) -> dict[str, Address]:
        """All real servers, and their addresses of its family, on a virtual server's network."""
        there = self.network_of(virtual_server), self.family_of(virtual_server)
        return self._real_servers_on.get(there, {})

    @cached_property
    def _real_servers_on(self) -> dict[tuple[str, Family], dict[str, Address]]:
        """By network and family: real server names and addresses there, in the file's order."""
        found: dict[tuple[str, Family], dict[str, Address]] = {}
        for name, node in self.nodes_of(Kind.SERVER).items():
            for network in dict.fromkeys(node.interfaces.values()):
                for address in node.addresses_on(network):
                    found.setdefault((network, family_of(address)), {}).setdefault(name, address)
        return found

    def services_of(self, node: str) -> dict[str, Service]:
        """What a node's role serves."""
        return self.roles[self.nodes[node].role].services

    def service(self, virtual_server: str) -> Service:
        """What a virtual server serves. Raises KeyError if no role of the lab has its service."""
        return self._service_named(self.virtual_servers[virtual_server].service)

    def _service_named(self, wanted: str) -> Service:
        for role in self.roles.values():
            if role.kind == Kind.SERVER and wanted in role.services:
                return role.services[wanted]
        raise KeyError(f"no real server serves {wanted}")

    def probe_of(self, virtual_server: str) -> str:
        """How a virtual server is asked (`asked_by`)."""
        this = self.virtual_servers[virtual_server]
        return self.asked_by(this.service, this.protocol)

    def asked_by(self, service: str, protocol: str) -> str:
        """How a service is asked: its probe, `-udp` behind it over UDP. Raises as `service`."""
        return self._service_named(service).probe + ("-udp" if protocol == "UDP" else "")

    def check_by(self, virtual_server: str) -> str:
        """How the directors check the real servers of a virtual server."""
        this = self.virtual_servers[virtual_server]
        if this.check.by:
            return this.check.by
        if this.protocol == "TCP":
            return "tcp"
        return "dns" if self.service(virtual_server).probe == "dns" else "udp"

    def port_of(self, virtual_server: str) -> int:
        """The TCP port of a virtual server. Raises KeyError as `service` does."""
        return self.virtual_servers[virtual_server].port or self.service(virtual_server).port

    def ports_of(self, virtual_server: str) -> dict[str, int]:
        """The services of a virtual server and their ports. Raises KeyError as `service` does."""
        further = self.virtual_servers[virtual_server].also
        first = self.virtual_servers[virtual_server].service
        return {first: self.port_of(virtual_server)} | {
            name: self._service_named(name).port for name in further
        }

    def mark_of(self, virtual_server: str) -> int | None:
        """The firewall mark of a virtual server: its place in the file; None if it needs none."""
        places = {name: place for place, name in enumerate(self.virtual_servers, start=1)}
        return places[virtual_server] if self.virtual_servers[virtual_server].also else None

    def endpoint(self, virtual_server: str) -> tuple[str, int]:
        """The address and the port of a virtual server."""
        this = self.vrrp_instances[self.virtual_servers[virtual_server].instance]
        return str(this.address), self.port_of(virtual_server)

    def ports_wanted(self, service: str) -> list[int]:
        """The ports on which virtual servers want a service, sorted."""
        wanted = (
            self.ports_of(name)[service]
            for name, this in self.virtual_servers.items()
            if service in this.services
        )
        return sorted(set(wanted))

    @cached_property
    def hosts(self) -> dict[str, tuple[Address, ...]]:
        """Each node's addresses on the first of the cluster's networks, for /etc/hosts."""
        found = {}
        for name, node in self.nodes.items():
            own = (node.addresses_on(network) for network in node.interfaces.values())
            if first := next(filter(None, own), None):
                found[name] = first
        return found

    @cached_property
    def client_network(self) -> str:
        """The network that the client (the host) is on: the first with a `host` address."""
        return next(name for name, network in self.networks.items() if network.host)

    @cached_property
    def node_numbers(self) -> dict[str, int]:
        """Each node's number in the lab: 1, 2, … in the file's order."""
        return {name: number for number, name in enumerate(self.nodes, start=1)}

    def mac(self, node: str, interface: str) -> str:
        """The MAC address of a node's interface, in lower case with colons.

        VMware's range for static addresses is 00:50:56:00:00:00 to 00:50:56:3F:FF:FF ("Setting
        Static MAC Addresses" of the vSphere documentation). Its last three bytes are here the
        lab's number (1-63), the node's (1-210) and the interface's, so no two are alike.
        """
        last = (self.number, self.node_numbers[node], int(interface.removeprefix("eth")))
        return "00:50:56:" + ":".join(f"{byte:02x}" for byte in last)

    def host_mac(self, network: str) -> str:
        """The MAC address of the host's own card on a network, in lower case with colons.

        As Workstation gives it: 00:50:56:C0:00:01 on VMnet1. Other than a random one it is the
        same after a new start, when the nodes go on from a checkpoint in which they know it.
        """
        return f"00:50:56:c0:00:{int(network.removeprefix('VMnet')):02x}"
