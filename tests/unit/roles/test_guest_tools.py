"""VMware's guest tools in both images: what is there, what must not be, and when they start."""

from __future__ import annotations

from collections.abc import Callable
from configparser import ConfigParser

import pytest

from lvslab import render
from lvslab.build.image_root import ImageRoot
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from tests.conftest import ROLES

pytestmark = pytest.mark.slow

Tree = Callable[[str], ImageRoot]
UNIT = "/usr/lib/systemd/system/open-vm-tools.service"
TOKENS = ("/usr/bin/VGAuthService", "/usr/lib/systemd/system/vgauth.service")


@pytest.mark.parametrize("role", ROLES)
def test_tools_that_shut_down_and_set_no_clock(program_tree: Tree, role: str) -> None:
    tree = program_tree(role)
    plugins = tree.run(["sh", "-c", "ls /usr/lib/*/open-vm-tools/plugins/vmsvc"]).text.split()
    assert {"libpowerOps.so", "libguestInfo.so"} <= set(plugins)
    assert "libtimeSync.so" not in plugins
    common = tree.run(["sh", "-c", "ls /usr/lib/*/open-vm-tools/plugins/common"]).text
    assert "libvix.so" in common, "no guest operations by vmrun"
    lacking = tree.run(
        ["sh", "-c", "ldd /usr/bin/vmtoolsd /usr/lib/*/open-vm-tools/plugins/*/*.so"]
    )
    assert "libvmtools" in lacking.text and "not found" not in lacking.text


@pytest.mark.parametrize("role", ROLES)
def test_tools_start_under_vmware_only(program_tree: Tree, role: str) -> None:
    """And alone: no service for a vCenter's tokens (a user's password goes to PAM)."""
    tree = program_tree(role)
    assert "ConditionVirtualization=vmware\n" in tree.run(["cat", UNIT]).text + "\n"
    verified = tree.run(["systemd-analyze", "verify", "--man=no", "open-vm-tools.service"])
    assert (verified.status, verified.text) == (0, "")
    script = f"systemctl is-enabled open-vm-tools.service; ls -d {' '.join(TOKENS)} 2>/dev/null"
    assert tree.run(["sh", "-c", script]).text == "enabled"
    assert "pam" in tree.run(["cat", "/etc/pam.d/vmtoolsd"]).text


@pytest.mark.parametrize("role", ROLES)
def test_no_script_takes_the_network_down(lab: Lab, specs: dict[str, RoleSpec], role: str) -> None:
    conf = ConfigParser()
    conf.read_string(render.role_files(lab, specs[role])["/etc/vmware-tools/tools.conf"].content)
    assert dict(conf["powerops"]) == {"suspend-script": "", "resume-script": ""}
