"""What a page shows beside the figures: a spike raster, pictures, thresholds and the graph's parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from onnx2snn.aliases import Array, Delay
from onnx2snn.data.samples import Samples
from onnx2snn.display.pictures import SHOWN_SCORE, image, legend, painted, picture, strip
from onnx2snn.errors import UsageError, quoted
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.sessions import open_session
from onnx2snn.protos.specs import fixed_batch, input_specs, output_specs
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.score.metrics import IGNORE
from onnx2snn.snn.neurons import neuron_nodes
from onnx2snn.snn.step_model import StepModel, needed_tensors, time_varying_tensors

RASTER_NEURONS = 96
RASTER_STEPS = 256
PICTURED = 4
MOST_BOXES = 20


@dataclass(frozen=True)
class Raster:
    """Spikes [T, neurons] of some neurons of a site, for one sample; `fired` of its `neurons` sent any."""

    site: str
    spikes: Array
    neurons: int
    fired: int


@dataclass(frozen=True)
class Exhibit:
    """What a page shows beside the figures; `strips` is markup."""

    raster: Raster
    strips: str
    thresholds: tuple[tuple[str, tuple[float, ...]], ...]
    parts: tuple[tuple[str, tuple[str, ...]], ...]


def exhibit(
    source: LoadedModel,
    session: Simulation,
    samples: Samples,
    *,
    timesteps: Sequence[int],
    delay: Delay,
    metric: str,
    site: str | None = None,
    threads: int | None = None,
) -> Exhibit:
    """Run the first samples once more and gather; UsageError for a `site` that is none."""
    names = [n["name"] for n in session.neurons]
    if site is not None and site not in names:
        raise UsageError(f"there is no neuron site '{site}'; the sites are {quoted(names)}")
    chosen = site or names[len(names) // 2]
    model = session.model
    return Exhibit(
        raster=_raster(session, samples, chosen, min(max(timesteps), RASTER_STEPS)),
        strips=_strips(
            source, session, samples, [(t, delay) for t in sorted(set(timesteps))], metric, threads
        ),
        thresholds=tuple(_thresholds(model)),
        parts=tuple(_parts(model)),
    )


def _raster(session: Simulation, samples: Samples, site: str, timesteps: int) -> Raster:
    feed = samples.batch(np.zeros(fixed_batch(session.inputs) or 1, np.int64))
    spikes = np.stack([step.spikes[site][0].ravel() for step in session.steps(feed, timesteps, 0)])
    fired = np.flatnonzero(spikes.any(axis=0))
    some = fired if len(fired) else np.arange(spikes.shape[1])
    shown = some[
        np.unique(np.linspace(0, len(some) - 1, min(len(some), RASTER_NEURONS)).astype(int))
    ]
    return Raster(site, spikes[:, shown], spikes.shape[1], len(fired))


def _strips(
    source: LoadedModel,
    session: Simulation,
    samples: Samples,
    windows: list[tuple[int, Delay]],
    metric: str,
    threads: int | None,
) -> str:
    """Of some samples: input, truth, ANN, SNN at each T; nothing where the task or the data is none of pictures."""
    specs = input_specs(source.proto)
    if metric not in _DRAWN:
        return ""
    count = min(PICTURED, len(samples))
    indices = np.arange(count)
    size = fixed_batch(specs) or count
    feeds = [
        samples.batch(np.resize(indices[start : start + size], size))
        for start in range(0, count, size)
    ]
    shown = next(
        ((s, feeds[0][s.name]) for s in specs if picture(s, feeds[0][s.name][0]) is not None), None
    )
    if shown is None:
        return ""
    reference = open_session(source.proto, threads)
    runs = [[reference.run(None, feed), *session.run_at(feed, windows)] for feed in feeds]
    answers = [
        [np.concatenate(parts)[:count] for parts in zip(*(run[i] for run in runs), strict=True)]
        for i in range(len(windows) + 1)
    ]
    inputs = np.concatenate([feed[shown[0].name] for feed in feeds])
    pixels = [picture(shown[0], sample) for sample in inputs[:count]]
    targets = {key: samples.target(key, indices) for key in samples.targets}
    labels = ["ANN", *(f"SNN, T = {t}" for t, _ in windows)]
    names = [s.name for s in output_specs(source.proto)]
    return _DRAWN[metric](pixels, targets, dict(zip(labels, answers, strict=True)), names)


def _segmentation(
    pixels: list[Any], targets: dict[str, Array], answers: dict[str, list[Array]], _: list[str]
) -> str:
    truth = targets["masks"].astype(np.int64)
    found = {label: _classes(outputs, truth.shape) for label, outputs in answers.items()}
    met = sorted(
        {int(k) for k in np.unique(np.concatenate([truth, *found.values()])) if k != IGNORE}
    )
    rows = [
        strip(
            [
                image("input", pixels[i]),
                image("truth", painted(truth[i])),
                *(image(label, painted(classes[i])) for label, classes in found.items()),
            ]
        )
        for i in range(len(pixels))
    ]
    return "".join(rows) + legend(met)


def _classes(outputs: Sequence[Array], shape: tuple[int, ...]) -> Array:
    """The first output that is class scores or classes of the masks' shape."""
    made = (
        o.argmax(axis=1) if o.ndim == 4 and o.shape[1] > 1 else o.reshape(o.shape[0], *o.shape[-2:])
        for o in outputs
        if o.ndim >= 3
    )
    return next(classes for classes in made if classes.shape == shape).astype(np.int64)


