"""`lab up --engine vmware`: the verbs against the stand-in for vmrun, which is a program.

The host is a network namespace with an adapter on VMnet1, as VMware would make it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lvslab.cli import main
from lvslab.core.errors import MissingError, StageError
from lvslab.lab import checklist
from lvslab.lab.agents import guest_agent, guest_job
from lvslab.lab.cluster import Cluster
from lvslab.lab.namespace import Namespace
from lvslab.lab.vmrun import trial_report, vmrun_program
from lvslab.lab.vmrun.guest_operations import PASSWORD
from lvslab.lab.vmrun.host_network import owns
from lvslab.lab.vmrun.vmrun_engine import VmrunEngine
from lvslab.lab.vmrun.vmrun_program import Vmrun
from lvslab.model.lab import Lab
from tests import fakevmrun
from tests.bare import ILL, WELL, Guests, end_of, serve
from tests.strategies import variants

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root here")
SECRET = "correct-horse"

# labcheck of a node: what the file beside it says. systemctl: which services are stopped.
_LABCHECK = "#!/bin/sh\ncat '{}'\n"
_SYSTEMCTL = "#!/bin/sh\necho \"$@\" >>'{}'\n"
_SAYS = "#!/bin/sh\ncat <<'END'\n{}\nEND\n"


@dataclass
class VmwareLab:
    """A lab of folders on a host whose vmrun is the stand-in."""

    lab: Lab
    host: fakevmrun.Host
    artifacts: Path

    def vmx(self, node: str) -> Path:
        return self.artifacts / "vmware" / node / f"{node}.vmx"

    def machine(self, node: str) -> fakevmrun.FakeMachine:
        with self.host.machine(self.vmx(node)) as machine:
            return machine

    def finds(self, node: str, finding: dict[str, object]) -> None:
        Path(self.host.folder, f"{node}.findings").write_text(json.dumps([finding]))

    def verb(self, *words: str) -> int:
        return main.main(["lab", *words])

    def up(self) -> int:
        return self.verb("up", "--engine", "vmware", "--artifacts", str(self.artifacts))


def equip(this: VmwareLab) -> None:
    """Give the guests what the lab asks them for."""
    guests = Guests(this.lab)
    for node in this.lab.nodes:
        addresses = guests.answer(node, {"argv": ["ip", "-json", "address"]})[1]
        table = guests.answer(node, {"argv": ["ipvsadm", "-Ln"]})[1]
        findings = Path(this.host.folder, f"{node}.findings")
        this.finds(node, WELL)
        install = this.host.install
        install(node, "/usr/local/bin/labcheck", _LABCHECK.format(findings))
        install(node, "systemctl", _SYSTEMCTL.format(Path(this.host.folder, f"{node}.systemctl")))
        install(node, "ip", _SAYS.format(addresses))
        install(node, "ipvsadm", _SAYS.format(table))
        install(node, "true", "#!/bin/sh\n")
        install(node, "cat", "#!/bin/sh\n")  # of /proc/net/ip_vs_conn: no connection is open
        for name in ("status", "result"):
            install(node, f"/run/cloud-init/{name}.json", "{}")


@pytest.fixture(scope="module")
def vmware(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VmwareLab]:
    """A lab that is up, on a host with VMware."""
    folder = tmp_path_factory.mktemp("v")
    host = fakevmrun.install(folder / "v", "student", SECRET)
    client = folder / "labcheck"
    client.write_text(f"import json\nprint(json.dumps([{WELL!r}]))\n")
    this = VmwareLab(lab, host, fakevmrun.make_folders(lab, folder / "a"))
    equip(this)
    namespace = Namespace(f"lvslab-vmware-{os.getpid()}")
    namespace.create()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder / 'v/bin'}:{os.environ['PATH']}")
        patch.setenv("LVSLAB_STATE", str(folder / "s"))
        patch.setenv("LVSLAB_CACHE", str(folder / "c"))
        patch.setenv(PASSWORD, SECRET)
        patch.setattr(checklist, "_PROGRAM", client)
        try:
            with namespace.inside():
                for words in (
                    "link add vmnet1 type bridge",
                    "addr add 192.168.50.100/24 dev vmnet1",
                    "link set vmnet1 up",
                ):
                    subprocess.run(["ip", *words.split()], check=True)
                assert this.verb("up", "--engine", "vmware", "--artifacts", str(folder / "a")) == 0
                yield this
        finally:
            namespace.remove()


@pytest.mark.slow
@root_only
def test_status_shows_what_the_guests_say(
    vmware: VmwareLab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert all(vmware.machine(node).on for node in vmware.lab.nodes)
    assert vmware.verb("status", "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[0])
    assert {node["state"] for node in found["nodes"]} == {"running"}
    assert all(node["answers"] for node in found["nodes"])
    assert [i["held_by"] for i in found["instances"]] == [["lvs1"], ["lvs1"], ["lvs2"], ["lvs2"]]
    assert {i["advertised_by"] for i in found["instances"]} == {None}  # nobody can hear them
    assert vmware.verb("status") == 0
    assert "heard" not in capsys.readouterr().out


@pytest.mark.slow
@root_only
def test_a_bad_checklist_is_seen(vmware: VmwareLab, capsys: pytest.CaptureFixture[str]) -> None:
    vmware.finds("rs1", ILL)
    assert vmware.verb("check", "--wait", "0") == 1
    said = capsys.readouterr()
    assert "✗ 1 rs1    it is alive: it is not" in said.out
    assert "1 of 5 checks fail" in said.err
    vmware.finds("rs1", WELL)
    assert vmware.verb("check", "--wait", "0") == 0


@pytest.mark.slow
@root_only
def test_every_fault_that_vmrun_can_make_is_made_seen_and_healed(
    vmware: VmwareLab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vmware.verb("kill", "rs2") == 0 and not vmware.machine("rs2").on
    assert vmware.verb("pause", "rs1") == 0 and vmware.machine("rs1").paused
    assert vmware.verb("cut", "lvs1", "eth2") == 0
    assert vmware.machine("lvs1").out == ["ethernet2"]
    assert vmware.verb("stop-service", "lvs2", "keepalived") == 0
    done = Path(vmware.host.folder, "lvs2.systemctl")
    assert done.read_text() == "stop keepalived\n"
    capsys.readouterr()
    assert vmware.verb("heal") == 0
    healed = capsys.readouterr().out
    for fault in (
        "rs2 is off", "rs1 is paused", "lvs1 eth2: cable pulled", "lvs2: keepalived stopped",
    ):  # fmt: skip
        assert f"healed: {fault}" in healed
    assert vmware.machine("rs2").on and not vmware.machine("rs1").paused
    assert vmware.machine("lvs1").out == []
    assert done.read_text().splitlines()[-1] == "start keepalived"
    assert vmware.verb("heal") == 0
    assert "nothing was broken" in capsys.readouterr().out


@pytest.mark.slow
@root_only
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("cut lvs1 eth1 --silent", "dropping frames with the link up is not possible here"),
        ("split lvs1 lvs2", "keeping multicast away (a split brain) is not possible here"),
        ("console lvs1", "a console is not possible here"),
        ("ssh lvs1", "ssh with the lab's key is not possible here"),
        ("capture VMnet1", "a capture is not possible here"),
        ("watch --port 0", "a live picture is not possible here"),
    ],
)
def test_what_vmrun_cannot_do_is_refused_with_the_reason(
    vmware: VmwareLab, words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vmware.verb(*words.split()) == 4
    said = capsys.readouterr().err
    assert says in said and "to fix it: " in said
    assert vmware.verb("heal") == 0
    assert "nothing was broken" in capsys.readouterr().out


@pytest.mark.slow
@root_only
def test_a_checkpoint_is_a_snapshot_of_each_machine(vmware: VmwareLab) -> None:
    assert vmware.verb("save", "before") == 0
    boots = {node: vmware.machine(node).boots for node in vmware.lab.nodes}
    assert set(vmware.machine("lvs1").snapshots) == {"lvslab-before"}
    assert not vmware.machine("lvs1").paused
    assert vmware.verb("cut", "lvs1", "eth1") == vmware.verb("kill", "rs1") == 0
    assert vmware.verb("restore", "before") == 0
    assert {node: vmware.machine(node).boots for node in vmware.lab.nodes} == boots
    assert all(vmware.machine(node).on for node in vmware.lab.nodes)
    assert vmware.verb("restore", "never") == 2


@pytest.mark.slow
@root_only
def test_the_client_is_this_host(vmware: VmwareLab, tmp_path: Path) -> None:
    """The verb replaces its process, so it has one of its own."""
    command = [sys.executable, "-m", "lvslab.cli", "lab", "client", "--", "ip", "address"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "192.168.50.100/24" in done.stdout


@pytest.mark.slow
@root_only
def test_a_second_start_starts_what_is_off_and_nothing_else(vmware: VmwareLab) -> None:
    boots = vmware.machine("lvs1").boots
    assert vmware.verb("kill", "rs2") == 0
    assert vmware.up() == 0
    assert vmware.machine("rs2").on and vmware.machine("lvs1").boots == boots


@pytest.fixture
def webs(vmware: VmwareLab) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """What answers at the virtual servers; the directors' addresses are this host's."""
    made = {}
    for name in vmware.lab.virtual_servers:
        address, _ = vmware.lab.endpoint(name)
        subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "vmnet1"], check=True)
        made[name] = serve(vmware.lab, name)
    yield made
    for web in made.values():
        end_of(web)


@root_only
@pytest.mark.slow
def test_failover_is_measured_from_this_host_and_leaves_out_what_is_refused(
    vmware: VmwareLab,
    webs: dict[str, subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All answers are this host's own, so nothing is lost; a server that is gone is noticed."""
    assert vmware.verb("failover", "silent-lvs1-eth2", "crash", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (found,) = (event for event in events if event["event"] == "experiment")
    assert found["name"] == "crash" and found["problems"] == []
    (run,) = found["runs"]
    assert run["owners"] == run["moves"] == {} and run["takeover"] is None  # nobody hears them
    assert all(view["total"] > 100 and not view["lost"] for view in run["views"].values())
    (left,) = (event for event in events if event["event"] == "stage-failed")
    assert left["stage"] == "silent-lvs1-eth2"
    assert "left out: dropping frames with the link up is not possible here" in left["message"]
    assert ["stop", "hard"] in [[words[2], words[-1]] for words in vmware.host.calls()]

    assert vmware.verb("failover", "silent-lvs1-eth2") == 4
    assert "dropping frames with the link up is not possible here" in capsys.readouterr().err
    webs["web1"].kill()
    monkeypatch.setattr("lvslab.measure.failover._CALM_LIMIT", 1.0)
    assert vmware.verb("failover", "crash") == 4
    assert "did not become calm" in capsys.readouterr().err


@pytest.mark.slow
@root_only
def test_a_wrong_password_is_said_and_never_shown(
    vmware: VmwareLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PASSWORD, "wrong-horse")
    assert vmware.verb("check", "--wait", "0") == 1
    said = capsys.readouterr()
    assert "Invalid user name or password for the guest OS" in said.out
    assert "wrong-horse" not in said.out + said.err
    monkeypatch.delenv(PASSWORD)
    assert vmware.verb("stop-service", "lvs1", "keepalived") == 2
    assert f"set {PASSWORD}" in capsys.readouterr().err


@pytest.mark.slow
@root_only
def test_down_leaves_the_folders_and_the_users_own_snapshots(vmware: VmwareLab) -> None:
    with vmware.host.machine(vmware.vmx("lvs1")) as machine:
        machine.snapshots["mine"] = {"on": False}
    assert vmware.verb("down") == 0
    assert not any(vmware.machine(node).on for node in vmware.lab.nodes)
    assert set(vmware.machine("lvs1").snapshots) == {"mine"}
    assert not Cluster(vmware.lab).state.folder.exists()
    left = sorted(path.name for path in vmware.vmx("lvs1").parent.iterdir())
    assert left == ["lvs1.iso", "lvs1.vmdk", "lvs1.vmx"]


# --- the self-test


_IN_GUEST = '#!/bin/sh\nexec {} "{}$1"\n'


@pytest.fixture
def alone(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VmwareLab:
    """Folders on a host with VMware, whose guests have what a self-test asks."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'v/bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("LVSLAB_CACHE", str(tmp_path / "c"))
    monkeypatch.setenv("LVSLAB_STATE", str(tmp_path / "s"))
    monkeypatch.setenv(PASSWORD, SECRET)
    host = fakevmrun.install(tmp_path / "v", "student", SECRET)
    this = VmwareLab(lab, host, fakevmrun.make_folders(lab, tmp_path / "a"))
    equip(this)
    for program in ("cat", "touch"):
        host.install("lvs1", program, _IN_GUEST.format(f"/bin/{program}", host.guest("lvs1")))
    host.install("lvs1", "id", "#!/bin/sh\necho 0\n")
    Path(host.guest("lvs1"), "proc").mkdir()
    return this


def selftest(this: VmwareLab, report: Path, *more: str) -> int:
    where = ["--engine", "vmware", "--artifacts", str(this.artifacts), "-o", str(report)]
    return this.verb("selftest", *where, *more)


@pytest.mark.slow
def test_the_selftest_does_each_thing_once_and_leaves_nothing(
    alone: VmwareLab, tmp_path: Path
) -> None:
    report = tmp_path / "report.txt"
    assert selftest(alone, report) == 0
    lines = report.read_text().splitlines()
    assert sum(line.startswith("ok ") for line in lines) == 12
    assert not any(word in report.read_text() for word in ("FAILED", "not tried"))
    assert "vmrun: 1.17.0 build-0, -T ws" in lines
    done = {
        words[2] if words[2] != "-gu" else words[6]
        for words in alone.host.calls()
        if len(words) > 2
    }
    assert done == set(fakevmrun.COMMANDS) - {"getGuestIPAddress"} | {"list"}
    machine = alone.machine("lvs1")
    assert not machine.on and not machine.snapshots and not machine.out


@pytest.mark.slow
def test_a_dry_run_shows_the_same_calls_and_makes_none(
    alone: VmwareLab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert selftest(alone, tmp_path / "r", "--dry-run") == 0
    shown = capsys.readouterr().out
    for command in set(fakevmrun.COMMANDS) - {"getGuestIPAddress", "deleteSnapshot"}:
        assert f" {command} " in shown
    assert SECRET not in shown and "-gp '***'" in shown
    assert alone.host.calls() == [] and not (tmp_path / "r").exists()
    where = ["--engine", "vmware", "--artifacts", str(alone.artifacts)]
    assert alone.verb("up", *where, "--dry-run") == 0
    shown = capsys.readouterr().out
    for node in alone.lab.nodes:
        assert f"start {alone.vmx(node)} nogui" in shown
    assert alone.host.calls() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "step"),
    variants(
        ("id", "a program runs as root in the guest"),
        ("labcheck", "labcheck answers"),
        ("carrier", "a cable is pulled and put in"),
        ("boot", "back to the snapshot, with its memory"),
        fast=2,
    ),
)
def test_a_step_that_does_not_happen_is_a_failure(
    alone: VmwareLab, tmp_path: Path, spoil: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvslab.lab.vmrun.vmrun_trial._SOON", 0.1)
    install, root = alone.host.install, alone.host.guest("lvs1")
    if spoil == "id":
        install("lvs1", "id", "#!/bin/sh\necho 1000\n")
    elif spoil == "labcheck":
        install("lvs1", "/usr/local/bin/labcheck", "#!/bin/sh\nexit 3\n")
    else:
        wrong = {"carrier": "/sys/class/net/eth1/carrier", "boot": "boot_id"}[spoil]
        text = f'#!/bin/sh\ncase $1 in *{wrong}) date +%N;; *) exec /bin/cat "{root}$1";; esac\n'
        install("lvs1", "cat", text)
    assert selftest(alone, tmp_path / "r") == 1
    failed = [line for line in (tmp_path / "r").read_text().splitlines() if "FAILED" in line]
    assert len(failed) == 1 and failed[0].endswith(step)
    assert not alone.machine("lvs1").on


@pytest.mark.slow
def test_without_the_tools_the_other_steps_are_not_tried(
    alone: VmwareLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvslab.lab.vmrun.vmrun_trial._BOOT_SECONDS", 0.1)
    monkeypatch.setenv(PASSWORD, "wrong")
    assert selftest(alone, tmp_path / "r") == 1
    text = (tmp_path / "r").read_text()
    assert text.count("not tried ") == 10 and "Invalid user name or password" in text
    assert not alone.machine("lvs1").on


@pytest.mark.slow
def test_a_machine_that_is_on_is_left_alone(
    alone: VmwareLab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with alone.host.machine(alone.vmx("lvs1")) as machine:
        machine.on = True
    assert selftest(alone, tmp_path / "r") == 2
    assert "lvs1: the machine is on" in capsys.readouterr().err
    assert alone.machine("lvs1").on


PRIVATE = (
    "Cannot open VM: /home/jdoe/My Machines/lvs1.vmx, C:\\Users\\jdoe\\x.vmx on marvin "
    "for jdoe@marvin.example (00:0c:29:aa:bb:cc, 10.1.2.3, fe80::1:2) at 192.168.50.1"
)


def leaks(text: str) -> list[str]:
    """What a report must not have."""
    private = (
        "jdoe",
        "My Machines",
        "marvin",
        "00:0c:29:aa:bb:cc",
        "10.1.2.3",
        "fe80::1:2",
        "Users",
    )
    return [word for word in private if word in text]


@pytest.mark.slow
def test_the_report_has_nothing_of_a_person(
    alone: VmwareLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a control: without the scrubbing all of it is there."""
    says = Path(alone.host.folder, "bin/vmrun")
    says.write_text(
        f"#!/bin/sh\ncase $3 in list) echo;; *) echo 'Error: {PRIVATE}'; exit 255;; esac\n"
    )
    monkeypatch.setattr(trial_report, "names_of_this_host", lambda: {"jdoe", "marvin"})
    assert selftest(alone, tmp_path / "clean") == 1
    text = (tmp_path / "clean").read_text()
    assert leaks(text) == [] and "192.168.50.1" in text and "Cannot open VM" in text
    monkeypatch.setattr(trial_report, "scrubbed", lambda said, lab, names: said)
    assert selftest(alone, tmp_path / "raw") == 1
    assert len(leaks((tmp_path / "raw").read_text())) == 7


def test_the_names_of_this_host_are_known() -> None:
    names = trial_report.names_of_this_host()
    assert {Path.home().name, os.uname().nodename} <= names


def test_the_labs_own_addresses_stay(lab: Lab) -> None:
    mac = lab.mac("lvs1", "eth1")
    said = f"{mac} 192.168.100.10 at 12:30:59, status 1.17.0"
    assert trial_report.scrubbed(said, lab, {"al"}) == said


# --- vmrun itself


@pytest.mark.parametrize(
    ("system", "release", "places", "product", "windows"),
    [
        ("linux", "6.1.0", {"vmrun"}, "ws", False),
        ("darwin", "23.1.0", set(vmrun_program._FUSION[1:]), "fusion", False),
        ("linux", "5.15-microsoft-standard-WSL2", set(vmrun_program._WINDOWS[1:]), "ws", True),
    ],
)
def test_vmrun_is_found_in_path_and_in_its_places(
    system: str,
    release: str,
    places: set[str],
    product: str,
    windows: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.release", lambda: release)
    monkeypatch.setattr("shutil.which", lambda name, path: name if name in places else None)
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) in places)
    found = Vmrun.found()
    assert (found.path, found.product, found.windows) == (*places, product, windows)
    places.clear()
    with pytest.raises(MissingError, match="there is no vmrun on this host") as caught:
        Vmrun.found()
    assert caught.value.status == 3 and "PATH" in caught.value.hint


def script(path: Path, text: str) -> Vmrun:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Vmrun(str(path))


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (
            "echo 'Error: The operation was canceled'; exit 255",
            "vmrun pause: The operation was canc",
        ),
        ("echo 'Error: The operation was canceled'", "vmrun pause: The operation was canceled"),
        ("exit 3", "vmrun pause: status 3"),
        ("echo no >&2; exit 1", "vmrun pause: no"),
        ("sleep 10", "vmrun pause did not end within 0 s"),
    ],
)
def test_a_call_that_fails_has_vmruns_own_words(tmp_path: Path, does: str, says: str) -> None:
    with pytest.raises(StageError, match=says) as caught:
        script(tmp_path / "vmrun", does).ask("pause", "x.vmx", where="rs1", timeout=0.3)
    assert caught.value.where == "rs1"
    assert script(tmp_path / "vmrun", "echo fine").ask("pause", "x.vmx") == "fine"


