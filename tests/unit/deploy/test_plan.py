"""What a lab needs on a cluster, its numbers, and the steps to it: all without a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvslab.core.errors import InputError, StageError
from lvslab.core.events import Listener, silent
from lvslab.deploy import classlist, converge, deployment
from lvslab.deploy.ledger import Ledger
from lvslab.deploy.plan import Order, SummedFile, give_numbers, plan
from lvslab.deploy.platforms import Bounds
from lvslab.deploy.site import VsphereSite
from lvslab.deploy.wanted import (
    Found,
    Mark,
    Wanted,
    WantedImage,
    WantedMachine,
    WantedNetwork,
    WantedRule,
    seed_file,
    seed_mark,
)
from lvslab.model.lab import Lab
from tests import small_artifacts

LIMITS = Bounds(63, 4094, lambda mark, tag: f"{mark.student}{mark.of}-{tag}", None, rules=True)
NUMBERED = replace(LIMITS, numbers=range(100, 200))


@pytest.fixture(scope="module")
def artifacts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_artifacts.write(lab, tmp_path_factory.mktemp("artifacts"))


def ordered(
    lab: Lab, artifacts: Path, students: Sequence[str] = (), reach: str = "cluster"
) -> Order:
    return deployment.order_of(lab, artifacts, students, (), reach)


def planned(order: Order, limits: Bounds = LIMITS, tags: range = range(1, 4000)) -> list[Wanted]:
    ledger = Ledger(Path("none"), order.lab.name)
    give_numbers(order, ledger, limits, tags, {})
    return plan(order, ledger, limits, "switch")


# --- plan ---------------------------------------------------------------------------------


def test_every_card_has_the_model_s_mac_and_the_student_s_network(
    lab: Lab, artifacts: Path
) -> None:
    wanted = planned(ordered(lab, artifacts, ["alice", "bob"]))
    networks = {this.name: this.mark for this in wanted if isinstance(this, WantedNetwork)}
    machines = [this for this in wanted if isinstance(this, WantedMachine)]
    assert (len(networks), len(machines)) == (8, 8)
    for machine in machines:
        node = lab.nodes[machine.mark.of]
        assert [card.interface for card in machine.cards] == sorted(node.interfaces)
        for card in machine.cards:
            assert card.mac == lab.mac(machine.mark.of, card.interface)
            wire = node.interfaces[card.interface]
            assert networks[card.network] == Mark(lab.name, machine.mark.student, wire)


def test_no_two_networks_have_one_tag(lab: Lab, artifacts: Path) -> None:
    wanted = planned(ordered(lab, artifacts, [f"s{n}" for n in range(30)]))
    tags = [this.tag for this in wanted if isinstance(this, WantedNetwork)]
    assert len(tags) == len(set(tags)) == 120


def test_directors_go_to_different_places_and_are_kept_apart(lab: Lab, artifacts: Path) -> None:
    wanted = planned(ordered(lab, artifacts, ["alice", "bob"]))
    place = {this.name: this.place for this in wanted if isinstance(this, WantedMachine)}
    assert place["lvslab-alice-lvs1"] != place["lvslab-alice-lvs2"]
    assert place["lvslab-alice-lvs1"] != place["lvslab-bob-lvs1"]
    rules = [this for this in wanted if isinstance(this, WantedRule)]
    assert [(rule.apart, rule.machines) for rule in rules] == [
        (True, ("lvslab-alice-lvs1", "lvslab-alice-lvs2")),
        (True, ("lvslab-bob-lvs1", "lvslab-bob-lvs2")),
    ]


def test_a_lab_stays_on_one_host_where_its_networks_end(lab: Lab, artifacts: Path) -> None:
    order = ordered(lab, artifacts, ["alice", "bob"], "host")
    wanted = planned(order)
    places = {
        this.mark.student: {other.place for other in wanted if isinstance(other, WantedMachine)
        and other.mark.student == this.mark.student}
        for this in wanted
        if isinstance(this, WantedMachine)
    }  # fmt: skip
    assert [len(found) for found in places.values()] == [1, 1]
    rules = [this for this in wanted if isinstance(this, WantedRule)]
    assert [(rule.apart, len(rule.machines)) for rule in rules] == [(False, 4), (False, 4)]
    without = planned(order, replace(LIMITS, rules=False))
    assert not [this for this in without if this.kind == "rule"]


def test_another_content_has_another_name(lab: Lab, artifacts: Path) -> None:
    order = ordered(lab, artifacts)
    changed = {role: SummedFile(part.path, "f" * 64) for role, part in order.images.items()}
    seeds = {node: SummedFile(part.path, "f" * 64) for node, part in order.seeds.items()}
    before = {this.name for this in planned(order)}
    after = {this.name for this in planned(replace(order, images=changed, seeds=seeds))}
    assert len(before - after) == 6


def test_names_that_are_too_long_or_equal_are_refused(lab: Lab, artifacts: Path) -> None:
    long = ordered(lab, artifacts, ["s" * 31])
    with pytest.raises(InputError, match="and this platform takes 40"):
        planned(long, replace(LIMITS, machine_name=40))
    same = replace(ordered(lab, artifacts), students=["", ""])
    with pytest.raises(InputError, match="two networks would have the name"):
        planned(same)


def test_tags_that_the_engine_has_not_are_refused(lab: Lab, artifacts: Path) -> None:
    for tags in (range(4000, 5000), range(5), range(9, 3)):
        with pytest.raises(InputError, match="is not a range from 1 to 4094"):
            planned(ordered(lab, artifacts), tags=tags)


def test_artifacts_that_are_missing_or_not_what_was_built(
    lab: Lab, artifacts: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="there is no such image"):
        ordered(lab, tmp_path)
    own = small_artifacts.write(lab, tmp_path)
    with (own / "ova/director.ova").open("ab") as file:
        file.write(b"more")
    with pytest.raises(Exception, match="this file is not the one that was built"):
        ordered(lab, own)


def test_marks_are_read_back() -> None:
    mark = Mark("lab", "alice", "rs1")
    assert Mark.read(f"notes of a person\n{mark.text}\nmore") == mark
    assert Mark.read(None) is Mark.read("lvslab is great") is None
    seed = Mark("my-lab", "", "rs1.0123456789ab")
    assert seed_mark(seed_file(seed)) == seed
    assert seed_mark("debian.iso") is None


# --- ledger -------------------------------------------------------------------------------


def test_numbers_are_kept_and_given_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.json", "lab")
    ledger.give("network", ["a/x", "b/x"], range(10, 20), {11})
    assert ledger.numbers["network"] == {"a/x": 10, "b/x": 12}
    ledger.write()
    again = Ledger.read(ledger.path, "lab")
    again.give("network", ["c/x", "a/x"], range(10, 20), {11})
    assert again.numbers["network"] == {"a/x": 10, "b/x": 12, "c/x": 13}
    again.forget(["a"])
    again.give("network", ["d/x"], range(10, 20), {11})
    assert again.numbers["network"]["d/x"] == 10


def test_a_range_that_is_too_small(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.json", "lab")
    with pytest.raises(InputError, match="10-12 has too few numbers for the networks: 2 get none"):
        ledger.give("network", "abcde", range(10, 13), ())


@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6), max_size=5),
    st.sets(st.integers(0, 30), max_size=10),
)
def test_no_order_of_calls_gives_a_number_twice(calls: list[list[str]], taken: set[int]) -> None:
    ledger = Ledger(Path("none"), "lab")
    for keys in calls:
        before = dict(ledger.numbers["network"])
        ledger.give("network", keys, range(100), taken)
        given_now = ledger.numbers["network"]
        assert {key: given_now[key] for key in before} == before
        assert len(set(given_now.values())) == len(given_now)
        assert not taken & set(given_now.values())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "this file is not a ledger: "),
        ('{"lab": "lab"}', "this file is not a ledger: "),
        ('{"lab": "other", "network": {}, "machine": {}}', "it is the ledger of the lab other"),
        (
            '{"lab": "lab", "network": {"alice/VMnet1": 7, "bob/VMnet1": 7}, "machine": {}}',
            "alice/VMnet1 and bob/VMnet1 have the same number, 7",
        ),
    ],
)
def test_a_ledger_that_cannot_be_used(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "l.json"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        Ledger.read(path, "lab")


def test_numbers_are_adopted_from_what_is_found() -> None:
    ledger = Ledger(Path("none"), "lab")
    ledger.numbers["network"] = {"a/x": 5}

    def network(lab: str, student: str, number: int) -> Found:
        return Found("network", student, Mark(lab, student, "x"), {}, number)

    ledger.adopt([network("lab", "a", 6), network("lab", "b", 7), network("other", "c", 8)])
    ledger.adopt([network("lab", "d", 7), Found("network", "x", None, {}, 9)])
    assert ledger.numbers["network"] == {"a/x": 5, "b/x": 7}


# --- class --------------------------------------------------------------------------------


def test_a_class_is_the_list_of_class_make(tmp_path: Path) -> None:
    path = tmp_path / "class.csv"
    path.write_text("\ufeffname;id\nAlice A.;Alice.A\nBob;bob_2\n")
    assert {name: this.line for name, this in classlist.read(path).items()} == {
        "alice-a": 2,
        "bob-2": 3,
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("student\nalice\n", "the heading has no column id"),
        ("id\na/b\n", "the id is 'a/b'"),
        ("id\nalice-\n", "class.csv:2:1: the id alice- cannot be a part of machines' names"),
        ("id\na.b\na-b\n", "a.b and a-b would have machines of the same name, a-b"),
        ("id\nalice\nAlice\n", "Alice appears twice"),
    ],
)
def test_a_class_with_a_mistake(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "class.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        classlist.read(path)
    assert told in str(caught.value)


# --- converge, with a platform that is a list ------------------------------------------------


@dataclass
class ListPlatform:
    """A platform that keeps its objects in a dictionary; each of `stubborn` stays as it is."""

    objects: dict[tuple[str, str], Found] = field(default_factory=dict)
    stubborn: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    limits: Bounds = LIMITS
    switch: str = "switch"

    def find(self) -> list[Found]:
        return list(self.objects.values())

    def problems(self, wanted: Sequence[Wanted], found: Sequence[Found]) -> Iterable[str]:
        return ()

    def make(self, wanted: Wanted, listener: Listener) -> None:
        if wanted.name in self.broken:
            raise StageError("the disk is full")
        self.calls.append(f"make {wanted.kind}")
        state = {} if wanted.name in self.stubborn else wanted.state
        number = wanted.tag if isinstance(wanted, WantedNetwork) else None
        this = Found(wanted.kind, wanted.name, wanted.mark, state, number)
        self.objects[wanted.kind, wanted.name] = this

    def change(self, wanted: Wanted, found: Found, listener: Listener) -> None:
        assert found.mark == wanted.mark
        self.make(wanted, listener)

    def remove(self, found: Found) -> None:
        self.calls.append(f"remove {found.kind}")
        del self.objects[found.kind, found.name]

    def settle(self, kind: str) -> None:
        self.calls.append(f"settle {kind}")

    def close(self) -> None:
        """Nothing to do."""


SITE = VsphereSite(
    server="x",
    reach="cluster",
    tags="1-4000",
    datacenter="x",
    cluster="x",
    datastore="x",
    switch="x",
)


def up(platform: ListPlatform, order: Order, folder: Path) -> deployment.Look:
    ledger = Ledger.read(folder / "l.json", order.lab.name)
    return deployment.up(platform, order, SITE, ledger, silent)


def test_up_from_any_part_makes_the_whole(lab: Lab, artifacts: Path, tmp_path: Path) -> None:
    order, platform = ordered(lab, artifacts, ["alice"]), ListPlatform()
    assert up(platform, order, tmp_path).good
    calls = list(dict.fromkeys(platform.calls))
    kinds = ("network", "image", "seed", "machine", "rule", "power")
    assert calls == [f"{word} {kind}" for kind in kinds for word in ("make", "settle")]
    whole = dict(platform.objects)
    for key in whole:
        del platform.objects[key]
        assert up(platform, order, tmp_path).good
        assert platform.objects == whole
    platform.calls.clear()
    assert up(platform, order, tmp_path).good
    assert platform.calls == []


def test_what_does_not_become_right_is_an_error(lab: Lab, artifacts: Path, tmp_path: Path) -> None:
    platform = ListPlatform(stubborn={"lvslab-rs1"})
    with pytest.raises(StageError, match="this did not become what it must be:\nchange machine"):
        up(platform, ordered(lab, artifacts), tmp_path)


def test_an_error_leaves_the_others_done_and_the_next_call_goes_on(
    lab: Lab, artifacts: Path, tmp_path: Path
) -> None:
    order, platform = ordered(lab, artifacts), ListPlatform(broken={"lvslab-rs1"})
    with pytest.raises(StageError) as caught:
        up(platform, order, tmp_path)
    assert str(caught.value) == (
        "cannot make machine lvslab-rs1: the disk is full\n"
        "  to fix it: the same command again goes on from here"
    )
    assert platform.calls.count("make machine") == 3
    platform.broken.clear()
    assert up(platform, order, tmp_path).good
    assert platform.calls.count("make machine") == 4


def test_another_lab_s_object_of_that_name_is_refused(
    lab: Lab, artifacts: Path, tmp_path: Path
) -> None:
    platform = ListPlatform()
    theirs = Found("machine", "lvslab-rs1", Mark("other", "", "rs1"), {})
    platform.objects["machine", "lvslab-rs1"] = theirs
    with pytest.raises(InputError, match="machine lvslab-rs1, marked lvslab/other//rs1"):
        up(platform, ordered(lab, artifacts), tmp_path)
    assert platform.calls == []
    assert converge.removals(platform.find(), lab.name, None) == []


def test_images_stay_as_long_as_a_machine_needs_them(
    lab: Lab, artifacts: Path, tmp_path: Path
) -> None:
    platform = ListPlatform()
    up(platform, ordered(lab, artifacts, ["alice", "bob"]), tmp_path)
    one = converge.removals(platform.find(), lab.name, ["alice"])
    assert {step.kind for step in one} == {"network", "machine", "rule", "power"}
    assert len(one) == 13
    ledger = Ledger.read(tmp_path / "l.json", lab.name)
    deployment.remove(platform, lab.name, ["alice"], ledger, silent)
    two = converge.removals(platform.find(), lab.name, ["bob"])
    assert list(dict.fromkeys(step.kind for step in two)) == [
        "power", "rule", "machine", "seed", "image", "network",
    ]  # fmt: skip
    assert [key for key in ledger.numbers["network"] if key.startswith("alice/")] == []


def test_differences_go_both_ways() -> None:
    found = converge.differences({"a": "1", "b": "2"}, {"b": "3", "c": "4"})
    assert [str(this) for this in found] == [
        "a is missing, and must be 1",
        "b is 3, and must be 2",
        "c is 4, and must be absent",
    ]


def test_networks_of_others_with_one_tag_are_no_matter_of_ours() -> None:
    def network(name: str, mark: Mark | None, switch: str = "s") -> Found:
        return Found("network", name, mark, {"switch": switch}, 7)

    ours = Mark("lab", "a", "x")
    assert converge.shared_tags([network("a", None), network("b", None)], "lab") == []
    assert converge.shared_tags([network("a", ours), network("b", None, "t")], "lab") == []
    assert len(converge.shared_tags([network("a", ours), network("b", None)], "lab")) == 1


def test_machines_get_numbers_where_the_engine_has_them(lab: Lab, artifacts: Path) -> None:
    wanted = planned(ordered(lab, artifacts), NUMBERED)
    numbers = [this.number for this in wanted if isinstance(this, WantedImage | WantedMachine)]
    assert sorted(str(number) for number in numbers) == [str(n) for n in range(100, 106)]


def test_the_ledger_is_a_file_that_people_can_read(
    lab: Lab, artifacts: Path, tmp_path: Path
) -> None:
    up(ListPlatform(), ordered(lab, artifacts), tmp_path)
    assert json.loads((tmp_path / "l.json").read_text()) == {
        "lab": "lvslab",
        "network": {"/VMnet8": 1, "/VMnet1": 2, "/VMnet12": 3, "/VMnet13": 4},
        "machine": {},
    }
