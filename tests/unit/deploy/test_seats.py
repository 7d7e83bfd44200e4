"""Which number and host the lab of each student gets, and what is refused: without a host."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lvslab.core.errors import CheckFailed, InputError, LabError, StageError
from lvslab.core.events import Event, Listener, Note, StageDone, StageProgress, StageStarted
from lvslab.deploy.hosts import class_labs
from lvslab.deploy.hosts.seats import SECTION, Hall, Seat, allot, number_in, seat
from lvslab.deploy.ledger import Ledger
from lvslab.lab.libvirt.fabric import Fabric
from lvslab.lab.libvirt.records import Record
from lvslab.lab.libvirt.survey import HostedDomain, HostedNetwork, Survey
from lvslab.lab.network import bridge_names
from lvslab.lessons.students import Student
from lvslab.model.lab import Lab
from lvslab.model.problems import BadInput

A, B = "qemu+ssh://root@a/system", "qemu+ssh://root@b/system"
LIST = Path("class.csv")
ONE = 4 * (512 + 64)
"""MiB of one lab: four nodes, and QEMU for each."""


def host(label: str, labs: float = 4, cpus: int = 8, **changes: object) -> Survey:
    """A host with memory for so many labs."""
    made = Survey(label, cpus, int(labs * ONE) + 512, (), ())
    return replace(made, **changes)  # type: ignore[arg-type]


def hall(lab: Lab, a: Survey | None = None, b: Survey | None = None, crowd: float = 8) -> Hall:
    hosts = {A: a or host("a"), B: b or host("b")}
    return Hall(lab, hosts, {}, crowd)


def ledger() -> Ledger:
    return Ledger(Path("none"), "lvslab", {SECTION: {}})


def named(*ids: str) -> dict[str, Student]:
    return {student: Student(student, "", line) for line, student in enumerate(ids, 2)}


def refused(this: Hall, given: Ledger, *ids: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        allot(this, given, named(*ids), LIST)
    return [str(problem) for problem in caught.value.problems]


def domain(lab: str, number: int, node: str = "lvs1", *, active: bool = True) -> HostedDomain:
    return HostedDomain(f"{lab}-{node}", active, 1, 300, Record(lab, number, node))


def test_labs_go_where_most_memory_is_left(lab: Lab) -> None:
    seats = allot(hall(lab, host("a", 3), host("b", 2)), ledger(), named(*"vwxyz"), LIST)
    assert [this.host for this in seats] == [A, A, B, A, B]
    assert [this.lab.name for this in seats] == [f"lvslab-{student}" for student in "vwxyz"]


def test_no_two_labs_share_a_name_a_number_on_the_wire_or_a_mac(lab: Lab) -> None:
    full = hall(lab, host("a", 40), host("b", 40), crowd=100)
    seats = allot(full, ledger(), named(*(f"s{n}" for n in range(62))), LIST)
    vnis, links, macs = [], [], []
    for this in seats:
        fabric = Fabric(this.lab)
        for network in bridge_names(lab):
            vnis.append(fabric.vni(network))
            links += [fabric.bridge(network), fabric.vxlan(network)]
        for node, made in this.lab.nodes.items():
            links += [fabric.tap(node, interface) for interface in made.interfaces]
            macs += [this.lab.mac(node, interface) for interface in made.interfaces]
    for values in (vnis, links, macs):
        assert len(set(values)) == len(values)
    assert max(map(len, links)) <= 15
    assert lab.number not in {this.lab.number for this in seats}  # that of `lab up`


def test_who_has_a_place_keeps_it(lab: Lab) -> None:
    kept = ledger()
    before = allot(hall(lab), kept, named("x", "y"), LIST)
    after = allot(hall(lab, host("a", 1), host("b", 3)), kept, named("y", "z", "x"), LIST)
    assert {this.student: this for this in before}.items() <= {t.student: t for t in after}.items()


def test_a_lost_ledger_is_made_again_from_the_hosts(lab: Lab) -> None:
    there = host("b", domains=(domain("lvslab-x", 9),))
    (x, y) = allot(hall(lab, b=there), found := ledger(), named("x", "y"), LIST)
    assert (x.host, x.lab.number, y.lab.number) == (B, 9, 2)
    assert found.hosts["x"] == B


def test_a_lost_ledger_is_not_made_of_labs_with_one_number(lab: Lab) -> None:
    there = host("b", domains=(domain("lvslab-x", 9), domain("lvslab-y", 9)))
    said = refused(hall(lab, b=there), ledger(), "x", "y")
    assert "its networks have the number 9, as those of the lab lvslab-y on b" in said[0]


def test_memory_of_labs_that_run_counts_once(lab: Lab) -> None:
    running = tuple(domain("lvslab-x", 2, node) for node in lab.nodes)
    there = Survey("a", 8, 512 + ONE - 4 * 300, running, ())
    this = Hall(lab, {A: there}, {}, 8)
    assert [seat.student for seat in allot(this, ledger(), named("x"), LIST)] == ["x"]


def test_all_that_does_not_fit_is_said_with_its_line(lab: Lab) -> None:
    given = ledger()
    full = hall(lab, host("a", 1), host("b", 0.5, cpus=2))
    said = refused(full, given, "x", "y", "s" * 25)
    need = "its lab needs 2304 MiB and 4 virtual processors; "
    left = "a has 0 MiB and 60 left, on 8 processors, b has 1152 MiB and 16 left, on 2 processors"
    assert said[0] == f"class.csv:3:1: {need}{left}; name another host, or make the class smaller"
    assert [text.split(": ")[0] for text in said] == ["class.csv:3:1", "class.csv:4:1"]


@pytest.mark.parametrize(("cpus", "crowd", "fits"), [(2, 2, True), (2, 1.9, False), (1, 4, True)])
def test_processors_are_shared_up_to_a_limit(lab: Lab, cpus: int, crowd: float, fits: bool) -> None:
    this = Hall(lab, {A: host("a", cpus=cpus)}, {}, crowd)
    if fits:
        assert allot(this, ledger(), named("x"), LIST)
    else:
        assert "4 virtual processors; a has" in refused(this, ledger(), "x")[0]


def test_a_node_with_more_processors_than_the_host_does_not_fit(lab: Lab) -> None:
    nodes = {**lab.nodes, "lvs1": lab.nodes["lvs1"].model_copy(update={"cpus": 4})}
    wide = lab.model_copy(update={"nodes": nodes})
    assert allot(Hall(wide, {A: host("a", cpus=4)}, {}, 8), ledger(), named("x"), LIST)
    assert "on 2 processors" in refused(Hall(wide, {A: host("a", cpus=2)}, {}, 8), ledger(), "x")[0]


def test_foreign_machines_take_processors(lab: Lab) -> None:
    there = host("a", cpus=2, domains=(HostedDomain("windows", True, 13, 4000),))
    assert refused(Hall(lab, {A: there}, {}, 8), ledger(), "x")
    off = (HostedDomain("windows", False, 13, 0),)
    assert allot(Hall(lab, {A: replace(there, domains=off)}, {}, 8), ledger(), named("x"), LIST)


def test_a_name_that_is_too_long_is_refused(lab: Lab) -> None:
    said = refused(hall(lab), ledger(), "short", "s" * 25)
    assert said == [
        f"class.csv:3:1: the lab would be called lvslab-{'s' * 25}, and a name has at most 31 "
        "letters, digits and -; give the lab or the student a shorter name"
    ]


def test_a_path_that_is_too_long_for_a_socket_is_refused(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LVSLAB_STATE", "/var/" + "x" * 90)
    assert (
        "class.csv:2:1: this path is too long for a socket" in refused(hall(lab), ledger(), "a")[0]
    )


def test_two_students_whose_machines_would_have_one_name(lab: Lab) -> None:
    lvs1 = lab.nodes["lvs1"]
    both = lab.model_copy(update={"nodes": {**lab.nodes, "b-x": lvs1, "x": lvs1}})
    monkey = Hall(both, {A: host("a", 9), B: host("b", 9)}, {}, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lab, "model_validate", lambda values: both.model_copy(
            update={"name": values["name"], "number": values["number"]}))  # fmt: skip
        said = refused(monkey, ledger(), "a", "a-b")
    assert said == [
        "class.csv:3:1: a and a-b would have machines of the same name, lvslab-a-b-x; write one of "
        "the two ids differently"
    ]


def test_numbers_that_others_have_are_not_given(lab: Lab) -> None:
    there = host("a", domains=(domain("guest", 2),), networks=(HostedNetwork("l3x0", 1, ""),))
    this = replace(hall(lab, there), taken={"mine": 4})
    assert [s.lab.number for s in allot(this, ledger(), named("x", "y"), LIST)] == [5, 6]


def test_there_are_62_numbers(lab: Lab) -> None:
    full = hall(lab, host("a", 40), host("b", 40), crowd=100)
    said = refused(full, ledger(), *(f"s{n}" for n in range(63)))
    assert said == [
        "class.csv:64:1: there is no number left for this lab; end other labs on these hosts: "
        "their numbers are free then"
    ]


@pytest.mark.parametrize("where", ["host", "here"])
def test_a_lab_that_has_a_student_s_number_is_refused(lab: Lab, where: str) -> None:
    """Two networks with one number hear each other."""
    given = ledger()
    allot(hall(lab), given, named("x"), LIST)
    this = hall(lab, host("a", domains=(domain("other", 2),)) if where == "host" else None)
    if where == "here":
        this = replace(this, taken={"other": 2})
    place = "a" if where == "host" else "this machine"
    assert refused(this, given, "x") == [
        f"class.csv:2:1: its networks have the number 2, as those of the lab other on {place}; "
        "end one of the two; after class down --student x it gets another"
    ]


def test_a_domain_of_somebody_else_with_our_name_is_refused(lab: Lab) -> None:
    there = host("a", domains=(HostedDomain("lvslab-x-rs1", False, 1, 0),))
    assert "a has a domain lvslab-x-rs1, and no lab made it" in refused(
        hall(lab, there), ledger(), "x"
    )[0]  # fmt: skip


def test_two_students_with_one_number_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "class.hosts.json"
    path.write_text('{"lab": "lvslab", "number": {"x": 2, "y": 2}, "host": {}}')
    with pytest.raises(InputError, match="x and y have the same number, 2"):
        Ledger.read(path, "lvslab", (SECTION,))


def test_the_ledger_is_the_same_after_it_was_written(lab: Lab, tmp_path: Path) -> None:
    given = Ledger.read(tmp_path / "class.hosts.json", "lvslab", (SECTION,))
    allot(hall(lab), given, named("x", "y"), LIST)
    given.write()
    again = Ledger.read(given.path, "lvslab", (SECTION,))
    assert again == given
    again.forget(["x"])
    assert list(again.hosts) == list(again.numbers[SECTION]) == ["y"]


@pytest.mark.parametrize(
    ("device", "number"), [("l12x3", 12), ("l1-vmnet1", 0), ("lx1", 0), ("vxlan0", 0), ("l1n0", 0)]
)
def test_a_device_tells_its_lab_s_number(device: str, number: int) -> None:
    assert number_in(device) == number


# --- apart --------------------------------------------------------------------------------


def wired(this: Seat, label: str) -> Survey:
    fabric = Fabric(this.lab)
    networks = bridge_names(this.lab)
    made = [HostedNetwork(fabric.vxlan(n), fabric.vni(n), fabric.bridge(n)) for n in networks]
    return host(label, networks=tuple(made))


def two(lab: Lab) -> tuple[Seat, dict[str, Survey]]:
    x, y = allot(hall(lab), ledger(), named("x", "y"), LIST)
    return x, {x.host: wired(x, "a"), y.host: wired(y, "b")}


def test_networks_that_are_apart(lab: Lab) -> None:
    assert class_labs.apart(*two(lab)) == []


def test_networks_that_another_hears_are_seen(lab: Lab) -> None:
    x, there = two(lab)
    vni = Fabric(x.lab).vni("VMnet12")
    there[B] = host("b", networks=(HostedNetwork("l3x1", vni, "l3-vmnet12"),))
    assert class_labs.apart(x, there) == [
        f"VMnet12: l3x1 on b has its number, {vni}: they hear each other"
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"vni": 5}, "l2x0 has the number 5 on l2-vmnet1, and must have 7000200 on l2-vmnet1"),
        ({"bridge": "br0"}, "l2x0 has the number 7000200 on br0, and must have 7000200 on"),
        ({"bridge": ""}, "l2x0 has the number 7000200 on no bridge"),
        ({"device": "gone"}, "a has no device l2x0"),
    ],
)
def test_a_network_that_is_not_its_own_is_seen(
    lab: Lab, changes: dict[str, object], told: str
) -> None:
    x, there = two(lab)
    first, *others = there[A].networks
    changed = replace(first, **changes)  # type: ignore[arg-type]
    there[A] = replace(there[A], networks=(changed, *others))
    assert f"VMnet1: {told}" in class_labs.apart(x, there)[0]


# --- side by side -------------------------------------------------------------------------


def seats_of(lab: Lab, *students: str) -> list[Seat]:
    given = ledger()
    full = hall(lab, host("a", 9), host("b", 9))
    allot(full, given, named(*students), LIST)
    return [seat(full, given, student) for student in students]


def test_one_that_fails_stops_no_other_and_two_of_a_host_run_at_once(lab: Lab) -> None:
    seats, events = seats_of(lab, *"stuvwxyz"), list[Event]()
    together = threading.Barrier(2 * class_labs.AT_ONCE, timeout=20)
    running, most = Counter[str](), Counter[str]()

    def work(this: Seat, tell: Listener) -> None:
        running[this.host] += 1
        together.wait()
        most[this.host] = max(most[this.host], running[this.host])
        together.wait()
        running[this.host] -= 1
        if this.student == "w":
            raise CheckFailed("no")

    outcome = class_labs.side_by_side(seats, work, events.append)
    assert [student for student, error in outcome.items() if error] == ["w"]
    assert most == {A: class_labs.AT_ONCE, B: class_labs.AT_ONCE}
    assert len([event for event in events if isinstance(event, StageDone)]) == 7


def test_a_lab_s_own_stages_are_the_note_of_its_student_s(lab: Lab) -> None:
    events = list[Event]()

    def work(this: Seat, tell: Listener) -> None:
        tell(StageStarted("lvs1"))
        tell(StageProgress("lvs1", 1, 4, note="kernel"))
        tell(StageProgress("rs1", 2, 4, note="system"))
        tell(StageDone("lvs1", 1))
        tell(Note("hello", "warning"))

    class_labs.side_by_side(seats_of(lab, "x"), work, events.append)
    shown = [(e.done, e.total, e.note) for e in events if isinstance(e, StageProgress)]
    assert shown == [
        (0, 1, "lvs1"),
        (1, 4, "lvs1 kernel"),
        (3, 8, "lvs1 kernel, rs1 system"),
        (6, 8, "rs1 system"),
    ]
    assert Note("x: hello", "warning") in events


@pytest.mark.parametrize(
    ("errors", "kind"),
    [([None, CheckFailed("x")], CheckFailed), ([CheckFailed("x"), InputError("y")], StageError)],
)
def test_the_worst_decides_how_a_class_ends(
    errors: Sequence[LabError | None], kind: type[LabError]
) -> None:
    with pytest.raises(kind, match="of 2 labs are not up: "):
        class_labs.judge(dict(zip("xy", errors, strict=True)), "up")


def test_every_host_that_does_not_answer_is_named() -> None:
    class_labs.demand_answers({})
    one = StageError("no", where="a")
    with pytest.raises(StageError) as caught:
        class_labs.demand_answers({A: one})
    assert caught.value is one
    with pytest.raises(StageError) as caught:
        class_labs.demand_answers({A: one, B: StageError("no", where="b")})
    assert caught.value.message == "a: no\nb: no"


def test_a_host_that_is_named_in_two_ways_is_refused() -> None:
    class_labs.demand_hosts([A, B, f"{A.replace('//root@a', '//root@a:22')}"])
    with pytest.raises(InputError, match="named in two ways: .*/system and .*keyfile=k"):
        class_labs.demand_hosts([A, B, f"{A}?keyfile=k"])
    with pytest.raises(InputError, match="no host is named"):
        class_labs.demand_hosts([])
