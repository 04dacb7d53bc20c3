"""Types that the package's signatures share.

Importing them loads neither onnx nor onnxruntime, so that modules which only compute or draw stay
light.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

Array: TypeAlias = npt.NDArray[Any]
"""A NumPy array of any type."""

DType: TypeAlias = np.dtype[Any]
"""The type of an array's elements."""

Dim: TypeAlias = int | str | None
"""A dimension: a size, a symbolic name, or unknown."""

Delay: TypeAlias = int | str | None
"""Time-steps left out of the answer: a number, "half", "auto", or None for the model's own."""

ModelSource: TypeAlias = Union[str, os.PathLike[str], bytes, "onnx.ModelProto"]
"""A model: the path of its file, the bytes of one, or the loaded message."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""A callback for progress: the name of the work, the steps that are done, and all its steps."""


def silent_progress(_work: str, _done: int, _total: int) -> None:
    """Report nothing."""
