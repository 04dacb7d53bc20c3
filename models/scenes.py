"""Scenes composed of garments on textured backgrounds, with the masks and boxes that belong to
them.

    apt-get install dataset-fashion-mnist     # the garments, from Debian
    python models/scenes.py                   # all three files
    python models/scenes.py stream            # some of: calibration, test, stream

`scene_calibration.npz` and `scene_test.npz` hold scenes that have nothing to do with one another,
`scene_stream.npz` clips in which the garments move and the background stands still.
Everything is drawn from one seeded generator, a whole batch of scenes at once: the same seed gives
the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SIDE, GARMENT, MOST = 128, 28, 6
"""Pixels of a scene's side and of a garment's; the most garments of a scene."""
CLASSES, IGNORE = 10, 255
FEWEST, SCALES, TRIES = 3, (0.8, 1.8), 8
MOST_OVERLAP = 0.25
"""Of the smaller one's box, where a place with no more is found in `TRIES`."""
SPEEDS = (1.0, 2.0)
"""Pixels a moving garment covers in a frame."""
CLIPS, FRAMES = 4, 32
"""Clips of the stream, and frames of each."""
LEAST_VISIBLE = 0.4
"""A garment of which less is seen is neither to be found nor to be missed.

Its pixels are ignored, it has no box.
"""
UNSURE = (0.2, 0.8)
"""Cover between which a pixel is neither the garment's nor its background's."""
FILES = {"calibration": (0, "train"), "test": (1, "t10k"), "stream": (3, "t10k")}
"""Number of the random generator, and whose garments, by file; generator 2 serves training."""
DEBIAN_DATA = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Scenes:
    """`input` [N,1,H,W] uint8.

    `masks` [N,H,W] uint8: 0 background, 1 to 10 garments, 255 ignored; `boxes` [N,M,4] float32: x1,
    y1, x2, y2 in pixels around what is seen of a garment; `classes` [N,M] int64 from 0, -1: no
    garment.
    """

    input: Array
    masks: Array
    boxes: Array
    classes: Array


@dataclass(frozen=True)
class _Cast:
    """The garments of N scenes, M slots each, before they are drawn; later ones lie on top."""

    pixels: Array
    """[N,M,28,28] uint8."""
    labels: Array
    """[N,M] int64 from 0."""
    there: Array
    """[N,M] bool: whether the slot is taken."""
    scale: Array
    """[N,M], of the garment's 28 pixels."""
    gain: Array
    """[N,M] float32, of its brightness."""
    corner: Array
    """[N,M,2]: left and top edge in pixels."""


def compose(rng: np.random.Generator, garments: Array, labels: Array, count: int) -> Scenes:
    """`count` scenes of 3 to 6 garments each, drawn from `garments` [G,28,28] uint8 of classes
    `labels` [G].
    """
    cast = _cast(rng, garments, labels, count)
    return _drawn(cast, _background(rng, count))


def move(
    rng: np.random.Generator, garments: Array, labels: Array, clips: int, frames: int
) -> Scenes:
    """`clips` clips of `frames` scenes, one after another.

    Each garment moves straight on by 1 to 2 pixels a frame and turns back at the borders; the
    background stands still.
    """
    cast = _cast(rng, garments, labels, clips)
    still = _background(rng, clips)
    speed, angle = rng.uniform([SPEEDS[0], 0], [SPEEDS[1], 2 * np.pi], (clips, MOST, 2)).T
    step = np.stack([speed * np.cos(angle), speed * np.sin(angle)]).T  # [clips,M,2]
    room = (SIDE - cast.scale * GARMENT)[:, None, :, None]
    way = cast.corner[:, None] + np.arange(frames)[:, None, None] * step[:, None]
    # back and forth between 0 and the room: the distance to the nearest multiple of twice the room
    place = np.abs(way - 2 * room * np.rint(way / (2 * room)))
    repeated = {name: np.repeat(value, frames, axis=0) for name, value in vars(cast).items()}
    repeated["corner"] = place.reshape(-1, MOST, 2)
    return _drawn(_Cast(**repeated), np.repeat(still, frames, axis=0))


