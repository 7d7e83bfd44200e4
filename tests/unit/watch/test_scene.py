"""The state of the live picture: what was seen comes in, what pages show comes out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvslab.core.places import EXAMPLES
from lvslab.lab.checklist import CheckResult
from lvslab.lab.faults import Fault
from lvslab.model.lab import Lab
from lvslab.model.load import load_lab
from lvslab.watch import counters
from lvslab.watch import scene as scene_module
from lvslab.watch.scene import LINES, SECONDS, Scene, after, changes
from lvslab.watch.sights import (
    Advertised,
    Announced,
    Asked,
    ChangeSeen,
    ChecklistSeen,
    FaultsSeen,
    LabCame,
    LabWent,
    Looked,
    PowerSeen,
    Pressed,
    Sight,
    TableSeen,
    Tick,
)
from tests.strategies import examples

ALL = frozenset({"lvs1", "lvs2", "rs1", "rs2"})


def seen(lab: Lab, *sights: Sight) -> Scene:
    """The scene after these sights of a lab that came at second 100."""
    scene = after(Scene(), LabCame(100.0, lab, 1000.0))
    for sight in sights:
        scene = after(scene, sight)
    return scene


def log(scene: Scene) -> list[str]:
    lines = [value for key, value in scene.shown.items() if key.startswith("line/")]
    return [text for _, _, text in sorted(lines)]


def test_an_advert_gives_the_address_to_its_sender(lab: Lab) -> None:
    scene = seen(lab, Advertised(100.1, "VI_1", "lvs1"))
    assert scene.shown["holders/VI_1"] == ["lvs1"]
    assert scene.shown["holders/VI_3"] == []
    assert scene.shown["beat/VI_1"] == [1, "lvs1"]


def test_a_takeover_ends_the_old_owner_and_says_how_long_it_took(lab: Lab) -> None:
    scene = seen(
        lab,
        Advertised(100.1, "VI_1", "lvs1"),
        Tick(100.9),
        Advertised(100.95, "VI_1", "lvs2"),
    )
    assert scene.shown["holders/VI_1"] == ["lvs2"]
    assert log(scene)[-3:] == [
        "lvs1 has 192.168.50.1",
        "nobody has 192.168.50.1",
        "lvs2 has 192.168.50.1, 0.85 s after the last advert of lvs1",
    ]


def test_a_late_advert_is_no_takeover(lab: Lab) -> None:
    """The control of the patience: 0.5 s without an advert is less than a backup waits."""
    scene = seen(lab, Advertised(100.0, "VI_1", "lvs1"), Tick(100.5))
    assert scene.shown["holders/VI_1"] == ["lvs1"]
    slow = lab.directors.vrrp.model_copy(update={"advert_seconds": 1.0})
    lazy = lab.model_copy(update={"directors": lab.directors.model_copy(update={"vrrp": slow})})
    for this, holders in ((lab, []), (lazy, ["lvs1"])):
        scene = seen(this, Advertised(100.0, "VI_1", "lvs1"), Tick(102.0))
        assert scene.shown["holders/VI_1"] == holders


def test_an_owner_that_gives_up_has_the_address_no_more(lab: Lab) -> None:
    scene = seen(
        lab, Advertised(100.0, "VI_1", "lvs1"), Advertised(100.1, "VI_1", "lvs1", gives_up=True)
    )
    assert scene.shown["holders/VI_1"] == []


def test_a_node_without_power_has_nothing_at_once(lab: Lab) -> None:
    scene = seen(
        lab,
        Advertised(100.0, "VI_1", "lvs1"),
        TableSeen(100.0, "lvs1", {("web1", "rs1"): 10}),
        TableSeen(102.0, "lvs1", {("web1", "rs1"): 20}),
        PowerSeen(102.1, ALL - {"lvs1"}),
    )
    assert scene.shown["node/lvs1"] == "off"
    assert scene.shown["holders/VI_1"] == []
    assert scene.rates == {}
    assert after(scene, PowerSeen(103.0, ALL)).shown["node/lvs1"] == "running"


def test_two_who_advertise_are_a_split_brain(lab: Lab) -> None:
    scene = seen(lab, Advertised(100.0, "VI_1", "lvs1"), Advertised(100.1, "VI_1", "lvs2"))
    assert scene.shown["holders/VI_1"] == ["lvs1", "lvs2"]


def test_gratuitous_arp_is_counted(lab: Lab) -> None:
    scene = seen(lab, Announced(100.0, "VI_1", "lvs1"), Announced(100.1, "VI_1", "lvs2"))
    assert scene.shown["arp/VI_1"] == [2, "lvs2"]


def test_a_second_counts_who_answered_and_what_was_lost(lab: Lab) -> None:
    scene = seen(
        lab,
        Advertised(100.0, "VI_1", "lvs1"),
        Asked(100.2, "web1", True, "rs1"),
        Asked(100.4, "web1", True),
        Asked(100.6, "web1", False),
    )
    assert scene.shown[f"second/web1/{100 % SECONDS}"] == [100, 2, 1, {"rs1": 1}, ["lvs1"]]


def test_a_second_takes_the_place_of_the_one_a_minute_before_and_not_the_other_way(
    lab: Lab,
) -> None:
    scene = seen(lab, Asked(100.0, "web1", True), Asked(100.0 + SECONDS, "web1", False))
    key = f"second/web1/{100 % SECONDS}"
    assert scene.shown[key][:3] == [100 + SECONDS, 0, 1]
    assert after(scene, Asked(100.5, "web1", True)).shown[key][:3] == [100 + SECONDS, 0, 1]


def test_faults_are_on_their_node_or_wire(lab: Lab) -> None:
    broken = (Fault("carrier", "lvs1", "eth1"), Fault("paused", "rs1"))
    scene = seen(lab, FaultsSeen(100.0, broken))
    assert scene.shown["wire/lvs1/eth1"] == "carrier"
    assert scene.shown["wire/lvs1/eth2"] == ""
    assert (scene.shown["node/rs1"], scene.shown["node/rs2"]) == ("paused", "running")
    assert scene.shown["broken"] == ["lvs1 eth1: cable pulled", "rs1 is paused"]
    scene = after(scene, FaultsSeen(101.0, ()))
    assert (scene.shown["wire/lvs1/eth1"], scene.shown["node/rs1"]) == ("", "running")
    assert log(scene)[-2:] == ["healed: lvs1 eth1: cable pulled", "healed: rs1 is paused"]


def test_that_a_node_is_off_is_said_once(lab: Lab) -> None:
    scene = seen(lab, PowerSeen(100.0, ALL - {"rs1"}), FaultsSeen(100.5, (Fault("off", "rs1"),)))
    assert log(scene).count("rs1 is off") == 1
    late = after(scene, FaultsSeen(101.0, ()))  # a look that began before the kill
    assert late.shown["node/rs1"] == "off"


def test_rates_are_of_all_directors_and_never_negative(lab: Lab) -> None:
    scene = seen(
        lab,
        TableSeen(100.0, "lvs1", {("web1", "rs1"): 10, ("web1", "rs2"): 50}),
        TableSeen(100.0, "lvs2", {("web2", "rs1"): 0}),
        TableSeen(102.0, "lvs1", {("web1", "rs1"): 16, ("web1", "rs2"): 0}),
        TableSeen(102.0, "lvs2", {("web2", "rs1"): 1}),
    )
    assert scene.shown["server/rs1"] == {"all": 3.5, "services": {"web1": 3.0, "web2": 0.5}}
    assert scene.shown["server/rs2"] == {"all": 0.0, "services": {"web1": 0.0}}
    gone = after(scene, TableSeen(104.0, "lvs1", {("web1", "rs1"): 16}))
    assert gone.shown["server/rs2"] is None, "it is in no table"


@pytest.mark.parametrize(("seconds", "steady"), [(scene_module._RATE_SECONDS, True), (5.0, False)])
def test_a_steady_rate_is_steady_though_the_kernel_counts_every_two_seconds(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, seconds: float, steady: bool
) -> None:
    monkeypatch.setattr(scene_module, "_RATE_SECONDS", seconds)

    def look(at: float) -> TableSeen:
        return TableSeen(at, "lvs1", {("web1", "rs1"): 4 * (int(at) // 2 * 2)})

    shown = []
    scene = seen(lab, look(100.0), look(105.0))
    for moment in (108.0, 113.0, 116.0, 121.0):  # each second look is late
        scene = after(scene, look(moment))
        shown.append(scene.shown["server/rs1"]["all"])
    assert all(abs(rate - 4) <= 1 for rate in shown) is steady, shown


def test_a_director_that_counts_from_0_again_is_counted_from_there(lab: Lab) -> None:
    scene = seen(
        lab,
        TableSeen(100.0, "lvs1", {("web1", "rs1"): 900}),
        TableSeen(104.0, "lvs1", {("web1", "rs1"): 8}),
    )
    assert scene.shown["server/rs1"]["all"] == 0.0
    assert after(scene, TableSeen(108.0, "lvs1", {("web1", "rs1"): 24})).shown["server/rs1"] == {
        "all": 4.0, "services": {"web1": 4.0}
    }  # fmt: skip


def test_the_checklist_and_its_turn_are_shown(lab: Lab) -> None:
    good = CheckResult("lvs1", 1, "addresses", True, "fine")
    bad = replace(good, ok=False, says="they are not", hint="look")
    scene = seen(lab, ChecklistSeen(100.0, (good, good)), ChecklistSeen(101.0, (good, bad)))
    shown = scene.shown["check"]
    assert (shown["ok"], shown["all"]) == (1, 2)
    assert [(one["node"], one["says"], one["hint"]) for one in shown["bad"]] == [
        ("lvs1", "they are not", "look")
    ]
    assert log(scene)[-2:] == ["all 2 checks pass", "1 of 2 checks fail"]


def test_what_cannot_be_seen_is_said_until_it_is(lab: Lab) -> None:
    scene = seen(lab, Looked(100.0, "connections", "lvs1 does not answer"))
    assert scene.shown["unseen/connections"] == "lvs1 does not answer"
    assert after(scene, Looked(101.0, "connections")).shown["unseen/connections"] == ""


def test_buttons_and_changes_are_shown(lab: Lab) -> None:
    scene = seen(lab, ChangeSeen(100.0, True), Pressed(100.1, "lvs1 loses its power"))
    assert scene.shown["busy"] is True
    assert log(scene)[-1] == "button: lvs1 loses its power"


def test_a_lab_that_went_is_as_it_was_until_another_comes(lab: Lab) -> None:
    scene = seen(lab, Advertised(100.0, "VI_1", "lvs1"), LabWent(101.0), Tick(200.0))
    assert scene.shown["lab"]["up"] is False
    assert scene.shown["holders/VI_1"] == ["lvs1"]
    again = after(scene, LabCame(300.0, lab, 1000.0))
    assert again.shown["lab"]["up"] is True
    assert again.shown["lab"]["epoch"] == scene.shown["lab"]["epoch"] + 1
    assert again.shown["holders/VI_1"] == []


def test_nothing_is_seen_before_the_first_lab() -> None:
    assert after(Scene(), Tick(1.0)) == Scene()


def sights() -> st.SearchStrategy[Sight]:
    at = st.floats(100, 400)
    nodes, instances = st.sampled_from(sorted(ALL)), st.sampled_from(["VI_1", "VI_3"])
    services = st.sampled_from(["web1", "web2"])
    pairs = st.tuples(services, st.sampled_from(["rs1", "rs2"]))
    broken = st.builds(Fault, st.sampled_from(["off", "paused"]), nodes)
    return st.one_of(
        st.builds(Advertised, at, instances, nodes, st.booleans()),
        st.builds(Announced, at, instances, nodes),
        st.builds(Asked, at, services, st.booleans(), st.sampled_from(["", "rs1", "rs2"])),
        st.builds(PowerSeen, at, st.frozensets(nodes)),
        st.builds(FaultsSeen, at, st.lists(broken, max_size=2).map(tuple)),
        st.builds(TableSeen, at, nodes, st.dictionaries(pairs, st.integers(0, 99), max_size=3)),
        st.builds(Looked, at, st.just("power"), st.sampled_from(["", "no"])),
        st.builds(Tick, at),
        st.builds(LabWent, at),
    )


@examples(60)
@given(told=st.lists(sights(), max_size=60), every=st.integers(1, 7))
def test_changes_over_what_was_before_are_the_whole(
    lab: Lab, told: list[Sight], every: int
) -> None:
    """So a page that was opened early shows what one shows that is opened late."""
    scene = after(Scene(), LabCame(100.0, lab, 0.0))
    page, sent = dict(scene.shown), scene.shown
    for number, sight in enumerate(told):
        scene = after(scene, sight)
        if number % every == 0:
            page |= changes(sent, scene.shown)
            sent = scene.shown
    page |= changes(sent, scene.shown)
    assert page == scene.shown
    assert sum(key.startswith("line/") for key in page) <= LINES
    assert sum(key.startswith("second/web1/") for key in page) <= SECONDS


def test_a_sight_leaves_the_scene_before_as_it_was(lab: Lab) -> None:
    scene = seen(lab, Advertised(100.0, "VI_1", "lvs1"), Asked(100.0, "web1", True, "rs1"))
    before = repr(scene)
    after(after(scene, Asked(100.1, "web1", True, "rs1")), PowerSeen(100.2, frozenset()))
    assert repr(scene) == before


TABLE = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  192.168.50.1:80                  1234     6000     5000   400000   700000
  -> 192.168.100.10:80                 617     3000     2500   200000   350000
  -> 192.168.100.20:80                 616     3000     2500   200000   350000
TCP  192.168.50.9:80                     7        0        0        0        0
  -> 192.168.100.20:80                   7        0        0        0        0
"""


