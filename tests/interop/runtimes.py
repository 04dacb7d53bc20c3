"""Emitted files in other runtimes, and how far their answers lie from the package's own.

python tests/interop/runtimes.py [--models fashion_vgg,...] [--node FOLDER]

Prints the table of docs/runtimes.md: the largest difference of any answer, relative to the largest
answer, over the networks. Runtimes that are not installed have a row that says so. FOLDER holds the
node_modules of onnxruntime-node and onnxruntime-web. Exit code 1: onnxruntime or the reference
evaluator answer otherwise.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

sys.path.insert(0, str(Path(__file__).parents[1]))
from interop.jobs import CODINGS, Array, Job, as_json, jobs, own_outputs

MOST = 0.05
"""The largest relative difference that counts as the same answer: one spike told a step later."""

Step = Callable[[Mapping[str, Array]], Mapping[str, Any]]
"""Runs a file once: inputs and outputs by name."""


def reference(path: Path) -> Step:
    """onnx's reference evaluator."""
    session = ReferenceEvaluator(str(path))
    return lambda feed: dict(zip(session.output_names, session.run(None, dict(feed)), strict=True))


def stock_onnxruntime(path: Path) -> Step:
    """onnxruntime without this package."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(None, dict(feed)), strict=True))


def open_vino(path: Path) -> Step:
    """OpenVINO on the processor, in float32."""
    openvino = importlib.import_module("openvino")
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def step(feed: Mapping[str, Array]) -> Mapping[str, Any]:
        results = compiled(dict(feed))
        return {output.any_name: np.array(results[output]) for output in compiled.outputs}

    return step


def tract(path: Path) -> Step:
    """Tract, which knows inputs and outputs by their order in the file."""
    loaded = importlib.import_module("tract").onnx().load(str(path))
    graph = onnx.load(path).graph
    inputs = [value.name for value in graph.input]
    outputs = [value.name for value in graph.output]
    runnable = loaded.into_model().into_runnable()

    def step(feed: Mapping[str, Array]) -> Mapping[str, Any]:
        results = runnable.run([feed[name] for name in inputs])
        return dict(zip(outputs, (one.to_numpy() for one in results), strict=True))

    return step


PYTHON_RUNTIMES: dict[str, tuple[str, Callable[[Path], Step]]] = {
    "onnx reference evaluator": ("onnx", reference),
    "onnxruntime": ("onnxruntime", stock_onnxruntime),
    "OpenVINO": ("openvino", open_vino),
    "tract": ("tract", tract),
}
"""Runtimes with their package, and how a file is opened."""

OWN = ("onnx reference evaluator", "onnxruntime")
"""Runtimes that the package depends on; of others a newer release may fail, which is told."""

NODE_RUNTIMES = ("onnxruntime-node", "onnxruntime-web")


def run_in_python(job: Job, opened: Callable[[Path], Step]) -> list[Array]:
    """Run a job as any host does: states that come out go in again."""
    step = opened(job.path)
    feed = dict(job.inputs) | job.zeros()
    answer = own_outputs(job)[0]
    found = []
    for _ in job.wanted:
        results = step(feed)
        feed |= {given: results[made] for given, made in job.states}
        found.append(np.asarray(results[answer]))
    return found


def run_in_node(runtime: str, folder: Path, todo: list[Job]) -> list[list[Array] | str]:
    """Run jobs in Node.js; in place of an answer an error's text."""
    script = Path(__file__).with_suffix(".mjs")
    done = subprocess.run(
        ["node", str(script), runtime, str(folder)],
        input="\n".join(map(as_json, todo)),
        capture_output=True,
        text=True,
    )
    answers: list[list[Array] | str] = []
    for job, line in zip(todo, done.stdout.splitlines(), strict=True):
        told = json.loads(line)
        if "error" in told:
            answers.append(told["error"])
            continue
        shaped = zip(told["found"], job.wanted, strict=True)
        answers.append([np.reshape(one, wanted.shape) for one, wanted in shaped])
    return answers


