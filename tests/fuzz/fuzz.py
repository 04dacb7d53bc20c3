"""Coverage-guided fuzzing of model files, by atheris (extra `fuzz`):

    python tests/fuzz/fuzz.py [CORPUS] [options of libFuzzer, such as -max_total_time=60]

Without a CORPUS the seeds of `fuzz.seeds` go to a temporary folder. A finding is written to
crash-HASH in the working folder; put it into tests/fuzz/crashers, where a test runs it, and mend.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import atheris  # noqa: E402

with atheris.instrument_imports(include=["onnx2snn"]):
    # the package imports its stages when they are called, which would be too late
    import onnx2snn.pipeline.convert
    import onnx2snn.pipeline.inspection
    import onnx2snn.runtime.rollout
    import onnx2snn.runtime.session  # noqa: F401
    from fuzz.mutation import mutated
    from fuzz.seeds import MOST_BYTES, write_seeds
    from fuzz.target import one_way


def custom_mutator(data: bytes, max_size: int, seed: int) -> bytes:
    """Change a field three times of four, else bytes as libFuzzer does."""
    if seed % 4:
        return mutated(data, seed, max_size)
    return bytes(atheris.Mutate(data, max_size))


def main() -> None:
    """Fuzz until libFuzzer's options say stop, or something is found."""
    warnings.simplefilter("ignore")
    arguments = list(sys.argv)
    folders = [word for word in arguments[1:] if not word.startswith("-")]
    with tempfile.TemporaryDirectory() as spare:
        corpus = folders[0] if folders else spare
        write_seeds(Path(corpus))
        if not folders:
            arguments.insert(1, corpus)
        arguments += ["-timeout=60", f"-max_len={MOST_BYTES}", "-rss_limit_mb=4096"]
        atheris.Setup(arguments, one_way, custom_mutator=custom_mutator)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
