"""The raster of a page: the spikes of some neurons, and no more held than is shown."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from helpers.networks import Builder

from onnx2snn import convert
from onnx2snn.data.samples import open_samples
from onnx2snn.display.subject import RASTER_NEURONS, Subject
from onnx2snn.options import NeuronKind
from onnx2snn.protos.load import load_model
from onnx2snn.protos.specs import input_specs
from onnx2snn.runtime.simulation import Simulation

STEPS = 40


def subject_of(batch: int | str, neuron: NeuronKind, side: int = 32) -> Subject:
    """A network with a layer of 16 neurons at each place, on its own."""
    b = Builder()
    x = b.input("input", [batch, 3, side, side])
    x = b.node("Relu", b.conv(x, 3, 16), name="first")
    out = b.conv(x, 16, 2)
    model = b.model({out: [batch, 2, side, side]})
    count = batch if isinstance(batch, int) else 2
    data = np.random.default_rng(0).standard_normal((count, 3, side, side), np.float32)
    made = convert(model, {"input": data}, method="max", neuron=neuron)
    source = load_model(model)
    samples = open_samples({"input": data}, input_specs(source.proto))
    return Subject(source, Simulation(made.model), samples, [(STEPS, 0)], "", 1)


@pytest.mark.parametrize("neuron", ["if", "signed"])
@pytest.mark.parametrize("batch", ["n", 2])
def test_a_raster_shows_neurons_that_fire_with_their_spikes_at_each_step(
    batch: int | str, neuron: NeuronKind
) -> None:
    subject = subject_of(batch, neuron)
    raster = subject.raster("first")
    size = batch if isinstance(batch, int) else 1
    feed = subject.samples.batch(np.zeros(size, np.int64))
    steps = subject.simulation.steps(feed, STEPS, 0)
    whole = np.stack([step.spikes["first"][0].ravel().copy() for step in steps])
    fired = np.flatnonzero(whole.any(axis=0))
    assert (raster.neurons, raster.fired) == (whole.shape[1], len(fired))
    places = np.linspace(0, len(fired) - 1, RASTER_NEURONS).astype(int)
    np.testing.assert_array_equal(raster.spikes, whole[:, fired[np.unique(places)]])


def test_a_raster_holds_no_more_than_some_steps_of_its_layer() -> None:
    subject = subject_of("n", "if", side=64)
    subject.raster("first")  # sessions are open from now on
    tracemalloc.start()
    try:
        raster = subject.raster("first")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    one_step = 4 * raster.neurons
    assert peak < 8 * one_step < STEPS * one_step
