"""A calibration kept in a file: thresholds and mean activations per site, tied to the model they belong to."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import ModelFileError, UsageError
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.save import write_npz

SOURCE, SETTINGS = "source_sha256", "settings"


@dataclass(frozen=True)
class Calibration:
    """What calibrating found, per site in order, in ANN units and of the sites' threshold shapes.

    `thresholds` are as the rule left them, silent channels still at 0; `means` are mean activations; `settings` are
    those that decided them; `calibrated` is false where the inputs were random.
    """

    thresholds: tuple[Array, ...]
    means: tuple[Array, ...]
    settings: dict[str, Any]
    calibrated: bool


def save(
    path: str | os.PathLike[str], calibration: Calibration, sites: Sequence[Site], sha256: str
) -> None:
    """Write a calibration as .npz, keyed by site name and tied to the source model."""
    arrays = {
        f"threshold:{site.name}": t for site, t in zip(sites, calibration.thresholds, strict=True)
    }
    arrays |= {f"mean:{site.name}": m for site, m in zip(sites, calibration.means, strict=True)}
    about = {
        SOURCE: sha256,
        SETTINGS: json.dumps(calibration.settings),
        "calibrated": calibration.calibrated,
    }
    write_npz(path, arrays | {key: np.array(value) for key, value in about.items()})


def load(
    path: str | os.PathLike[str], sites: Sequence[Site], sha256: str, granularity: str
) -> Calibration:
    """Read a calibration; UsageError names the first site that does not match this model and granularity."""
    try:
        with Path(path).open(
            "rb"
        ) as raw:  # left to open it itself, numpy leaves a damaged file open
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise BadZipFile("a lone array")
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        said = getattr(error, "strerror", None) or "not a whole .npz archive"
        raise ModelFileError(
            f"thresholds '{path}' cannot be read ({said}); make them with --save-thresholds"
        ) from error
    if str(found.get(SOURCE)) != sha256:
        raise UsageError(
            f"thresholds '{path}' belong to a model with source hash {str(found.get(SOURCE))[:12]}, this one has "
            f"{sha256[:12]}; calibrate again"
        )
    lacking = [key for key in (SETTINGS, "calibrated") if key not in found]
    if lacking:
        raise UsageError(
            f"thresholds '{path}' hold no '{lacking[0]}'; calibrate again with --save-thresholds"
        )
    sets: dict[str, tuple[Array, ...]] = {}
    for kind in ("threshold", "mean"):
        values = [found.get(f"{kind}:{site.name}") for site in sites]
        for site, value in zip(sites, values, strict=True):
            wanted = site.threshold_shape(granularity)
            fits = value is not None and value.shape == wanted and value.dtype.kind == "f"
            if value is None or not fits or not np.all(np.isfinite(value)) or np.any(value < 0):
                raise UsageError(
                    f"thresholds '{path}' hold no finite {kind}s of shape {wanted} for site '{site.name}'; "
                    f"calibrate again with --granularity {granularity}"
                )
        sets[kind] = tuple(value for value in values if value is not None)
    return Calibration(
        sets["threshold"], sets["mean"], json.loads(str(found[SETTINGS])), bool(found["calibrated"])
    )
