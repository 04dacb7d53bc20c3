"""The page of docs/browser in a headless browser: a garment is drawn on it, and answers compared.

python tests/interop/browser.py --node FOLDER

Converts fashion_resnet, draws trousers, and compares what the page shows with `SpikingSession` on
the same pixels. FOLDER holds the node_modules of onnxruntime-web. Without it or chromium it says
so. Exit code 1: the page answers otherwise.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import onnx2snn

Array = NDArray[Any]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "browser"
RUNTIME = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What the page takes of onnxruntime-web."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 240.0
"""Seconds in which the page has to answer."""

TROUSERS = [
    *([[x, 3], [x, 25]] for x in (10, 12, 16, 18)),
    *([[9, y], [19, y]] for y in (3, 5, 7)),
]
"""Strokes, by places among 28 x 28 pixels."""

SNEAKER = 7
CLOSE = 0.02
"""Differences relative to the largest answer: a spike may be told a step later."""


def browser() -> str | None:
    """Return the program of a browser, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def runtime_folder(node: Path | None) -> Path | None:
    """Return the folder of onnxruntime-web's files below one with node_modules, or None."""
    if node is None:
        return None
    found = node / "node_modules" / "onnxruntime-web" / "dist"
    return found if (found / RUNTIME[0]).exists() else None


class Handler(SimpleHTTPRequestHandler):
    """Serves the page, and takes what it told."""

    def __init__(self, told: list[Any], done: threading.Event, *args: Any, **more: Any) -> None:
        """Keep the place of the answer."""
        self.told = told
        self.done = done
        super().__init__(*args, **more)

    def do_POST(self) -> None:
        """Take an answer."""
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.told.append(json.loads(data))
        self.done.set()

    def log_message(self, format: str, *args: Any) -> None:  # the base class's name
        """Say nothing."""


def put_page(folder: Path, model: onnx.ModelProto, runtime: Path) -> None:
    """Put the page, a model and onnxruntime-web into a folder, as the documentation says."""
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    for name in RUNTIME:
        shutil.copy(runtime / name, folder)
    onnx.save(model, folder / "model.snn.onnx")
    onnx.save(onnx2snn.rollout(model), folder / "model.rollout.onnx")


def driven(folder: Path, timesteps: int) -> dict[str, Any]:
    """Draw trousers on the page in a folder, then show the sneaker; return what it told."""
    job = {"strokes": TROUSERS, "timesteps": timesteps, "garment": SNEAKER}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    shutil.copy(Path(__file__).with_suffix(".html"), folder / "drive.html")
    told: list[Any] = []
    done = threading.Event()
    handler = partial(Handler, told, done, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-sync"]
        options += ["disable-background-networking", f"user-data-dir={folder / 'profile'}"]
        options += ["host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        address = f"http://127.0.0.1:{server.server_port}/drive.html"
        command = [str(browser()), *(f"--{option}" for option in options), address]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, stdout=quiet, stderr=quiet) as process:
            done.wait(PATIENCE)
            process.terminate()
        server.shutdown()
    if not told:
        raise TimeoutError(f"the page told nothing in {PATIENCE:.0f} seconds")
    answer: dict[str, Any] = told[0]
    return answer


def as_input(pixels: list[int]) -> Array:
    """Return pixels as the networks of models/ take them."""
    image = np.array(pixels, np.float32).reshape(1, 1, 28, 28)
    found: Array = (image / 255 - np.float32(0.286)) / np.float32(0.353)
    return found


def differences(told: dict[str, Any], model: onnx.ModelProto) -> tuple[float, float]:
    """Return the largest relative difference of answers: of the steps, and of the rollout."""
    session = onnx2snn.SpikingSession(model, schedule="stepped")
    feed = {session.inputs[0].name: as_input(told["pixels"])}
    timesteps = len(told["steps"])
    wanted = [np.ravel(step.outputs[0]) for step in session.steps(feed, timesteps)]
    (whole,) = session.run(None, feed)
    most = float(np.abs(wanted).max())
    steps = float(np.abs(np.subtract(told["steps"], wanted)).max())
    rollout = float(np.abs(np.subtract(told["rollout"], np.ravel(whole))).max())
    return steps / most, rollout / most


def main() -> int:
    """Convert a network, drive the page and tell what it showed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--node", type=Path, help="a folder with node_modules")
    runtime = runtime_folder(parser.parse_args().node)
    if runtime is None or browser() is None:
        print(f"browser: no {'onnxruntime-web' if runtime is None else 'chromium'}, not done")
        return 0
    data = np.load(ROOT / "models" / "fashion_calibration.npz")["input"][:100]
    network = ROOT / "models" / "fashion_resnet.onnx"
    model = onnx2snn.convert(network, data, preset="differential").model
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        put_page(Path(folder), model, runtime)
        told = driven(Path(folder), 4)
    if "error" in told:
        print(f"browser: {told['error']}")
        return 1
    steps, rollout = differences(told, model)
    print(f"browser: the drawing is a {told['answer']}, the sneaker a {told['later']}")
    print(f"browser: differences {steps:.0e} (steps), {rollout:.0e} (rollout)")
    fine = told["answer"] == "Trouser" and told["later"] == "Sneaker"
    return 0 if fine and max(steps, rollout) <= CLOSE else 1


if __name__ == "__main__":
    sys.exit(main())
