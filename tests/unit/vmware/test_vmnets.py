"""networks.sh and `vmware networks`, against a fake of /etc/vmware/networking.

VMware's own vmware-networks cannot run here. A stand-in does what VMware's documentation
says of it: at --start it gives the host the addresses that the file names. So this shows
what the script does to the file and with what it finds, not that VMware likes the result.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from lvslab.cli import main
from lvslab.model.lab import Lab
from lvslab.render.handout import (
    NETWORKS_PS1,
    NETWORKS_SH,
    PATCH_PS1,
    SHEET,
    answers,
    handout,
    wiring,
)
from tests.conftest import ROLES
from tests.sources import powershell_errors
from tests.strategies import variants

ROOT = Path(__file__).resolve().parents[3]

AS_INSTALLED = """VERSION=1,0
answer VNET_1_DHCP yes
answer VNET_1_DHCP_CFG_HASH 1DD36CDD8B6E5ED6A0B3B8B7B3C1D1A7D6F3E3F7
answer VNET_1_HOSTONLY_NETMASK 255.255.255.0
answer VNET_1_HOSTONLY_SUBNET 172.16.77.0
answer VNET_1_VIRTUAL_ADAPTER yes
answer VNET_5_DHCP yes
answer VNET_5_HOSTONLY_NETMASK 255.255.255.0
answer VNET_5_HOSTONLY_SUBNET 172.16.55.0
answer VNET_5_VIRTUAL_ADAPTER yes
answer VNET_8_DHCP yes
answer VNET_8_HOSTONLY_NETMASK 255.255.255.0
answer VNET_8_HOSTONLY_SUBNET 172.16.88.0
answer VNET_8_NAT yes
answer VNET_8_VIRTUAL_ADAPTER yes
add_nat_portfwd 8 tcp 2022 172.16.88.128 22
add_bridge_mapping eth0 0
"""

# What VMware's program does to the host, for the fakes: an address is the file's, or .1.
FAKE_VMWARE_NETWORKS = r"""#!/bin/sh
echo "$1" >> "$FAKE/calls"
case $1 in
--stop) rm -f "$FAKE"/up-* ;;
--start)
    awk -v up="$FAKE/up-vmnet" '
        $1 == "answer" { split($2, p, "_"); have[$2] = $3; nets[p[2]] = 1 }
        END {
            for (n in nets) {
                if (have["VNET_" n "_VIRTUAL_ADAPTER"] != "yes") continue
                address = have["VNET_" n "_VIRTUAL_ADAPTER_ADDR"]
                subnet = have["VNET_" n "_HOSTONLY_SUBNET"]
                if (address == "") { address = subnet; sub(/0$/, 1, address) }
                print address "/24" > (up n)
            }
        }' "$FAKE/networking" ;;
