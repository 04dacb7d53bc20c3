"""The work of weighted operators in the spiking model that an ANN would become.

What feeds an operator does not depend on thresholds, so all are 1.
"""

from __future__ import annotations

import numpy as np

from onnx2snn.graph.shape_inference import Trial
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.partition import Partition
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.sessions import loading
from onnx2snn.rewrite.emit import ConversionFacts, annotate
from onnx2snn.rewrite.fold import fold
from onnx2snn.rewrite.spiking import rewrite
from onnx2snn.score.results import WeightedWork
from onnx2snn.score.synapses import weighted_work
from onnx2snn.snn.step_model import read_step_model

FACTS = ConversionFacts(settings={}, timesteps=1, delay=0, delay_auto=0, calibrated=False)


def foreseen_work(
    source: LoadedModel, graph: Graph, parts: Partition, trial: Trial
) -> WeightedWork:
    """Return what would feed the weighted operators of an ANN under rate coding.

    Args:
        source: The ANN.
        graph: The same, arranged.
        parts: Its partition.
        trial: Inputs of the first run are those the products are counted with.
    """
    thresholds = [np.ones(site.threshold_shape("channel")) for site in parts.sites]
    spiking = rewrite(graph, parts, thresholds)
    folded, _ = fold(spiking, parts.names("analog"))
    step = read_step_model(annotate(folded, parts, source, FACTS), source.name)
    with loading():
        return weighted_work(step, trial.feeds[0])
