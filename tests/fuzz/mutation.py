"""Structure-aware mutation of models: what the parser takes, with one thing in it wrong.

Random bytes rarely get past protobuf's parser. Here a message is parsed, one field somewhere in it
is changed, and the message is written again; in a spiking model the description is a message, too.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor

NUMBERS = (0, 1, 2, 3, 7, 17, -1, -5, 99, 127, 128, 2**15, 2**31 - 1, 2**31, 2**62, -(2**63))

TEXTS = ("", "x", "input", "logits", "../x", "/dev/zero", "a\nerror: b", "\x1b[2J", "Relu", "Conv")

FLOATS = (0.0, -1.0, 1e-45, 3e38, float("inf"), float("-inf"), float("nan"))

INTEGERS = (
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
)


def mutated(data: bytes, seed: int, most: int) -> bytes:
    """Return a model's bytes with one to three things changed; bytes that are none as they are."""
    chance = random.Random(seed)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
        for _ in range(chance.randint(1, 3)):
            _change_one(model, chance)
        changed: bytes = model.SerializeToString()
    except Exception:  # noqa: BLE001 - protobuf refuses values in its own ways
        return data[:most]
    return changed if len(changed) <= most else data[:most]


def _change_one(model: onnx.ModelProto, chance: random.Random) -> None:
    if model.metadata_props and chance.random() < 0.4:
        _change_description(model, chance)
        return
    message: Any = model
    # walk down from the model, and stop anywhere on the way
    while True:
        inner = _messages(message)
        if not inner or (message is not model and chance.random() < 0.25):
            break
        message = chance.choice(inner)
    _change_field(message, chance)


def _messages(message: Any) -> list[Any]:
    found: list[Any] = []
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            found.extend(value if hasattr(value, "add") else [value])
    return found


def _change_field(message: Any, chance: random.Random) -> None:
    field = chance.choice(message.DESCRIPTOR.fields)
    name, repeated = field.name, field.is_repeated
    value = getattr(message, name)
    if repeated and len(value) and chance.random() < 0.5:
        kept = list(value)
        changes: list[Callable[[], object]] = [
            lambda: kept.pop(chance.randrange(len(kept))),
            lambda: kept.append(chance.choice(kept)),
            lambda: chance.shuffle(kept),
        ]
        chance.choice(changes)()
        copies = [_copy(item) for item in kept]
        message.ClearField(name)
        getattr(message, name).extend(copies)
        return
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        message.ClearField(name)
        return
    new = _value(field, chance, value if not repeated else b"")
    if not repeated:
        setattr(message, name, new)
    elif len(value) and chance.random() < 0.7:
        value[chance.randrange(len(value))] = new
    else:
        value.append(new)


def _copy(item: Any) -> Any:
    if hasattr(item, "CopyFrom"):
        copy = type(item)()
        copy.CopyFrom(item)
        return copy
    return item


def _value(field: Any, chance: random.Random, old: Any) -> Any:
    if field.cpp_type in INTEGERS:
        return chance.choice(NUMBERS)
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return chance.choice(FLOATS)
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return chance.choice(field.enum_type.values).number
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes(old, chance)
    return chance.choice(TEXTS)


def _bytes(old: Any, chance: random.Random) -> bytes:
    data = bytearray(old if isinstance(old, bytes) else b"")
    if not data or chance.random() < 0.3:
        return bytes(data[: len(data) // 2])
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def _change_description(model: onnx.ModelProto, chance: random.Random) -> None:
    entry = chance.choice(list(model.metadata_props))
    description = json.loads(entry.value)
    inner, key = description, chance.choice(sorted(description))
    while isinstance(inner[key], dict | list) and inner[key] and chance.random() < 0.8:
        inner = inner[key]
        keys = range(len(inner)) if isinstance(inner, list) else list(inner)
        key = chance.choice(keys)
    wrong: list[Any] = [None, [], {}, "", 0.5, True, *NUMBERS, *TEXTS]
    if chance.random() < 0.2 and isinstance(inner, dict):
        del inner[key]
    else:
        inner[key] = chance.choice(wrong)
    entry.value = json.dumps(description)
