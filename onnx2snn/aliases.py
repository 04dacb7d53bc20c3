"""Types that the package's signatures share.

Importing them loads neither onnx nor onnxruntime, so that modules which only compute or draw stay light.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps of it are done, and how many there are."""


def silent_progress(_what: str, _done: int, _total: int) -> None:
    """Say nothing."""


Array = npt.NDArray[Any]


Dim = int | str | None
"""A dimension: a size, a symbolic name, or unknown."""


Delay = int | str | None
"""Steps left out of the answer: a number, "half", "auto", or None for the number stored in the model."""


ModelSource: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto"
"""A model: its path, its bytes, or the model itself."""
