"""Seeds: a right one passes, each broken one is refused by its rule."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pycdlib
import pytest

from lvslab.formats import seed_iso as export
from lvslab.formats import vmdk
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.render import Seed, lab_texts, node_seed
from lvslab.verify import RULES, Outcome, verify
from lvslab.verify.rules import Refused
from lvslab.verify.seeds import labtexts
from tests.appliance import MIB, run
from tests.unit.verify.conftest import Pinned

EPOCH = 1_700_000_000


def failing(path: Path, lab: Lab | None) -> set[str]:
    return {f.rule.id for f in verify(path, lab) if f.outcome is Outcome.FAIL}


def warned(path: Path) -> set[str]:
    """What is warned of in another's file; nothing may be refused."""
    assert failing(path, None) == set()
    return {f.rule.id for f in verify(path) if f.outcome is Outcome.WARN}


def written(seed: Seed, path: Path) -> Path:
    export.write_iso(seed, path, epoch=EPOCH)
    return path


@pytest.mark.parametrize("node", ["lvs1", "lvs2", "rs1", "rs2"])
def test_each_seed_of_the_lab_passes(lab: Lab, tmp_path: Path, node: str) -> None:
    findings = verify(written(node_seed(lab, node), tmp_path / f"{node}.iso"), lab)
    assert [f for f in findings if f.outcome is not Outcome.PASS] == []
    assert {f.rule.id for f in findings} == {rule for rule in RULES if rule.startswith("seed-")}


CASES: list[tuple[str, str, str, str, set[str]]] = [
    ("no header", "user_data", "#cloud-config\n", "\n", {"seed-user-data"}),
    (
        "not YAML",
        "user_data",
        'hostname: "rs1"',
        "hostname: [rs1",
        {"seed-user-data"},
    ),
    ("another node", "meta_data", 'local-hostname: "rs1"', "local-hostname: rs2", {"seed-node"}),
    ("no instance id", "meta_data", "instance-id:", "instance:", {"seed-node"}),
    ("not a mapping", "meta_data", 'local-hostname: "rs1"', "- rs1", {"seed-meta-data"}),
    (
        "by MAC address",
        "network_config",
        "  eth1:\n",
        "  eth1:\n    match: {macaddress: '00:50:56:00:00:01'}\n",
        {"seed-interfaces"},
    ),
    ("version 1, written as 2", "network_config", "version: 2", "version: 1", {"seed-network"}),
    ("version 3", "network_config", "version: 2", "version: 3", {"seed-network"}),
    ("no address", "network_config", "100.10/24", "100.300/24", {"seed-network"}),
    ("no YAML", "network_config", "version: 2", "version: [2", {"seed-network"}),
    ("a script", "user_data", "#cloud-config\n", "#!/bin/sh\n", {"seed-one-config"}),
    (
        "an interface that the node lacks",
        "network_config",
        "  eth2:\n",
        "  eth7:\n",
        {"seed-interfaces", "seed-addresses"},
    ),
    ("another's address", "network_config", "100.10/24", "100.20/24", {"seed-addresses"}),
    ("another prefix", "network_config", "100.10/24", "100.10/32", {"seed-addresses"}),
    (
        "one address twice",
        "network_config",
        "192.168.200.10/24",
        "192.168.100.10/24",
        {"seed-addresses"},
    ),
    (
        "SSH by password",
        "user_data",
        "ssh_pwauth: false",
        "ssh_pwauth: true",
        {"seed-no-plain-password"},
    ),
    (
        "plain password of a user",
        "user_data",
        "hashed_passwd:",
        "plain_text_passwd:",
        {"seed-no-plain-password"},
    ),
    (
        "plain password",
        "user_data",
        "ssh_pwauth: false",
        "ssh_pwauth: false\npassword: secret",
        {"seed-no-plain-password"},
    ),
    (
        "plain password by chpasswd",
        "user_data",
        "ssh_pwauth: false",
        "ssh_pwauth: false\nchpasswd: {users: [{name: a, password: b, type: text}]}",
        {"seed-no-plain-password"},
    ),
    (
        "plain password in a list",
        "user_data",
        "ssh_pwauth: false",
        "ssh_pwauth: false\nchpasswd: {list: ['root:secret']}",
        {"seed-no-plain-password"},
    ),
    (
        "host keys",
        "user_data",
        "ssh_pwauth: false",
        "ssh_pwauth: false\nssh_keys: {ed25519_private: x}",
        {"seed-no-plain-password"},
    ),
]


