"""The operator Chain for onnxruntime, in a library of C that onnx2snn's kernels=True uses."""

from pathlib import Path

FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
"""What the compiler has to be told: sums are rounded as they are written."""

SOURCE = Path(__file__).with_name("chain.c")


def library() -> Path:
    """Return the path of the library, for `SessionOptions.register_custom_ops_library`.

    Raises:
        FileNotFoundError: It was not built.
    """
    folder = Path(__file__).parent
    found = [*sorted(folder.glob("_chain*.so")), *sorted(folder.glob("_chain*.pyd"))]
    if not found:
        raise FileNotFoundError(f"{folder} has no library _chain")
    return found[0]
