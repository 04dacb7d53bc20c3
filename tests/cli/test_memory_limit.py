"""The limit of memory holds during the work alone."""

from __future__ import annotations

import sys

import pytest

from onnx2snn.cli.limits import within_memory
from onnx2snn.protos import budget

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")

LARGE = 2**46
"""More than any machine of these tests has: nothing fails by it."""


def test_the_process_is_held_to_a_limit_and_then_let_go() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    with within_memory(LARGE):
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == LARGE
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_a_limit_is_let_go_where_the_work_fails() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(ZeroDivisionError), within_memory(LARGE):
        raise ZeroDivisionError
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_without_a_limit_a_process_of_its_own_is_held_to_what_is_free() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    with within_memory(None):
        assert resource.getrlimit(resource.RLIMIT_DATA) == before
    free = budget.affordable()
    with within_memory(None, alone=True):
        held = resource.getrlimit(resource.RLIMIT_DATA)[0]
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    # others take and give back memory meanwhile
    assert 0.5 * free < held < 2.0 * free + 2**34


def test_a_limit_of_the_users_own_stays() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (LARGE, before[1]))
    try:
        with within_memory(None, alone=True):
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] == LARGE
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def test_estimates_are_held_against_the_limit() -> None:
    with within_memory(LARGE):
        assert budget.affordable() == LARGE
