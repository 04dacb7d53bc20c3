"""Arguments, exit codes, and what is shown while work is done.

Machine output goes to stdout only when asked for (`-`, `--json`); progress and tables go to stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from onnx2snn.errors import Onnx2snnError, UsageError
from onnx2snn.settings import Settings, parse_delay
from onnx2snn.version import __version__

if TYPE_CHECKING:
    from onnx2snn.aliases import Progress
    from onnx2snn.pipeline.convert import Conversion

DELAY_HELP = "steps left out of the answer: a number, half or auto; default: as stored in the model"

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
            3 a graph that cannot be converted
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def convert_parser() -> argparse.ArgumentParser:
    """The main job's arguments; those of `Settings` come from its own table."""
    parser = _Parser(
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
        metavar="DATA",
        help=".npy, .npz, .pb, a folder, or script.py:function; default: random inputs",
    )
    types: dict[str, Callable[[str], Any]] = {
        "int": int,
        "int | None": int,
        "float": float,
        "float | None": float,
    }
    for option in fields(Settings):
        about = dict(option.metadata)
        if "choices" not in about and "action" not in about:
            about.setdefault("type", types.get(str(option.type), str))
        if option.default is not None and "action" not in about:
            about["help"] += f" (default: {option.default})"
        parser.add_argument(f"--{option.name.replace('_', '-')}", default=option.default, **about)
    parser.add_argument(
        "--report", metavar="FILE.json", help="write the report as JSON; - for stdout"
    )
    _add_page(parser)
    parser.add_argument(
        "--quiet", action="store_true", help="no progress and no tables; warnings stay"
    )
    parser.add_argument("--version", action="version", version=f"onnx2snn {__version__}")
    return parser


def run_parser() -> argparse.ArgumentParser:
    """Arguments of `onnx2snn run`."""
    parser = _Parser(
        prog="onnx2snn run", description="Run a spiking model on inputs, step by step."
    )
    parser.add_argument("snn", metavar="SNN", help="a spiking model made by onnx2snn")
    parser.add_argument(
        "--inputs", metavar="FILE.npz", required=True, help="the inputs, keyed by input name"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE.npz", required=True, help="where the outputs are written"
    )
    parser.add_argument(
        "--timesteps", type=int, metavar="T", help="default: as stored in the model"
    )
    parser.add_argument("--delay", metavar="D|auto|half", type=parse_delay, help=DELAY_HELP)
    parser.add_argument(
        "--threads",
        type=_threads,
        metavar="N",
        help="onnxruntime's threads; default: its own choice",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def eval_parser() -> argparse.ArgumentParser:
    """Arguments of `onnx2snn eval`."""
    parser = _Parser(
        prog="onnx2snn eval", description="Score an ANN and its spiking model side by side."
    )
    parser.add_argument("ann", metavar="ANN", help="the ANN, an .onnx file")
    parser.add_argument("snn", metavar="SNN", help="the spiking model made of it")
    parser.add_argument(
        "--data", metavar="FILE.npz", required=True, help="inputs by name, and what metrics need"
    )
    parser.add_argument(
        "--timesteps",
        type=_numbers,
        metavar="T,T,...",
        help="scored in one simulation; default: as stored in the model",
    )
    parser.add_argument("--delay", metavar="D|auto|half", type=parse_delay, help=DELAY_HELP)
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="top1 or top5 (data: labels), miou (masks), map (boxes, classes), mse (labels), agreement, or "
        "script.py:function(outputs, labels); default: by what the data holds, else agreement",
    )
    parser.add_argument(
        "--max-drop",
        type=_points,
        metavar="X",
        help="fail (exit code 1) if, at the largest T, the SNN scores more than X percentage points below the ANN "
        "(mse: more than X percent above)",
    )
    parser.add_argument(
        "--no-energy",
        action="store_true",
        help="count no synaptic operations; about a third faster",
    )
    for name, what in (
        ("sop", "synaptic operation; default: 77e-15"),
        ("flop", "operation of the ANN; 12.5e-12"),
    ):
        parser.add_argument(
            f"--{name}-joules", type=float, metavar="J", help=f"energy of one {what}"
        )
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout")
    _add_page(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N samples only")
    parser.add_argument(
        "--threads",
        type=_threads,
        metavar="N",
        help="onnxruntime's threads; default: its own choice",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="no progress and no table; warnings stay"
    )
    return parser


def _add_page(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--html", metavar="FILE", help="write a page of charts that needs nothing but a browser"
    )
    parser.add_argument(
        "--html-site",
        metavar="NAME",
        help="the layer whose spikes the page shows; default: the middle",
    )


def inspect_parser() -> argparse.ArgumentParser:
    """Arguments of `onnx2snn inspect`."""
    parser = _Parser(
        prog="onnx2snn inspect",
        description="What a model is: what would be converted, or what was.",
    )
    parser.add_argument("model", metavar="MODEL", help="an ANN or a spiking model")
    parser.add_argument("--json", action="store_true", help="write it to stdout as JSON")
    return parser


def export_parser() -> argparse.ArgumentParser:
    """Arguments of `onnx2snn export`."""
    parser = _Parser(prog="onnx2snn export", description="Write a spiking model in another form.")
    parser.add_argument("snn", metavar="SNN", help="a spiking model made by onnx2snn")
    parser.add_argument(
        "--to",
        choices=["rollout"],
        required=True,
        help="rollout: one ONNX model with the ANN's own inputs and outputs and all time-steps inside",
    )
    parser.add_argument(
        "--timesteps", type=int, metavar="T", help="default: as stored in the model"
    )
    parser.add_argument("--delay", metavar="D|auto|half", type=parse_delay, help=DELAY_HELP)
    parser.add_argument(
        "-o", "--output", metavar="OUT", required=True, help="where the model is written"
    )
    return parser


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not one number or several, like 4,8,16"
        ) from None


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of threads, 1 or more")
    return int(text)