esac
exit ${FAKE_STATUS:-0}
"""
FAKE_IP = r"""#!/bin/sh
for device; do :; done
if [ "$device" = show ]; then cat "$FAKE/addresses" 2>/dev/null; exit 0; fi
[ -f "$FAKE/up-$device" ] && echo "7: $device    inet $(cat "$FAKE/up-$device") scope global"
exit 0
"""
FAKE_PS = '#!/bin/sh\necho bash\n[ ! -e "$FAKE/running" ] || echo vmware-vmx\n'


def with_nat(lab: Lab, name: str) -> Lab:
    """The lab with another NAT network in the place of VMnet8."""
    text = json.dumps(lab.model_dump(mode="json")).replace('"VMnet8"', f'"{name}"')
    return Lab.model_validate_json(text)


@dataclass
class Host:
    """A host with a VMware that is not real; `shell` runs the script."""

    folder: Path
    shell: str

    @property
    def file(self) -> Path:
        return self.folder / "networking"

    def environment(self) -> dict[str, str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "FAKE": str(self.folder)}

    def run(self, *words: str, **more: str) -> tuple[int, str]:
        script = self.folder / "lab" / NETWORKS_SH
        done = subprocess.run(
            [self.shell, script, "--file", self.file, *words],
            capture_output=True,
            text=True,
            env=self.environment() | more,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    def calls(self) -> list[str]:
        log = self.folder / "calls"
        return log.read_text().split() if log.exists() else []

    def backups(self) -> list[Path]:
        return sorted(self.folder.glob("networking.before-lvslab-*"))


@pytest.fixture(params=variants("dash", "bash"))
def host(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Host:
    shell = shutil.which(request.param)
    assert shell
    programs = {"vmware-networks": FAKE_VMWARE_NETWORKS, "ip": FAKE_IP, "ps": FAKE_PS}
    (tmp_path / "bin").mkdir()
    if awk := shutil.which({"dash": "mawk", "bash": "gawk"}[request.param]):
        (tmp_path / "bin" / "awk").symlink_to(awk)
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    for name, text in handout(lab).items():
        (tmp_path / "lab" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lab" / name).write_text(text)
    made = Host(tmp_path, shell)
    made.file.write_text(AS_INSTALLED)
    return made


def test_the_answers_of_the_articles_lab(lab: Lab) -> None:
    assert answers(lab) == {
        "VNET_1_DHCP": "no",
        "VNET_1_HOSTONLY_NETMASK": "255.255.255.0",
        "VNET_1_HOSTONLY_SUBNET": "192.168.50.0",
        "VNET_1_NAT": "no",
        "VNET_1_VIRTUAL_ADAPTER": "yes",
        "VNET_1_VIRTUAL_ADAPTER_ADDR": "192.168.50.100",
        "VNET_12_DHCP": "no",
        "VNET_12_HOSTONLY_NETMASK": "255.255.255.0",
        "VNET_12_HOSTONLY_SUBNET": "192.168.100.0",
        "VNET_12_NAT": "no",
        "VNET_12_VIRTUAL_ADAPTER": "no",
        "VNET_13_DHCP": "no",
        "VNET_13_HOSTONLY_NETMASK": "255.255.255.0",
        "VNET_13_HOSTONLY_SUBNET": "192.168.200.0",
        "VNET_13_NAT": "no",
        "VNET_13_VIRTUAL_ADAPTER": "no",
    }


def test_check_says_what_is_missing_and_changes_nothing(host: Host) -> None:
    status, said = host.run("--check")
    assert status == 1
    assert "VMnet1: VNET_1_DHCP is yes, should be no\n" in said
    assert "VMnet1: VNET_1_HOSTONLY_SUBNET is 172.16.77.0, should be 192.168.50.0\n" in said
    assert "VMnet12: VNET_12_HOSTONLY_SUBNET is not set, should be 192.168.100.0\n" in said
    assert "vmnet1: this host has no address there, should have 192.168.50.100/24\n" in said
    assert host.file.read_text() == AS_INSTALLED
    assert host.calls() == []
    assert host.backups() == []


def test_it_makes_them_and_reads_them_back(host: Host, lab: Lab) -> None:
    status, said = host.run()
    assert status == 0, said
    assert said.endswith("all networks of the lab are there\n")
    assert host.calls() == ["--stop", "--start"]
    after = host.file.read_text().splitlines()
    assert {f"answer {key} {value}" for key, value in answers(lab).items()} <= set(after)
    ours = re.compile(r"answer VNET_(1|12|13)_")
    others = [line for line in AS_INSTALLED.splitlines() if not ours.match(line)]
    assert [line for line in after if not ours.match(line)] == others
    keys = [line.split()[1] for line in after if line.startswith("answer ")]
    assert len(keys) == len(set(keys))
    [backup] = host.backups()
    assert backup.read_text() == AS_INSTALLED
    assert host.run("--check") == (0, "all networks of the lab are there\n")


def test_twice_is_once(host: Host) -> None:
    assert host.run()[0] == 0
    before = host.file.read_text()
    assert host.run() == (0, "all networks of the lab are there\n")
    assert host.file.read_text() == before
    assert host.calls() == ["--stop", "--start"]
    assert len(host.backups()) == 1


def test_the_status_of_vmwares_program_is_not_a_guide(host: Host) -> None:
    assert host.run(FAKE_STATUS="1")[0] == 0


def test_a_program_that_does_nothing_is_found_out(host: Host) -> None:
    (host.folder / "bin" / "vmware-networks").write_text("#!/bin/sh\nexit 0\n")
    status, said = host.run()
    assert status == 1
    assert "vmnet1: this host has no address there, should have 192.168.50.100/24" in said


@pytest.mark.parametrize(
    ("device", "address", "sentence"),
    [
        # what VMware itself would choose: the place of VIP1, and of DIP1
        ("vmnet1", "192.168.50.1/24", "vmnet1: this host has 192.168.50.1/24 there, should have"),
        ("vmnet12", "192.168.100.1/24", "vmnet12: this host has 192.168.100.1/24 there"),
    ],
)
def test_a_host_with_a_place_of_the_cluster_is_found_and_fixed(
    host: Host, device: str, address: str, sentence: str
) -> None:
    assert host.run()[0] == 0
    (host.folder / f"up-{device}").write_text(address)
    status, said = host.run("--check")
    assert status == 1
    assert sentence in said
    assert host.run()[0] == 0
    assert len(host.backups()) == 1  # the file was right: only the networks were restarted


def test_another_network_with_our_subnet_stops_it(host: Host) -> None:
    text = AS_INSTALLED.replace("172.16.55.0", "192.168.100.0")
    host.file.write_text(text)
    for words in ([], ["--check"]):
        status, said = host.run(*words)
        assert status == 1
        assert "VMnet5 has 192.168.100.0 too, which the lab needs" in said
    assert host.file.read_text() == text
    assert host.calls() == []


@pytest.mark.parametrize(
    ("address", "clashing"),
    [
        ("192.168.50.23/24", "192.168.50.0/24"),
        ("192.168.200.9/30", "192.168.200.0/24"),
        ("192.168.0.1/16", "192.168.100.0/24"),
        ("192.168.51.23/24", ""),
        ("10.0.0.1/8", ""),
    ],
)
def test_an_adapter_with_our_addresses_stops_it(host: Host, address: str, clashing: str) -> None:
    """Many a router at home has 192.168.50.0/24."""
    line = "2: {}    inet {} brd 192.168.50.255 scope global dynamic {}\\       valid_lft 8 sec\n"
    ours = line.format("vmnet1", "192.168.50.100/24", "vmnet1")
    (host.folder / "addresses").write_text(line.format("wlan0", address, "wlan0") + ours)
    status, said = host.run()
    assert status == (1 if clashing else 0), said
    if clashing:
        assert f"wlan0 has {address}, which overlaps {clashing} of the lab: disconnect it" in said
        assert host.file.read_text() == AS_INSTALLED
        assert host.calls() == []
    assert "vmnet1 has" not in said


def test_a_nat_network_that_no_script_makes_is_reported(host: Host, lab: Lab) -> None:
    other = handout(with_nat(lab, "VMnet9"))
    (host.folder / "lab" / NETWORKS_SH).write_text(other[NETWORKS_SH])
    sentence = "VMnet9: is not VMware's NAT network, and this script cannot make it: set it in the"
    for words in (["--check"], []):
        status, said = host.run(*words)
        assert status == 1
        assert sentence in said
    assert "VNET_9" not in host.file.read_text()
    host.file.write_text(host.file.read_text() + "answer VNET_9_NAT yes\n")
    assert host.run() == (0, "all networks of the lab are there\n")
    assert sentence in other[NETWORKS_PS1] and "Test-Nat 'VMnet9'" in other[NETWORKS_PS1]
    assert sentence[6:] not in handout(lab)[NETWORKS_SH] + handout(lab)[NETWORKS_PS1]


def test_running_machines_stop_it(host: Host) -> None:
    (host.folder / "running").touch()
    status, said = host.run()
    assert status == 1
    assert "virtual machines are running: power them off first" in said
    assert host.file.read_text() == AS_INSTALLED
    assert host.calls() == []


def test_a_host_without_vmware(host: Host) -> None:
    host.file.unlink()
    for words in ([], ["--check"]):
        status, said = host.run(*words)
        assert status == 3
        assert "is VMware Workstation installed" in said


def test_a_host_without_its_program(host: Host) -> None:
    (host.folder / "bin" / "vmware-networks").unlink()
    status, said = host.run()
    assert status == 3
    assert "the program vmware-networks is not there" in said
    assert host.file.read_text() == AS_INSTALLED


@pytest.mark.parametrize("words", [["--chek"], ["--file"], ["--folder"], ["now"]])
def test_wrong_usage(host: Host, words: list[str]) -> None:
    assert host.run(*words)[0] == 2
    assert host.file.read_text() == AS_INSTALLED


def test_on_linux_the_vmx_files_name_devices(host: Host) -> None:
    assert host.run()[0] == 0
    for node in ("lvs1", "rs1"):
        text = (host.folder / "lab" / node / f"{node}.vmx").read_text()
        assert 'VMnet12"' not in text
        assert '.vnet = "/dev/vmnet12"\n' in text
        assert text.replace("/dev/vmnet", "VMnet").count("\n") == text.count("\n")
    open_one = host.folder / "lab" / "rs2" / "rs2.vmx"
    open_one.write_text('ethernet1.vnet = "VMnet12"\n')
    open_one.with_name("rs2.vmx.lck").mkdir()
    status, said = host.run()
    assert (status, said) == (
        1,
        f"{open_one}: VMware has it open: power it off, close its tab and run this again\n",
    )
    assert open_one.read_text() == 'ethernet1.vnet = "VMnet12"\n'


def test_check_tells_a_machine_with_windows_names(host: Host) -> None:
    assert host.run()[0] == 0
    rs2 = host.folder / "lab" / "rs2" / "rs2.vmx"
    right = rs2.read_text()
    wrong = right.replace("/dev/vmnet", "VMnet")
    rs2.write_text(wrong)
    status, said = host.run("--check")
    assert (status, said) == (1, f"{rs2}: names VMnet..., on Linux it must be /dev/vmnet...\n")
    assert rs2.read_text() == wrong
    status, said = host.run()
    assert status == 0
    assert "its line in SHA256SUMS is that of the file before" in said
    assert rs2.read_text() == right
    assert host.run("--check")[0] == 0


def test_a_file_that_is_linked_elsewhere_stays_as_it_is_there(host: Host) -> None:
    """The new file takes the old one's place; nothing is written into what others may share."""
    vmx = host.folder / "lab" / "lvs1" / "lvs1.vmx"
    cached = host.folder / "cached"
    os.link(vmx, cached)
    vmx.chmod(0o640)
    before = cached.read_bytes()
    assert host.run()[0] == 0
    assert cached.read_bytes() == before
    assert b"/dev/vmnet12" in vmx.read_bytes()
    assert vmx.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in vmx.parent.iterdir()] == ["lvs1.vmx"]


