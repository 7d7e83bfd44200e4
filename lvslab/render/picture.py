"""The lab as a picture (SVG 1.1): switches, machines, and the paths that packets take.

Black is what is used while all is well; orange are the backup paths, and the addresses at
the places where they would go; dotted is NAT, which the cluster does not use.

What a page may bring to life (`lab watch`) says what it is: a machine has `data-box`, a wire
`data-node`, `data-interface` and `data-network`, an address `data-node` and `data-instance`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from lvslab.model.family import IPV4, AddressInterface, family_of, in_url
from lvslab.model.lab import Lab
from lvslab.model.role import Kind

BLACK, ORANGE, GREY, PAPER = "#1a1a1a", "#e8710a", "#6b7280", "#ffffff"
TINTS = ("#dbeafe", "#dcfce7", "#ede9fe", "#fce7f3", "#fef3c7", "#ccfbf1")
FONT = "DejaVu Sans, Helvetica, Arial, sans-serif"

SERVERS_SHOWN, ADDRESSES_SHOWN, SERVICES_SHOWN = 12, 8, 12
"""How many there is room for; of the others the picture says how many they are."""

_MARGIN, _LABEL = 44, 250
_BAR, _GAP = 40, 30
_DIRECTOR, _DIRECTOR_HEIGHT = 350, 176
_WIDE_COLUMN, _NARROW_COLUMN, _SERVER_HEIGHT = 138, 62, 116
_WIDE_UNTIL = 4
_LINE, _HEADING_LINE = 19, 22
_SMALLEST = 11
_LEGEND = (
    (BLACK, False, "path, and place of an address, while all is well"),
    (ORANGE, False, "backup path, and place of an address when its director is gone"),
    (GREY, True, "NAT: the way out, not used by the cluster"),
)


def text_width(text: str, size: float) -> float:
    """About how wide a bold text is in pixels; rather more than less (DejaVu Sans Bold)."""
    narrow, wide = set("fijlrt.,:/-1 "), set("mwMW")
    ems = sum(0.52 if c in narrow else 1.12 if c in wide else 0.78 for c in text)
    return ems * size


def fitting(text: str, width: float, size: int) -> int:
    """The largest font size, at most `size`, in which a bold text is no wider than `width`."""
    return max(1, min(size, int(width / text_width(text, 1))))


def shown(words: list[str], limit: int) -> tuple[list[str], str]:
    """The first words, and what stands for the others: "" or "and N more"; `limit` in all."""
    if len(words) <= limit:
        return words, ""
    return words[: limit - 1], f"and {len(words) - limit + 1} more"


@dataclass
class _Canvas:
    """Pieces of SVG in the order of painting: wires first, then what is over them."""

    wires: list[str] = field(default_factory=list)
    dots: list[str] = field(default_factory=list)
    bars: list[str] = field(default_factory=list)
    boxes: list[str] = field(default_factory=list)

    def wire(
        self,
        points: list[tuple[float, float]],
        colour: str,
        *,
        dotted: bool = False,
        mark: str = "",
    ) -> None:
        """A wire from point to point, and a knot at its end on a switch; wires cross with a gap."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        if not dotted:
            self.wires.append(_polyline(path, PAPER, 9))
        self.wires.append(_polyline(path, colour, 3, "0.1 7" if dotted else "", mark))
        x, y = points[-1]
        self.dots.append(f'<circle cx="{x:g}" cy="{y:g}" r="5" fill="{colour}"{mark}/>')

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int = 14,
        colour: str = BLACK,
        *,
        bold: bool = False,
        anchor: str = "start",
        mark: str = "",
    ) -> None:
        """One line of text; `y` is its base line."""
        self.boxes.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" '
            f'text-anchor="{anchor}" font-weight="{"bold" if bold else "normal"}"{mark}>'
            f"{escape(text)}</text>"
        )

    def box(
        self, x: float, y: float, width: float, height: float, fill: str = PAPER, mark: str = ""
    ) -> None:
        """A machine."""
        self.boxes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="9" '
            f'fill="{fill}" stroke="{BLACK}" stroke-width="2"{mark}/>'
        )

    def bar(self, x: float, y: float, width: float, fill: str, *, dashed: bool = False) -> None:
        """A switch."""
        dash = ' stroke-dasharray="2 6" stroke-linecap="round"' if dashed else ""
        self.bars.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{_BAR}" rx="8" '
            f'fill="{fill}" stroke="{GREY}" stroke-width="1.5"{dash}/>'
        )


