"""Arguments of the commands, one parser each; `Settings` is the table of those of the main job."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any, NoReturn

from onnx2snn.cli.texts import margin, points, seconds, several_timesteps, thread_count
from onnx2snn.data.scripts import allowed
from onnx2snn.errors import UsageError
from onnx2snn.options import parse_delay
from onnx2snn.protos.budget import parse_bytes
from onnx2snn.settings import Settings
from onnx2snn.version import __version__

DELAY_HELP = "steps left out of the answer: a number, half or auto; default: as stored in the model"
TIMESTEPS_HELP = "default: as stored in the model"
THREADS_HELP = "onnxruntime's threads; default: its own choice"

DESCRIPTION = """\
Turn a pretrained ONNX network into a spiking one, without training:

  onnx2snn model.onnx -o model.snn.onnx --calibration data.npz

Other commands (each has its own --help):
  onnx2snn run SNN --inputs FILE.npz -o FILE.npz     run a spiking model on inputs
  onnx2snn eval ANN SNN --data FILE.npz              score ANN and SNN side by side
  onnx2snn inspect MODEL                             what a model is, what would become of each node
  onnx2snn export SNN --to rollout -o OUT            one model with time inside, in place of the ANN
"""

EPILOG = """\
exit codes: 0 fine; 1 a gate failed, nothing written; 2 wrong usage or unreadable input;
            3 a graph that cannot be converted; 70 an unexpected error (please report it);
            130 Ctrl-C; 141 nobody reads the output any more
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are this package's own, with the option that all commands have."""

    def __init__(self, **options: Any) -> None:
        """Add `--debug` and the limits."""
        super().__init__(**options)
        self.add_argument(
            "--memory-limit",
            type=parse_bytes,
            metavar="SIZE",
            help="refuse what would take more memory, like 4G; default: what is free",
        )
        self.add_argument(
            "--time-limit",
            type=seconds,
            metavar="SECONDS",
            help="stop with exit code 2 if the work takes longer; default: none",
        )
        self.add_argument(
            "--debug", action="store_true", help="print the traceback of an error, too"
        )

    def error(self, message: str) -> NoReturn:
        """Raise UsageError in place of leaving the process."""
        raise UsageError(f"{message}; see {self.prog} --help")


def convert_parser() -> argparse.ArgumentParser:
    """Return the main job's parser; the arguments of `Settings` come from its own table."""
    parser = Parser(
        prog="onnx2snn",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="the ANN, an .onnx file")
    parser.add_argument(
        "-o", "--output", metavar="OUT", required=True, help="where the spiking model is written"
    )
    parser.add_argument(
        "--calibration",
        type=allowed,
        metavar="DATA",
        help=".npy, .npz, .pb, a folder, or script.py:function; default: random inputs",
    )
    for row in fields(Settings):
        flag = f"--{row.name.replace('_', '-')}"
        parser.add_argument(flag, default=row.default, **_argument(row))
    parser.add_argument(
        "--report", metavar="FILE.json", help="write the report as JSON; - for stdout"
    )
    _add_page(parser)
    _add_quiet(parser, "no progress and no tables; warnings stay")
    parser.add_argument("--version", action="version", version=f"onnx2snn {__version__}")
    return parser


_TYPES: dict[str, Callable[[str], Any]] = {
    "int": int,
    "int | None": int,
    "float": float,
    "float | None": float,
}


def _argument(row: Field[Any]) -> dict[str, Any]:
    """Return a row of `Settings` as argparse takes it."""
    about = dict(row.metadata)
    if "action" in about:
        return about
    if "choices" not in about:
        about.setdefault("type", _TYPES.get(str(row.type), str))
    if row.default is not None:
        about["help"] += f" (default: {row.default})"
    return about


def run_parser() -> argparse.ArgumentParser:
    """Return the parser of `onnx2snn run`."""
    parser = Parser(prog="onnx2snn run", description="Run a spiking model on inputs, step by step.")
    _add_snn(parser)
    parser.add_argument(
        "--inputs",
        type=allowed,
        metavar="FILE.npz",
        required=True,
        help="the inputs, keyed by input name",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE.npz", required=True, help="where the outputs are written"
    )
    _add_window(parser)
    _add_threads(parser)
    _add_quiet(parser, "no progress")
    return parser


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
        "--max-drop",
        type=points,
        metavar="X",
        help="fail (exit code 1) if, at the largest T, the SNN scores more than X percentage "
        "points below the ANN (mse: more than X percent above)",
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
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout")
    _add_page(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N samples only")
    _add_threads(parser)
    _add_quiet(parser, "no progress and no table; warnings stay")
    return parser


def inspect_parser() -> argparse.ArgumentParser:
    """Return the parser of `onnx2snn inspect`."""
    parser = Parser(
        prog="onnx2snn inspect",
        description="What a model is: what would be converted, or what was.",
    )
    parser.add_argument("model", metavar="MODEL", help="an ANN or a spiking model")
    parser.add_argument(
        "--coding",
        choices=("rate", "differential"),
        help="of an ANN: the roles its nodes would have; default: as a conversion chooses",
    )
    parser.add_argument("--json", action="store_true", help="write it to stdout as JSON")
    return parser


def export_parser() -> argparse.ArgumentParser:
    """Return the parser of `onnx2snn export`."""
    parser = Parser(prog="onnx2snn export", description="Write a spiking model in another form.")
    _add_snn(parser)
    parser.add_argument(
        "--to",
        choices=["rollout"],
        required=True,
        help="rollout: one ONNX model with the ANN's own inputs and outputs and all time-steps "
        "inside",
    )
    _add_window(parser)
    parser.add_argument(
        "-o", "--output", metavar="OUT", required=True, help="where the model is written"
    )
    return parser


# Arguments that several commands have.


def _add_snn(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("snn", metavar="SNN", help="a spiking model made by onnx2snn")


def _add_window(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timesteps", type=int, metavar="T", help=TIMESTEPS_HELP)
    parser.add_argument("--delay", metavar="D|auto|half", type=parse_delay, help=DELAY_HELP)


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=thread_count, metavar="N", help=THREADS_HELP)


def _add_quiet(parser: argparse.ArgumentParser, about: str) -> None:
    parser.add_argument("--quiet", action="store_true", help=about)


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


def _add_page(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="write a page of charts that needs nothing but a browser (extra `report`)",
    )
    parser.add_argument(
        "--html-site",
        metavar="NAME",
        help="the layer whose spikes the page shows; default: the middle",
    )


# Values.
