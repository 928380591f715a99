"""Which package needs which: neighbours, circles, what pulls a package in, and where each is drawn."""

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from scanner.dependency_graph import Graph, Place, build, components, layout

NAMES = [f"package-{number:02}" for number in range(14)]
WISHES = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from([*NAMES, "not-there"]), max_size=5))


def graph(**needs: str) -> Graph:
    """`web="nginx libc6"`: web needs these two."""
    return build((name.replace("_", "-"), "amd64", names.split()) for name, names in needs.items())


def reached(needs: dict[str, list[str]], name: str) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for other in needs.get(waiting.pop(), ()):
            if other not in found and other in needs:
                found.add(other)
                waiting.append(other)
    return found


def made(needs: dict[str, list[str]]) -> Graph:
    return build((name, "amd64", names) for name, names in needs.items())


def test_neighbours_are_known_from_both_sides() -> None:
    found = graph(web="nginx libc6", nginx="libc6", libc6="")
    assert found.needs == {"libc6": [], "nginx": ["libc6"], "web": ["libc6", "nginx"]}
    assert found.needed_by == {"libc6": ["nginx", "web"], "nginx": ["web"], "web": []}
    assert found.edges == 3


def test_two_architectures_are_one_package_that_needs_what_either_does() -> None:
    rows = [("libssl3", "amd64", ["libc6"]), ("libssl3", "i386", ["libc6", "gone", "libssl3"]), ("libc6", "amd64", [])]
    assert build(rows).needs == {"libc6": [], "libssl3": ["libc6"]}


def test_what_pulls_a_package_in_is_the_shortest_chain_from_each_that_nothing_needs() -> None:
    found = graph(
        web="nginx", nginx="libssl3", curl="libssl3", backup="curl web", libssl3="libc6", libc6="", vim="libc6"
    )
    origins = found.origins("libssl3")
    assert origins.chains == [["backup", "curl", "libssl3"]]
    assert origins.total == 1
    assert found.origins("libc6").chains == [["vim", "libc6"], ["backup", "curl", "libssl3", "libc6"]]


def test_of_many_chains_the_shortest_are_told_and_all_are_counted() -> None:
    apps = {f"app_{number:02}": "libc6" for number in range(40)}
    found = graph(**apps, far="near", near="app-00", libc6="")
    origins = found.origins("libc6", 3)
    assert origins.chains == [["app-01", "libc6"], ["app-02", "libc6"], ["app-03", "libc6"]]
    assert origins.total == 40  # app-00 is needed, far is not
    assert found.origins("libc6", 100).chains[-1] == ["far", "near", "app-00", "libc6"]


def test_a_circle_at_the_top_is_one_origin_and_nothing_pulls_it_in() -> None:
    found = graph(a="b", b="a libx", libx="liby", liby="libx")
    assert found.origins("a").total == found.origins("b").total == 0
    assert found.origins("libx").chains == [["b", "libx"]]
    assert found.origins("liby").chains == [["b", "libx", "liby"]]
    assert sorted(found.circle_of["a"]) == ["a", "b"]
    both = graph(a="b libx", b="a libx", libx="")
    assert both.origins("libx").total == 1


def test_a_long_chain_needs_no_recursion() -> None:
    length = 5_000
    found = build((str(n), "all", [str(n + 1)]) for n in range(length))
    assert len(components(found.needs)) == length
    assert len(found.origins(str(length - 1)).chains[0]) == length


def test_what_is_needed_stands_to_the_right_and_a_circle_in_one_layer() -> None:
    places = layout(graph(web="nginx", nginx="libc6 libssl3", libssl3="libc6", libc6="libgcc", libgcc="libc6", font=""))
    order = [places[name].column for name in ("web", "nginx", "libssl3", "libc6")]
    assert order == sorted(set(order))
    assert places["libgcc"].column == places["libc6"].column == places["font"].column


def test_a_layer_that_is_too_long_takes_several_columns() -> None:
    places = layout(graph(**{f"font_{number}": "" for number in range(200)}))
    assert {place.column for place in places.values()} == set(range(3))
    rows = [place.row for place in places.values()]
    assert min(rows) == -max(rows) == -33


def test_neighbours_stand_at_one_height_so_that_edges_do_not_cross() -> None:
    pairs = {f"app_{number}": f"lib-{9 - number}" for number in range(10)} | {f"lib_{n}": "" for n in range(10)}
    places = layout(graph(**pairs))
    assert all(places[f"app-{number}"].row == places[f"lib-{9 - number}"].row for number in range(10))


def test_nothing_is_drawn_of_nothing() -> None:
    assert layout(build([])) == {}


@given(WISHES)
def test_components_are_what_reaches_each_other_and_come_after_what_they_need(needs: dict[str, list[str]]) -> None:
    found = made(needs)
    circles = found.circles
    assert sorted(name for circle in circles for name in circle) == sorted(needs)
    done: set[str] = set()
    for circle in circles:
        for name in circle:
            assert {other for other in needs if both_ways(needs, name, other)} | {name} == set(circle)
            assert done.union(circle).issuperset(found.needs[name])
        done.update(circle)


def both_ways(needs: dict[str, list[str]], name: str, other: str) -> bool:
    return other in reached(needs, name) and name in reached(needs, other)


@given(WISHES)
def test_every_chain_is_real_begins_at_the_top_and_none_is_shorter(needs: dict[str, list[str]]) -> None:
    found = made(needs)
    for name in needs:
        origins = found.origins(name, len(NAMES))
        tops = {
            frozenset(found.circle_of[each]) for each in needs if found.is_top(each) and name in reached(needs, each)
        }
        assert origins.total == len(origins.chains) == (0 if found.is_top(name) else len(tops))
        assert [len(chain) for chain in origins.chains] == sorted(len(chain) for chain in origins.chains)
        for chain in origins.chains:
            assert chain[-1] == name and found.is_top(chain[0])
            assert all(after in found.needs[before] for before, after in pairwise(chain))
            assert len(chain) - 1 == min(steps(found, each, name) for each in found.circle_of[chain[0]])


def steps(found: Graph, start: str, end: str) -> int:
    number, reach = 0, {start}
    while end not in reach:
        if len(reach) == len(reach := reach.union(*(found.needs[name] for name in reach))):
            return len(found.needs)
        number += 1
    return number


@given(WISHES)
def test_no_two_packages_are_drawn_in_one_place_and_what_is_needed_is_never_to_the_left(
    needs: dict[str, list[str]],
) -> None:
    found = made(needs)
    places = layout(found)
    assert len(set(places.values())) == len(places) == len(needs)
    assert all(left <= right for left, right in columns(found, places))


def columns(found: Graph, places: dict[str, Place]) -> Iterable[tuple[int, int]]:
    for name, names in found.needs.items():
        for other in names:
            if other not in found.circle_of[name]:
                yield places[name].column + 1, places[other].column
