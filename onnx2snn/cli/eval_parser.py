"""Arguments of `onnx2snn eval`: what is scored, what is counted, and the gates."""

from __future__ import annotations

import argparse

from onnx2snn.cli.image_arguments import add_images
from onnx2snn.cli.parsers import (
    DELAY_HELP,
    Parser,
    add_dask,
    add_page,
    add_providers,
    add_quiet,
    add_threads,
)
from onnx2snn.cli.texts import amount, margin, percent, points, several_timesteps
from onnx2snn.data.scripts import allowed
from onnx2snn.options import parse_delay
from onnx2snn.score.baseline import DROP, RISE


def eval_parser() -> argparse.ArgumentParser:
    """Return the parser of `onnx2snn eval`."""
    parser = Parser(
        prog="onnx2snn eval", description="Score an ANN and its spiking model side by side."
    )
    parser.add_argument("ann", metavar="ANN", help="the ANN, an .onnx file")
    parser.add_argument("snn", metavar="SNN", help="the spiking model made of it")
    parser.add_argument(
        "--data",
        type=allowed,
        metavar="FILE.npz",
        required=True,
        help="inputs by name, and what metrics need",
    )
    add_images(parser)
    parser.add_argument(
        "--timesteps",
        type=several_timesteps,
        metavar="T,T,...",
        help="scored in one simulation; default: as stored in the model",
    )
    parser.add_argument("--delay", metavar="D|auto|half", type=parse_delay, help=DELAY_HELP)
    parser.add_argument(
        "--metric",
        type=allowed,
        metavar="NAME",
        help="top1, top5, logit or mse (data: labels), miou (masks), map (boxes, classes), "
        "agreement, or script.py:function(outputs, labels); default: by what the data holds, "
        "else agreement",
    )
    parser.add_argument(
        "--output",
        metavar="NAME",
        help="the output to score; default: the only one that fits the metric and the labels",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="score the samples as frames of a stream, too: in order, without a reset between "
        "them (differential coding)",
    )
    parser.add_argument(
        "--exit-margin",
        type=margin,
        metavar="M|auto",
        help="score early exit, too: a sample stops when its class is that of the step before and "
        "leads by M in probability; auto: the smallest that loses at most --max-drop points on "
        "--exit-data",
    )
    parser.add_argument(
        "--exit-data",
        type=allowed,
        metavar="DATA",
        help="data for --exit-margin auto, others than those that are scored",
    )
    _add_energy(parser)
    _add_gates(parser)
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout")
    parser.add_argument("--junit", metavar="FILE", help="write scores and gates as JUnit XML")
    add_page(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N samples only")
    add_threads(parser)
    add_providers(parser)
    add_dask(parser)
    add_quiet(parser, "no progress and no table; warnings stay")
    return parser


def _add_energy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-energy",
        action="store_true",
        help="count no synaptic operations; about a third faster",
    )
    operations = {
        "sop": "synaptic operation; default: 77e-15",
        "flop": "operation of the ANN; 12.5e-12",
    }
    for name, operation in operations.items():
        parser.add_argument(
            f"--{name}-joules", type=float, metavar="J", help=f"energy of one {operation}"
        )


def _add_gates(parser: argparse.ArgumentParser) -> None:
    """Add the limits that the largest T has to keep to."""
    parser.add_argument(
        "--max-drop",
        type=points,
        metavar="X",
        help="fail (exit code 1) if, at the largest T, the SNN scores more than X percentage "
        "points below the ANN (mse: more than X percent above)",
    )
    parser.add_argument(
        "--max-sops",
        type=amount,
        metavar="N",
        help="fail (exit code 1) if, at the largest T, an answer takes more synaptic operations",
    )
    parser.add_argument(
        "--max-energy",
        type=amount,
        metavar="J",
        help="fail (exit code 1) if, at the largest T, an answer takes more joules, with "
        "everything counted",
    )
    parser.add_argument(
        "--baseline",
        metavar="FILE.json",
        help="the --json of an earlier evaluation: fail (exit code 1) if, at the largest T, this "
        "one is worse",
    )
    parser.add_argument(
        "--baseline-drop",
        type=points,
        metavar="X",
        help=f"percentage points that the score may be worse than the baseline's (mse: percent); "
        f"default: {DROP:g}",
    )
    parser.add_argument(
        "--baseline-rise",
        type=percent,
        metavar="X",
        help="percent that synaptic operations and energy may be above the baseline's; "
        f"default: {RISE:g}",
    )
