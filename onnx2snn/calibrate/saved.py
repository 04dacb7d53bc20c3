"""A calibration, and its file: thresholds and mean activations per site, tied to their model.

The file is an .npz with these arrays:

- `threshold:SITE` and `mean:SITE`, of the site's threshold shape, for each site by name.
- `octaves:SITE`, in differential coding: the powers of two of its spikes.
- `source_sha256`: the hash of the source model.
- `settings`: those that decided the thresholds, as JSON.
- `calibrated`: whether there were data.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict, cast
from zipfile import BadZipFile

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import ModelFileError, UsageError
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.reading import require_file
from onnx2snn.snn import schema

LEAST, MOST = 1e-30, 1e30
"""Thresholds, in ANN units, whose reciprocals and ratios float32 holds."""

MOST_BYTES = 2**28
"""Bytes of all arrays of a calibration: a few numbers for each channel."""

SOURCE = "source_sha256"
SETTINGS = "settings"
CALIBRATED = "calibrated"


class CalibrationSettings(TypedDict):
    """The settings that decided the thresholds; they are kept with them, in the model too.

    `iterations` and `batch_size` belong to local threshold balancing, `percentile` to robust norm;
    `fitted_timesteps` and `fitted_levels` to thresholds that are good for these alone.
    """

    method: str
    granularity: str
    seed: int
    iterations: NotRequired[int]
    batch_size: NotRequired[int]
    percentile: NotRequired[float]
    fitted_timesteps: NotRequired[int]
    fitted_levels: NotRequired[int]
    fitted_octaves: NotRequired[int]
    fitted_digits: NotRequired[int]
    start: NotRequired[str]


@dataclass(frozen=True)
class Calibration:
    """Thresholds and mean activations, per site in order.

    Both are in ANN units and of the sites' threshold shapes. `thresholds` are as the rule left
    them, silent channels still at 0; `calibrated` is false where the inputs were random.
    """

    thresholds: tuple[Array, ...]
    means: tuple[Array, ...]
    settings: CalibrationSettings
    calibrated: bool
    octaves: tuple[int, ...] = ()


def stored(calibration: Calibration, sites: Sequence[Site], sha256: str) -> dict[str, Array]:
    """Return a calibration as the arrays of its .npz, keyed by site name.

    Args:
        calibration: The calibration.
        sites: The sites it is of.
        sha256: The hash of the source model, to which it is tied.
    """
    arrays: dict[str, Array] = {}
    for site, theta in zip(sites, calibration.thresholds, strict=True):
        arrays[f"threshold:{site.name}"] = theta
    for site, mean in zip(sites, calibration.means, strict=True):
        arrays[f"mean:{site.name}"] = mean
    for site, octaves in zip(sites, calibration.octaves, strict=False):
        arrays[f"octaves:{site.name}"] = np.array(octaves)
    arrays[SOURCE] = np.array(sha256)
    arrays[SETTINGS] = np.array(json.dumps(calibration.settings))
    arrays[CALIBRATED] = np.array(calibration.calibrated)
    return arrays


def load(
    path: str | os.PathLike[str], sites: Sequence[Site], sha256: str, granularity: str
) -> Calibration:
    """Read a calibration.

    Args:
        path: The file.
        sites: The sites it has to be of.
        sha256: The hash of the source model it has to belong to.
        granularity: "channel" or "layer": the shape its arrays have to have.

    Raises:
        ModelFileError: The file is no whole .npz archive, or its settings are damaged.
        UsageError: It belongs to another model, or does not match a site, which is named.
    """
    found = _arrays(path)
    source = str(found.get(SOURCE))
    if source != sha256:
        raise UsageError(
            f"thresholds '{path}' belong to a model with source hash {source[:12]}, "
            f"this one has {sha256[:12]}; calibrate again"
        )
    for key in (SETTINGS, CALIBRATED):
        if key not in found:
            raise UsageError(
                f"thresholds '{path}' hold no '{key}'; calibrate again with --save-thresholds"
            )
    values: dict[str, list[Array]] = {"threshold": [], "mean": []}
    for kind, arrays in values.items():
        for site in sites:
            value = _of_site(found, kind, site, granularity)
            if value is None:
                shape = site.threshold_shape(granularity)
                raise UsageError(
                    f"thresholds '{path}' hold no finite {kind}s of shape {shape} for site "
                    f"'{site.name}'; calibrate again with --granularity {granularity}"
                )
            arrays.append(value)
    settings = _settings(str(found[SETTINGS]), path)
    calibrated = bool(np.all(found[CALIBRATED]))
    octaves = [found[f"octaves:{site.name}"] for site in sites if f"octaves:{site.name}" in found]
    if not all(value.ndim == 0 and value.dtype.kind in "iu" for value in octaves):
        raise ModelFileError(
            f"the octaves in thresholds '{path}' are no whole numbers; calibrate again with "
            "--save-thresholds"
        )
    return Calibration(
        tuple(values["threshold"]),
        tuple(values["mean"]),
        settings,
        calibrated,
        tuple(int(value) for value in octaves),
    )


def _settings(text: str, path: str | os.PathLike[str]) -> CalibrationSettings:
    """Return the settings in a file of thresholds (ModelFileError: they are damaged)."""
    try:
        settings = json.loads(text)
        fault = next(schema.faults(settings, CalibrationSettings), None)
    except (ValueError, RecursionError):
        settings, fault = None, "they are no JSON"
    if fault is not None:
        raise ModelFileError(
            f"the settings in thresholds '{path}' are damaged ({fault}); calibrate again with "
            "--save-thresholds"
        )
    return cast(CalibrationSettings, settings)


def _arrays(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Return all arrays of an archive, or raise ModelFileError."""
    try:
        # left to open the file itself, numpy leaves a damaged one open
        require_file(Path(path))
        with Path(path).open("rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise BadZipFile("a lone array")
            members = [] if file.zip is None else file.zip.infolist()
            sizes = [int(member.file_size) for member in members]
            if sum(sizes) > MOST_BYTES:
                raise BadZipFile("more than thresholds take")
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        said = getattr(error, "strerror", None) or "not a whole .npz archive"
        raise ModelFileError(
            f"thresholds '{path}' cannot be read ({said}); make them with --save-thresholds"
        ) from error


def _of_site(arrays: Mapping[str, Array], kind: str, site: Site, granularity: str) -> Array | None:
    """Return a site's thresholds or means, or None where they are not what they have to be."""
    value = arrays.get(f"{kind}:{site.name}")
    if value is None or value.shape != site.threshold_shape(granularity):
        return None
    if value.dtype.kind != "f":
        return None
    if not np.all(np.isfinite(value)):
        return None
    # where estimates of differential coding start may have any sign
    if kind == "threshold" and np.any(value < 0):
        return None
    some = value[value > 0]
    out_of_range = np.any(some < LEAST) or np.any(some > MOST)
    if kind == "threshold" and out_of_range:
        return None
    return value
