"""Which installed package needs which, as a graph: neighbours, what pulls a package in, and where to draw it. Pure.

A package goes by its name, since what it needs is known by name: of two architectures it is one. Graphs of real hosts
have circles (libc6 and libgcc-s1 need each other), so whatever walks along them takes a circle for one.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, isqrt
from typing import NamedTuple

CHAINS = 10
PASSES = 12  # of sorting; more hardly change anything
ROWS = 24  # for each column: names are wide and low, and most layers are short


class Origins(NamedTuple):
    """Why a package is there.

    `chains`: packages each of which needs the next, up to this one: the shortest from each package at the top, which
    nothing needs, the shortest of them first; as many as were asked for. `total`: how many at the top lead to it.
    """

    chains: Sequence[Sequence[str]]
    total: int


class Place(NamedTuple):
    """Where a package is drawn: left of what it needs, but for circles. Row 0 is the middle, and there are halves."""

    column: int
    row: float


@dataclass(frozen=True)
class Graph:
    """Every package is a key of both; neighbours are in order of the alphabet."""

    needs: Mapping[str, Sequence[str]]
    needed_by: Mapping[str, Sequence[str]]

    @cached_property
    def edges(self) -> int:
        return sum(map(len, self.needs.values()))

    @cached_property
    def circles(self) -> Sequence[Sequence[str]]:
        """Packages that need each other, straight or by way of others: most are alone. What is needed comes first."""
        return components(self.needs)

    @cached_property
    def circle_of(self) -> Mapping[str, Sequence[str]]:
        return {name: circle for circle in self.circles for name in circle}

    def is_top(self, name: str) -> bool:
        """Whether nothing needs it, or nothing but what it needs itself."""
        circle = set(self.circle_of[name])
        return all(circle.issuperset(self.needed_by[member]) for member in circle)

    def origins(self, name: str, most: int = CHAINS) -> Origins:
        """What pulls it in. Of a package at the top nothing does: no chain, and a total of 0."""
        if self.is_top(name):
            return Origins((), 0)
        towards: dict[str, str] = {name: ""}
        tops: dict[str, str] = {}  # by the first of its circle
        waiting = deque([name])
        while waiting:
            here = waiting.popleft()
            if self.is_top(here):
                tops.setdefault(self.circle_of[here][0], here)
                continue
            for other in self.needed_by[here]:
                if other not in towards:
                    towards[other] = here
                    waiting.append(other)
        return Origins([list(along(towards, top)) for top in [*tops.values()][:most]], len(tops))


def along(towards: Mapping[str, str], name: str) -> Iterator[str]:
    while name:
        yield name
        name = towards[name]


def build(rows: Iterable[tuple[str, str, Sequence[str]]]) -> Graph:
    """Of name, architecture and what is needed. Names without a row, and a wish for oneself, are left out."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for name, _, names in rows:
        wanted[name].update(names)
    needs = {
        name: sorted(other for other in wanted[name] if other in wanted and other != name) for name in sorted(wanted)
    }
    needed_by: dict[str, list[str]] = {name: [] for name in needs}
    for name, names in needs.items():
        for other in names:
            needed_by[other].append(name)
    return Graph(needs, needed_by)


def components(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The strongly connected components, each after those that it needs: Tarjan's algorithm, without recursion."""
    found: list[list[str]] = []
    number: dict[str, int] = {}  # in order of discovery
    lowest: dict[str, int] = {}  # that is reached from here and belongs to no component yet
    stack: dict[str, None] = {}  # what belongs to no component yet; a dict, to look into it quickly
    path: list[tuple[str, Iterator[str]]] = []  # on which we are, and where to go on from each of its packages

    def enter(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack[name] = None
        path.append((name, iter(needs[name])))

    for start in needs:
        if start not in number:
            enter(start)
        while path:
            name, rest = path[-1]
            if (other := next(rest, None)) is not None:
                if other not in number:
                    enter(other)
                elif other in stack:
                    lowest[name] = min(lowest[name], number[other])
                continue
            path.pop()
            if path:
                lowest[path[-1][0]] = min(lowest[path[-1][0]], lowest[name])
            if lowest[name] == number[name]:
                component: list[str] = []
                while not component or component[-1] != name:
                    component.append(stack.popitem()[0])
                found.append(component)
    return found


# --- where to draw it -------------------------------------------------------------------------------


def layout(graph: Graph) -> dict[str, Place]:
    """Layers by the longest way down to what needs nothing, sorted so that few edges cross (barycentres).

    A layer that is too long for one column takes several, row by row.
    """
    layers = layered(graph)
    sort(layers, graph)
    longest = max(ROWS, isqrt(ROWS * len(graph.needs)))
    places: dict[str, Place] = {}
    column = 0
    for layer in reversed(layers):
        columns = ceil(len(layer) / longest)
        rows = ceil(len(layer) / columns)
        for number, name in enumerate(layer):
            places[name] = Place(column + number % columns, number // columns - (rows - 1) / 2)
        column += columns
    return places


def layered(graph: Graph) -> list[list[str]]:
    """The first layer needs nothing; of a circle all are in one."""
    layers: list[list[str]] = []
    layer_of: dict[str, int] = {}
    for circle in graph.circles:
        below = [layer_of[other] for name in circle for other in graph.needs[name] if other in layer_of]
        layer = 1 + max(below, default=-1)
        layer_of.update(dict.fromkeys(circle, layer))
        if layer == len(layers):
            layers.append([])
        layers[layer] += circle
    return layers


def sort(layers: list[list[str]], graph: Graph) -> None:
    """Each package to the mean of its neighbours: upwards by what it needs, downwards by what needs it, in turns."""
    at: dict[str, float] = {}
    for layer in layers:
        at.update(spread(layer))
    for number in range(PASSES):
        upwards = number % 2 == 0
        neighbours = graph.needs if upwards else graph.needed_by
        for layer in layers if upwards else reversed(layers):
            layer.sort(key=mean(neighbours, at))
            at.update(spread(layer))


def spread(layer: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Over 0 to 1, whatever its length."""
    return ((name, (number + 0.5) / len(layer)) for number, name in enumerate(layer))


def mean(neighbours: Mapping[str, Sequence[str]], at: Mapping[str, float]) -> Callable[[str], float]:
    def of(name: str) -> float:
        names = neighbours[name]
        return sum([at[other] for other in names]) / len(names) if names else at[name]

    return of