def _points(text: str) -> float:
    try:
        points = float(text)
    except ValueError:
        points = -1.0
    if not points >= 0:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a number of percentage points, 0 or more"
        )
    return points


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments[0] if arguments and arguments[0] in COMMANDS else ""
    parser, act = COMMANDS[command]
    try:
        act(parser().parse_args(arguments[1:] if command else arguments))
    except Onnx2snnError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except MemoryError:
        said = "there is not enough memory; a conversion takes some nine times the model's size: use a larger machine"
        print(f"error: {said}", file=sys.stderr)  # noqa: T201
        return UsageError.exit_code
    except KeyboardInterrupt as stop:
        said = stop.args[0] if stop.args else "nothing was written"
        print(f"interrupted; {said}", file=sys.stderr)  # noqa: T201
        return 130
    return 0


def _convert(given: argparse.Namespace) -> None:
    from onnx2snn.protos.save import atomic_write, check_writable

    settings = Settings(**{option.name: getattr(given, option.name) for option in fields(Settings)})
    reported = given.report if given.report != "-" else None
    written = {"-o": given.output, "--report": reported, "--html": given.html}
    for path in written.values():
        if path is not None:
            check_writable(path)
    written["--save-thresholds"] = given.save_thresholds
    read = {
        "MODEL": given.model,
        "--calibration": given.calibration,
        "--thresholds": given.thresholds,
    }
    _require_distinct(read, written)
    from onnx2snn.display import terminal
    from onnx2snn.pipeline.convert import run_conversion as run

    with terminal.progress_bar(given.quiet) as progress:
        conversion = run(given.model, given.calibration, settings, progress)
        page = (
            _conversion_page(given, conversion, settings, progress)
            if given.html is not None
            else None
        )
    report = conversion.report
    if not given.quiet:
        terminal.show(terminal.tables(report))
    terminal.warn(report.warnings)
    conversion.save(given.output)
    if given.report is not None:
        _write_json(given.report, report.to_dict())
    if page is not None:
        atomic_write(given.html, page.encode())


def _conversion_page(
    given: argparse.Namespace, conversion: Conversion, settings: Settings, progress: Progress
) -> str:
    from onnx2snn.display.build import present_conversion

    site = given.html_site
    return present_conversion(
        given.model, given.calibration, conversion, settings, site=site, progress=progress
    )


def _require_distinct(read: dict[str, str | None], written: dict[str, str | None]) -> None:
    """Nothing is written over what is read, or over another result."""
    seen = {Path(path).resolve(): option for option, path in read.items() if path is not None}
    for option, path in written.items():
        if path is None:
            continue
        other = seen.setdefault(Path(path).resolve(), option)
        if other != option:
            raise UsageError(
                f"{option} would overwrite '{path}', which is {other}; name another file"
            )


