"""What the readers of a seed find, value by value: interfaces, parts, secrets, labels."""

from __future__ import annotations

import base64
import gzip
import json
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvslab.verify.disks import fat
from lvslab.verify.rules import Refused
from lvslab.verify.seeds import cloud, userdata
from lvslab.verify.seeds.netconfig import Interface, interfaces
from tests.appliance import MIB, run

# --- network-config


def found(text: str) -> list[tuple[str, str, list[str]]]:
    """Each interface: its name, its MAC address, its addresses."""
    return [(i.name, i.mac, list(map(str, i.addresses))) for i in interfaces(yaml.safe_load(text))]


def test_version_1_is_read() -> None:
    text = """
    version: 1
    config:
      - {type: nameserver, address: 10.0.0.1}
      - {type: route, destination: 10.9.0.0/16, gateway: 10.0.0.1}
      - not a mapping
      - type: physical
        name: eth0
        mac_address: '00:50:56:00:00:01'
        subnets:
          - {type: static, address: 10.0.0.5/24, netmask: 255.0.0.0}
          - {type: static, address: 10.0.1.5, netmask: 255.255.0.0}
          - {type: dhcp}
          - not a mapping
          - {type: static, address: 'fd00::5/64'}
      - {type: physical, name: eth1, subnets: dhcp}
    """
    addresses = ["10.0.0.5/24", "10.0.1.5/16", "fd00::5/64"]
    assert found(text) == [("eth0", "00:50:56:00:00:01", addresses), ("eth1", "", [])]


def test_version_2_is_read() -> None:
    text = """
    network:
      version: 2
      ethernets:
        eth0: {addresses: [10.0.0.5/24, {10.0.1.5/16: {label: a}}]}
        eth1: {match: {macaddress: '00:50:56:00:00:01'}, dhcp4: true}
        eth2: {match: {name: e*}, addresses: 10.0.0.6/24}
        eth3:
      bonds: not a mapping
      bridges: {br0: {addresses: ['fd00::5/64']}}
    """
    assert found(text) == [
        ("eth0", "", ["10.0.0.5/24", "10.0.1.5/16"]),
        ("eth1", "00:50:56:00:00:01", []),
        ("eth2", "", []),
        ("eth3", "", []),
        ("br0", "", ["fd00::5/64"]),
    ]
    assert interfaces({"version": 2}) == []
    (alone,) = interfaces({"version": 2, "vlans": {"v": {"addresses": ["10.0.0.1/8"]}}})
    assert alone == Interface("v", "", (ip_interface("10.0.0.1/8"),))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"network": []}, "network is not a mapping"),
        ({"version": 3}, "of version 3, not 1 or 2"),
        ({"version": "2"}, "of version 2, not 1 or 2"),
        ({}, "of version none, not 1 or 2"),
        ({"version": 1, "config": {}}, "has no list `config`"),
        ({"version": 2, "ethernets": {"a": {"addresses": [{}]}}}, "'' is not an address"),
        (
            {"version": 1, "config": [{"subnets": [{"address": "1.1.1.1", "netmask": "x"}]}]},
            "'1.1.1.1/x' is not an address",
        ),
    ],
)
def test_what_is_no_network_config_is_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(Refused, match=says):
        interfaces(config)


# --- user-data


def kinds(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    return [part.kind for part in userdata.parts(data)]


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        ("#cloud-config", "cloud-config"),
        ("#cloud-config-archive-x", "cloud-config-archive"),
        ("#cloud-config-jsonp", "JSON patch"),
        ("#cloud-boothook", "boothook"),
        ("#include-once", "include"),
        ("#part-handler", "part handler"),
        ("#!/bin/sh", "script"),
        ("## template: jinja", "jinja template"),
    ],
)
def test_the_beginning_tells_the_kind(beginning: str, kind: str) -> None:
    wanted = [] if kind == userdata.ARCHIVE else [kind]
    assert kinds(f"\n {beginning}\n") == wanted
    with pytest.raises(Refused, match="which cloud-init ignores"):
        kinds(f"x{beginning}\n")


def test_user_data_may_be_packed_eight_times() -> None:
    data = b"#cloud-config\n"
    for _ in range(8):
        data = gzip.compress(data, mtime=0)
    assert kinds(data) == ["cloud-config"]
    with pytest.raises(Refused, match="packed 8 times"):
        kinds(gzip.compress(data, mtime=0))


def test_an_archive_in_an_archive_is_packed_too() -> None:
    """Each writes the next into one line, as JSON, which is YAML."""
    text = "#!/bin/sh\n"
    for _ in range(8):
        text = f"#cloud-config-archive\n{json.dumps([text])}\n"
    assert kinds(text) == ["script"]
    with pytest.raises(Refused, match="packed 8 times"):
        kinds(f"#cloud-config-archive\n{json.dumps([text])}\n")


def test_user_data_may_have_16_mib() -> None:
    whole = b"#cloud-config\n".ljust(16 * MIB)
    assert kinds(gzip.compress(whole, 1)) == ["cloud-config"]
    with pytest.raises(Refused, match="longer than 16 MiB"):
        kinds(gzip.compress(whole + b" ", 1))


MAIL = b"Content-Type: text/x-shellscript\nMIME-Version: 1.0\n\n"