def test_counters_are_read_from_the_table(lab: Lab) -> None:
    assert counters.read(lab, TABLE) == {("web1", "rs1"): 617, ("web1", "rs2"): 616}
    assert counters.read(lab, "") == {}


def test_counters_of_a_firewall_mark(lab: Lab) -> None:
    marked = lab.virtual_servers["web1"].model_copy(update={"also": ("https",)})
    servers = {**lab.virtual_servers, "web1": marked}
    this = lab.model_copy(update={"virtual_servers": servers})
    text = "FWM  1          9 9 9 9 9\n  -> 192.168.100.10:0   9 9 9 9 9\n"
    assert counters.read(this, text) == {("web1", "rs1"): 9}


def test_counters_of_ipv6() -> None:
    lab = load_lab(EXAMPLES / "ipv6" / "lab.yaml")
    name = next(n for n in lab.virtual_servers if ":" in lab.endpoint(n)[0])
    (server, own), *_ = lab.real_servers(name).items()
    address, port = lab.endpoint(name)
    text = f"TCP  [{address}]:{port}  9 9 9 9 9\n  -> [{own}]:{port}   8 9 9 9 9\n"
    assert counters.read(lab, text) == {(name, server): 8}


@pytest.mark.parametrize("line", ["  -> 192.168.100.10:80", "  -> x y", "->", "TCP"])
def test_half_a_line_of_a_table_is_no_counter(lab: Lab, line: str) -> None:
    assert counters.read(lab, f"TCP  192.168.50.1:80  1 1 1 1 1\n{line}\n") == {}
