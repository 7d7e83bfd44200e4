"""Rules of VRRP instances, sync groups and adverts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from lvslab.core.words import decimal
from lvslab.model.family import Family
from lvslab.model.lab import Lab
from lvslab.model.problems import Place, Violation, listed
from lvslab.model.role import Kind
from lvslab.model.rules.registry import rule, rule_of_a_whole_lab


@rule
def instances_are_on_host_only_networks(lab: Lab) -> Iterator[Violation]:
    """VRRP stays inside the lab."""
    for name, instance in lab.vrrp_instances.items():
        if lab.networks[instance.network].kind == "nat":
            what = f"{name} is on {instance.network}, a nat network"
            path = ("vrrp_instances", name, "network")
            yield Violation(path, what, "put it on a host-only network")


@rule
def router_ids_are_unique(lab: Lab) -> Iterator[Violation]:
    """A virtual router id appears once in a family of a network (RFC 5798, 5.2.3)."""
    seen: dict[tuple[str, Family, int], str] = {}
    for name, instance in lab.vrrp_instances.items():
        this = (instance.network, instance.family, instance.router_id)
        first = seen.setdefault(this, name)
        if first != name:
            what = (
                f"{name} and {first} both have router id {instance.router_id} on {instance.network}"
            )
            path = ("vrrp_instances", name, "router_id")
            yield Violation(path, what, "give each instance of a network its own, 1 to 255")


@rule
def priorities_are_of_directors(lab: Lab) -> Iterator[Violation]:
    """An instance has a priority for every director, which is on its network, and no other node."""
    directors = lab.nodes_of(Kind.DIRECTOR)
    for name, instance in lab.vrrp_instances.items():
        path: Place = ("vrrp_instances", name, "priorities")
        for node in instance.priorities:
            if directors and node not in directors:
                what = f"{name} has a priority for {node}, which is a {lab.nodes[node].role}"
                yield Violation((*path, node), what, f"directors are {listed(directors)}", True)
        for node in directors:
            if node not in instance.priorities:
                yield Violation(
                    path, f"{name} has no priority for {node}", f"add `{node}: …`", True
                )
            elif instance.network not in directors[node].interfaces.values():
                what = f"{node} has no interface on {instance.network}, the network of {name}"
                right = f"connect an interface to {instance.network}"
                yield Violation(("nodes", node, "interfaces"), what, right, True)


@rule
def priorities_differ(lab: Lab) -> Iterator[Violation]:
    """With equal priorities the higher address would win, which nobody wrote down."""
    for name, instance in lab.vrrp_instances.items():
        seen: dict[int, str] = {}
        for node, priority in instance.priorities.items():
            first = seen.setdefault(priority, node)
            if first != node:
                what = f"{first} and {node} have the same priority {priority} for {name}"
                path = ("vrrp_instances", name, "priorities", node)
                yield Violation(path, what, "give each director its own; the highest is the owner")


@rule
def instances_are_in_one_group(lab: Lab) -> Iterator[Violation]:
    """An instance moves with one group."""
    seen: dict[str, str] = {}
    for group, members in lab.sync_groups.items():
        for index, member in enumerate(members):
            if member in seen:
                what = f"{member} is in sync group {seen[member]} already"
                yield Violation(("sync_groups", group, index), what, "keep it in one group, once")
            seen.setdefault(member, group)


@rule_of_a_whole_lab
def groups_have_two_members(lab: Lab) -> Iterator[Violation]:
    """keepalived ignores a sync group of one instance and says so."""
    for group, members in lab.sync_groups.items():
        if len(members) < 2:
            what = f"sync group {group} has {len(members)} member{'s' * (not members)}"
            right = "a group holds at least two instances: a VIP and its return path"
            yield Violation(("sync_groups", group), what, right)


@rule
def a_group_has_one_order(lab: Lab) -> Iterator[Violation]:
    """All instances of a group have the same priorities: the group moves as one."""
    for group, members in lab.sync_groups.items():
        for first, other in pairwise(dict.fromkeys(members)):
            wanted = lab.vrrp_instances[first].priorities
            found = lab.vrrp_instances[other].priorities
            if any(wanted.get(node, priority) != priority for node, priority in found.items()):
                what = f"{other} and {first} have different priorities, and {group} moves as one"
                same = listed(f"{node}: {priority}" for node, priority in wanted.items())
                path = ("vrrp_instances", other, "priorities")
                yield Violation(path, what, f"write {{{same}}} for both, or split the group")


@rule
def adverts_fit_the_version(lab: Lab) -> Iterator[Violation]:
    """VRRPv2 counts seconds (RFC 3768, 5.3.7), v3 hundredths in 12 bits (RFC 5798, 5.2.7)."""
    vrrp = lab.directors.vrrp
    path = ("directors", "vrrp", "advert_seconds")
    written = decimal(vrrp.advert_seconds, 9)
    if vrrp.version == 2 and (vrrp.advert_seconds < 1 or vrrp.advert_seconds % 1):
        what = f"VRRP version 2 cannot advertise every {written} s"
        yield Violation(path, what, "write whole seconds from 1 to 255, or `version: 3`")
    hundredths = vrrp.advert_seconds * 100
    uneven = abs(hundredths - round(hundredths)) > 1e-6
    if vrrp.version == 3 and (vrrp.advert_seconds > 40.95 or uneven):
        what = f"VRRP version 3 cannot advertise every {written} s"
        yield Violation(path, what, "write 0.01 to 40.95, in steps of 0.01")


@rule_of_a_whole_lab
def the_track_script_can_move_a_group(lab: Lab) -> Iterator[Violation]:
    """A director whose script fails falls below the next one."""
    track = lab.directors.track
    if not track.enabled:
        return
    gaps = [(0, "", "", "")]
    for name in lab.vrrp_instances:
        priorities = lab.vrrp_instances[name].priorities
        for first, second in list(pairwise(lab.owners(name)))[:1]:
            gaps.append((priorities[first] - priorities[second], name, first, second))
    gap, name, first, second = max(gaps, key=lambda entry: entry[0])
    if gap + track.weight >= 0:
        what = (
            f"a failing track script takes {-track.weight} from {first}'s priority for {name}, "
            f"but this priority is {gap} above {second}'s"
        )
        right = f"write {-gap - 1} or less, or bring the two closer"
        yield Violation(("directors", "track", "weight"), what, right)
