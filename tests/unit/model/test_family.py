"""What differs by family, and that nothing else has to know it."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from lvslab.core.places import EXAMPLES
from lvslab.model import family
from lvslab.model.family import FAMILIES, IPV4, IPV6, Family
from lvslab.model.load import load_lab


@pytest.mark.parametrize(
    ("text", "right"),
    [("192.168.50.1", IPV4), ("fd00:50::1", IPV6), ("::ffff:192.168.50.1", IPV6)],
)
def test_a_family_follows_from_an_address(text: str, right: Family) -> None:
    assert family.family_named(text) is family.family_of(ip_address(text)) is right
    assert family.family_of(ip_interface(text)) is family.family_of(ip_network(text)) is right


def test_an_address_as_programs_write_it() -> None:
    assert family.place("192.168.50.1", 80) == "192.168.50.1:80"
    assert family.place(ip_address("fd00:50::1"), 80) == "[fd00:50::1]:80"
    assert family.in_url("fd00:50::1") == "[fd00:50::1]"
    assert family.in_url("192.168.50.1") == "192.168.50.1"
    assert str(family.alone(ip_address("fd00:50::1"))) == "fd00:50::1/128"
    assert str(family.alone(ip_address("192.168.50.1"))) == "192.168.50.1/32"


def test_of_two_values_each_is_found_by_its_family() -> None:
    both = (ip_address("fd00::1"), ip_address("10.0.0.1"))
    assert [family.of_family(both, each) for each in FAMILIES] == [both[1], both[0]]
    assert family.of_family(both[:1], IPV4) is None


def test_a_virtual_router_s_link_local_address_is_its_own() -> None:
    """RFC 5798, 7.3, and RFC 4291, appendix A: of 00-00-5E-00-02-{VRID}."""
    found = [family.link_local(router) for router in range(1, 256)]
    assert len(set(found)) == 255 and all(address.is_link_local for address in found)
    assert str(family.link_local(51)) == "fe80::200:5eff:fe00:233/64"


def test_a_lab_of_both_answers_by_family() -> None:
    lab = load_lab(EXAMPLES / "dual-stack/lab.yaml")
    assert lab.speaks_ipv6
    assert lab.networks["VMnet1"].families == FAMILIES
    assert [str(lab.cidr("VMnet12", each)) for each in FAMILIES] == [
        "192.168.100.0/24",
        "fd00:100::/64",
    ]
    assert {name: lab.family_of(name) for name in lab.virtual_servers} == {
        "web": IPV4,
        "names": IPV4,
        "web6": IPV6,
        "names6": IPV6,
    }
    assert [str(a) for a in lab.real_servers("web6").values()] == ["fd00:100::10", "fd00:100::20"]
    assert [lab.table_family(table) for table in lab.tables] == [IPV4, IPV4, IPV6, IPV6]
