"""The command `eval`: scores to the terminal and to files, then the gates' exit code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from onnx2snn.cli.image_arguments import with_look
from onnx2snn.cli.machine import STDOUT, file_of, json_text, say, write_stdout
from onnx2snn.cli.outcomes import attempted
from onnx2snn.cli.overwriting import require_distinct
from onnx2snn.cli.prechecks import check_written, require_page_libraries
from onnx2snn.errors import UsageError, printable
from onnx2snn.score.baseline import DROP, RISE, read_baseline
from onnx2snn.score.gates import Gate, Limits, require_passed, verdicts
from onnx2snn.score.results import EvaluationResult


def evaluate(given: argparse.Namespace) -> None:
    """Score a pair of models as asked, write the results, and let a failed gate be the end."""
    require_page_libraries(given.html)
    given.data = with_look(given, given.data)
    if given.exit_data is not None:
        given.exit_data = with_look(given, given.exit_data)
    written = {"--json": file_of(given.json), "--junit": given.junit, "--html": given.html}
    check_written(written)
    read = {
        "ANN": given.ann,
        "SNN": given.snn,
        "--data": given.data,
        "--exit-data": given.exit_data,
        "--metric": _script(given),
        "--baseline": given.baseline,
    }
    require_distinct(read, written)
    limits = _limits(given)

    from onnx2snn.display import tables, terminal
    from onnx2snn.pipeline.page_site import check_site
    from onnx2snn.score.evaluate import EvaluationInterrupted

    if given.html is not None:
        check_site(given.snn, given.html_site)
    interrupted = False
    try:
        result = _evaluated(given, limits)
    except EvaluationInterrupted as stop:
        result, interrupted = stop.result, True
    if not given.quiet:
        terminal.show(tables.score_tables(result))
    terminal.warn(result["warnings"])
    gates = [] if interrupted else verdicts(result, limits)
    _write_results(given, result, gates)
    if interrupted:
        raise KeyboardInterrupt(f"the result is of the first {result['samples']} samples")
    if not given.quiet:
        for gate in gates:
            say(printable(f"gate {'passed' if gate.passed else 'failed'}: {gate.sentence}"))
    require_passed(gates)


def _limits(given: argparse.Namespace) -> Limits:
    """Return the limits that are asked for; UsageError for those that could not be told."""
    for name in ("max_sops", "max_energy"):
        if given.no_energy and getattr(given, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} needs the operations counted: leave --no-energy out")
    margins = {"--baseline-drop": given.baseline_drop, "--baseline-rise": given.baseline_rise}
    for option, allowed in margins.items():
        if given.baseline is None and allowed is not None:
            raise UsageError(f"{option} is what a baseline allows: give --baseline FILE.json, too")
    return Limits(
        max_drop=given.max_drop,
        max_sops=given.max_sops,
        max_energy=given.max_energy,
        baseline=None if given.baseline is None else read_baseline(given.baseline),
        baseline_drop=DROP if given.baseline_drop is None else given.baseline_drop,
        baseline_rise=RISE if given.baseline_rise is None else given.baseline_rise,
    )


def _write_results(
    given: argparse.Namespace, result: EvaluationResult, gates: Sequence[Gate]
) -> None:
    """Write what was asked for, before a failed gate ends the command: a pipeline keeps it."""
    from onnx2snn.display.junit import junit_xml
    from onnx2snn.protos.save import together

    page: str | Exception | None = None
    with together() as results:
        if given.json is not None and given.json != STDOUT:
            results.write(given.json, json_text(result).encode())
        if given.junit is not None and not result["partial"]:
            results.write(given.junit, junit_xml(Path(given.snn).name, result, gates))
        if given.html is not None:
            page = attempted(partial(_evaluation_page, given, result))
            if isinstance(page, str):
                results.write(given.html, page.encode())
        if given.json == STDOUT:
            write_stdout(json_text(result))
    if isinstance(page, Exception):
        raise page


def _evaluated(given: argparse.Namespace, limits: Limits) -> EvaluationResult:
    from onnx2snn.display import terminal
    from onnx2snn.protos.providers import usable
    from onnx2snn.protos.sessions import usable_cores
    from onnx2snn.score.energy import Prices
    from onnx2snn.score.evaluate import run_evaluation
    from onnx2snn.score.question import Question
    from onnx2snn.spread.opening import spread_over

    asked = {"sop": given.sop_joules, "flop": given.flop_joules}
    question = Question(
        timesteps=given.timesteps,
        delay=given.delay,
        metric=given.metric,
        output=given.output,
        limit=given.limit,
        threads=given.threads,
        providers=usable(given.provider),
        float16=given.float16,
        kernels=given.kernels,
        energy=not given.no_energy,
        stream=given.stream,
        exit_margin=given.exit_margin,
        exit_data=given.exit_data,
        exit_loss=given.max_drop,
        baseline=limits.baseline,
        prices=Prices(**{name: price for name, price in asked.items() if price is not None}),
    )
    cluster = spread_over(given.dask, given.threads, usable_cores())
    with cluster as spread, terminal.progress_bar(given.quiet) as progress:
        return run_evaluation(given.ann, given.snn, given.data, question, progress, spread)


def _evaluation_page(given: argparse.Namespace, result: EvaluationResult) -> str:
    from onnx2snn.display.build import present_evaluation

    return present_evaluation(
        given.ann,
        given.snn,
        given.data,
        result,
        delay=given.delay,
        site=given.html_site,
        threads=given.threads,
    )


def _script(given: argparse.Namespace) -> str | None:
    """Return the metric where it is a script, not a name."""
    from onnx2snn.data.scripts import names_script

    if given.metric is not None and names_script(given.metric):
        return str(given.metric)
    return None
