"""The commands: arguments in, files and tables out, exit codes.

Machine output goes to stdout only when asked for (`-`, `--json`); progress and tables go to stderr.
A command imports what it computes with when it runs, so that `--help` and a mistyped option answer
at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING

from onnx2snn.cli.eval_parser import eval_parser
from onnx2snn.cli.exporting import export, export_parser
from onnx2snn.cli.image_arguments import notes, with_look
from onnx2snn.cli.limits import require_space, within_memory
from onnx2snn.cli.machine import (
    STDOUT,
    file_of,
    json_text,
    say,
    told_warnings,
    write_stdout,
)
from onnx2snn.cli.outcomes import attempted, done_already, exit_code_of
from onnx2snn.cli.overwriting import require_distinct
from onnx2snn.cli.parsers import (
    completion_parser,
    convert_parser,
    doctor_parser,
    inspect_parser,
    run_parser,
)
from onnx2snn.cli.prechecks import check_written, require_page_libraries
from onnx2snn.cli.scoring import evaluate
from onnx2snn.cli.stopping import stoppable, within
from onnx2snn.errors import printable
from onnx2snn.settings import Settings

if TYPE_CHECKING:
    from onnx2snn.pipeline.convert import Conversion


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = ""
    if arguments and arguments[0] in COMMANDS:
        command = arguments.pop(0)
    parser, act = COMMANDS[command]

    def work() -> None:
        given = parser().parse_args(arguments)
        heard = notes(getattr(given, "quiet", True))
        alone = argv is None and not getattr(given, "provider", None)
        require_space()
        held = within_memory(given.memory_limit, alone=alone)
        with within(given.time_limit), held, heard:
            act(given)

    debug = "--debug" in arguments
    if argv is not None:  # called by a program, whose signals are its own
        return exit_code_of(work, debug=debug)
    # onnxruntime would write a device id and a file of its session, and may look up a host
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with stoppable(), told_warnings():
        return exit_code_of(work, debug=debug)


def _convert(given: argparse.Namespace) -> None:
    require_page_libraries(given.html)
    given.calibration = with_look(given, given.calibration)
    settings = Settings(**{row.name: getattr(given, row.name) for row in fields(Settings)})
    read = {
        "MODEL": given.model,
        "--calibration": given.calibration,
        "--thresholds": given.thresholds,
    }
    written = {
        "-o": given.output,
        "--report": file_of(given.report),
        "--html": given.html,
    }
    check_written(written)
    # it is checked with the options, once the model is read
    require_distinct(read, written | {"--save-thresholds": given.save_thresholds})

    from onnx2snn.display import terminal
    from onnx2snn.pipeline.convert import run_conversion
    from onnx2snn.protos.sessions import usable_cores
    from onnx2snn.spread.opening import spread_over

    site = None if given.html is None else given.html_site
    cluster = spread_over(given.dask, given.threads, usable_cores())
    with cluster as spread, terminal.progress_bar(given.quiet) as progress:
        conversion = run_conversion(
            given.model, given.calibration, settings, progress, site, spread
        )
    late = _write_conversion(given, conversion, settings)
    with done_already(f"'{given.output}' is written"):
        _show_conversion(given, conversion)
        if late is not None:
            raise late


def _write_conversion(
    given: argparse.Namespace, conversion: Conversion, settings: Settings
) -> Exception | None:
    """Write all results of a conversion, or none where one cannot be written.

    Returns:
        What went wrong without a disk: the drawing of the page, or a reader of stdout that is gone.
        The other results, perhaps of hours, are written all the same.
    """
    from onnx2snn.protos.save import together

    late: str | Exception | None = None
    report = conversion.report.to_dict()
    with together() as results:
        conversion.add_to(results, given.output, given.save_thresholds)
        if given.report is not None and given.report != STDOUT:
            results.write(given.report, json_text(report).encode())
        if given.html is not None:
            late = attempted(partial(_conversion_page, given, conversion, settings))
            if isinstance(late, str):
                results.write(given.html, late.encode())
        if given.report == STDOUT:
            try:
                write_stdout(json_text(report))
            except BrokenPipeError as error:
                late = error
    return late if isinstance(late, Exception) else None


def _show_conversion(given: argparse.Namespace, conversion: Conversion) -> None:
    from onnx2snn.display import terminal
    from onnx2snn.display.report_tables import REPORT_LINES, report_tables

    if not given.quiet:
        terminal.show_within(partial(report_tables, conversion.report), REPORT_LINES)
    terminal.warn(conversion.report.warnings)


def _conversion_page(given: argparse.Namespace, conversion: Conversion, settings: Settings) -> str:
    from onnx2snn.display import terminal
    from onnx2snn.display.build import present_conversion

    with terminal.progress_bar(given.quiet) as progress:
        return present_conversion(
            given.model,
            given.calibration,
            conversion,
            settings,
            site=given.html_site,
            progress=progress,
        )


def _run(given: argparse.Namespace) -> None:
    given.inputs = with_look(given, given.inputs)
    check_written({"-o": given.output})
    require_distinct({"SNN": given.snn, "--inputs": given.inputs}, {"-o": given.output})

    from onnx2snn.data.samples import open_samples
    from onnx2snn.display import terminal
    from onnx2snn.pipeline.outputs import run_samples
    from onnx2snn.protos.providers import usable
    from onnx2snn.protos.save import write_npz
    from onnx2snn.runtime.by_sample import read_by_sample
    from onnx2snn.runtime.parts import Opening
    from onnx2snn.runtime.simulation import Simulation

    providers = usable(given.provider)
    opening = Opening(
        providers=providers,
        threads=given.threads,
        float16=given.float16,
        kernels=given.kernels,
    )
    session = Simulation(read_by_sample(given.snn), opening)
    unbatched = session.metadata.get("unbatched", [])
    with (
        open_samples(given.inputs, session.inputs, unbatched=unbatched) as samples,
        terminal.progress_bar(given.quiet) as progress,
    ):
        outputs = run_samples(session, samples, given.timesteps, given.delay, progress)
    write_npz(given.output, outputs)


def _inspect(given: argparse.Namespace) -> None:
    from onnx2snn.display import tables, terminal
    from onnx2snn.pipeline.inspection import inspect

    about = inspect(given.model, given.coding, given.sites)
    if given.json:
        write_stdout(json_text(about))
    else:
        terminal.show(tables.inspection_tables(about))


def _doctor(given: argparse.Namespace) -> None:
    from onnx2snn.cli.doctor import examined, lines_of, require_sound

    found = examined()
    if given.json:
        write_stdout(json_text(found))
    else:
        for line in lines_of(found):
            say(printable(line))
    require_sound(found)


def _completion(given: argparse.Namespace) -> None:
    from onnx2snn.cli.completion import completion_script

    parsers = {name: parser() for name, (parser, _) in COMMANDS.items()}
    write_stdout(completion_script(given.shell, parsers))


Command = Callable[[argparse.Namespace], None]

COMMANDS: dict[str, tuple[Callable[[], argparse.ArgumentParser], Command]] = {
    "": (convert_parser, _convert),
    "run": (run_parser, _run),
    "eval": (eval_parser, evaluate),
    "inspect": (inspect_parser, _inspect),
    "export": (export_parser, export),
    "doctor": (doctor_parser, _doctor),
    "completion": (completion_parser, _completion),
}
"""The commands by name: how their arguments are read, and what they do."""
