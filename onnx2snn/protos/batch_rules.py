"""The rules of `protos.batch_table`: where an operator's output has its samples.

Every rule takes a node with what is known about its tensors, and returns the batch axis of an
output, or None where samples may mix, or come in another order. Shared inputs, such as weights, are
the same for all samples.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx2snn.protos.batch_types import BatchAxis, NodeView, Place

Rule = Callable[[NodeView, int], Place]


# Operators on elements and on samples.


def elementwise(view: NodeView, output: int) -> Place:
    """Follow broadcasting: samples of all inputs have to lie along the same axis of the output."""
    rank = view.output_rank(output)
    varying = set(view.varying)
    found = None
    for index in sorted(varying):
        place = view.place(index)
        own_rank = view.rank(index)
        if place is None:
            return None
        if rank is None or own_rank is None:
            # without ranks axes line up where there is nothing to broadcast with
            aligned = place if len(view.node.input) == 1 else None
        else:
            aligned = place.moved(place.axis + rank - own_rank)
        if aligned is None or (found is not None and found != aligned):
            return None
        found = aligned
    if found is None or len(view.node.input) == 1 or rank is None:
        return found
    # shared inputs are the same for each sample
    for index, name in enumerate(view.node.input):
        if not name or index in varying:
            continue
        own_rank = view.rank(index)
        if own_rank is None:
            return None
        axis = found.axis - (rank - own_rank)
        if axis >= 0 and view.shapes.size(name, axis) != 1:
            return None
    return found


def first_input(view: NodeView, output: int) -> Place:
    """Follow the first input, where all others are shared."""
    return view.place(0) if view.varying == [0] else None


def each_sample(view: NodeView, output: int) -> Place:
    """Allow an operator on [N, C, ...] that treats what lies along axis 0 independently."""
    place = first_input(view, output)
    # a pool's second output holds places in the whole batch
    if place is None or place.axis != 0 or output:
        return None
    return place


def normalises_by_record(view: NodeView, output: int) -> Place:
    """Follow a normalisation by recorded statistics: one in training mixes samples."""
    if view.attribute("training_mode", 0) or len(view.node.output) > 1:
        return None
    place = first_input(view, output)
    return place if place is not None and place.axis != 1 else None


# Operators along axes.


def _axis(view: NodeView, default: int, index: int = 0) -> int | None:
    """Return the node's axis, counted from the front."""
    axis = view.attribute("axis", default)
    rank = view.rank(index)
    if axis < 0:
        return None if rank is None else axis + rank
    return int(axis)


def along_an_axis(default: int) -> Rule:
    """Return the rule of an operator along one axis: it has to be another than the samples'."""

    def rule(view: NodeView, output: int) -> Place:
        place = first_input(view, output)
        axis = _axis(view, default)
        if place is None or axis is None or axis == place.axis:
            return None
        return place

    return rule


def from_an_axis_on(view: NodeView, output: int) -> Place:
    """Allow a normalisation over an axis and all behind it."""
    place = first_input(view, output)
    axis = _axis(view, -1)
    if place is None or axis is None or axis <= place.axis or output:
        return None
    return place


def along_a_given_axis(view: NodeView, output: int) -> Place:
    """Allow a CumSum along another axis, which is an input."""
    place = first_input(view, output)
    axes = _from_front(view, view.numbers("axis", 1))
    if place is None or axes is None or place.axis in axes:
        return None
    return place


def _from_front(view: NodeView, axes: list[int] | None) -> list[int] | None:
    rank = view.rank(0)
    if axes is None or (rank is None and min(axes, default=0) < 0):
        return None
    return [axis + (rank or 0) if axis < 0 else axis for axis in axes]


def reduces(view: NodeView, output: int) -> Place:
    """Allow a reduction of other axes; those in front of the samples' go or stay."""
    place = first_input(view, output)
    axes = _from_front(view, view.numbers("axes", 1))
    if place is None or not axes or place.axis in axes:
        return None
    if view.attribute("keepdims", 1):
        return place
    return place.moved(place.axis - sum(axis < place.axis for axis in axes))


