"""The two functions most users call, `convert` and `evaluate`, with the pages they can write.

They stand above the folder that draws; `onnx2snn/__init__.py` lists all public names.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, Never

from onnx2snn.aliases import Delay, ModelSource, Progress, silent_progress
from onnx2snn.display.libraries import require_page
from onnx2snn.errors import keeping
from onnx2snn.options import Coding, Granularity, MaxPool, Method, NeuronKind, Preset, Sites, Start
from onnx2snn.pipeline.convert import Conversion, run_conversion
from onnx2snn.pipeline.page_site import check_site
from onnx2snn.protos.providers import usable
from onnx2snn.protos.save import atomic_write
from onnx2snn.score import evaluate as scoring
from onnx2snn.score.energy import FLOP_JOULES, SOP_JOULES, Prices
from onnx2snn.score.question import Question
from onnx2snn.score.results import EvaluationResult
from onnx2snn.settings import Settings
from onnx2snn.spread.opening import spread_of

Path = str | os.PathLike[str]


def convert(  # noqa: PLR0913 - every option of the command line by name
    model: ModelSource,
    calibration: object = None,
    *,
    preset: Preset = "auto",
    coding: Coding | None = None,
    sites: Sites | None = None,
    timesteps: int | str | None = None,
    delay: Delay = None,
    method: Method | None = None,
    percentile: float | None = None,
    granularity: Granularity = "channel",
    maxpool: MaxPool = "accumulate",
    neuron: NeuronKind | None = None,
    levels: int | None = None,
    octaves: int | None = None,
    digits: int | None = None,
    later_digits: int | None = None,
    start: Start | None = None,
    encode_input: bool = False,
    correct: str | None = None,
    rounds: int = 0,
    keep: Sequence[str] | None = None,
    iterations: int | None = None,
    batch_size: int = 100,
    seed: int = 0,
    threads: int | None = None,
    save_thresholds: Path | None = None,
    thresholds: Path | None = None,
    max_drop: float | None = None,
    strict: bool = False,
    max_lasting: float | None = None,
    inline: bool = False,
    html: Path | None = None,
    html_site: str | None = None,
    client: object = None,
    progress: Progress = silent_progress,
    **unknown: Never,
) -> Conversion:
    """Turn a pretrained network into a spiking one.

    Warnings of the report are Python warnings, too. The options are those of the command line, by
    the same names; None stands for what the preset says.

    Args:
        model: The ANN: a path, its bytes or a ModelProto.
        calibration: Typical inputs: a path (.npy, .npz, .pb, a folder), a `script`, an array
            [N, ...], a dict of those, or batches; None converts with random inputs, and warns.
        preset: A set of defaults: the paper's method, its best answers after few time-steps, or
            differential coding; "auto": the paper's method where its neurons feed every weighted
            operator behind the first ones, else differential coding.
        coding: What a spike says: a value is there ("rate"), or it has changed ("differential").
        sites: Where neurons stand: in place of "activations", or in front of "weighted" operators,
            whatever feeds them; None: the former in rate coding, the latter in differential coding.
        timesteps: Time-steps T the model is converted and scored for, and its default at run time;
            "auto": the fewest that lose at most `max_drop` points of agreement; None: 32, in
            differential coding 4.
        delay: Steps left out of the answer: a number, "half" or "auto".
        method: How thresholds are found.
        percentile: That of method "percentile", above 0, at most 100; None: 99, weighted 99.9.
        granularity: A threshold per channel, or one per layer.
        maxpool: Whether max-pools between neurons pool the accumulated input, or each step's.
        neuron: Integrate-and-fire, or signed: it also takes spikes back.
        levels: The most thresholds one spike is high.
        octaves: Differential coding: powers of two a spike can have; None: by site, 8 to 12.
        digits: Differential coding: spikes a neuron may send in one step; None: 3 in the first, or
            all that it takes where its input is constant in time.
        later_digits: Those it may send in each step after the first; None: 1, or `digits`.
        start: Differential coding: estimates start at the mean over the data, or at zero.
        encode_input: Neurons in front of weighted operators: the input arrives as spikes, too.
        correct: "none", or a list of "bias", "potential" and "weights" like "bias,weights".
        rounds: Correct all layers at once in so many simulated rounds; 0: layer by layer.
        keep: Names of activations that are left as they are; what lies around them converts.
        iterations: Mini-batches of balancing; None: until thresholds settle, at most 1,000.
        batch_size: Samples a mini-batch.
        seed: Seed of every random choice.
        threads: Threads onnxruntime uses; None: its own choice.
        save_thresholds: Keep the calibration in this .npz file.
        thresholds: Take the calibration from this file.
        max_drop: The most percentage points of agreement with the ANN that may be lost.
        strict: Refuse operators that would be analog.
        max_lasting: Percent that outputs may be off without coming nearer with T.
        inline: Write neurons out in standard operators, without model-local functions.
        html: Write a page of charts to this file (extra `report`).
        html_site: The layer whose spikes the page shows; None: the middle one.
        client: A `distributed.Client`, whose workers go through the samples; None: this process.
        progress: Called with (stage, done, total).
        unknown: No other option exists.

    Returns:
        The spiking model and the report on it.

    Raises:
        UsageError: An option makes no sense, or is unknown.
        ModelFileError: The model is no whole, valid ONNX model.
        DataError: The data do not fit the model.
        OutputError: A file cannot be written where it was asked for.
        ClusterError: The workers are lost, or cannot do the work.
        UnsupportedGraphError: The network cannot be converted.
        GateError: `max_drop`, `strict` or `max_lasting` failed.
        StageMismatchError: A stage computes something else than the one before it.

    Where only a file beside the model could not be written, the error's `result` is the conversion.
    """
    given: dict[str, Any] = {
        "preset": preset,
        "coding": coding,
        "sites": sites,
        "timesteps": timesteps,
        "delay": delay,
        "method": method,
        "percentile": percentile,
        "granularity": granularity,
        "maxpool": maxpool,
        "neuron": neuron,
        "levels": levels,
        "octaves": octaves,
        "digits": digits,
        "later_digits": later_digits,
        "start": start,
        "encode_input": encode_input,
        "correct": correct,
        "rounds": rounds,
        "keep": keep,
        "iterations": iterations,
        "batch_size": batch_size,
        "seed": seed,
        "threads": threads,
        "save_thresholds": save_thresholds,
        "thresholds": thresholds,
        "max_drop": max_drop,
        "strict": strict,
        "max_lasting": max_lasting,
        "inline": inline,
    }
    settings = Settings.of(given | unknown)
    require_page(html)
    site = None if html is None else html_site
    spread = spread_of(client)
    conversion = run_conversion(model, calibration, settings, progress, site, spread)
    with keeping(conversion):
        if settings.save_thresholds is not None:
            conversion.save_thresholds(settings.save_thresholds)
        if html is not None:
            # loads the libraries of the extra `report`
            from onnx2snn.display.build import present_conversion

            page = present_conversion(
                model, calibration, conversion, settings, site=html_site, progress=progress
            )
            atomic_write(html, page.encode())
    for text in conversion.report.warnings:
        warnings.warn(text, UserWarning, stacklevel=2)
    return conversion


def evaluate(  # noqa: PLR0913 - every option of the command line by name
    ann: ModelSource,
    snn: ModelSource,
    data: object,
    *,
    timesteps: Sequence[int] | None = None,
    delay: Delay = None,
    metric: str | None = None,
    output: str | None = None,
    limit: int | None = None,
    threads: int | None = None,
    providers: Sequence[Any] | None = None,
    float16: bool = False,
    kernels: bool = False,
    energy: bool = True,
    every_step: bool | None = None,
    stream: bool = False,
    exit_margin: float | str | None = None,
    exit_data: object = None,
    exit_loss: float | None = None,
    sop_joules: float = SOP_JOULES,
    flop_joules: float = FLOP_JOULES,
    html: Path | None = None,
    html_site: str | None = None,
    client: object = None,
    progress: Progress = silent_progress,
) -> EvaluationResult:
    """Score an ANN and its spiking model side by side, at several numbers of time-steps.

    Args:
        ann: The ANN: a path, its bytes or a ModelProto.
        snn: The spiking model made of it.
        data: Anything calibration data may be; beside the inputs `labels` [N] for top1 and top5,
            [N, ...] for mse, `masks` [N, H, W] (255: ignored) for miou, `boxes` [N, M, 4] and
            `classes` [N, M] (-1: padding) for map.
        timesteps: The T to score, in one simulation; None: the model's own.
        delay: Steps left out: a number, "half" or "auto" for each T; None: the model's own.
        metric: top1, top5, miou, map, mse, agreement or a `script`'s function(outputs, labels);
            None: by what the data hold.
        output: The output to score; None: the only one whose shape fits metric and labels
            (agreement: all floating-point outputs, the worst counts).
        limit: Use the first samples only.
        threads: Threads onnxruntime uses; None: its own choice.
        providers: Execution providers for both models, in short as well (`["cuda"]`); None: CPU.
        float16: Whether spikes cross weights in float16 (rate coding).
        kernels: Whether the package onnx2snn-kernels computes the elementwise operators, several in
            one pass.
        energy: Count synaptic operations, and find the first T that keeps 90 and 95 % of the ANN.
        every_step: Look for that T among all, or those asked for; None: among all, but for map.
        stream: Score the samples as frames of a stream, too, T steps each (differential coding).
        exit_margin: Score early exit, too: a sample stops when its best class is that of the step
            before and leads by this in probability, from 0 to 1; "auto": the smallest that loses at
            most `exit_loss` points on `exit_data`.
        exit_data: Data like `data`, but others, for "auto".
        exit_loss: Percentage points that "auto" may lose against the answers at T.
        sop_joules: Energy of a synaptic operation.
        flop_joules: Energy of an operation of the ANN.
        html: Write the result as a page of charts to this file (extra `report`).
        html_site: The layer whose spikes the page shows; None: the middle one.
        client: A `distributed.Client`, whose workers score the samples; None: this process.
        progress: Called with (stage, done, total).

    Returns:
        {"samples": n, "ann": {METRIC: x}, "snn": [row, ...], "partial": False, "energy": {...},
        "scored": text, "warnings": [...], "seconds": s}; a row is {"timesteps": T, "delay": d,
        METRIC: x, "drop": x, "drop_95": (low, high), "sops": x, ...}. Accuracies and
        drops are fractions (mse: relative increase), the interval is paired over samples (None for
        map), operations and joules are a sample's. `stream` adds rows like those of "snn" under
        "stream", with "sops_of_reset", the share of the SOPs with a reset for each.

    Raises:
        UsageError: An option makes no sense, or the models do not belong together.
        ModelFileError: A file is no model of its kind.
        DataError: The data do not fit the model, or the metric.
        OutputError: The page cannot be written there.
        ClusterError: The workers are lost, or cannot do the work.
        EvaluationInterrupted: Ctrl-C; it holds the result of the samples done.

    Where only the page could not be made, `result` of the error is what is returned otherwise.
    """
    require_page(html)
    if html is not None:
        check_site(snn, html_site)
    question = Question(
        timesteps=timesteps,
        delay=delay,
        metric=metric,
        output=output,
        limit=limit,
        threads=threads,
        providers=usable(providers),
        float16=float16,
        kernels=kernels,
        energy=energy,
        every_step=every_step,
        stream=stream,
        exit_margin=exit_margin,
        exit_data=exit_data,
        exit_loss=exit_loss,
        prices=Prices(sop_joules, flop_joules),
    )
    spread = spread_of(client)
    result = scoring.run_evaluation(ann, snn, data, question, progress, spread)
    if html is not None:
        # loads the libraries of the extra `report`
        from onnx2snn.display.build import present_evaluation

        with keeping(result):
            page = present_evaluation(
                ann, snn, data, result, delay=delay, site=html_site, threads=threads
            )
            atomic_write(html, page.encode())
    return result