@pytest.mark.parametrize(
    ("part", "old", "new", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_a_broken_seed_is_refused(
    lab: Lab, tmp_path: Path, part: str, old: str, new: str, expected: set[str], pinned: Pinned
) -> None:
    seed = node_seed(lab, "rs1")
    text = getattr(seed, part)
    assert old in text
    broken = dataclasses.replace(seed, **{part: text.replace(old, new)})
    path = written(broken, tmp_path / "rs1.iso")
    assert failing(path, lab) == expected
    pinned(verify(path, lab))


TEXTS_CASES = {
    "a changed text": ("virtual_router_id 61", "virtual_router_id 62"),
    "no texts": ("path: /etc/lvslab/texts.json", "path: /etc/lvslab/text.json"),
    "a name without texts": ("LVSLAB_TEXTS=", "LVSLAB_TEXTS=0"),
    "cut off": ('"disable": []', '"disabled": []'),
}


@pytest.mark.parametrize(("old", "new"), TEXTS_CASES.values(), ids=TEXTS_CASES)
def test_texts_of_a_lab_that_are_not_whole_are_refused(
    lab: Lab, specs: dict[str, RoleSpec], tmp_path: Path, old: str, new: str
) -> None:
    instances = dict(lab.vrrp_instances)
    instances["VI_1"] = instances["VI_1"].model_copy(update={"router_id": 61})
    other = lab.model_copy(update={"vrrp_instances": instances})
    seed = node_seed(other, "lvs1", lab_texts(lab, other, specs["director"]))
    assert failing(written(seed, tmp_path / "lvs1.iso"), other) == set()
    assert old in seed.user_data
    broken = dataclasses.replace(seed, user_data=seed.user_data.replace(old, new))
    assert failing(written(broken, tmp_path / "lvs1.iso"), other) == {"seed-lab-texts"}


@pytest.mark.parametrize("text", ["{", "[]", '{"lab": "a", "files": {}}', "null"])
def test_texts_that_are_no_texts_are_refused(text: str) -> None:
    """Also with the right sum."""
    name = hashlib.sha256(text.encode()).hexdigest()
    files = [
        {"path": "/etc/lvslab/node", "content": f"LVSLAB_TEXTS={name}\n"},
        {"path": "/etc/lvslab/texts.json", "content": text},
    ]
    with pytest.raises(Refused, match="is not whole"):
        labtexts.look({"write_files": files})


def test_a_text_with_another_sum_than_it_says_is_refused() -> None:
    file = {"content": "a", "sha256": hashlib.sha256(b"a").hexdigest()}
    right = {"lab": "l", "image": "i", "files": {"/etc/a": file}}
    right |= {"remove": [], "enable": [], "disable": []}
    broken = {**right, "files": {"/etc/a": {**file, "content": "b"}}}

    def look(texts: dict[str, Any]) -> str:
        text = json.dumps(texts)
        name = hashlib.sha256(text.encode()).hexdigest()
        node = {"path": "/etc/lvslab/node", "content": f"A=1\nLVSLAB_TEXTS={name}\n"}
        return labtexts.look(
            {"write_files": [node, {"path": "/etc/lvslab/texts.json", "content": text}]}
        )

    assert look(right) == "1 texts of the lab l"
    with pytest.raises(Refused, match="/etc/a in /etc/lvslab/texts.json has another sum"):
        look(broken)


def test_a_seed_under_another_name_is_warned_of(lab: Lab, tmp_path: Path) -> None:
    """cloud-init takes it; in the lab, where names are what a student goes by, it must not be."""
    path = written(node_seed(lab, "rs1"), tmp_path / "rs2.iso")
    assert warned(path) == {"seed-node"}
    assert "seed-node" in failing(path, lab)


def test_a_seed_of_a_node_that_the_lab_lacks_is_refused(lab: Lab, tmp_path: Path) -> None:
    nodes = {name: node for name, node in lab.nodes.items() if name != "rs1"}
    smaller = lab.model_copy(update={"nodes": nodes})
    assert failing(written(node_seed(lab, "rs1"), tmp_path / "rs1.iso"), smaller) == {"seed-node"}


def test_another_label_is_refused(lab: Lab, tmp_path: Path) -> None:
    path = written(node_seed(lab, "rs1"), tmp_path / "rs1.iso")
    data = path.read_bytes()
    assert data.count(b"cidata  ") >= 1
    path.write_bytes(data.replace(b"cidata  ", b"config-2"))
    assert failing(path, lab) == {"seed-label"}


def test_a_missing_file_is_refused(lab: Lab, tmp_path: Path) -> None:
    path = written(node_seed(lab, "rs1"), tmp_path / "rs1.iso")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"network-config", b"network-confog"))
    assert failing(path, lab) == {"seed-names"}
    path.write_bytes(
        whole.replace(b"meta-data", b"meta-dato").replace(
            "meta-data".encode("utf-16-be"), "meta-dato".encode("utf-16-be")
        )
    )
    assert "seed-files" in failing(path, None)


