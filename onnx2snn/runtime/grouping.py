"""Groups of neighbours that can be computed as one: only each other are between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Item:
    """One of some sorted things that are computed.

    Attributes:
        taken: The tensors it takes.
        made: The tensors it makes.
        joins: Whether it may be in a group.
        deepens: Whether what takes from it lies deeper, where it is in no group.
    """

    taken: Collection[str]
    made: Collection[str]
    joins: bool
    deepens: bool = True


@dataclass
class _Group:
    """Items by their places, all equally deep."""

    depth: int
    places: set[int] = field(default_factory=set)


def grouped(items: Sequence[Item]) -> list[list[int]]:
    """Return the places of sorted items group by group, in an order in which all can be computed.

    The depth of a tensor is how many items that are not joined lie before it at most. Joined items
    that take from each other and are equally deep make a group: a way that leaves it goes on
    deeper, and never comes back. Items in no group are alone.
    """
    depths: dict[str, int] = {}
    groups: dict[str, _Group] = {}
    placed: list[tuple[int, int, list[int]]] = []
    for place, item in enumerate(items):
        depth = max((depths.get(name, 0) for name in item.taken), default=0)
        if item.joins:
            _join(place, items, depth, depths, groups)
        else:
            depth += item.deepens
            placed.append((depth, 0, [place]))
        depths.update(dict.fromkeys(item.made, depth))
    own = {id(group): group for group in groups.values()}
    placed += [(group.depth, 1, sorted(group.places)) for group in own.values()]
    # stable: what is equally deep stays in order
    return [places for *_, places in sorted(placed, key=lambda entry: entry[:2])]


def _join(
    place: int,
    items: Sequence[Item],
    depth: int,
    depths: Mapping[str, int],
    groups: dict[str, _Group],
) -> None:
    """Put an item into the group of those that it takes from, which may join groups."""
    own = _Group(depth, {place})
    for name in items[place].taken:
        other = groups.get(name)
        if other is None or depths[name] != depth or other is own:
            continue
        small, large = sorted((own, other), key=lambda group: len(group.places))
        large.places |= small.places
        for one in small.places:
            groups.update(dict.fromkeys(items[one].made, large))
        own = large
    groups.update(dict.fromkeys(items[place].made, own))