def picks(view: NodeView, output: int) -> Place:
    """Allow ArgMax and ArgMin along another axis."""
    place = along_an_axis(0)(view, output)
    axis = _axis(view, 0)
    if place is None or axis is None or view.attribute("keepdims", 1):
        return place
    return place.moved(place.axis - int(axis < place.axis))


def joins(view: NodeView, output: int) -> Place:
    """Allow a Concat, along another axis, of inputs that all hold the samples alike."""
    axis = _axis(view, 0, view.varying[0] if view.varying else 0)
    places = {view.places.get(name) for name in view.node.input}
    (first, *others) = places
    if others or first is None or axis is None or axis == first.axis:
        return None
    return first


def gathers(view: NodeView, output: int) -> Place:
    """Allow a Gather along another axis, or of a shared table by the samples' indices."""
    axis = _axis(view, 0)
    rank = view.rank(1)
    if axis is None or len(view.varying) != 1:
        return None
    place = view.place(view.varying[0])
    if place is None:
        return None
    if view.varying == [1]:
        return place.moved(place.axis + axis)
    if axis == place.axis or rank is None:
        return None
    # the axis gives way to those of the indices
    return place if place.axis < axis else place.moved(place.axis + rank - 1)


def slices(view: NodeView, output: int) -> Place:
    """Allow what changes other axes only, as their sizes show."""
    place = _data_place(view)
    axes = _from_front(view, view.numbers("axes", 3))
    if axes is not None and place is not None and place.axis in axes:
        return None
    return keeps_size(view, output)


def keeps_size(view: NodeView, output: int) -> Place:
    """Allow an operator that leaves the samples' axis as long as it is."""
    place = _data_place(view)
    if place is None or not place.as_long_as(view.shapes.by_size(view.node.output[output])):
        return None
    return place


def _data_place(view: NodeView) -> Place:
    """Return the place of the first input, whatever depends on the size of the batch beside it."""
    for index in view.varying:
        if index and not view.has_counts(view.node.input[index]):
            return None
    return view.place(0) if 0 in view.varying else None


# Operators that change shapes.


def transposes(view: NodeView, output: int) -> Place:
    """Follow a Transpose."""
    place = first_input(view, output)
    rank = view.rank(0)
    order = view.attribute("perm")
    if place is None or (order is None and rank is None):
        return None
    if order is None:
        order = list(range(rank or 0))[::-1]
    return place.moved(list(order).index(place.axis))


def reshapes(view: NodeView, output: int) -> Place:
    """Follow samples to the axis that is the batch's by size.

    In memory, a sample has a part of each of B blocks, with B the sizes before the batch axis
    multiplied, and the axis's own blocks. A new shape leaves that as it is.
    """
    place = _data_place(view)
    name = view.node.output[output]
    found = view.shapes.by_size(name)
    if place is None or found is None:
        return None
    before = view.shapes.before(view.node.input[0], place.axis)
    after = view.shapes.before(name, found.axis)
    if before is None or not after:
        return None
    blocks, rest = divmod(before * place.blocks, after)
    if rest or not blocks or found.each % blocks:
        return None
    return BatchAxis(found.axis, found.each // blocks, blocks)


def repeats(view: NodeView, output: int) -> Place:
    """Allow an Expand or Tile that makes one of each sample, or the same for each."""
    name = view.node.output[output]
    found = view.shapes.by_size(name)
    if 0 not in view.varying:
        # the same part again and again, if there is one part
        rank, own_rank = view.output_rank(), view.rank(0)
        if found is None or rank is None or own_rank is None:
            return None
        axis = found.axis - (rank - own_rank)
        size = 1 if axis < 0 else view.shapes.size(view.node.input[0], axis)
        return found if size == found.each else None
    place = _data_place(view)
    rank, own_rank = view.output_rank(), view.rank(0)
    if place is None or rank is None or own_rank is None:
        return None
    aligned = place.moved(place.axis + rank - own_rank)
    return aligned if aligned.as_long_as(found) else None


def filled(view: NodeView, output: int) -> Place:
    """Allow a tensor of one value as large as the batch."""
    return view.shapes.by_size(view.node.output[output])