def _detection(
    pixels: list[Any], targets: dict[str, Array], answers: dict[str, list[Array]], names: list[str]
) -> str:
    from onnx2snn.score.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(names)
    wanted = [targets["boxes"], targets["classes"]]
    found = {label: metric.measure(outputs, wanted) for label, outputs in answers.items()}
    rows = []
    for i, shown in enumerate(pixels):
        truth = found["ANN"][i][1]
        sure = {
            label: made[i][0][made[i][0][:, 5] >= SHOWN_SCORE][:MOST_BOXES]
            for label, made in found.items()
        }
        drawn = (image(label, shown, boxes) for label, boxes in sure.items())
        rows.append(strip([image("input", shown), image("truth", shown, truth), *drawn]))
    return "".join(rows)


_DRAWN = {"miou": _segmentation, "map": _detection}


def _thresholds(model: StepModel) -> list[tuple[str, tuple[float, ...]]]:
    """Minimum, quartiles and maximum of each site's thresholds, in the ANN's units."""
    found = []
    for node in neuron_nodes(model.proto):
        scale = next(helper.get_attribute_value(a) for a in node.attribute if a.name == "scale")
        five = np.percentile(numpy_helper.to_array(scale), [0, 25, 50, 75, 100])
        found.append((node.name, tuple(five.tolist())))
    return found


def _parts(model: StepModel) -> list[tuple[str, tuple[str, ...]]]:
    """The way through the network: each part with what it is made of."""
    states = [s for s in model.states if s.kind != "step"]
    changing, moving = (
        time_varying_tensors(model.proto, states),
        time_varying_tensors(model.proto, model.states),
    )
    needed = needed_tensors(model.proto, model.states)
    operators: dict[str, Counter[str]] = {
        part: Counter() for part in ("encoder", "core", "readout")
    }
    averages = set(model.means) | {s.output for s in model.states if s.mean is not None}
    for node in model.proto.graph.node:
        made = set(node.output)
        if made & averages or (made & moving and not made & changing):
            continue  # what keeps time, and the means
        part = "encoder" if not made & moving else "core" if made & needed else "readout"
        operators[part][node.op_type] += 1
    listed = {
        part: ", ".join(f"{count} {op}" for op, count in found.most_common(6))
        + (", ..." if len(found) > 6 else "")
        for part, found in operators.items()
    }
    sites = f"{len(model.metadata['neurons'])} layers of neurons"
    analog = model.metadata["analog"]
    return [
        ("Inputs", (", ".join(model.inputs),)),
        ("Encoder, once an input", (listed["encoder"] or "nothing",)),
        (
            "Core, every time-step",
            (sites, listed["core"], *([f"not spiking: {', '.join(analog)}"] if analog else [])),
        ),
        ("Readout, of the mean over time", (listed["readout"] or "nothing",)),
        ("Outputs", (", ".join(model.outputs),)),
    ]
