"""networks.sh of a lab with IPv6: VMware's file has IPv4, the host's own address is beside it."""

from __future__ import annotations

import pytest

from lvslab.core.places import EXAMPLES
from lvslab.model.load import load_lab
from lvslab.render.handout import NETWORKS_SH, answers, handout
from tests.unit.vmware.test_vmnets import FAKE_IP, Host, host  # noqa: F401 (a fixture)

IPV6 = "fd00:50::100/64"
LACKING = f"vmnet1: this host has not {IPV6} there\n"
FAKE_IP_6 = r"""#!/bin/sh
if [ "$1" = -6 ]; then
    case $3 in
    replace) [ -z "${FAKE_REFUSES-}" ] && echo "$4" > "$FAKE/ipv6" ;;
    *) [ -f "$FAKE/ipv6" ] && echo "7: vmnet1    inet6 $(cat "$FAKE/ipv6") scope global" ;;
    esac
    exit
fi
""" + FAKE_IP.removeprefix("#!/bin/sh\n")


@pytest.fixture(params=["dual-stack", "ipv6"])
def two_families(request: pytest.FixtureRequest, host: Host) -> Host:  # noqa: F811
    """A host that has a lab of IPv6, and an ip(8) that knows it."""
    lab = load_lab(EXAMPLES / request.param / "lab.yaml")
    (host.folder / "bin" / "ip").write_text(FAKE_IP_6)
    (host.folder / "lab" / NETWORKS_SH).write_text(handout(lab)[NETWORKS_SH])
    return host


def test_it_sets_the_host_s_address_and_reads_it_back(two_families: Host) -> None:
    status, said = two_families.run("--check")
    assert status == 1 and LACKING in said
    status, said = two_families.run()
    assert status == 0 and said.endswith("all networks of the lab are there\n")
    assert (two_families.folder / "ipv6").read_text() == f"{IPV6}\n"
    assert "answer VNET_1_VIRTUAL_ADAPTER yes" in two_families.file.read_text().splitlines()


def test_after_a_reboot_only_this_address_is_set_again(two_families: Host) -> None:
    """VMware's networks are not stopped for it: machines may be running."""
    assert two_families.run()[0] == 0
    (two_families.folder / "ipv6").unlink()
    (two_families.folder / "running").touch()
    assert two_families.run("--check") == (1, LACKING)
    assert two_families.run() == (0, "all networks of the lab are there\n")
    assert two_families.calls() == ["--stop", "--start"]


def test_without_rights_it_says_so(two_families: Host) -> None:
    status, said = two_families.run(FAKE_REFUSES="1")
    assert status == 3
    assert f"{IPV6} cannot be set on vmnet1: run this with sudo" in said


def test_vmware_is_told_of_ipv4_alone() -> None:
    lab = load_lab(EXAMPLES / "ipv6/lab.yaml")
    assert not any(":" in value for value in answers(lab).values())
    assert answers(lab)["VNET_1_HOSTONLY_SUBNET"] == "198.18.1.0"
