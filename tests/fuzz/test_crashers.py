"""What fuzzing has found stays mended, and no damage to a file's fields gets past the package."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.stages import stable
from hypothesis import given
from hypothesis import strategies as st

from fuzz.mutation import mutated
from fuzz.seeds import seeds
from fuzz.target import MEMORY, one_input, one_way
from onnx2snn.protos import budget

CRASHERS = sorted((Path(__file__).parent / "crashers").glob("*"))

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def bounded() -> object:
    budget.allow(MEMORY)
    yield
    budget.allow(None)


@pytest.mark.parametrize("path", CRASHERS, ids=lambda path: path.name[:20])
def test_a_crasher_crashes_no_more(path: Path) -> None:
    one_input(path.read_bytes())


SEEDS = dict(seeds())


def test_what_a_fuzzer_tries_takes_every_seed() -> None:
    for name, data in SEEDS.items():
        if name.startswith("mlp"):
            one_way(data)


@pytest.mark.slow
@stable(60)
@given(st.sampled_from(sorted(SEEDS)), st.integers(0, 2**32))
def test_a_damaged_field_ends_in_an_error_of_the_package(name: str, seed: int) -> None:
    one_input(mutated(SEEDS[name], seed, 2**20))
