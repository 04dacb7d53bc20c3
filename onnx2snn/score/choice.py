"""Choice of the metric, before any work: by the data, and by the ANN's own outputs.

A metric is tried on the ANN's outputs for the first samples. One that the caller names, or that is
the only one for the data, is refused there where it does not fit; of several for the data (masks
and boxes) the first one that fits is taken.
"""

from __future__ import annotations

from contextlib import ExitStack

from onnx2snn.data.batches import batches
from onnx2snn.data.samples import Samples
from onnx2snn.errors import DataError, UsageError
from onnx2snn.protos.computing import computing
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.sessions import open_session
from onnx2snn.protos.specs import fixed_batch, input_specs
from onnx2snn.score.metrics import Metric
from onnx2snn.score.output_axes import output_axes
from onnx2snn.score.question import Question, metric_names, open_metric


def fitting_metric(
    source: LoadedModel, samples: Samples, question: Question, size: int, stack: ExitStack
) -> tuple[str, Metric]:
    """Return the name of the metric, and the metric, tried on the ANN's first outputs.

    Args:
        source: The ANN.
        samples: The data.
        question: The options.
        size: Samples that are tried together, at most.
        stack: As long as it is open, a script can import its neighbours.

    Raises:
        DataError: The metric does not fit the outputs or the data.
        UsageError: An output or a library that it needs is missing.
    """
    names = metric_names(question.metric, samples)
    *others, last = names
    for name in others:
        try:
            return name, _tried(name, source, samples, question, size, stack)
        except (DataError, UsageError):
            continue
    return last, _tried(last, source, samples, question, size, stack)


def _tried(
    name: str,
    source: LoadedModel,
    samples: Samples,
    question: Question,
    size: int,
    stack: ExitStack,
) -> Metric:
    """Return a metric that has scored the ANN on the first samples."""
    metric = open_metric(name, source, samples, question.output, stack)
    for key in metric.targets:
        samples.target(key, [0])  # refuses an array that is missing
    specs = input_specs(source.proto)
    session = open_session(source.proto, question.threads, question.providers)
    count = min(size, len(samples))
    axes = output_axes(source.proto, specs, samples, session)
    for batch in batches(samples, size, fixed_batch(specs), count):
        with computing(specs):
            outputs = list(session.run(None, batch.feed))
        own = axes.own(batch, outputs)
        if metric.by_sample:
            own = axes.by_sample(own)
        targets = [samples.target(key, batch.indices) for key in metric.targets]
        wanted = own if metric.against_ann else targets
        metric.measure(own, wanted, batch.first)
    return metric