def _cast(rng: np.random.Generator, garments: Array, labels: Array, count: int) -> _Cast:
    """Choose garments, sizes and places of `count` scenes."""
    chosen = rng.integers(len(garments), size=(count, MOST))
    scale = rng.uniform(*SCALES, (count, MOST))
    there = np.arange(MOST) < rng.integers(FEWEST, MOST + 1, (count, 1))
    corner = _places(rng, scale * GARMENT, there)
    flipped = rng.random((count, MOST)) < 0.5
    gain = rng.uniform(0.8, 1.1, (count, MOST)).astype(np.float32)
    pixels = garments[chosen]
    pixels = np.where(flipped[..., None, None], pixels[..., ::-1], pixels)
    return _Cast(pixels, labels[chosen], there, scale, gain, corner)


def _drawn(cast: _Cast, canvas: Array) -> Scenes:
    """Draw the garments onto the backgrounds `canvas` [N,H,W], which it overwrites."""
    there, count = cast.there, len(canvas)
    owner = np.full((count, SIDE, SIDE), -1, np.int8)
    unsure = np.zeros((count, SIDE, SIDE), bool)
    size = np.zeros((count, MOST), np.int64)
    for slot in range(MOST):  # the later ones lie on top
        pixels = cast.pixels[:, slot].astype(np.float32)
        x, y = (_hat(cast.corner[:, slot, axis], cast.scale[:, slot]) for axis in (0, 1))
        cover = y @ _closed(pixels > 8) @ x.transpose(0, 2, 1) * there[:, slot, None, None]
        canvas *= 1 - cover
        canvas += (cast.gain * there)[:, slot, None, None] * (y @ pixels @ x.transpose(0, 2, 1))
        own = cover >= 0.5
        size[:, slot] = own.sum(axis=(1, 2))
        owner[own] = slot
        unsure = np.where(cover >= UNSURE[1], False, unsure | (cover > UNSURE[0]))

    boxes, seen = _boxes(owner)
    known = there & (seen > 0) & (seen >= LEAST_VISIBLE * size)
    by_slot = np.concatenate(
        [np.where(known, cast.labels + 1, IGNORE), np.zeros((count, 1), np.int64)], axis=1
    )
    masks = np.take_along_axis(by_slot, owner.reshape(count, -1).astype(np.int64), axis=1).reshape(
        owner.shape
    )
    return Scenes(
        np.clip(np.rint(canvas), 0, 255).astype(np.uint8)[:, None],
        np.where(unsure, IGNORE, masks).astype(np.uint8),
        np.where(known[..., None], boxes, 0).astype(np.float32),
        np.where(known, cast.labels, -1).astype(np.int64),
    )


def _places(rng: np.random.Generator, side: Array, there: Array) -> Array:
    """Left and top edges [N,M,2].

    Of some random places the one that covers least of what lies there already.
    """
    tries = rng.random((*side.shape, TRIES, 2)) * (SIDE - side[..., None, None])
    places = tries[:, :, 0].copy()
    for slot in range(1, side.shape[1]):
        first, second = places[:, None, :slot], tries[:, slot, :, None]
        ends = np.minimum(
            first + side[:, None, :slot, None], second + side[:, slot, None, None, None]
        )
        area = (
            np.prod(np.clip(ends - np.maximum(first, second), 0, None), axis=3)
            * there[:, None, :slot]
        )
        worst = (area / np.minimum(side[:, :slot], side[:, slot, None])[:, None] ** 2).max(axis=2)
        best = np.argmin(np.maximum(worst, MOST_OVERLAP), axis=1)
        places[:, slot] = np.take_along_axis(tries[:, slot], best[:, None, None], axis=1)[:, 0]
    return places


def _hat(corner: Array, scale: Array) -> Array:
    """Weights [N,128,28] that stretch a garment's axis by `scale` [N] and put it at `corner` [N],
    bilinearly.
    """
    source = (np.arange(SIDE) + 0.5 - corner[:, None]) / scale[:, None] - 0.5
    return np.clip(1 - np.abs(source[:, :, None] - np.arange(GARMENT)), 0, None).astype(np.float32)


