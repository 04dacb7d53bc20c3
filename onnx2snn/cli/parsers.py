"""Arguments of the commands, one parser each; `Settings` is the table of those of the main job."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any, NoReturn

from onnx2snn.cli.completion import SCRIPTS
from onnx2snn.cli.image_arguments import add_images
from onnx2snn.cli.texts import seconds, thread_count
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
  onnx2snn export SNN --to arrays -o FILE.npz        arrays and JSON, for hardware toolchains
  onnx2snn doctor                                    what is installed, and what is missing
  onnx2snn completion bash                           the script for completion in a shell
"""

EPILOG = """\
exit codes: 0 fine; 1 a gate failed, no model written; 2 wrong usage or unreadable input;
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
        help=".npy, .npz, .pb, .tar, .parquet, .arrow, a folder, or script.py:function; default: "
        "random inputs",
    )
    add_images(parser)
    for row in fields(Settings):
        flag = f"--{row.name.replace('_', '-')}"
        parser.add_argument(flag, default=row.default, **_argument(row))
    parser.add_argument(
        "--report", metavar="FILE.json", help="write the report as JSON; - for stdout"
    )
    add_page(parser)
    add_dask(parser)
    add_quiet(parser, "no progress and no tables; warnings stay")
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
    add_snn(parser)
    parser.add_argument(
        "--inputs",
        type=allowed,
        metavar="FILE.npz",
        required=True,
        help="the inputs, keyed by input name",
    )
    add_images(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE.npz", required=True, help="where the outputs are written"
    )
    add_window(parser)
    add_threads(parser)
    add_providers(parser)
    add_quiet(parser, "no progress")
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
    parser.add_argument(
        "--sites",
        choices=("activations", "weighted"),
        help="of an ANN: where its neurons would stand; default: as a conversion chooses",
    )
    parser.add_argument("--json", action="store_true", help="write it to stdout as JSON")
    return parser


def doctor_parser() -> argparse.ArgumentParser:
    """Return the parser of `onnx2snn doctor`."""
    parser = Parser(
        prog="onnx2snn doctor",
        description="What is installed: versions, providers, missing extras, telemetry.",
    )
    parser.add_argument("--json", action="store_true", help="write it to stdout as JSON")
    return parser


def completion_parser() -> argparse.ArgumentParser:
    """Return the parser of `onnx2snn completion`."""
    parser = Parser(
        prog="onnx2snn completion",
        description="Print the script that lets a shell complete the commands and their options.",
    )
    parser.add_argument("shell", choices=list(SCRIPTS), help="the shell that reads the script")
    return parser


# Arguments that several commands have.


def add_snn(parser: argparse.ArgumentParser) -> None:
    """Add the spiking model."""
    parser.add_argument("snn", metavar="SNN", help="a spiking model made by onnx2snn")


def add_window(parser: argparse.ArgumentParser) -> None:
    """Add the number of time-steps and the delay."""
    parser.add_argument("--timesteps", type=int, metavar="T", help=TIMESTEPS_HELP)
    parser.add_argument("--delay", metavar="D|auto|half", type=parse_delay, help=DELAY_HELP)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add the number of onnxruntime's threads."""
    parser.add_argument("--threads", type=thread_count, metavar="N", help=THREADS_HELP)


def add_providers(parser: argparse.ArgumentParser) -> None:
    """Add where and in which numbers spiking models are computed."""
    parser.add_argument(
        "--provider",
        action="append",
        metavar="NAME",
        help="onnxruntime's execution provider, like cuda or, of several devices, cuda:1; may be "
        "given several times, the first that knows an operator computes it; default: cpu",
    )
    parser.add_argument(
        "--float16",
        action="store_true",
        help="spikes cross weights in float16, all else stays in float32 (rate coding)",
    )
    parser.add_argument(
        "--kernels",
        action="store_true",
        help="the package onnx2snn-kernels computes the elementwise operators, many in one pass: "
        "faster, with the same answers",
    )


def add_dask(parser: argparse.ArgumentParser) -> None:
    """Add the cluster that does the work on samples."""
    parser.add_argument(
        "--dask",
        metavar="ADDRESS|local:N",
        help="let the workers of a Dask cluster, or N processes of this machine, go through the "
        "samples (extra `distributed`); default: this process",
    )


def add_quiet(parser: argparse.ArgumentParser, about: str) -> None:
    """Add `--quiet`; `about` says what it leaves out."""
    parser.add_argument("--quiet", action="store_true", help=about)


def add_page(parser: argparse.ArgumentParser) -> None:
    """Add the page of charts."""
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
