"""Where a tensor's batch axis is, as its declared shape says.

The axis is known, not guessed:

* it bears the name that axis 0 of the inputs bears, and no other axis does;
* where axis 0 of the inputs is fixed, axis 0 of the tensor is, to the same size;
* an axis 0 of an unknown size may be the batch: whoever relies on it checks the sizes that are met;
* anything else has no batch axis that is known.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx2snn.aliases import Dim
from onnx2snn.protos.specs import TensorSpec


def batch_axis(shape: Sequence[Dim] | None, inputs: Sequence[TensorSpec]) -> int | None:
    """Return the axis of a tensor that counts samples, or None where that is not known.

    Args:
        shape: The declared shape; None where not even the rank is known.
        inputs: The inputs of the model, whose axis 0 counts samples.
    """
    if not shape:
        return None
    leading = [spec.shape[0] for spec in inputs if spec.shape]
    names = {size for size in leading if isinstance(size, str)}
    named = [axis for axis, size in enumerate(shape) if size in names]
    if len(named) == 1:
        return named[0]
    if named:
        return None
    # a size: the batch's, if that is fixed
    is_size = isinstance(shape[0], int)
    if is_size and shape[0] not in leading:
        return None
    return 0
