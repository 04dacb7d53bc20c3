"""`onnx2snn export`: a spiking model in another form.

What is imported to compute with is imported when the command runs, as in `cli.commands`.
"""

from __future__ import annotations

import argparse

from onnx2snn.cli.overwriting import require_distinct
from onnx2snn.cli.parsers import Parser, add_snn, add_window
from onnx2snn.cli.texts import input_shape
from onnx2snn.errors import UsageError

FORMS = {
    "rollout": "one ONNX model with the ANN's own inputs and outputs and all time-steps inside",
    "step": "the step graph as it is, for the options below",
    "nir": "a graph of NIR for simulators and neuromorphic hardware (extra nir)",
    "arrays": "weights, neurons and connections as arrays and JSON, .npz or .safetensors",
}
"""The forms by name, and what they are."""


def export_parser() -> argparse.ArgumentParser:
    """Return the parser of `onnx2snn export`."""
    parser = Parser(prog="onnx2snn export", description="Write a spiking model in another form.")
    add_snn(parser)
    parser.add_argument(
        "--to",
        choices=list(FORMS),
        required=True,
        help="; ".join(f"{name}: {about}" for name, about in FORMS.items()),
    )
    add_window(parser)
    parser.add_argument(
        "--exit-margin",
        type=float,
        metavar="M",
        help="rollout: stop each sample when its answer is stable and leads by this probability; "
        "one more output, exit_steps, tells at which step",
    )
    _add_onnx_form(parser)
    parser.add_argument(
        "--start-bias",
        action="store_true",
        help="nir: initial potentials as a bias of v(0)/T at each step, for readers that start at "
        "0",
    )
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="where it is written")
    return parser


def _add_onnx_form(parser: argparse.ArgumentParser) -> None:
    """Add what other runtimes ask of an ONNX file."""
    parser.add_argument(
        "--unroll",
        action="store_true",
        help="rollout: every time-step written out in plain operators, without Scan and Loop; at "
        "most 16",
    )
    parser.add_argument(
        "--inline",
        action="store_true",
        help="no model-local functions: neurons are written out in standard operators",
    )
    parser.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="static shapes, of inputs, outputs and states, for a batch of N",
    )
    parser.add_argument(
        "--shape",
        type=input_shape,
        action="append",
        default=[],
        metavar="NAME=D,...",
        help="static shapes, and this one for an input; may be given several times",
    )
    parser.add_argument(
        "--opset",
        type=int,
        metavar="N",
        help="the version of ONNX's operators, 9 or newer, with the IR that goes with it; writes "
        "neurons out; default: that of the file",
    )


def export(given: argparse.Namespace) -> None:
    """Write a model in the form that is asked for."""
    _check_options(given)

    from onnx2snn.protos.save import check_writable, save_model

    check_writable(given.output)
    require_distinct({"SNN": given.snn}, {"-o": given.output})

    if given.to == "nir":
        _export_nir(given)
        return
    if given.to == "arrays":
        _dump(given)
        return

    from onnx2snn.runtime.rollout import rollout
    from onnx2snn.snn.portable import Form, in_form, portable

    form = Form(given.inline, given.batch, dict(given.shape), given.opset)
    if given.to == "step":
        made = portable(given.snn, **vars(form))
    else:
        unrolled = rollout(
            given.snn,
            given.timesteps,
            given.delay,
            exit_margin=given.exit_margin,
            unroll=given.unroll,
        )
        made = in_form(unrolled, form)
    save_model(given.output, made)


def _export_nir(given: argparse.Namespace) -> None:
    """Write a NIR graph, and warn of what is no part of it."""
    from onnx2snn.display import terminal
    from onnx2snn.protos.save import atomic_write
    from onnx2snn.snn.nir.export import nir_graph_told, require_library

    require_library()
    graph, told = nir_graph_told(
        given.snn,
        given.timesteps,
        given.delay,
        start_bias=given.start_bias,
        shapes=dict(given.shape),
    )

    # loads the library of the extra `nir`
    from onnx2snn.snn.nir.library import file_of

    atomic_write(given.output, file_of(graph))
    terminal.warn(told)


def _dump(given: argparse.Namespace) -> None:
    """Write a spiking model as arrays."""
    from onnx2snn.snn.dump import check_suffix, dump

    check_suffix(given.output)
    dump(given.snn, batch=given.batch, shapes=dict(given.shape)).save(given.output)


BELONGING = {
    "timesteps": ("rollout", "nir"),
    "delay": ("rollout", "nir"),
    "exit_margin": ("rollout",),
    "unroll": ("rollout",),
    "inline": ("rollout", "step"),
    "batch": ("rollout", "step", "arrays"),
    "opset": ("rollout", "step"),
    "start_bias": ("nir",),
}
"""Options that not every form has, and the forms they belong to."""


def _check_options(given: argparse.Namespace) -> None:
    """Refuse options that belong to another form."""
    for name, forms in BELONGING.items():
        if getattr(given, name) in (None, False) or given.to in forms:
            continue
        option = f"--{name.replace('_', '-')}"
        places = " and ".join(f"--to {form}" for form in forms)
        raise UsageError(f"{option} belongs to {places}; leave it out, or export that")
