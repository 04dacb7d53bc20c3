"""Checks of JSON values against types: the TypedDicts of `snn.format` are their own schema.

Cases: a TypedDict, a list, a dict with string keys, a Literal, a union, and the plain types of
JSON. Keys that a TypedDict does not have are ignored.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NotRequired, Union


def faults(value: object, expected: Any, where: str = "") -> Iterator[str]:
    """Yield how a JSON value differs from a type, each time with its place: "'states[2].rank' is
    missing".

    Args:
        value: As `json.loads` returns it.
        expected: The type: a TypedDict, or what the annotations of one may hold.
        where: The place of the value, as in the sentences.
    """
    origin = typing.get_origin(expected)
    arguments = typing.get_args(expected)
    if typing.is_typeddict(expected):
        yield from _faults_of_keys(value, expected, where)
    elif origin is list:
        yield from _faults_of_items(value, arguments[0], where)
    elif origin is dict:
        yield from _faults_of_values(value, arguments[1], where)
    elif origin is Literal:
        # `in` alone would let True pass for 1
        if not isinstance(value, str) or value not in arguments:
            yield f"{_place(where)} is none of {', '.join(arguments)}"
    elif origin in (Union, types.UnionType):
        if not any(_has_type(value, kind) for kind in arguments):
            yield f"{_place(where)} has the wrong type"
    elif not _has_type(value, expected):
        yield f"{_place(where)} has the wrong type"


def _has_type(value: object, kind: Any) -> bool:
    # exact types, since True is an int to isinstance
    return kind is object or type(value) is kind


def _faults_of_keys(value: object, expected: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{_place(where)} is no object"
        return
    prefix = f"{where}." if where else ""
    for key, kind in _keys_of(expected).items():
        optional = typing.get_origin(kind) is NotRequired
        if key not in value:
            if not optional:
                yield f"{_place(prefix + key)} is missing"
            continue
        inner = typing.get_args(kind)[0] if optional else kind
        yield from faults(value[key], inner, prefix + key)


@cache
def _keys_of(expected: Any) -> dict[str, Any]:
    # evaluates the annotations, which takes longer than all checks of one entry
    return typing.get_type_hints(expected, include_extras=True)


def _faults_of_items(value: object, kind: Any, where: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{_place(where)} is no list"
        return
    for index, item in enumerate(value):
        yield from faults(item, kind, f"{where}[{index}]")


def _faults_of_values(value: object, kind: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{_place(where)} is no object"
        return
    for key, item in value.items():
        yield from faults(item, kind, f"{where}.{key}")


def _place(where: str) -> str:
    return f"'{where}'" if where else "it"
