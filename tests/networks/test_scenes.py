"""The generator of scenes in models/.

The same seed gives the same scenes, and picture, masks and boxes agree.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]

GARMENTS, LABELS = np.zeros((10, 28, 28), np.uint8), np.arange(10)
for _label in LABELS:  # solid boxes of ten sizes
    GARMENTS[_label, 9 - _label : 19 + _label // 2, 4:24] = 255


@cache
def scenes() -> Any:
    spec = importlib.util.spec_from_file_location(
        "scenes", Path(__file__).parents[2] / "models" / "scenes.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scenes"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@cache
def made(seed: int, count: int = 40) -> Any:
    return scenes().compose(np.random.default_rng(seed), GARMENTS, LABELS, count)


def test_the_same_seed_gives_the_same_scenes() -> None:
    again = scenes().compose(np.random.default_rng(3), GARMENTS, LABELS, 40)
    for name in ("input", "masks", "boxes", "classes"):
        assert np.array_equal(getattr(made(3), name), getattr(again, name))
    assert not np.array_equal(made(3).input, made(4).input)


def test_scenes_have_the_shapes_and_types_they_promise() -> None:
    found = made(0)
    assert (found.input.shape, found.input.dtype) == ((40, 1, 128, 128), np.uint8)
    assert (found.masks.shape, found.masks.dtype) == ((40, 128, 128), np.uint8)
    assert (found.boxes.shape, found.boxes.dtype) == ((40, 6, 4), np.float32)
    assert (found.classes.shape, found.classes.dtype) == ((40, 6), np.int64)
    assert set(np.unique(found.masks)) == {*range(11), 255}
    number = (found.classes >= 0).sum(axis=1)
    assert number.min() >= 1
    assert number.max() == 6
    assert not found.boxes[found.classes < 0].any()


@pytest.mark.parametrize("seed", range(3))
def test_pixels_of_a_garment_are_bright_and_others_dark(seed: int) -> None:
    """Covered by 0.8 at least.

    0.8 * 0.8 * 255 or more; by 0.2 at most: 0.8 * 120 + 0.2 * 1.1 * 255 or less.
    """
    found = made(seed)
    garment = (found.masks > 0) & (found.masks <= 10)
    assert found.input[:, 0][garment].min() >= 163
    assert found.input[:, 0][found.masks == 0].max() <= 152


@pytest.mark.parametrize("seed", range(3))
def test_every_garment_pixel_lies_in_a_box_of_its_class(seed: int) -> None:
    found = made(seed)
    row, column = np.mgrid[:128, :128] + 0.5
    for mask, boxes, classes in zip(found.masks, found.boxes, found.classes, strict=True):
        for kind in np.unique(mask[(mask > 0) & (mask <= 10)]):
            inside = [
                (column > x1) & (column < x2) & (row > y1) & (row < y2)
                for x1, y1, x2, y2 in boxes[classes == kind - 1]
            ]
            assert np.any(inside, axis=0)[mask == kind].all()


@pytest.mark.parametrize("seed", range(3))
def test_a_box_is_tight_but_for_uncertain_borders(seed: int) -> None:
    found = made(seed)
    checked = 0
    for mask, boxes, classes in zip(found.masks, found.boxes, found.classes, strict=True):
        for box, kind in zip(boxes, classes, strict=True):
            if kind < 0 or (classes == kind).sum() > 1:
                continue
            rows, columns = np.nonzero(mask == kind + 1)
            around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert np.abs(box - around).max() <= 4
            checked += 1
    assert checked > 50


def test_a_garment_that_is_mostly_hidden_has_no_box_and_its_pixels_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two in one place, the upper one of 16 rows: of the lower one 12 of 28 rows are seen."""
    for name, value in (("SCALES", (1.0, 1.0)), ("FEWEST", 2), ("MOST", 2)):
        monkeypatch.setattr(scenes(), name, value)
    monkeypatch.setattr(
        scenes(), "_places", lambda rng, side, there: np.full((*side.shape, 2), 40.0)
    )
    garments = np.full((2, 28, 28), 255, np.uint8)
    garments[1, 16:] = 0
    found = {}
    for least in (0.4, 0.5):
        monkeypatch.setattr(scenes(), "LEAST_VISIBLE", least)
        found[least] = scenes().compose(np.random.default_rng(0), garments, np.array([7, 2]), 40)
    seen, hidden = found[0.4], found[0.5]
    stacked = (seen.classes == [7, 2]).all(axis=1)
    assert stacked.any()
    assert (seen.boxes[stacked] == [[40, 56, 68, 68], [40, 40, 68, 56]]).all()
    assert (seen.masks[stacked, 58:66, 42:66] == 8).all()
    assert (hidden.classes[stacked] == [-1, 2]).all()
    assert not hidden.boxes[stacked, 0].any()
    assert (hidden.masks[stacked, 58:66, 42:66] == 255).all()


@cache
def moved(clips: int = 3, frames: int = 24) -> Any:
    return scenes().move(np.random.default_rng(5), GARMENTS, LABELS, clips, frames)


def test_the_background_of_a_clip_stands_still() -> None:
    images, masks = (found.reshape(3, 24, 128, 128) for found in (moved().input, moved().masks))
    for clip, mask in zip(images, masks, strict=True):
        still = (mask[1:] == 0) & (mask[:-1] == 0)
        # a pixel of the background is covered by 0.2 of a garment at most
        assert still.mean() > 0.5
        assert np.mean(clip[1:][still] != clip[:-1][still]) < 0.05
        assert np.mean(clip[1:] != clip[:-1]) > 0.01


def test_a_garment_moves_one_to_two_pixels_a_frame() -> None:
    boxes = moved().boxes.reshape(3, 24, 6, 4)
    known = moved().classes.reshape(3, 24, 6) >= 0
    assert known.any(axis=(0, 1)).sum() >= 3
    steps = []
    for clip in range(3):
        for slot in range(6):
            if not known[clip, :, slot].all():
                continue
            box = boxes[clip, :, slot]
            moves = (box[1:] - box[:-1]).reshape(-1, 2, 2)
            assert np.abs(moves).max() <= 28 * 1.8  # what hides it may go, but it does not jump
            steps += [np.linalg.norm(np.median(moves, axis=1), axis=1)]
    assert 0.8 < np.median(np.concatenate(steps)) < 2.3


def test_a_clip_begins_as_a_scene_and_clips_differ() -> None:
    still = scenes().compose(np.random.default_rng(5), GARMENTS, LABELS, 3)
    assert np.array_equal(moved().input[::24], still.input)
    assert np.array_equal(moved().masks[::24], still.masks)


def test_no_garment_leaves_the_picture() -> None:
    """After a hundred frames each has turned back."""
    found = scenes().move(np.random.default_rng(6), GARMENTS, LABELS, 2, 200)
    assert (found.classes >= 0).sum(axis=1).min() >= 1
    last = found.boxes[found.classes >= 0]
    assert last.min() >= 0
    assert last.max() <= 128
    assert ((last[:, 2:] - last[:, :2]).min(axis=1) > 2).all()