def test_the_verb_runs_the_same_script(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in host.environment().items():
        monkeypatch.setenv(key, value)
    machines = host.folder / "lab"
    words = ["vmware", "networks", "--file", str(host.file), "--folder", str(machines)]
    assert main.main([*words, "--check"]) == 1
    shown = capsys.readouterr()
    assert "VMnet1: VNET_1_DHCP is yes, should be no" in shown.err
    assert "to fix it: run it as root, without --check" in shown.err
    assert f"{machines}/rs1/rs1.vmx: names VMnet..., on Linux it must be /dev" in shown.err
    assert main.main(words) == 0
    assert '.vnet = "/dev/vmnet12"\n' in (machines / "rs1" / "rs1.vmx").read_text()
    assert main.main([*words, "--check"]) == 0
    assert capsys.readouterr().out.endswith("all networks of the lab are there\n")
    host.file.unlink()
    assert main.main([*words, "--check"]) == 3


def test_the_verb_s_own_folder_is_that_of_the_artifacts(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in host.environment().items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("lvslab.cli.vmware.WORK", host.folder)
    words = ["vmware", "networks", "--file", str(host.file), "--lab", str(ROOT / "lab.yaml")]
    assert main.main(words) == 0  # there are no artifacts: nothing to write
    (host.folder / "artifacts").mkdir()
    (host.folder / "lab").rename(host.folder / "artifacts" / "vmware")
    assert main.main([*words, "--check"]) == 1
    assert "artifacts/vmware/lvs1/lvs1.vmx: names VMnet..." in capsys.readouterr().err
    assert main.main(words) == 0
    assert main.main([*words, "--check"]) == 0
    assert main.main([*words, "--folder", str(host.folder / "nowhere")]) == 2


def test_the_sheet_s_commands_for_the_host_are_for_both_kinds_of_host(lab: Lab) -> None:
    """A student on Windows has PowerShell, where `curl` is another program and `while` another."""
    lines = [line.strip() for line in handout(lab)[SHEET].splitlines()]
    asking = [line for line in lines if "http://" in line]
    windows = [line for line in asking if "curl.exe " in line]
    others = [line for line in asking if "curl.exe" not in line]
    assert len(windows) == len(others) == 3
    for command in windows:
        assert powershell_errors(command + "\n") == []
    for command in others:
        assert subprocess.run(["sh", "-n", "-c", command], capture_output=True).returncode == 0
    # the parser cannot know it: what Windows PowerShell 5.1 has not
    assert not any(word in command for command in windows for word in ("&&", "||", "/dev/null"))


@pytest.mark.parametrize("name", [NETWORKS_PS1, PATCH_PS1])
def test_powershell_is_what_every_windows_has(lab: Lab, wide_lab: Lab, name: str) -> None:
    """There is no PowerShell to run it here: its commands are looked up (test_shipped parses)."""
    for this in (lab, wide_lab, with_nat(lab, "VMnet9")):
        text = handout(this)[name]
        assert text.isascii()  # Windows PowerShell reads a file without BOM in its code page
        own = set(re.findall(r"^function ([A-Za-z]+-[A-Za-z]+)", text, re.M))
        used = set(
            re.findall(r"\b([A-Z][a-z]+-[A-Z][A-Za-z]+)\b", re.sub(r"(?s)<#.*?#>", "", text))
        )
        assert used - own <= CMDLETS
        assert "{{" not in text
        assert "{%" not in text


# The cmdlets of Windows PowerShell 5.1 that the scripts use (Windows 10 and 11 have them all).
CMDLETS = {
    *("Copy-Item", "New-Item", "Join-Path", "Split-Path", "Test-Path", "Resolve-Path"),
    *("ForEach-Object", "Where-Object", "Select-Object", "New-Object", "Select-String"),
    *("Sort-Object", "Get-Item", "Remove-Item"),
    *("Get-ChildItem", "Get-Date", "Get-ItemProperty", "Get-Process", "Start-Process"),
    "Stop-Process",
    *("Get-NetAdapter", "Get-NetIPAddress", "New-NetIPAddress", "Remove-NetIPAddress"),
    *("Set-NetIPInterface", "Set-StrictMode", "Out-Null", "Write-Output", "Write-Verbose"),
}


def test_the_windows_script_waits_for_no_program_for_ever(lab: Lab) -> None:
    for name in (NETWORKS_PS1, PATCH_PS1):
        text = handout(lab)[name]
        assert not re.search(r"Start-Process .*-Wait\b", text)
        assert text.count("Start-Process ") == text.count(".WaitForExit(1000 * $Seconds)")
    assert "did not end within $Seconds s and was stopped" in handout(lab)[NETWORKS_PS1]


def test_the_windows_script_looks_for_clashes_before_it_changes_anything(lab: Lab) -> None:
    """Of VMware's own networks, in the same words as the Linux script; and of other adapters."""
    text = handout(lab)[NETWORKS_PS1]
    sentence = "too, which the lab needs: give it another subnet first"
    assert sentence in text and sentence in handout(lab)[NETWORKS_SH]
    assert "which overlaps $($net.Name)" in text
    before, found, after = text.partition('if ($clashes) { Stop-With 1 ($clashes -join "`n") }')
    assert found
    assert "$clashes = @(Get-Taken) + @(Get-Clash)" in before
    assert not re.search(r"^Save-Backup|^Invoke-Vnetlib|^Set-HostAddress", before, re.M)
    assert re.search(r"^Save-Backup$", after, re.M)
    report = text.partition("function Show-Report {")[2].partition("\n}\n")[0]
    assert "@(Get-Clash) + @(Get-Problem)" in report  # so that -Check tells them, too


def test_the_windows_script_knows_the_wiring_of_every_role(lab: Lab, wide_lab: Lab) -> None:
    """Cards are hashtables: `@( @('a', 'b') )` would be two texts, not one pair."""
    one_card = lab.model_copy(
        update={
            "nodes": {
                name: node.model_copy(update={"interfaces": {"eth0": "VMnet3"}})
                if node.role == "real-server"
                else node
                for name, node in lab.nodes.items()
            },
            "networks": {**lab.networks, "VMnet3": lab.networks["VMnet12"]},
        }
    )
    assert wiring(one_card, "real-server") == [("custom", "VMnet3")]
    for this in (lab, wide_lab, one_card):
        text = handout(this)[PATCH_PS1]
        for role in ROLES:
            block = text.partition(f"    '{role}' = @(\n")[2].partition("    )\n")[0]
            rows = re.findall(r"^ +@\{ Kind = '(\w+)'; Vnet = '(\w*)' \}\n", block, re.M)
            assert rows == wiring(this, role)
            assert block.count("\n") == len(rows)


def test_the_windows_script_wants_what_the_linux_one_wants(lab: Lab) -> None:
    text = handout(lab)[NETWORKS_PS1]
    rows = re.findall(
        r"Name = '(\w+)'; Subnet = '([\d.]+)'; Mask = '([\d.]+)'; Prefix = (\d+); "
        r"HostAddress = '([\d.]*)'",
        text,
    )
    assert rows == [
        ("VMnet1", "192.168.50.0", "255.255.255.0", "24", "192.168.50.100"),
        ("VMnet12", "192.168.100.0", "255.255.255.0", "24", ""),
        ("VMnet13", "192.168.200.0", "255.255.255.0", "24", ""),
    ]


# --- networks that somebody uses for something else

NAT = "has VMware's NAT now, and a network with NAT is not changed"
BRIDGED = "a real network, where VRRP must not get"


def wanted(lab: Lab) -> str:
    """The file as the script leaves it on a host that has nothing else."""
    return "VERSION=1,0\n" + "".join(f"answer {k} {v}\n" for k, v in answers(lab).items())


def up(host: Host) -> None:
    (host.folder / "up-vmnet1").write_text("192.168.50.100/24\n")


@pytest.mark.parametrize(
    ("lines", "card"),
    [
        ("add_bridge_mapping eth0 12", "eth0"),
        ("add_bridge_mapping\twlan0\t12  ", "wlan0"),
        ("  Add_Bridge_Mapping enp0s31f6 vmnet12", "enp0s31f6"),
        ('add_bridge_mapping "br0" "/dev/vmnet12"', "br0"),
        ("add_bridge_mapping eth0 12 # the office", "eth0"),
        ("answer VNET_12_INTERFACE eth3", "eth3"),
        ("answer VNL_DEFAULT_BRIDGE_VNET 12", "whatever card there is"),
        ("remove_bridge_mapping eth0\nadd_bridge_mapping eth0 12", "eth0"),
        ("add_bridge_mapping eth0 0\nadd_bridge_mapping eth1 12", "eth1"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_bridged_network_is_reported_and_left_alone(
    host: Host, lab: Lab, lines: str, card: str, end: str
) -> None:
    text = (wanted(lab) + lines + "\n").replace("\n", end)
    host.file.write_bytes(text.encode())
    up(host)
    for words in (["--check"], []):
        status, said = host.run(*words)
        assert status == 1
        assert f"VMnet12: is bridged to {card}, {BRIDGED}" in said
        assert "VMnet13" not in said and "VMnet1:" not in said
    assert host.file.read_bytes() == text.encode()
    assert host.calls() == [] and host.backups() == []


@pytest.mark.parametrize(
    "lines",
    [
        "add_bridge_mapping eth0 0",
        "add_bridge_mapping eth0 2\nadd_bridge_mapping eth1 112",
        "add_bridge_mapping eth0 12\nremove_bridge_mapping eth0",
        "add_bridge_mapping eth0 12\nadd_bridge_mapping eth0 0",
        "# add_bridge_mapping eth0 12",
        "answer VNL_DEFAULT_BRIDGE_VNET -1",
        "answer VNL_DEFAULT_BRIDGE_VNET 0",
        "answer VNET_12_INTERFACE eth0\nremove_answer VNET_12_INTERFACE",
        "answer VNET_2_INTERFACE eth0",
        "answer VNET_8_NAT yes\nadd_nat_portfwd 8 tcp 12 172.16.88.128 12",
        "answer VNET_12_NAT no\nanswer VNET_2_NAT yes",
        "answer VNET_12_NAT yes\nremove_answer VNET_12_NAT",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_others_networks_are_no_matter(host: Host, lab: Lab, lines: str, end: str) -> None:
    """The control: a bridge, a NAT or a remark that is not about the lab's networks."""
    host.file.write_bytes((wanted(lab) + lines + "\n").replace("\n", end).encode())
    up(host)
    assert host.run("--check") in [
        (0, "all networks of the lab are there\n"),
        (
            1,
            "\n".join(f"{v}: names VMnet..., on Linux it must be /dev/vmnet..." for v in vmx(host))
            + "\n",
        ),
    ]


def vmx(host: Host) -> list[Path]:
    return sorted((host.folder / "lab").glob("*/*.vmx"))


@pytest.mark.parametrize(
    "line",
    [
        "answer VNET_12_NAT yes",
        "answer\tVNET_12_NAT\tYES",
        "  ANSWER vnet_12_nat True  ",
        'answer VNET_12_NAT "yes" # mine',
        "answer VNET_12_NAT no\nanswer VNET_12_NAT yes",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_network_with_nat_is_reported_and_left_alone(host: Host, line: str, end: str) -> None:
    text = (AS_INSTALLED + line + "\n").replace("\n", end)
    host.file.write_bytes(text.encode())
    for words in (["--check"], []):
        status, said = host.run(*words)
        assert status == 1
        assert f"VMnet12: {NAT}" in said
        assert "VMnet12: VNET" not in said
    assert host.file.read_bytes() == text.encode()
    assert host.calls() == [] and host.backups() == []


def host_only_vmnet8(lab: Lab) -> Lab:
    """The lab with VMnet8 as one more host-only network."""
    data = lab.model_dump(mode="json")
    data["networks"]["VMnet8"] = {"cidr": "192.168.8.0/24"}
    return Lab.model_validate(data)


def test_vmware_s_own_nat_stays(host: Host, lab: Lab) -> None:
    """On every fresh host VMnet8 has it, and the other machines go out through it."""
    (host.folder / "lab" / NETWORKS_SH).write_text(handout(host_only_vmnet8(lab))[NETWORKS_SH])
    for words in (["--check"], []):
        status, said = host.run(*words)
        assert status == 1
        assert f"VMnet8: {NAT}" in said
    assert host.file.read_text() == AS_INSTALLED
    assert host.calls() == []
    host.file.write_text(AS_INSTALLED.replace("VNET_8_NAT yes", "VNET_8_NAT no"))
    assert host.run()[0] == 0  # the control: without NAT it is a network as any other
    assert "answer VNET_8_HOSTONLY_SUBNET 192.168.8.0\n" in host.file.read_text()


def test_the_verb_says_the_same(
    host: Host,
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for key, value in host.environment().items():
        monkeypatch.setenv(key, value)
    path = tmp_path / "lab.yaml"
    text = (ROOT / "lab.yaml").read_text()
    path.write_text(text.replace("{kind: nat}", "{cidr: 192.168.8.0/24}"))
    host.file.write_text(AS_INSTALLED + "add_bridge_mapping eth0 12\n")
    words = ["vmware", "networks", "--file", str(host.file), "--lab", str(path)]
    words += ["--folder", str(tmp_path)]
    for more in ([], ["--check"]):
        assert main.main([*words, *more]) == 1
        said = capsys.readouterr().err
        assert f"VMnet8: {NAT}" in said
        assert f"VMnet12: is bridged to eth0, {BRIDGED}" in said
        assert "to fix it" not in said  # as root it would change nothing either
    assert host.file.read_text() == AS_INSTALLED + "add_bridge_mapping eth0 12\n"
    assert main.main(["validate", "--lab", str(path)]) == 0
    shown = capsys.readouterr()
    assert re.search(r"^warning: \S*lab\.yaml:\d+:3: VMnet8 is host-only here", shown.err, re.M)
    assert shown.out.endswith("lab.yaml: no error\n")
    assert main.main(["validate", "--lab", str(ROOT / "lab.yaml")]) == 0
    assert "warning" not in capsys.readouterr().err


def spelt_otherwise(text: str) -> str:
    """The same file as a person may have written it, with every kind of blank and quote."""
    lines = []
    for number, line in enumerate(text.splitlines()):
        verb, *rest = line.split()
        if verb == "answer" and len(rest) == 2:
            key, value = rest
            value = {"yes": "YES", "no": "No"}.get(value, value)
            line = [
                f"answer\t{key}\t{value}",
                f"  Answer  {key.lower()}   {value}  ",
                f'answer "{key}" "{value}"',
                f"answer {key} {value} # as the lab wants it",
            ][number % 4]
        lines.append(line)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_file_in_other_words(host: Host, lab: Lab, end: str) -> None:
    """What is right is right in any spelling, and what is wrong is found and written again."""
    text = spelt_otherwise(wanted(lab) + "answer VNET_5_DHCP yes\n").replace("\n", end)
    host.file.write_bytes(text.encode())
    up(host)
    status, said = host.run()
    assert status == 0 and "backup" not in said, said
    assert host.file.read_bytes() == text.encode()
    wrong = text.replace("192.168.200.0", "192.168.201.0")
    host.file.write_bytes(wrong.encode())
    status, said = host.run("--check")
    assert status == 1
    assert "VNET_13_HOSTONLY_SUBNET is 192.168.201.0, should be 192.168.200.0" in said
    assert host.run()[0] == 0
    after = host.file.read_bytes().decode()
    assert "answer VNET_13_HOSTONLY_SUBNET 192.168.200.0\n" in after
    others = [line for line in text.split("\n") if "VNET_5" in line.upper()]
    assert others == [line for line in after.split("\n") if "VNET_5" in line.upper()]
    assert after.upper().count("VNET_13_HOSTONLY_SUBNET") == 1
    assert host.run("--check")[0] == 0


def test_what_was_taken_back_is_written_again(host: Host, lab: Lab) -> None:
    """`remove_answer` after an answer: VMware reads the file from top to bottom."""
    host.file.write_text(wanted(lab) + "remove_answer VNET_12_HOSTONLY_SUBNET\n")
    up(host)
    status, said = host.run("--check")
    assert status == 1
    assert "VNET_12_HOSTONLY_SUBNET is not set, should be 192.168.100.0" in said
    assert host.run()[0] == 0
    assert "remove_answer" not in host.file.read_text()
    assert host.run("--check")[0] == 0


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_file_keeps_its_owner_and_mode_and_a_link_stays_one(host: Host, mode: int) -> None:
    elsewhere = host.folder / "elsewhere"
    host.file.rename(elsewhere)
    host.file.symlink_to(elsewhere)
    elsewhere.chmod(mode)
    if os.geteuid() == 0:
        os.chown(elsewhere, 1234, 2345)
    before = elsewhere.stat()
    assert host.run()[0] == 0
    after = elsewhere.stat()
    assert host.file.is_symlink()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert "192.168.50.0" in elsewhere.read_text()


@pytest.mark.parametrize(
    "spelling",
    ['ethernet1.vnet = "VMnet12"', 'Ethernet1.VNet="vmnet12"', "\tethernet1.vnet = VMNET12 # x"],
)
def test_names_of_windows_in_any_spelling(host: Host, spelling: str) -> None:
    assert host.run()[0] == 0
    rs2 = host.folder / "lab" / "rs2" / "rs2.vmx"
    others = rs2.read_text().replace('ethernet1.vnet = "/dev/vmnet12"\n', "")
    rs2.write_text(others + spelling + "\n")
    assert host.run("--check")[0] == 1
    assert host.run()[0] == 0
    assert host.run("--check")[0] == 0
    assert rs2.read_text().startswith(others)
    changed = rs2.read_text()[len(others) :]
    assert changed == re.sub("(?i)vmnet12", "/dev/vmnet12", spelling) + "\n"


def test_a_machine_that_is_a_link_stays_one(host: Host) -> None:
    vmx = host.folder / "lab" / "lvs1" / "lvs1.vmx"
    elsewhere = host.folder / "machine.vmx"
    vmx.rename(elsewhere)
    vmx.symlink_to(elsewhere)
    assert host.run()[0] == 0
    assert vmx.is_symlink()
    assert '"/dev/vmnet12"' in elsewhere.read_text()


def test_the_windows_script_changes_no_network_in_use(lab: Lab) -> None:
    """In the same words as the Linux script, before anything is changed, and with -Check."""
    text = handout(lab)[NETWORKS_PS1]
    linux = handout(lab)[NETWORKS_SH]
    for sentence in (
        "NAT now, and a network with NAT is not changed: ",
        "a real network, where VRRP must not get: ",
        "remove its NAT in the Virtual Network Editor, or ask for a lab with another VMnet",
        "make it host-only in the Virtual Network Editor, or ask for a lab with another VMnet",
    ):
        assert sentence in text and sentence in linux
    before, found, after = text.partition('if ($clashes) { Stop-With 1 ($clashes -join "`n") }')
    assert found and "$clashes = @(Get-Taken) + @(Get-Clash)" in before
    assert not re.search(r"^Save-Backup|^Invoke-Vnetlib|^Set-HostAddress", before, re.M)
    report = text.partition("function Show-Report {")[2].partition("\n}\n")[0]
    assert "@(Get-Taken) + @(Get-Clash) + @(Get-Problem)" in report
    assert "'remove', 'nat'" not in text
    assert "Get-Taken" not in after