def test_a_message_is_known_by_its_first_4096_bytes() -> None:
    assert kinds(MAIL + b"echo hello\n") == ["script"]
    word = b"mime-version:"
    end = MAIL.lower().index(word) + len(word)
    header = b"X: " + b"x" * (4096 - end - 4) + b"\n"
    assert (header + MAIL).lower().index(word) + len(word) == 4096
    assert kinds(header + MAIL + b"echo hello\n") == ["script"]
    with pytest.raises(Refused, match="begins with 'XX: x*', which cloud-init ignores"):
        kinds(b"X" + header + MAIL + b"echo hello\n")


def test_a_text_that_names_the_header_of_a_message_is_still_a_text() -> None:
    assert kinds("#cloud-config\n# no mime-version: here\n") == ["cloud-config"]


def test_a_part_of_a_message_may_be_packed() -> None:
    packed = base64.b64encode(gzip.compress(b"#cloud-config\n", mtime=0)).decode()
    head = 'Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n--b\n'
    part = f"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n{packed}\n--b--\n"
    assert kinds(head + part) == ["cloud-config"]


def test_a_part_of_an_archive_has_the_type_that_it_names() -> None:
    text = (
        "#cloud-config-archive\n- {type: text/x-shellscript, content: 'a: 1'}\n- '#!/bin/sh'\n"
        "- {content: '#include'}\n- {type: text/calendar, content: b}\n- {type: text/jinja2}\n"
    )
    assert kinds(text) == ["script", "script", "include", "text/calendar"]


# --- secrets

NO_PASSWORD: list[dict[str, Any]] = [
    {},
    {"password": ""},
    {"users": [{"name": "a", "lock_passwd": True}, "default"]},
    {"chpasswd": {"users": [{"name": "a", "password": "$6$salt$hash"}]}},
    {"chpasswd": {"users": [{"name": "a", "password": "x", "type": "hash"}]}},
    {"chpasswd": {"users": [{"name": "a", "type": "RANDOM"}]}},
    {"chpasswd": {"list": ["a:$6$salt$hash", "b:R", "c:RANDOM", "d"]}},
    {"chpasswd": "x"},
]
PASSWORD: list[tuple[dict[str, Any], list[str]]] = [
    ({"password": "x"}, ["a password is in plain text"]),
    (
        {"user": {"name": "a", "plain_text_passwd": "x"}, "users": [{"plain_text_passwd": "y"}]},
        ["the password of a is plain", "the password of somebody without a name is plain"],
    ),
    (
        {"chpasswd": {"users": [{"name": "a", "password": "x", "type": "text"}]}},
        ["the password of a is plain"],
    ),
    (
        {"chpasswd": {"list": "a:x\nb:$6$h\nc:y:z\n"}},
        ["the password of a is plain", "the password of c is plain"],
    ),
    ({"chpasswd": {"list": ["a:1"]}}, ["the password of a is plain"]),
]


@pytest.mark.parametrize("config", NO_PASSWORD, ids=str)
def test_what_is_no_password_in_plain_text(config: dict[str, Any]) -> None:
    assert list(cloud.plain_passwords(config)) == []
    assert list(cloud.log_ins(yaml.safe_dump(config))) == []


@pytest.mark.parametrize(("config", "says"), PASSWORD, ids=str)
def test_a_password_in_plain_text_is_named(config: dict[str, Any], says: list[str]) -> None:
    assert list(cloud.plain_passwords(config)) == says
    assert list(cloud.log_ins(yaml.safe_dump(config))) == says


def test_each_login_that_an_image_brings_along_is_named() -> None:
    text = """
    ssh_authorized_keys: [ssh-ed25519 A]
    ssh_keys: {rsa_private: x}
    users: [{name: a, passwd: $6$x, hashed_passwd: $6$y}, {name: b, ssh_authorized_keys: [k]}]
    """
    key = "somebody's SSH key is authorized"
    of_a = ["passwd of a is set", "hashed_passwd of a is set"]
    assert list(cloud.log_ins(text)) == [key, *of_a, key, "host keys are set"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [\n  passwd: x\n", ["passwd is set"]),
        ("a: [\n - hashed_passwd : $6\n", ["hashed_passwd is set"]),
        ("a: [\n password: # none\n", []),
        ("a: [\n my_password: x\n", []),
        ("- password: x\n", ["password is set"]),
        ("just words\n", []),
    ],
)
def test_a_password_is_found_in_what_is_no_yaml(text: str, says: list[str]) -> None:
    assert list(cloud.log_ins(text)) == says


# --- FAT


@pytest.mark.parametrize(("bits", "size"), [(12, 1), (16, 16), (32, 64)])
def test_each_fat_has_its_label_at_its_own_place(tmp_path: Path, bits: int, size: int) -> None:
    image = tmp_path / "seed"
    with image.open("wb") as file:
        file.truncate(size * MIB)
    run("mkfs.fat", "-F", bits, "-n", "CIDATA", image)
    with image.open("rb") as file:
        assert fat.label(file) == "CIDATA"
        assert fat.files(file, ["user-data"]) == {}
    with image.open("r+b") as file:
        file.seek(511)
        file.write(b"\0")
    with image.open("rb") as file:
        assert fat.label(file) is None, "it does not end as a boot sector"
    with image.open("wb") as file:
        file.write(bytes(510) + b"\x55\xaa")
    with image.open("rb") as file:
        assert fat.label(file) is None, "it says no kind"
