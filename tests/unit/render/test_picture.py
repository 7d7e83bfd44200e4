"""The picture says what lab.yaml says, stays inside its frame, and can be drawn by a renderer."""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ET
from ipaddress import IPv4Address
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from PIL import Image, ImageFont

from lvslab.cli import main
from lvslab.model.lab import Lab
from lvslab.model.load import load_lab
from lvslab.model.role import Kind
from lvslab.render.picture import (
    ADDRESSES_SHOWN,
    BLACK,
    GREY,
    ORANGE,
    SERVERS_SHOWN,
    SERVICES_SHOWN,
    svg,
)
from tests.strategies import examples, labs

ROOT = Path(__file__).resolve().parents[3]
SVG = "{http://www.w3.org/2000/svg}"


def texts(lab: Lab) -> list[tuple[str, str]]:
    """Text and colour of all words."""
    root = ET.fromstring(svg(lab))
    return [(e.text or "", e.attrib["fill"]) for e in root.iter(f"{SVG}text")]


def wires(lab: Lab) -> list[tuple[str, bool]]:
    """Colour of each wire, and whether it is dotted; the legend's three and halos left out."""
    root = ET.fromstring(svg(lab))
    found = [
        (e.attrib["stroke"], "stroke-dasharray" in e.attrib)
        for e in root.iter(f"{SVG}polyline")
        if e.attrib["stroke-width"] == "3"
    ]
    return found[:-3]


def test_the_articles_lab(lab: Lab) -> None:
    words = texts(lab)
    for address in ("192.168.50.1", "192.168.50.2", "192.168.100.1", "192.168.200.1"):
        assert words.count((address, BLACK)) == 1, f"{address} has one place while all is well"
        assert words.count((address, ORANGE)) == 1, f"{address} has one backup place"
    for word in ("lvs1", "lvs2", "rs1", "rs2", "VMnet1", "VMnet12", "VMnet13", "NET"):
        assert words.count((word, BLACK)) == 1
    assert ("192.168.50.100/24", BLACK) in words
    assert ("192.168.100.20", BLACK) in words
    # client, lvs1's eth1 and eth2, lvs2's eth1 and eth3, two for each real server
    assert wires(lab).count((BLACK, False)) == 9
    assert wires(lab).count((ORANGE, False)) == 2  # lvs1's eth3, lvs2's eth2
    assert wires(lab).count((GREY, True)) == 4


def test_priorities_decide_the_colours(lab: Lab) -> None:
    """All on lvs1: lvs2 has backup paths alone."""
    instances = {
        name: instance.model_copy(update={"priorities": {"lvs1": 150, "lvs2": 100}})
        for name, instance in lab.vrrp_instances.items()
    }
    moved = lab.model_copy(update={"vrrp_instances": instances})
    assert wires(moved).count((BLACK, False)) == 8
    assert wires(moved).count((ORANGE, False)) == 3


def many(lab: Lab, count: int) -> Lab:
    servers = {
        f"rs{n}": lab.nodes["rs1"].model_copy(
            update={
                "addresses": {
                    interface: lab.nodes["rs1"].addresses_at(interface)[0] + n
                    for interface in lab.nodes["rs1"].addresses
                }
            }
        )
        for n in range(1, count + 1)
    }
    return lab.model_copy(update={"nodes": lab.nodes_of(Kind.DIRECTOR) | servers})


def with_vips(lab: Lab, count: int) -> Lab:
    """The lab with `count` further VIPs, each with its return path and its service."""
    instances, servers = dict(lab.vrrp_instances), dict(lab.virtual_servers)
    for n in range(count):
        for like, network in (("VI_1", "192.168.50"), ("VI_2", "192.168.100")):
            instances[f"{like}_{n}"] = lab.vrrp_instances[like].model_copy(
                update={"address": IPv4Address(f"{network}.{n + 3}")}
            )
        servers[f"more{n}"] = lab.virtual_servers["web1"].model_copy(
            update={"instance": f"VI_1_{n}", "port": 8000 + n}
        )
    return lab.model_copy(update={"vrrp_instances": instances, "virtual_servers": servers})


def test_three_vips_are_all_there(lab: Lab) -> None:
    words = texts(with_vips(lab, 1))
    for address in ("192.168.50.1", "192.168.50.2", "192.168.50.3", "192.168.100.3"):
        assert words.count((address, BLACK)) == 1, address
        assert words.count((address, ORANGE)) == 1, address
    assert "more0 192.168.50.3:8000" in " ".join(word for word, _ in words)