def test_what_is_not_an_iso_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rs1.iso").write_bytes(bytes(100_000))
    assert failing(tmp_path / "rs1.iso", None) == {"seed-label", "seed-files"}


def test_a_seed_as_a_disk_is_looked_at_as_a_seed(lab: Lab, tmp_path: Path) -> None:
    iso = written(node_seed(lab, "rs1"), tmp_path / "seed.raw")
    vmdk.write_stream_optimized(iso, tmp_path / "rs1.vmdk")
    findings = verify(tmp_path / "rs1.vmdk", lab)
    assert [f for f in findings if f.outcome is not Outcome.PASS] == []
    assert "seed-node" in {f.rule.id for f in findings}


# --- seeds of others, made as cloud-localds and genisoimage make them ----------------------

META = "instance-id: kurs-1\nlocal-hostname: kurs\n"
PLAIN = "#cloud-config\nusers: [{name: kurs, lock_passwd: true}]\n"
V2 = "version: 2\nethernets: {eth0: {dhcp4: true}}\n"
V1 = """version: 1
config:
  - {type: physical, name: eth0, subnets: [{type: static, address: 10.0.0.5/24}]}
  - {type: physical, name: eth1, subnets: [{type: static, address: 10.0.1.5, netmask: 255.255.0.0}]}
  - {type: nameserver, address: 10.0.0.1}
"""
MULTIPART = """Content-Type: multipart/mixed; boundary="b"
MIME-Version: 1.0

--b
Content-Type: text/cloud-config

#cloud-config
{}
--b
Content-Type: text/x-shellscript; charset="us-ascii"
Content-Transfer-Encoding: base64

IyEvYmluL3NoCmVjaG8gaGVsbG8K
--b--
"""