def _closed(mask: Array) -> Array:
    """Morphological closing by 3x3: dark seams inside a garment belong to it."""
    grown = np.pad(mask, ((0, 0), (2, 2), (2, 2)))
    for join in (np.logical_or, np.logical_and):
        grown = join(join(grown[:, :-2], grown[:, 1:-1]), grown[:, 2:])
        grown = join(join(grown[:, :, :-2], grown[:, :, 1:-1]), grown[:, :, 2:])
    return grown.astype(np.float32)


def _background(rng: np.random.Generator, count: int) -> Array:
    """Smooth noise at two sizes under stripes of any direction: [N,128,128] float32, 0 to 120."""
    level, depth, fine, stripes = (
        rng.uniform([10, 10, 0, 0], [70, 40, 15, 20], (count, 4)).astype(np.float32).T
    )
    angle, turns, phase = (
        rng.uniform([0, 3, 0], [np.pi, 16, 2 * np.pi], (count, 3)).astype(np.float32).T
    )
    place = np.arange(SIDE, dtype=np.float32) / SIDE
    along = place * np.cos(angle)[:, None, None] + place[:, None] * np.sin(angle)[:, None, None]
    wave = np.cos(2 * np.pi * turns[:, None, None] * along + phase[:, None, None])
    smooth = level[:, None, None] + stripes[:, None, None] * wave
    for amplitude, knots in ((depth, 5), (fine, 17)):
        spread = place[:, None] * (knots - 1) * SIDE / (SIDE - 1)
        weights = np.clip(1 - np.abs(spread - np.arange(knots, dtype=np.float32)), 0, None)
        smooth += amplitude[:, None, None] * (
            weights @ rng.uniform(-1, 1, (count, knots, knots)).astype(np.float32) @ weights.T
        )
    return np.clip(smooth, 0, 120)


def _boxes(owner: Array) -> tuple[Array, Array]:
    """Around the pixels of each slot: boxes [N,M,4] and numbers of pixels [N,M]."""
    own = owner[:, None] == np.arange(MOST)[:, None, None]
    columns, rows = own.any(axis=2), own.any(axis=3)
    firsts = [line.argmax(axis=2) for line in (columns, rows)]
    lasts = [SIDE - line[..., ::-1].argmax(axis=2) for line in (columns, rows)]
    return np.stack([*firsts, *lasts], axis=2), own.sum(axis=(2, 3))


def read_garments(data_dir: Path, split: str) -> tuple[Array, Array]:
    """Images [n,28,28] uint8 and labels [n] int64 of Fashion-MNIST's `train` or `t10k`."""
    paths = [data_dir / f"{split}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    for path in paths:
        if not path.is_file():
            sys.exit(
                f"Fashion-MNIST is missing: no file {path}. Install Debian's package "
                "dataset-fashion-mnist, or name the folder of its four idx files by --data-dir."
            )
    pixels, labels = (gzip.decompress(path.read_bytes()) for path in paths)
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, GARMENT, GARMENT)
    return images, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)


def save_arrays(target: Path, arrays: dict[str, Array]) -> None:
    """Write a compressed npz file, in place of an older one only when it is whole."""
    temporary = target.with_name(f".{target.stem}.tmp.npz")
    np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]  # its stub takes `allow_pickle` for an array
    temporary.replace(target)


def main() -> None:
    """Read the command line and write the data files it asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", nargs="*", default=list(FILES), help=", ".join(FILES))
    parser.add_argument("--data-dir", type=Path, default=DEBIAN_DATA)
    parser.add_argument("--out-dir", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if unknown := set(args.target) - set(FILES):
        parser.error(f"no target {', '.join(sorted(unknown))}; choose from {', '.join(FILES)}")
    for name, (number, split) in FILES.items():
        if name not in args.target:
            continue
        rng = np.random.default_rng([args.seed, number])
        garments = read_garments(args.data_dir, split)
        if name == "stream":
            scenes = move(rng, *garments, CLIPS, FRAMES)
        else:
            scenes = compose(rng, *garments, args.count)
        save_arrays(args.out_dir / f"scene_{name}.npz", asdict(scenes))


if __name__ == "__main__":
    main()
