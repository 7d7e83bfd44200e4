"""Hypothesis strategies: random labs that are right."""

from __future__ import annotations

import math
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Any, TypeVar, get_args

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from lvslab.model.family import FAMILIES, IPV4, IPV6, Address, Cidr, Family
from lvslab.model.lab import Lab, Scheduler
from lvslab.model.rules.services import TAKEN_PORTS

SCHEDULERS = list(get_args(Scheduler))
HASH = (
    "$6$lvslab$aZcRRdG7EUb6QWAZeaWexLrMylKqDusA/YnYo/VK"
    "/8dVvaVrIa.mcTeEbhecmPII0Ux4F.ctbTA5tnEZ8jIUj/"
)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g student@lab"


HTTP = {"unit": "apache2.service", "port": 80, "probe": "http"}
HTTPS = {"unit": "apache2.service", "port": 443, "probe": "https"}
ROLES = {
    "director": {"kind": "director"},
    "real-server": {"kind": "server", "services": {"http": HTTP, "https": HTTPS}},
}


T = TypeVar("T")
WHOLE = 100
"""Examples of a test that gives no number, in the whole run: Hypothesis's own default."""


def share(number: int) -> int:
    """`number` in the whole run; of it in `quick` the same share as of Hypothesis's examples."""
    return math.ceil(number * settings().max_examples / WHOLE)