def installed(package: str) -> str | None:
    """Return a package's version, or None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def installed_in_node(package: str, folder: Path | None) -> str | None:
    """Return the version of a package of Node.js, or None."""
    found = None if folder is None else folder / "node_modules" / package / "package.json"
    if found is None or not found.exists():
        return None
    return str(json.loads(found.read_text(encoding="utf-8"))["version"])


def python_answers(runtime: str, todo: list[Job]) -> list[list[Array] | str]:
    """Run jobs in a runtime of Python; in place of an answer an error's text."""
    answers: list[list[Array] | str] = []
    for job in todo:
        try:
            answers.append(run_in_python(job, PYTHON_RUNTIMES[runtime][1]))
        except Exception as error:  # noqa: BLE001 - every runtime has errors of its own
            answers.append(str(error).strip().splitlines()[-1] if str(error) else repr(error))
    return answers


Cells = dict[tuple[str, str], float | str]
"""By coding and form: the largest difference, or why there is none."""


def compared(todo: list[Job], answers: list[list[Array] | str]) -> Cells:
    """Return the largest differences of a runtime."""
    cells: Cells = defaultdict(float)
    for job, answer in zip(todo, answers, strict=True):
        place = (job.coding, job.form)
        before = cells[place]
        if isinstance(answer, str):
            print(f"{job.path.name}: {answer}", file=sys.stderr)
            cells[place] = "fails"
        elif not isinstance(before, str):
            cells[place] = max(before, job.difference(answer))
    return cells


def row(name: str, cells: Cells | None, forms: tuple[str, str]) -> str:
    """Return a row of the table."""
    if cells is None:
        told = ["not at hand"] * (len(CODINGS) * len(forms))
    else:
        found = [cells[coding, form] for form in forms for coding in CODINGS]
        told = [one if isinstance(one, str) else f"{one:.0e}" for one in found]
    return f"| {name} | {' | '.join(told)} |"


def same(cells: Cells) -> bool:
    """Return whether a runtime answers as the package does."""
    return all(not isinstance(one, str) and one <= MOST for one in cells.values())


def table(todo: list[Job], node: Path | None, wanted: tuple[str, ...]) -> bool:
    """Print the table of some runtimes; return whether our own answer the same."""
    forms = ("step", todo[1].form)
    columns = [f"{form}, {coding}" for form in forms for coding in CODINGS]
    print(f"| runtime | {' | '.join(columns)} |")
    print(f"|{' --- |' * (len(columns) + 1)}")
    fine = True
    for runtime in wanted:
        if runtime in NODE_RUNTIMES:
            found = installed_in_node(runtime, node)
        else:
            found = installed(PYTHON_RUNTIMES[runtime][0])
        if found is None:
            print(row(runtime, None, forms))
            continue
        if runtime in NODE_RUNTIMES:
            assert node is not None
            answers = run_in_node(runtime, node, todo)
        else:
            answers = python_answers(runtime, todo)
        cells = compared(todo, answers)
        print(row(f"{runtime} {found}", cells, forms), flush=True)
        fine = fine and (runtime not in OWN or same(cells))
    return fine


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", default="", help="networks of models/, beside two small ones")
    parser.add_argument("--node", type=Path, help="a folder with node_modules")
    given = parser.parse_args()
    models = tuple(name for name in given.models.split(",") if name)
    runs_functions = (*OWN, *NODE_RUNTIMES)
    with tempfile.TemporaryDirectory() as folder:
        print("With functions and free shapes, rollouts with Scan:\n")
        as_emitted = list(jobs(Path(folder), models, inline=False))
        fine = table(as_emitted, given.node, runs_functions)
        print("\nInlined, with static shapes, rollouts in plain operators:\n")
        inlined = list(jobs(Path(folder), models))
        fine &= table(inlined, given.node, (*PYTHON_RUNTIMES, *NODE_RUNTIMES))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
