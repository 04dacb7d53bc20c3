"""Times on a GPU: ResNet-18 at 224 in both codings, beside its ANN and SpikingJelly on that card.

`speed.py --only gpu` calls it; without a GPU there is nothing to measure, which it says.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import onnxruntime as ort
from spikingjelly_ways import thresholds_of
from timing import Variant, Watch, alternate
from variants import ANN, SCHEDULES, SPIKINGJELLY, Array, Network, converted, inputs, options

import onnx2snn
from onnx2snn.protos.providers import Provider, usable

Found = dict[str, Any]

BATCHES = (1, 64)
CODINGS = ("rate", "differential")
FLOAT16 = "auto, float16"


def gpu_times(
    network: Network, provider: str, timesteps: list[int], threads: int, rounds: int
) -> Iterator[tuple[str, Found]]:
    """Yield a cell of the table for each coding, batch and T; none where there is no GPU."""
    try:
        providers = usable([provider])
    except onnx2snn.UsageError as error:
        print(f"no GPU here: {error}", file=sys.stderr)
        return
    for coding in CODINGS:
        conversion = _converted(network, coding, threads)
        for batch in BATCHES:
            for steps in timesteps:
                key = f"{network.name}, {coding}|{batch}|{steps}"
                print(f"{key} on {provider}", file=sys.stderr)
                feed = inputs(network, batch)
                ways = [
                    _ann(network, feed, providers),
                    *_spiking(conversion, feed, steps, providers, coding),
                ]
                if coding == "rate" and provider.startswith("cuda"):
                    ways += _spikingjelly(network, conversion, feed, steps)
                watch = Watch()
                figures = alternate(ways, rounds)
                named = {name: asdict(figure) for name, figure in figures.items()}
                yield key, {"figures": named, "others": watch.stop()}


def _converted(network: Network, coding: str, threads: int) -> onnx2snn.Conversion:
    if coding == "rate":
        return converted(network, threads)
    return onnx2snn.convert(network.ann, preset="differential", timesteps=1, threads=threads)


def _ann(network: Network, feed: Mapping[str, Array], providers: list[Provider]) -> Variant:
    session = ort.InferenceSession(network.ann, options(1), providers=providers)
    batch = len(next(iter(feed.values())))
    return Variant(f"{ANN}one batch", partial(session.run, None, dict(feed)), batch)


def _spiking(
    conversion: onnx2snn.Conversion,
    feed: Mapping[str, Array],
    steps: int,
    providers: list[Provider],
    coding: str,
) -> Iterator[Variant]:
    """Every schedule, and float16 where the coding allows it."""
    units = steps * len(next(iter(feed.values())))
    open_session = partial(onnx2snn.SpikingSession, conversion.model, providers=providers)
    for schedule in SCHEDULES:
        session = open_session(schedule=schedule)
        yield Variant(schedule, partial(session.run, None, feed, steps, 0), units)
    if coding == "rate":
        session = open_session(float16=True)
        yield Variant(FLOAT16, partial(session.run, None, feed, steps, 0), units)


def _spikingjelly(
    network: Network, conversion: onnx2snn.Conversion, feed: Mapping[str, Array], steps: int
) -> list[Variant]:
    """Both step modes of SpikingJelly on the card; none where it, or torch's CUDA, is missing."""
    if importlib.util.find_spec("spikingjelly") is None:
        return []
    import spikingjelly_twin
    import torch

    if not torch.cuda.is_available():
        return []
    twin = spikingjelly_twin.Twin(network.ann, thresholds_of(conversion), 1, "cuda")
    (x,) = feed.values()
    modes = {"single-step": twin.single_step, "multi-step": twin.multi_step}
    units = steps * len(x)
    return [
        Variant(f"{SPIKINGJELLY}{n}", partial(run, x, steps), units) for n, run in modes.items()
    ]