def _run(given: argparse.Namespace) -> None:
    import numpy as np

    from onnx2snn.data.samples import open_samples
    from onnx2snn.display import terminal
    from onnx2snn.protos.save import check_writable, write_npz
    from onnx2snn.protos.specs import first_samples, fixed_batch
    from onnx2snn.runtime.memory import affordable_batch
    from onnx2snn.runtime.session import SpikingSession

    check_writable(given.output)
    _require_distinct({"SNN": given.snn, "--inputs": given.inputs}, {"-o": given.output})
    session = SpikingSession(given.snn, threads=given.threads)
    fixed = fixed_batch(session.inputs)
    parts: list[list[Any]] = []
    with (
        open_samples(given.inputs, session.inputs) as samples,
        terminal.progress_bar(given.quiet) as progress,
    ):
        size = fixed or affordable_batch(session, samples.batch([0]), 100)
        for start in range(0, len(samples), size):
            indices = np.arange(start, min(start + size, len(samples)))
            feed = samples.batch(np.resize(indices, size) if fixed else indices)
            outputs = session.run(None, feed, given.timesteps, given.delay)
            parts.append(first_samples(outputs, len(indices)))
            progress("running", min(start + size, len(samples)), len(samples))
    names = [spec.name for spec in session.outputs]
    by_output = zip(names, zip(*parts, strict=True), strict=True)
    write_npz(given.output, {name: _joined(name, found, size) for name, found in by_output})


def _joined(name: str, batches: Sequence[Any], size: int) -> Any:
    """One output of all samples."""
    import numpy as np

    if len(batches) == 1:
        return batches[0]
    try:
        return np.concatenate(batches)
    except ValueError as error:
        raise UsageError(
            f"output '{name}' has no batch axis, so what {len(batches)} batches gave cannot be joined; "
            f"give at most {size} samples at a time"
        ) from error


def _eval(given: argparse.Namespace) -> None:
    from onnx2snn.protos.save import atomic_write, check_writable

    written = {"--json": given.json if given.json != "-" else None, "--html": given.html}
    for path in written.values():
        if path is not None:
            check_writable(path)
    _require_distinct({"ANN": given.ann, "SNN": given.snn, "--data": given.data}, written)
    from onnx2snn.display import terminal
    from onnx2snn.score.evaluate import EvaluationInterrupted, check_drop, evaluate

    prices = {"sop_joules": given.sop_joules, "flop_joules": given.flop_joules}
    interrupted = False
    with terminal.progress_bar(given.quiet) as progress:
        try:
            result = evaluate(
                given.ann,
                given.snn,
                given.data,
                timesteps=given.timesteps,
                delay=given.delay,
                metric=given.metric,
                limit=given.limit,
                threads=given.threads,
                energy=not given.no_energy,
                progress=progress,
                **{name: price for name, price in prices.items() if price is not None},
            )
        except EvaluationInterrupted as stop:
            result, interrupted = stop.result, True
    if not given.quiet:
        terminal.show(terminal.score_tables(result))
    terminal.warn(result["warnings"])
    if given.max_drop is not None and not interrupted:
        check_drop(result, given.max_drop)
    if given.json is not None:
        _write_json(given.json, result)
    if given.html is not None:
        from onnx2snn.display.build import present_evaluation

        about = {"delay": given.delay, "site": given.html_site, "threads": given.threads}
        page = present_evaluation(given.ann, given.snn, given.data, result, **about)
        atomic_write(given.html, page.encode())
    if interrupted:
        raise KeyboardInterrupt(f"the result is of the first {result['samples']} samples")


def _inspect(given: argparse.Namespace) -> None:
    from onnx2snn.display import terminal
    from onnx2snn.pipeline.inspection import inspect

    about = inspect(given.model)
    if given.json:
        print(json.dumps(about, indent=2))  # noqa: T201 - stdout was asked for
    else:
        terminal.show(terminal.inspection(about))


def _export(given: argparse.Namespace) -> None:
    from onnx2snn.protos.save import check_writable, save_model
    from onnx2snn.runtime.rollout import rollout

    check_writable(given.output)
    _require_distinct({"SNN": given.snn}, {"-o": given.output})
    save_model(given.output, rollout(given.snn, given.timesteps, given.delay))


Action = Callable[[argparse.Namespace], None]

COMMANDS: dict[str, tuple[Callable[[], argparse.ArgumentParser], Action]] = {
    "": (convert_parser, _convert),
    "run": (run_parser, _run),
    "eval": (eval_parser, _eval),
    "inspect": (inspect_parser, _inspect),
    "export": (export_parser, _export),
}


def _write_json(path: str, value: object) -> None:
    from onnx2snn.protos.save import atomic_write

    text = json.dumps(value, indent=2) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        atomic_write(path, text.encode())