def _mark(**names: str) -> str:
    """What a piece of the picture stands for, as attributes: see the module."""
    return "".join(f" data-{key}={quoteattr(name)}" for key, name in names.items())


def _polyline(path: str, colour: str, width: float, dash: str = "", mark: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}" stroke-linecap="round"' if dash else ""
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes} '
        f'stroke-linejoin="round"{mark}/>'
    )


class _Picture:
    """Where everything is, and the painting of it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.canvas = _Canvas()
        self.front = lab.client_network
        self.backends = [name for name, net in lab.networks.items() if net.kind == "host-only"]
        self.backends.remove(self.front)
        self.nats = [name for name, net in lab.networks.items() if net.kind == "nat"]
        self.directors = list(lab.nodes_of(Kind.DIRECTOR))
        hosts = lab.nodes_of(Kind.HOST)
        inner = [n for n, node in hosts.items() if set(self.backends) & {*node.interfaces.values()}]
        self.clients = [name for name in hosts if name not in inner]
        servers = [*lab.nodes_of(Kind.SERVER), *inner]
        self.more = len(servers) - SERVERS_SHOWN + 1 if len(servers) > SERVERS_SHOWN else 0
        self.servers = servers[: len(servers) - self.more]
        # Real servers on the client's network are drawn below the directors, on a second bar.
        self.again = any(self.front in lab.nodes[name].interfaces.values() for name in self.servers)
        self._measure()

    def _measure(self) -> None:
        lab = self.lab
        wired = [len(lab.nodes[name].interfaces) for name in self.servers]
        count = len(self.servers) + bool(self.more)
        self.wide = count <= _WIDE_UNTIL
        column = _WIDE_COLUMN if self.wide else _NARROW_COLUMN
        self.server_width = max(
            column * max(2, max(wired, default=2) - len(self.nats)) + 16,
            *(text_width(name, _SMALLEST) + 16 for name in self.servers),
        )
        servers = count * (self.server_width + _GAP) - _GAP
        directors = len(self.directors) * (_DIRECTOR + 2 * _GAP) - 2 * _GAP
        self.content = max(servers, directors, 560)
        self.left = _MARGIN + _LABEL
        self.right = self.left + self.content
        self.width = self.right + 2 * _MARGIN
        self.heading = self._services()
        y: float = 74 + _HEADING_LINE * (len(self.heading) - 1)
        self.host_y, y = y, y + 62 + _GAP
        self.bar_y = {self.front: y}
        y += _BAR + 2 * _GAP + 12 * max(0, len(self.directors) - 2)
        # a director's box has room for two addresses above its name and for one below
        front = max(len(self._lines(name, self.front)) for name in self.directors)
        behind = (len(self._lines(n, net)) for n in self.directors for net in self.backends)
        self.name_y = 98 + _LINE * max(0, front - 2)
        self.director_height = (
            _DIRECTOR_HEIGHT + self.name_y - 98 + _LINE * max(0, max(behind, default=1) - 1)
        )
        self.director_y, y = y, y + self.director_height + _GAP + 14
        for name in self.backends:
            self.bar_y[name], y = y, y + _BAR + _GAP
        self.again_y = y
        if self.again:
            y += _BAR + _GAP
        self.server_y, y = y + 8, y + 8 + _SERVER_HEIGHT + _GAP + 6
        for name in self.nats:
            self.bar_y[name], y = y, y + _BAR + _GAP
        self.legend_y = y + 14
        self.height = self.legend_y + 22 * len(_LEGEND) + 6

    def paint(self) -> str:
        """The whole picture."""
        self._heading()
        self._bars()
        self._host()
        step = self.content / len(self.directors)
        for number, name in enumerate(self.directors):
            self._director(number, name, self.left + step * (number + 0.5) - _DIRECTOR / 2)
        names = [*self.servers, *([""] if self.more else [])]
        step = self.content / len(names)
        aside = 26 * (len(self.directors) % 2) * (len(names) % 2)
        for number, name in enumerate(names):
            x = self.left + step * (number + 0.5) - self.server_width / 2 + aside
            self._server(name, x) if name else self._others(x)
        self._legend()
        painted = self.canvas
        return "\n".join(
            [
                '<?xml version="1.0" encoding="UTF-8"?>',
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:g}" '
                f'height="{self.height:g}" viewBox="0 0 {self.width:g} {self.height:g}" '
                f'font-family="{FONT}">',
                f"<title>{escape(self.lab.name)}</title>",
                f'<rect width="100%" height="100%" fill="{PAPER}"/>',
                *painted.bars,
                *painted.wires,
                *painted.dots,
                *painted.boxes,
                "</svg>\n",
            ]
        )

    def _services(self) -> list[str]:
        """The services, in as many lines as they need beside the lab's name."""
        room = self.right - _MARGIN - text_width(self.lab.name, 26) - _GAP
        services = [
            f"{name} {in_url(self.lab.endpoint(name)[0])}:"
            + "+".join(map(str, self.lab.ports_of(name).values()))
            for name in self.lab.virtual_servers
        ]
        services, others = shown(services, SERVICES_SHOWN)
        lines: list[str] = []
        for service in [*services, *([others] if others else [])]:
            longer = f"{lines[-1]}, {service}" if lines else service
            if lines and text_width(longer, 16) <= room:
                lines[-1] = longer
            else:
                lines.append(service)
        return lines

    def _heading(self) -> None:
        self.canvas.text(_MARGIN, 42, self.lab.name, size=26, bold=True)
        for number, line in enumerate(self.heading):
            y = 42 + _HEADING_LINE * number
            self.canvas.text(self.right, y, line, size=16, anchor="end")

    def _bars(self) -> None:
        """The switches with their names; the text is where no wire is."""
        for tint, name in zip(TINTS * 9, [self.front, *self.backends], strict=False):
            y = self.bar_y[name]
            self.canvas.bar(_MARGIN, y, self.width - 2 * _MARGIN, tint)
            self.canvas.text(_MARGIN + 12, y + 26, name, size=17, bold=True)
            cidrs = ", ".join(map(str, self.lab.networks[name].cidrs))
            self.canvas.text(_MARGIN + 112, y + 26, cidrs, size=14)
            ways = [
                f"table {table}, default via {self.lab.vrrp_instances[this.via].address}"
                for table, this in self.lab.tables.items()
                if this.network == name
            ]
            if ways:
                note = "real servers: " + "; ".join(ways)
                self.canvas.text(_MARGIN + 12, y + _BAR + 16, note, size=11, colour=GREY)
        if self.again:
            y = self.again_y
            self.canvas.bar(_MARGIN, y, self.width - 2 * _MARGIN, TINTS[0])
            self.canvas.text(_MARGIN + 12, y + 26, self.front, size=17, bold=True)
            note = "the same network once more: real servers answer clients directly"
            self.canvas.text(_MARGIN + 12, y + _BAR + 16, note, size=11, colour=GREY)
        for name in self.nats:
            y = self.bar_y[name]
            self.canvas.bar(8, y, self.width - 16, PAPER, dashed=True)
            self.canvas.text(_MARGIN + 12, y + 26, "NET", size=17, bold=True)
            self.canvas.text(_MARGIN + 112, y + 26, f"{name}, NAT", size=14)

    def _host(self) -> None:
        # beside the middle if a director is there: two wires in one line look like one
        aside = 70 * (len(self.directors) % 2)
        middle, width = self.left + self.content / 2 + aside, 330
        address = ", ".join(map(str, self.lab.hosts_on(self.front)))
        self.canvas.box(middle - width / 2, self.host_y, width, 62, "#f3f4f6")
        self.canvas.text(middle, self.host_y + 26, "the host: client", bold=True, anchor="middle")
        size = fitting(address, width - 12, 16)
        self.canvas.text(middle, self.host_y + 48, address, size=size, anchor="middle")
        top = self.bar_y[self.front] + _BAR / 2
        self.canvas.wire([(middle, self.host_y + 62), (middle, top)], BLACK)
        room = middle - width / 2 - self.left - _GAP
        words, others = shown(self.clients, 2)
        for number, name in enumerate(words):
            x = self.left if number == 0 else middle + width / 2 + _GAP
            self._client(name, x, room, others if name == words[-1] else "")

    def _client(self, name: str, x: float, width: float, others: str) -> None:
        """A machine of the lab that is on the client's network, beside the host."""
        canvas, middle, y = self.canvas, x + width / 2, self.host_y
        canvas.box(x, y, width, 62, mark=_mark(box=name))
        own = ", ".join(map(str, self.lab.addresses_of(name, self.front)))
        lines = [name, own, others or self.lab.nodes[name].role]
        for place, text in enumerate(lines):
            size = fitting(text, width - 12, (18, 14, 11)[place])
            colour = GREY if place == 2 else BLACK
            at = y + (22, 40, 55)[place]
            canvas.text(middle, at, text, size, colour, bold=place == 0, anchor="middle")
        on_bar = self.bar_y[self.front] + _BAR / 2
        mark = self._wire_mark(name, self.front)
        canvas.wire([(middle, y + 62), (middle, on_bar)], BLACK, mark=mark)

    def _wire_mark(self, name: str, network: str) -> str:
        behind = self.lab.nodes[name].interfaces.items()
        interface = next(i for i, net in behind if net == network)
        return _mark(node=name, interface=interface, network=network)

    def _director(self, number: int, name: str, x: float) -> None:
        canvas, y, node = self.canvas, self.director_y, self.lab.nodes[name]
        bottom, middle = y + self.director_height, x + _DIRECTOR / 2
        canvas.box(x, y, _DIRECTOR, self.director_height, mark=_mark(box=name))
        size = fitting(name, _DIRECTOR - 96, 24)  # beside it is the name of a card
        canvas.text(middle, y + self.name_y, name, size=size, bold=True, anchor="middle")
        canvas.text(middle, y + self.name_y + 19, "director", size=12, colour=GREY, anchor="middle")
        networks = {network: i for i, network in node.interfaces.items()}
        if self.front in networks:
            on_bar = self.bar_y[self.front] + _BAR / 2
            canvas.wire(
                [(middle, y), (middle, on_bar)],
                self._colour(name, self.front),
                mark=self._wire_mark(name, self.front),
            )
            canvas.text(middle, y + 18, networks[self.front], colour=GREY, anchor="middle", size=12)
            self._addresses(name, self.front, middle, y + 38, _DIRECTOR)
        behind = [network for network in self.backends if network in networks]
        for place, network in enumerate(behind):
            at = x + _DIRECTOR * (place + 0.5) / len(behind)
            on_bar = self.bar_y[network] + _BAR / 2
            mark = self._wire_mark(name, network)
            canvas.wire([(at, bottom), (at, on_bar)], self._colour(name, network), mark=mark)
            canvas.text(at, bottom - 9, networks[network], colour=GREY, anchor="middle", size=12)
            count, room = len(self._lines(name, network)), _DIRECTOR / len(behind)
            self._addresses(name, network, at, bottom - 8 - _LINE * count, room)
        for network in self.nats:
            if network in networks:
                self._director_nat(number, name, network, x)

    def _director_nat(self, number: int, name: str, network: str, x: float) -> None:
        """Along the nearer edge of the picture down to NET; inner directors go above the others."""
        count, y = len(self.directors), self.director_y
        leftwards = number < (count + 1) // 2
        rank = number if leftwards else count - 1 - number
        edge = _MARGIN - 16 if leftwards else self.width - _MARGIN + 16
        side = x if leftwards else x + _DIRECTOR
        end = self.bar_y[network] + 8
        if rank == 0:
            start = [(side, y + self.name_y - 6.0), (edge, y + self.name_y - 6.0)]
            inwards = (8, "start") if leftwards else (-8, "end")
            interface = next(
                i for i, net in self.lab.nodes[name].interfaces.items() if net == network
            )
            self.canvas.text(
                side + inwards[0],
                y + self.name_y - 2,
                interface,
                size=12,
                colour=GREY,
                anchor=inwards[1],
            )
        else:
            above = y - 8 - 10 * rank
            edge += (-7 if leftwards else 7) * rank
            out = side + (14 if leftwards else -14)
            start = [(out, y), (out, above), (edge, above)]
        self.canvas.wire([*start, (edge, end)], GREY, dotted=True)

    def _addresses(self, name: str, network: str, x: float, y: float, room: float) -> None:
        """What a director has on a network, one below the other, in a column of width `room`."""
        for line, (text, colour, mark) in enumerate(self._lines(name, network)):
            self.canvas.text(
                x,
                y + line * _LINE,
                text,
                colour=colour,
                bold=True,
                anchor="middle",
                size=fitting(text, room - 6, 15),
                mark=mark,
            )

    def _lines(self, name: str, network: str) -> list[tuple[str, str, str]]:
        """What a director has on a network: its places in black, where it is backup in orange.

        Each with its mark.
        """
        lines = {
            str(self.lab.vrrp_instances[instance].address): (
                BLACK if own else ORANGE,
                _mark(node=name, instance=instance),
            )
            for instance, own in self._held(name, network)
        }
        words, others = shown(list(lines), ADDRESSES_SHOWN)
        return [(word, *lines[word]) for word in words] + ([(others, GREY, "")] if others else [])

    def _held(self, name: str, network: str) -> Iterator[tuple[str, bool]]:
        """The VRRP instances of a network whose address a director may get, its own first."""
        found = []
        for instance, this in self.lab.vrrp_instances.items():
            if this.network == network and name in this.priorities:
                found.append((instance, self.lab.owners(instance)[0] == name))
        yield from sorted(found, key=lambda pair: not pair[1])

    def _colour(self, name: str, network: str) -> str:
        held = list(self._held(name, network))
        if any(first for _, first in held):
            return BLACK
        return ORANGE if held else GREY

    def _server(self, name: str, x: float) -> None:
        canvas, y, node = self.canvas, self.server_y, self.lab.nodes[name]
        middle = x + self.server_width / 2
        canvas.box(x, y, self.server_width, _SERVER_HEIGHT, mark=_mark(box=name))
        size = fitting(name, self.server_width - 12, 20)
        canvas.text(middle, y + 66, name, size=size, bold=True, anchor="middle")
        is_server = self.lab.kind_of(name) == Kind.SERVER
        kind = "real server" if is_server else self.lab.nodes[name].role
        canvas.text(middle, y + 82, kind, size=11, colour=GREY, anchor="middle")
        networks = {network: i for i, network in node.interfaces.items()}
        bars = {network: self.bar_y[network] for network in self.backends}
        if self.again:
            bars[self.front] = self.again_y
        behind = [network for network in bars if network in networks]
        for place, network in enumerate(behind):
            at = x + 8 + (self.server_width - 16) * (place + 0.5) / len(behind)
            mark = self._wire_mark(name, network)
            canvas.wire([(at, y), (at, bars[network] + _BAR / 2)], BLACK, mark=mark)
            canvas.text(at, y + 17, networks[network], colour=GREY, anchor="middle", size=12)
            for line, own in enumerate(self.lab.addresses_of(name, network)):
                short = str(own.ip) if self.wide else _host_part(own)
                size = fitting(short, (self.server_width - 16) / len(behind), 14)
                canvas.text(at, y + 37 + 13 * line, short, bold=True, anchor="middle", size=size)
        for network in self.nats:
            if network in networks:
                end = self.bar_y[network] + 8
                low = y + _SERVER_HEIGHT
                canvas.text(middle, low - 7, networks[network], 12, GREY, anchor="middle")
                canvas.wire([(middle, low), (middle, end)], GREY, dotted=True)

    def _others(self, x: float) -> None:
        """In the place of the servers for which there is no room."""
        middle = x + self.server_width / 2
        self.canvas.text(middle, self.server_y + 44, f"and {self.more}", bold=True, anchor="middle")
        self.canvas.text(middle, self.server_y + 64, "more", bold=True, anchor="middle")

    def _legend(self) -> None:
        for row, (colour, dotted, text) in enumerate(_LEGEND):
            y, x = self.legend_y + 22 * row, float(_MARGIN)
            path = f"{x:g},{y - 5:g} {x + 38:g},{y - 5:g}"
            self.canvas.wires.append(_polyline(path, colour, 3, "0.1 7" if dotted else ""))
            self.canvas.text(x + 50, y, text, size=13)


def _host_part(own: AddressInterface) -> str:
    """What follows the network's own part of an address, as far as whole bytes go."""
    if family_of(own) is IPV4:
        fixed = own.network.prefixlen // 8
        return ("." if fixed else "") + ".".join(str(own.ip).split(".")[fixed:])
    return "::" + f"{int(own.ip) & int(own.network.hostmask):x}"


def svg(lab: Lab) -> str:
    """The lab as an SVG document."""
    return _Picture(lab).paint()
