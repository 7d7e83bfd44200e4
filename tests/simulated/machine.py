"""One machine: its files, what it has made of them, and the commands that it knows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from ipaddress import IPv4Address, IPv4Network

from lvslab.render.kinds.shared import Addresses
from tests.simulated.blocks import Block, keepalived, sections

NETWORKD = "/etc/systemd/network/"
CONF = "/etc/keepalived/keepalived.conf"
UNITS = "/etc/systemd/system/"
LEAVING = "/run/lvslab/leaving"


@dataclass(frozen=True)
class Route:
    """A route of a table: where to, by whom, through which interface."""

    to: str
    via: str | None
    dev: str


@dataclass
class Machine:
    """A node. `own` is what its seed's network-config gives its interfaces."""

    name: str
    files: dict[str, str]
    enabled: list[str]
    interfaces: Mapping[str, str]
    own: Addresses
    settings: dict[str, str] = field(default_factory=dict)
    active: set[str] = field(default_factory=set)
    rules: list[tuple[str, str]] = field(default_factory=list)
    tables: dict[str, list[Route]] = field(default_factory=dict)
    loopback: list[str] = field(default_factory=list)
    conf: Block | None = None
    sync: str = ""
    pool: str = ""
    firewalls: dict[str, str] = field(default_factory=dict)
    leaving: bool = False
    mtu: dict[str, int] = field(default_factory=dict)

    def boot(self) -> None:
        """Everything that runs reads its files."""
        self.settings, self.firewalls, self.active = {}, {}, set()
        self.sync, self.pool, self.conf, self.leaving = "", "", None, False
        self.read_settings()
        self.read_network()
        for unit in self.enabled:
            self.start(unit)

    # --- what programs make of their files

    def below(self, pattern: str) -> list[str]:
        """The texts of the files that a pattern names, in the order of their names."""
        return [self.files[path] for path in sorted(self.files) if fnmatch(path, pattern)]

    def read_settings(self) -> None:
        for text in self.below("/etc/sysctl.d/*.conf"):
            for line in text.splitlines():
                if "=" in line and line.strip()[0] not in "#;":
                    key, _, value = line.partition("=")
                    self.settings[key.strip()] = value.strip().strip('"')

    def sysctl(self, key: str) -> str:
        return self.settings.get(key, "0")

    def known_tables(self) -> dict[str, int]:
        """Table names that systemd-networkd knows."""
        found = {}
        for text in self.below("/etc/systemd/networkd.conf.d/*.conf"):
            for _, values in sections(text):
                pairs = (pair.split(":") for pair in values.get("RouteTable", "").split())
                found.update({name: int(number) for name, number in pairs})
        return found

    def shown_tables(self) -> dict[int, str]:
        """Table numbers that `ip` shows by name."""
        lines = "\n".join(self.below("/etc/iproute2/rt_tables.d/*.conf")).splitlines()
        pairs = [line.split() for line in lines if line.strip() and line[0] != "#"]
        return {int(number): name for number, name in pairs}

    def read_network(self) -> None:
        """What systemd-networkd makes of its files; its own rules and routes are made again."""
        self.rules, self.tables, self.loopback, self.mtu = [], {}, [], {}
        for interface in self.interfaces:
            network = f"{NETWORKD}10-cloud-init-{interface}.network.d/*.conf"
            for text in self.below(network):
                self._network_file(interface, text)
        for text in self.below(f"{NETWORKD}15-lvslab-services.network"):
            found = re.findall(r"^Address=(\S+)$", text, re.MULTILINE)
            self.loopback += found

    def _network_file(self, interface: str, text: str) -> None:
        known, shown = self.known_tables(), self.shown_tables()
        for name, values in sections(text):
            if name == "Link" and "MTUBytes" in values:
                self.mtu[interface] = int(values["MTUBytes"])
            table = values.get("Table", "")
            if name not in ("Route", "RoutingPolicyRule") or table not in known:
                continue
            table = shown.get(known[table], str(known[table]))
            if name == "RoutingPolicyRule":
                self.rules.append((values["From"], table))
                continue
            to = values.get("Destination", "default")
            route = Route(to, values.get("Gateway"), interface)
            self.tables.setdefault(table, []).append(route)

    def start(self, unit: str) -> None:
        """A unit starts, and reads its file."""
        name = unit.removesuffix(".service")
        self.active.add(name)
        if name == "keepalived":
            self.conf = keepalived(self.files.get(CONF, ""), self.name)
        elif name.endswith("-fpm"):
            self.pool = "\n".join(self.below("/etc/php/*/fpm/pool.d/*.conf"))
        elif name == "lvslab-sync":
            self.sync = self.program(unit)
        elif found := re.search(r"/nft --file (\S+)", self.program(unit)):
            self.firewalls[name] = self.files[found[1]]
        elif LEAVING in self.program(unit):
            self.leaving = True

    def program(self, unit: str) -> str:
        """What a unit of /etc/systemd/system runs."""
        text = self.files.get(f"{UNITS}{unit}", "")
        found = [
            values.get("ExecStart", "") for name, values in sections(text) if name == "Service"
        ]
        return found[0] if found else ""

    def stop(self, unit: str) -> None:
        """A unit ends. The kernel's threads of connection sync go on (lvslab-sync.service)."""
        name = unit.removesuffix(".service")
        self.active.discard(name)
        self.firewalls.pop(name, None)
        if name == "keepalived":
            self.conf = None
        if LEAVING in self.program(unit):
            self.leaving = False

    # --- commands

    def run(self, words: Sequence[str]) -> str:
        """What a command does and writes. One that is not known here cannot be proven."""
        name, *rest = words
        known = {
            "sysctl": self._sysctl,
            "networkctl": self._networkctl,
            "systemctl": self._systemctl,
            "grep": self._grep,
            "rm": self._rm,
            "nft": self._nft,
            "systemd-analyze": self._analyze,
            "ipvsadm": self._ipvsadm,
        }
        assert name in known, f"the simulated node does not know the command {' '.join(words)}"
        return known[name](rest)

    def _sysctl(self, rest: list[str]) -> str:
        if rest == ["--system"]:
            self.read_settings()
            return ""
        option, key = rest
        if option == "-w":
            key, _, value = key.partition("=")
            self.settings[key] = value
        assert option in ("-n", "-w"), rest
        return self.sysctl(key) + "\n"

    def _networkctl(self, rest: list[str]) -> str:
        assert rest == ["reload"], rest
        self.read_network()
        return ""

    def _systemctl(self, rest: list[str]) -> str:
        words = [word for word in rest if word != "--now"]
        if words == ["daemon-reload"]:
            return ""
        verb, *units = words
        for unit in units:
            unit = unit if "." in unit[-8:] else f"{unit}.service"
            name = unit.removesuffix(".service")
            if verb == "is-active":
                return "active\n" if name in self.active else "inactive\n"
            if verb == "is-enabled":
                return "enabled\n" if unit in self.enabled else "disabled\n"
            if verb == "enable" and unit not in self.enabled:
                self.enabled.append(unit)
            if verb == "disable" and unit in self.enabled:
                self.enabled.remove(unit)
            if verb in ("start", "restart", "reload") or (verb == "enable" and "--now" in rest):
                self.stop(unit) if verb == "restart" else None
                self.start(unit)
            elif verb == "stop" or (verb == "disable" and "--now" in rest):
                self.stop(unit)
            else:
                assert verb in ("enable", "disable"), rest
        return ""

    def _grep(self, rest: list[str]) -> str:
        options = [word for word in rest if word.startswith("-")]
        pattern, *paths = [word for word in rest if not word.startswith("-")]
        assert set(options) <= {"-h", "-c", "-r", "-E", "-s"}, rest
        found = []
        for path in paths:
            inside = [p for p in sorted(self.files) if p == path or p.startswith(f"{path}/")]
            lines = [line for p in inside for line in self.files[p].splitlines()]
            found += [line for line in lines if re.search(pattern, line)]
        return f"{len(found)}\n" if "-c" in options else "".join(f"{line}\n" for line in found)

    def _rm(self, rest: list[str]) -> str:
        for path in rest:
            if path != "-f":
                self.files.pop(path, None)
        return ""

    def _nft(self, rest: list[str]) -> str:
        assert rest == ["list", "ruleset"], rest
        return "\n".join(self.firewalls.values())

    def _ipvsadm(self, rest: list[str]) -> str:
        if rest[0] == "--stop-daemon":
            self.sync = ""
            return ""
        if rest == ["--list", "--daemon"]:
            kinds = ("master", "backup") if self.sync else ()
            return "".join(f"{kind} sync daemon (mcast=eth2, syncid=50)\n" for kind in kinds)
        assert rest == ["-Ln"], rest
        lines = []
        for block in self.conf.all("virtual_server") if self.conf else ():
            line = f"TCP  {':'.join(block.words[1:])} {block.value('lvs_sched')}"
            if seconds := block.value("persistence_timeout"):
                line += f" persistent {seconds}"
            lines.append(f"{line}\n")
        return "".join(lines)

    def _analyze(self, rest: list[str]) -> str:
        assert rest == ["cat-config", "sysctl.d"], rest
        return "\n".join(self.below("/etc/sysctl.d/*.conf"))

    # --- what others see of it

    def drops(self, words: str, hook: str) -> bool:
        """Whether the firewall drops what `words` fits at a hook (nft(8), one rule a line)."""
        current = ""
        for line in "\n".join(self.firewalls.values()).splitlines():
            if found := re.search(r"hook (\w+)", line):
                current = found[1]
            if current == hook and line.strip().endswith("drop") and words in line:
                return True
        return False

    def checks_source(self, interface: str) -> int:
        """The reverse path filter of an interface: the larger of its own and of all's."""
        keys = ("all", interface)
        return max(int(self.sysctl(f"net.ipv4.conf.{key}.rp_filter")) for key in keys)

    def way_back(self, source: str) -> Route | None:
        """How an answer with this source address leaves to another network (policy routing)."""
        for prefix, table in self.rules:
            if IPv4Address(source) in IPv4Network(prefix):
                routes = self.tables.get(table, [])
                return next((route for route in routes if route.to == "default"), None)
        return Route("default", "10.0.2.2", "eth0")