def test_addresses_and_services_without_room_are_counted(lab: Lab) -> None:
    words = texts(with_vips(lab, 20))
    # of 22 on VMnet1, and of 21 on VMnet12, on each of two directors
    hidden = 22 - ADDRESSES_SHOWN + 1, 21 - ADDRESSES_SHOWN + 1
    assert [words.count((f"and {n} more", GREY)) for n in hidden] == [2, 2]
    assert any(word.endswith(f"and {22 - SERVICES_SHOWN + 1} more") for word, _ in words)


FONTS = Path("/usr/share/fonts/truetype/dejavu")


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"lvs1": "director-of-the-first-building", "rs1": "web-server-number-one"},
        {"lvs1": "m" * 31, "lvs2": "w" * 31, "rs1": "w" + "m" * 30, "rs2": "i"},
    ],
)
@pytest.mark.parametrize("servers", [2, 8])
def test_words_stay_inside_their_box(lab: Lab, names: dict[str, str], servers: int) -> None:
    """As wide as the font's own metrics say; and no two words of a picture overlap."""
    text = json.dumps(many(with_vips(lab, 2), servers).model_dump(mode="json"))
    for old, new in names.items():
        text = text.replace(f'"{old}"', f'"{new}"')
    root = ET.fromstring(svg(Lab.model_validate_json(text)))
    boxes = [
        tuple(float(box.attrib[key]) for key in ("x", "y", "width", "height"))
        for box in root.iter(f"{SVG}rect")
        if box.attrib.get("rx") == "9"
    ]
    assert len(boxes) == 3 + servers
    places = []
    for word in root.iter(f"{SVG}text"):
        left, right, y, size = place(word)
        places.append((left, right, y - 0.7 * size, y, word.text))
        for x, top, width, height in boxes:
            if top < y < top + height and left < x + width and right > x:
                assert x <= left and right <= x + width, f"{word.text} leaves its box"
    for a, b in combinations(places, 2):
        apart = a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]
        assert apart, f"{a[4]} and {b[4]} overlap"


def place(word: ET.Element) -> tuple[float, float, float, int]:
    """Left end, right end, base line and size of a text, measured with the PNG's font."""
    size, bold = int(word.attrib["font-size"]), word.attrib["font-weight"] == "bold"
    font = ImageFont.truetype(FONTS / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), size)
    width, x = font.getlength(word.text or ""), float(word.attrib["x"])
    left = x - {"start": 0, "middle": width / 2, "end": width}[word.attrib["text-anchor"]]
    return left, left + width, float(word.attrib["y"]), size


def test_eight_servers_are_all_there(lab: Lab) -> None:
    words = [word for word, _ in texts(many(lab, 8))]
    assert all(f"rs{n}" in words for n in range(1, 9))
    assert words.count(".18") == 2


def test_servers_without_room_are_counted(lab: Lab) -> None:
    words = [word for word, _ in texts(many(lab, 100))]
    shown = sum(word.startswith("rs") for word in words)
    assert shown == SERVERS_SHOWN - 1
    assert f"and {100 - shown}" in words


@pytest.mark.slow
@examples(30)
@given(labs())
def test_nothing_leaves_the_frame(lab: Lab) -> None:
    root = ET.fromstring(svg(lab))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for line in root.iter(f"{SVG}polyline"):
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
    for box in root.iter(f"{SVG}rect"):
        if box.attrib["width"] != "100%":
            x, y, w, h = (float(box.attrib[key]) for key in ("x", "y", "width", "height"))
            assert x >= 0
            assert y >= 0
            assert x + w <= width
            assert y + h <= height


def test_the_picture_in_docs_is_of_lab_yaml() -> None:
    wanted = svg(load_lab(ROOT / "lab.yaml"))
    assert (ROOT / "docs/lab.svg").read_text() == wanted, "python3 build.py diagram"


@pytest.mark.slow
def test_the_verb_draws_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["diagram", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/lab.svg\n{tmp_path}/lab.png\n"
    data = (tmp_path / "lab.png").read_bytes()
    root = ET.parse(tmp_path / "lab.svg").getroot()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (
        round(2 * float(root.attrib["width"])),
        round(2 * float(root.attrib["height"])),
    )
    with Image.open(tmp_path / "lab.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
        heading = image.convert("L").crop((80, 30, 400, 100)).tobytes()
    assert {(26, 26, 26), (232, 113, 10), (107, 114, 128)} <= colours
    assert min(heading) < 60, "the letters of the name are drawn"
