"""The rules of `protos.batch_table` on products: where matrix products have their samples.

Samples may be rows or columns of a product, or have a matrix each. Where an axis of samples is
summed over, they mix.
"""

from __future__ import annotations

from onnx2snn.protos.batch_types import BatchAxis, NodeView, Place


def multiplies_rows(view: NodeView, output: int) -> Place:
    """Follow rows of x W + b through a Gemm, or columns of W x."""
    a, b = 0 in view.varying, 1 in view.varying
    if a == b:
        return None
    index = 0 if a else 1
    place = view.place(index)
    if place is None:
        return None
    transposed = bool(view.attribute("transB" if b else "transA", 0))
    # the axis of the operand that is not summed over, and where the product has it
    free = int(transposed) if a else int(not transposed)
    if place.axis != free:
        return None
    found = place.moved(0 if a else 1)
    if not view.is_given(2):
        return found
    rank = view.rank(2)
    if rank is None:
        return None
    own = found.axis - (2 - rank)
    if 2 in view.varying:
        return found if view.place(2) == found.moved(own) else None
    is_single = own < 0 or view.shapes.size(view.node.input[2], own) == 1
    return found if is_single else None


def multiplies_matrices(view: NodeView, output: int) -> Place:
    """Follow samples through a MatMul: along rows, columns, or one matrix for each."""
    rank = view.output_rank()
    found = None
    for index in view.varying:
        place = view.place(index)
        own_rank = view.rank(index)
        if place is None or rank is None or own_rank is None or own_rank < 2:
            return None
        # counted from the end: -1 columns, -2 rows, others one matrix each
        from_end = place.axis - own_rank
        summed = -1 if index == 0 else -2
        both = len(view.varying) > 1
        if from_end == summed or (both and from_end > -3):
            return None
        aligned = place.moved(from_end + rank)
        if found is not None and found != aligned:
            return None
        found = aligned
    if found is None or rank is None:
        return None
    # a shared operand has one matrix for all samples
    for index, name in enumerate(view.node.input):
        own_rank = view.rank(index)
        if index in view.varying:
            continue
        if own_rank is None:
            return None
        axis = found.axis - rank + own_rank
        is_matrix_axis = axis >= own_rank - 2
        if axis >= 0 and not is_matrix_axis and view.shapes.size(name, axis) != 1:
            return None
        if own_rank == 1 and index == 1:
            return None
    return found


def recurs(view: NodeView, output: int) -> Place:
    """Follow samples through a recurrent layer, [steps, N, ...], or [N, steps, ...] (layout 1)."""
    first = int(view.attribute("layout", 0))
    sample_axis = 0 if first else 1
    place = view.place(0) if 0 in view.varying else None
    if place != BatchAxis(sample_axis):
        return None
    for index in view.varying[1:]:
        # lengths are [N], states [directions, N, ...]
        own = 0 if index == 4 or first else 1
        if view.place(index) != BatchAxis(own):
            return None
    for index in (4, 5, 6):
        # a shared one is as long as a batch may be, if it is there
        if view.is_given(index) and index not in view.varying:
            return None
    if first:
        return BatchAxis(0)
    return BatchAxis(2 if output == 0 else 1)