def sparse(things: Iterable[T]) -> list[T]:
    """All in the whole run, in `quick` as many of them as of other examples, evenly spread."""
    return list(things)[:: max(1, WHOLE // settings().max_examples)]


def variants(*values: object, fast: int = 1) -> list[object]:
    """Parameters of a test that costs seconds with all of them; --fast takes the first ones."""
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    return [
        *(pytest.param(*row) for row in rows[:fast]),
        *(pytest.param(*row, marks=(pytest.mark.slow, pytest.mark.many)) for row in rows[fast:]),
    ]


def examples(number: int) -> settings:
    """`number` examples, or `quick`'s share of them, of a test that may take its time."""
    return settings(
        max_examples=share(number),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def labs(draw: st.DrawFn, max_directors: int = 8, max_real_servers: int = 200) -> Lab:
    """A lab that keeps every rule: a client's network, and 1 to 8 networks of real servers.

    Each virtual server's VIP and the gateway of its table are in one sync group, as the
    rules ask; everything that may vary does (names, ranges, sizes, order, priorities, families,
    source addresses, VRRP version, services, schedulers, weights, optional keys).
    """
    families = draw(st.sampled_from([(IPV4,), (IPV4,), (IPV6,), FAMILIES]))
    directors = [f"lvs{i}" for i in range(1, draw(st.integers(1, max_directors)) + 1)]
    servers = [f"rs{i}" for i in range(1, draw(st.integers(1, max_real_servers)) + 1)]
    backends = draw(st.integers(1, 8))
    names = _network_names(draw, backends)
    pools = _pools(draw, names[1:], len(directors) + len(servers) + 3 * backends + 2, families)
    own = draw(st.booleans()) or IPV6 in families
    methods = {n: draw(st.sampled_from(["NAT", "NAT", "DR", "TUN"])) for n in names[2:]}
    instances, groups, tables, services = _services(
        draw, directors, servers, methods, names, pools, families, own=own
    )
    client = names[1]
    direct = [client] if set(methods.values()) != {"NAT"} else []
    networks: dict[str, Any] = {names[0]: {"kind": "nat"}}
    networks |= {name: {"cidr": one_or_each(draw, pool.cidrs)} for name, pool in pools.items()}
    networks[client]["host"] = one_or_each(draw, pools[client].take_each())
    nodes = {
        name: _node(draw, "director", names, pools, addressed=own or draw(st.booleans()))
        for name in directors
    }
    nodes |= {
        name: _node(draw, "real-server", [names[0], *direct, *names[2:]], pools, addressed=True)
        for name in servers
    }
    return Lab.model_validate(
        {
            "number": draw(st.integers(1, 63)),
            "login": draw(st.sampled_from([{"password_hash": HASH}, {"ssh_keys": [KEY]}])),
            "networks": dict(draw(st.permutations(list(networks.items())))),
            "nodes": nodes,
            "directors": _directors(draw, own=own, versions=[3] if IPV6 in families else [2, 3]),
            "vrrp_instances": instances,
            "sync_groups": groups,
            "tables": tables,
            "virtual_servers": services,
            "roles": ROLES,
        }
    )


class _Pool:
    """A network in its families, and the addresses that nobody has yet, in a random place."""

    def __init__(self, cidrs: dict[Family, Cidr], first: int) -> None:
        self._cidrs = cidrs
        self._next = first
        self._room = min(cidr.num_addresses for cidr in cidrs.values())

    @property
    def cidrs(self) -> list[str]:
        """The network in each family."""
        return [str(cidr) for cidr in self._cidrs.values()]

    def take(self, family: Family) -> Address:
        """An address that nobody else gets."""
        return self._cidrs[family][self._step()]

    def take_each(self) -> list[str]:
        """An address of each family that nobody else gets."""
        place = self._step()
        return [str(cidr[place]) for cidr in self._cidrs.values()]

    def _step(self) -> int:
        self._next += 1
        if self._next >= self._room - 1:
            self._next = 1
        return self._next


def one_or_each(draw: st.DrawFn, values: list[str]) -> str | list[str]:
    """A list, which may be one value where it has only one, and has no order."""
    if len(values) == 1 and draw(st.booleans()):
        return values[0]
    return draw(st.permutations(values))


def _network_names(draw: st.DrawFn, backends: int) -> list[str]:
    """The names of the nat network, the client's, and those of the real servers."""
    numbers = draw(st.permutations(range(1, 20)))
    return [f"VMnet{number}" for number in numbers[: 2 + backends]]


def _pools(
    draw: st.DrawFn, names: list[str], addresses: int, families: Iterable[Family]
) -> dict[str, _Pool]:
    """A network of its own for each name, with room for so many addresses."""
    prefix = 32 - (addresses + 3).bit_length() - draw(st.integers(0, 2))
    prefix = min(prefix, 29)
    outer = draw(st.sampled_from(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]))
    step = 1 << (32 - prefix)
    base = int(IPv4Network(outer).network_address)
    room = IPv4Network(outer).num_addresses // step - len(names)
    start = base + draw(st.integers(0, room)) * step
    # an IPv6 network may be as small as the IPv4 one, or the usual /64
    prefix6 = draw(st.sampled_from([64, min(128 - (32 - prefix), 120)]))
    start6 = 0xFD << 120 | draw(st.integers(0, 2**56 - 32)) << 64
    pools = {}
    for i, name in enumerate(names):
        cidrs: dict[Family, Cidr] = {
            IPV4: IPv4Network((start + i * step, prefix)),
            IPV6: IPv6Network((start6 + (i << (128 - prefix6)), prefix6)),
        }
        chosen = {family: cidrs[family] for family in families}
        pools[name] = _Pool(chosen, draw(st.integers(0, step - 3)))
    return pools


def _node(
    draw: st.DrawFn, role: str, names: list[str], pools: dict[str, _Pool], *, addressed: bool
) -> dict[str, Any]:
    interfaces = {f"eth{i}": name for i, name in enumerate(names)}
    node: dict[str, Any] = {"role": role, "interfaces": interfaces}
    if addressed:
        node["addresses"] = {
            i: one_or_each(draw, pools[n].take_each()) for i, n in interfaces.items() if n in pools
        }
    if draw(st.booleans()):
        node["memory_mib"] = draw(st.integers(64, 512).map(lambda n: 4 * n))
    return node


def _directors(draw: st.DrawFn, *, own: bool, versions: list[int]) -> dict[str, Any]:
    version = draw(st.sampled_from(versions))
    adverts = st.integers(1, 10) if version == 2 else st.integers(1, 4095).map(lambda n: n / 100)
    return {
        "source_addresses": "own" if own else "none",
        "vrrp": {
            "version": version,
            "advert_seconds": draw(adverts),
            "preempt_delay_seconds": draw(st.integers(0, 30)),
            "garp_repeat": draw(st.integers(1, 5)),
        },
        "track": {"enabled": draw(st.booleans()), "weight": draw(st.integers(-253, -60))},
        "connection_sync": draw(st.booleans()),
        "sync_id": draw(st.integers(1, 255)),
    }


def _services(
    draw: st.DrawFn,
    directors: list[str],
    servers: list[str],
    methods: dict[str, str],
    names: list[str],
    pools: dict[str, _Pool],
    families: Iterable[Family],
    *,
    own: bool,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
    """VRRP instances, sync groups, tables and virtual servers, one group for each backend."""
    instances: dict[str, Any] = {}
    groups: dict[str, list[str]] = {}
    tables: dict[str, Any] = {}
    services: dict[str, Any] = {}
    client = names[1]
    router_ids = iter(draw(st.permutations(range(1, 256))))
    table_ids = iter(draw(st.permutations(range(1, 253))))

    def instance(network: str, family: Family, priorities: dict[str, int]) -> str:
        name = f"VI_{len(instances) + 1}"
        instances[name] = {
            "network": network,
            "router_id": next(router_ids),
            "address": pools[network].take(family),
            "priorities": priorities,
        }
        return name

    behind = [(n, b, f) for n, b in enumerate(methods, start=1) for f in families]
    orders = {backend: _priorities(draw, directors) for backend in methods}
    for number, backend, family in behind:
        priorities, method = orders[backend], methods[backend]
        if method == "TUN" and family is IPV6:
            method = "DR"
        vips = [instance(client, family, priorities) for _ in range(draw(st.integers(1, 2)))]
        way: dict[str, Any] = {"method": method, "network": backend}
        if method == "NAT":
            gateway = instance(backend, family, priorities)
            table = f"LVS{number}" + "v6" * (family is IPV6)
            groups.setdefault(f"VG{number}", []).extend([*vips, gateway])
            tables[table] = {"id": next(table_ids), "network": backend, "via": gateway}
            way = {"table": table}
        for vip in vips:
            ports = st.integers(1, 65535).filter(lambda port: port not in {443, *TAKEN_PORTS})
            further = ["https"] if own and draw(st.booleans()) else []
            for port in draw(st.lists(ports, min_size=1, max_size=3, unique=True)):
                service = {"instance": vip, "port": port, **way, "also": further}
                further = []  # port 443 of an address is one service
                services[f"web{len(services) + 1}"] = service | _scheduling(draw, servers, family)
    return instances, groups, tables, services


def _priorities(draw: st.DrawFn, directors: list[str]) -> dict[str, int]:
    """Different priorities, each less than 60 below the next, so that a track script counts."""
    step = draw(st.integers(1, 200 // max(4, len(directors))))
    order = draw(st.permutations(directors))
    top = draw(st.integers(step * len(directors), 254))
    ranks = {name: top - step * rank for rank, name in enumerate(order)}
    return {name: ranks[name] for name in directors}


def _scheduling(draw: st.DrawFn, servers: list[str], family: Family) -> dict[str, Any]:
    scheduler = draw(st.sampled_from(SCHEDULERS))
    top = 1 if scheduler in ("rr", "lc") else 65535
    weighted = draw(st.lists(st.sampled_from(servers), unique=True, max_size=5))
    weights = {name: draw(st.integers(0, top)) for name in weighted}
    if len(weights) == len(servers) and not any(weights.values()):
        weights[servers[0]] = 1
    found: dict[str, Any] = {"scheduler": scheduler, "weights": weights}
    if draw(st.booleans()):
        found["persistence"] = {
            "seconds": draw(st.integers(1, 86400)),
            "prefix": draw(st.none() | st.integers(1, family.bits)),
        }
    if draw(st.booleans()):
        page = {"by": "http", "path": "/", "status": draw(st.integers(100, 599))}
        script = {"by": "script", "command": ["/usr/bin/curl", "http://{address}:{port}/"]}
        found["check"] = draw(st.sampled_from([page, page | {"content": "all (is) well?"}, script]))
    return found | {"inhibit": draw(st.booleans())}