def others(
    path: Path,
    user: bytes | str = PLAIN,
    meta: str = META,
    network: str | None = None,
    *,
    names: str = "both",
) -> Path:
    """An ISO of these files, with Rock Ridge and Joliet names, or one kind alone."""
    image = pycdlib.PyCdlib()
    image.new(
        interchange_level=3,
        vol_ident="cidata",
        rock_ridge=None if names == "joliet" else "1.09",
        joliet=None if names == "rock ridge" else 3,
    )
    files = {"user-data": user, "meta-data": meta, "network-config": network}
    for number, (name, content) in enumerate(files.items()):
        if content is not None:
            data = content.encode() if isinstance(content, str) else content
            image.add_fp(
                io.BytesIO(data),
                len(data),
                iso_path=f"/FILE{number}.;1",
                rr_name=None if names == "joliet" else name,
                joliet_path=None if names == "rock ridge" else f"/{name}",
            )
    image.write(str(path))
    image.close()
    return path


NO_NETWORK = {"seed-names"}
TAKEN: dict[str, tuple[dict[str, Any], set[str]]] = {
    "no network-config": ({}, NO_NETWORK),
    "version 2": ({"network": V2}, set()),
    "version 2 below network": ({"network": "network: {version: 2, ethernets: {}}"}, set()),
    "version 1": ({"network": V1}, {"seed-interfaces"}),
    "no network at all": ({"network": "network: {config: disabled}"}, set()),
    "by MAC address": (
        {"network": "version: 2\nethernets: {a: {match: {macaddress: '00:50:56:00:00:01'}}}"},
        {"seed-interfaces"},
    ),
    "IPv6 and labels": (
        {
            "network": "version: 2\nethernets: {eth0: {addresses: ['fd00::1/64', "
            "{10.0.0.1/24: {label: a}}]}}"
        },
        set(),
    ),
    "a script": ({"user": "#!/bin/sh\necho hello\n"}, NO_NETWORK | {"seed-one-config"}),
    "several parts": ({"user": MULTIPART.format("users: []")}, NO_NETWORK | {"seed-one-config"}),
    "gzip": ({"user": gzip.compress(PLAIN.encode())}, NO_NETWORK),
    "an archive": (
        {
            "user": "#cloud-config-archive\n- {type: text/cloud-config, content: 'users: []'}\n"
            "- '#!/bin/sh'\n"
        },
        NO_NETWORK | {"seed-one-config"},
    ),
    "a template": (
        {"user": "## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostname }}\n"},
        NO_NETWORK | {"seed-one-config"},
    ),
    "an include": (
        {"user": "#include\nhttps://example.org/kurs\n"},
        NO_NETWORK | {"seed-one-config"},
    ),
    "a boothook": ({"user": "#cloud-boothook\n#!/bin/sh\n"}, NO_NETWORK | {"seed-one-config"}),
    "capital letters and blank lines": ({"user": f"\n\n{PLAIN}".upper()}, NO_NETWORK),
    "lines of Windows": ({"user": PLAIN.replace("\n", "\r\n")}, NO_NETWORK),
    "nothing to do": ({"user": ""}, NO_NETWORK | {"seed-one-config"}),
    "an empty cloud-config": ({"user": "#cloud-config\n"}, NO_NETWORK),
    "no name": ({"meta": ""}, NO_NETWORK | {"seed-node"}),
    "meta-data in JSON": ({"meta": '{"instance-id": "i", "local-hostname": "kurs"}'}, NO_NETWORK),
    "a plain password": (
        {"user": "#cloud-config\npassword: passw0rd\nchpasswd: {expire: false}\n"},
        NO_NETWORK | {"seed-no-plain-password"},
    ),
    "a plain password in a part": (
        {"user": MULTIPART.format("password: passw0rd")},
        NO_NETWORK | {"seed-one-config", "seed-no-plain-password"},
    ),
    "a plain password in a template": (
        {"user": "## template: jinja\n#cloud-config\npassword: {{ x }}\n"},
        NO_NETWORK | {"seed-one-config", "seed-no-plain-password"},
    ),
    "a private key in a script": (
        {"user": "#!/bin/sh\n-----BEGIN OPENSSH PRIVATE KEY-----\n"},
        NO_NETWORK | {"seed-one-config", "seed-no-plain-password"},
    ),
    "Joliet names alone": ({"names": "joliet", "network": V2}, {"seed-names"}),
    "Rock Ridge names alone": ({"names": "rock ridge", "network": V2}, {"seed-names"}),
}