def test_in_wsl_windows_names_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "wslpath", '[ "$1" = -w ] && [ -e "$2" ] && echo "D:\\\\lab\\\\${2##*/}"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    vmrun = Vmrun("vmrun.exe", windows=True)
    assert vmrun.name_of(tmp_path / "wslpath") == "D:\\lab\\wslpath"
    with pytest.raises(StageError, match="Windows does not see") as caught:
        vmrun.name_of(tmp_path / "nothing")
    assert "/mnt/c" in caught.value.hint


def test_in_wsl_the_case_of_a_path_says_nothing(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = fakevmrun.make_folders(lab, tmp_path / "a")
    script(tmp_path / "wslpath", r"""printf '%s\n' "D:\\lab\\${2##*/}" """)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    shown = script(tmp_path / "vmrun", r"printf '%s\n' 'Total running VMs: 1' 'd:\LAB\rs1.vmx'")
    engine = VmrunEngine(lab, artifacts, tmp_path, Vmrun(shown.path, windows=True))
    assert engine.state("rs1") == "running" and engine.state("rs2") == "off"
    elsewhere = VmrunEngine(lab, artifacts, tmp_path, Vmrun(shown.path))
    assert elsewhere.state("rs1") == "off"


def test_a_card_is_found_by_its_slot_and_not_by_its_number(lab: Lab, tmp_path: Path) -> None:
    artifacts = fakevmrun.make_folders(lab, tmp_path / "a")
    engine = VmrunEngine(lab, artifacts, tmp_path, Vmrun())
    assert engine.card("lvs1", "eth2") == "ethernet2"
    path, slot = engine.vmx("lvs1"), 'ethernet2.pciSlotNumber = "{}"'
    path.write_text(path.read_text().replace(slot.format(34), slot.format(40)))
    assert engine.card("lvs1", "eth2") == "ethernet3"
    assert engine.card("lvs1", "eth3") == "ethernet2"


def test_an_address_is_this_hosts_or_not() -> None:
    assert owns("127.0.0.1")
    assert not owns("192.0.2.1") and not owns("2001:db8::1")


def test_a_job_is_done_once_and_answered_to_its_owner_alone(tmp_path: Path) -> None:
    program = tmp_path / "lvslab-1.py"
    source = Path(guest_agent.__file__).read_text()
    job = {"argv": ["sh", "-c", "cat; exit 7"], "input": "grüß 'x' \"y\"\n", "timeout": 5}
    program.write_text(guest_job.with_job(source, job))
    old = tmp_path / "lvslab-0.py.answer"
    old.write_text("{}")
    os.utime(old, (0, 0))
    subprocess.run([sys.executable, str(program)], check=True)
    answer = Path(guest_job.answer_of(str(program)))
    found = json.loads(answer.read_text())
    assert (found["status"], found["out"]) == (7, "grüß 'x' \"y\"\n")
    assert answer.stat().st_mode & 0o777 == 0o600
    assert not program.exists() and not old.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--engine", "vmware", "--host", "qemu+ssh://a/system"], "hosts are libvirt's"),
        (["--engine", "libvirt"], "libvirt's hosts are not named"),
        (["--engine", "vmware", "--from", "ova"], "the folders are run as they are"),
        (["--engine", "vmware", "--cold"], "the folders are run as they are"),
        (["--engine", "vmware", "--firmware", "uefi"], "each .vmx decides on the devices"),
        (["--dry-run"], "only VMware's calls can be shown"),
    ],
)
def test_options_for_another_engine_are_refused(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["lab", "up", *words]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.slow
@root_only
def test_a_host_without_the_networks_is_told_before_anything_starts(
    alone: VmwareLab, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = Namespace(f"lvslab-empty-{os.getpid()}")
    empty.create()
    try:
        with empty.inside():
            assert alone.up() == 3
    finally:
        empty.remove()
    said = capsys.readouterr().err
    assert "this host has no adapter with 192.168.50.100 on VMnet1" in said
    assert "vmware networks" in said
    assert not Cluster(alone.lab).state.folder.exists() and alone.host.calls() == []