@pytest.mark.parametrize(("values", "expected"), TAKEN.values(), ids=TAKEN)
def test_what_cloud_init_takes_is_not_refused(
    tmp_path: Path, values: dict[str, Any], expected: set[str], pinned: Pinned
) -> None:
    path = others(tmp_path / "kurs.iso", **values)
    assert warned(path) == expected
    pinned(verify(path))


def on_fat(folder: Path, label: str = "CIDATA", names: tuple[str, ...] = ("user-data",)) -> Path:
    """A seed as `cloud-localds --filesystem=vfat` makes it."""
    folder.mkdir(exist_ok=True)
    (folder / "user-data").write_text(PLAIN)
    (folder / "meta-data").write_text(META)
    path = folder / "kurs.iso"
    path.write_bytes(bytes(MIB))
    run("mkfs.fat", "-n", label, path)
    run("mcopy", "-i", path, *(folder / name for name in names), "::/")
    return path


def test_a_seed_on_fat_is_read(tmp_path: Path) -> None:
    path = on_fat(tmp_path / "a", names=("user-data", "meta-data"))
    assert warned(path) == NO_NETWORK
    assert failing(on_fat(tmp_path / "b"), None) == {"seed-files"}
    other = on_fat(tmp_path / "c", label="OTHER", names=("user-data", "meta-data"))
    assert failing(other, None) == {"seed-label"}
    path.write_bytes(path.read_bytes()[:600])
    assert "seed-files" in failing(path, None)


NOT_TAKEN: dict[str, tuple[dict[str, Any], set[str]]] = {
    "user-data of no kind": ({"user": "hello\n"}, {"seed-user-data"}),
    "a part that is no YAML": ({"user": MULTIPART.format("a: [b")}, {"seed-user-data"}),
    "a part that is no mapping": ({"user": MULTIPART.format("- a")}, {"seed-user-data"}),
    "a date that is none": ({"user": "#cloud-config\na: 2001-99-99\n"}, {"seed-user-data"}),
    "nested too deeply": ({"user": "#cloud-config\na: " + "[" * 1000}, {"seed-user-data"}),
    "cut gzip": ({"user": gzip.compress(PLAIN.encode())[:9] + b"xxx"}, {"seed-user-data"}),
    "meta-data of no kind": ({"meta": "- a\n"}, {"seed-meta-data"}),
    "network-config of version 3": ({"network": "version: 3\n"}, {"seed-network"}),
    "network-config that is a list": ({"network": "- a\n"}, {"seed-network"}),
    "version 1 without a list": ({"network": "version: 1\nconfig: a\n"}, {"seed-network"}),
    "an address that is none": (
        {"network": "version: 2\nethernets: {eth0: {addresses: [10.0.0.300/24]}}"},
        {"seed-network"},
    ),
    "one address twice": (
        {"network": "version: 2\nethernets: {eth0: {addresses: [10.0.0.3/24, 10.0.0.3/24]}}"},
        {"seed-addresses"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("values", "expected"), NOT_TAKEN.values(), ids=NOT_TAKEN)
def test_what_cloud_init_does_not_take_is_refused(
    tmp_path: Path, values: dict[str, Any], expected: set[str], pinned: Pinned
) -> None:
    path = others(tmp_path / "kurs.iso", **values)
    assert failing(path, None) == expected
    pinned(verify(path))


OTHERS = {"seed-label", "seed-files", "seed-names", "seed-lab-texts"}
"""Rules that tests of their own break."""


def test_every_rule_of_a_seed_is_broken_by_a_case() -> None:
    broken = set().union(*(case[4] for case in CASES)) | OTHERS
    assert {rule for rule in RULES if rule.startswith("seed-")} == broken
