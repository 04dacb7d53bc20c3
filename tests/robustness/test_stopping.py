"""A command that is stopped, by a signal or by a limit, leaves nothing and says so."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.networks import inputs_for, mlp
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.cli.commands import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals as Linux has them")

SLOW_SCRIPT = """
import pathlib, time
import numpy as np

def batches():
    yield {"input": np.zeros((4, 10), np.float32)}
    pathlib.Path("ready").touch()
    time.sleep(60)
"""


def endless() -> onnx.ModelProto:
    """A network with a Loop that runs for ever behind it, which only running it tells."""
    model = mlp()
    graph = model.graph
    graph.node[-1].output[0] = "before"
    body = helper.make_graph(
        [
            helper.make_node("Not", ["cond"], ["stops"]),
            helper.make_node("Not", ["stops"], ["cond_out"]),
            helper.make_node("Relu", ["x"], ["x_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("cond", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("cond_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", TensorProto.FLOAT, None),
        ],
    )
    graph.initializer.append(numpy_helper.from_array(np.array(2**62), "trips"))
    graph.initializer.append(numpy_helper.from_array(np.array(True), "go"))
    graph.node.append(helper.make_node("Loop", ["trips", "go", "before"], ["logits"], body=body))
    return model


def started(folder: Path, *more: str) -> subprocess.Popen[str]:
    spare = folder / "spare"
    spare.mkdir()
    command = [sys.executable, "-m", "onnx2snn", *more]
    environment = {**os.environ, "TMPDIR": str(spare), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_listen,
    )


def _listen() -> None:
    """Listen to Ctrl-C and the end of a terminal, which jobs in the background are born deaf to."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def convert(model: str, *more: str) -> list[str]:
    return [model, "-o", "out.onnx", "--method", "max", "--timesteps", "4", "--quiet", *more]


def left(folder: Path) -> list[str]:
    made = {"net.onnx", "data.py", "ready", "spare", "__pycache__", "x.npy"}
    found = [str(path.name) for path in folder.iterdir() if path.name not in made]
    return [*found, *(str(path) for path in (folder / "spare").iterdir())]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_while_data_are_read_leaves_nothing(number: int, tmp_path: Path) -> None:
    onnx.save(mlp(), tmp_path / "net.onnx")
    (tmp_path / "data.py").write_text(SLOW_SCRIPT)
    process = started(tmp_path, *convert("net.onnx", "--calibration", "data.py:batches"))
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    assert list((tmp_path / "spare").iterdir())  # the data that are read
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert said == "interrupted; nothing was written\n"
    assert left(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_library_that_does_not_listen(number: int, tmp_path: Path) -> None:
    onnx.save(endless(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", inputs_for("mlp", 4))
    process = started(tmp_path, *convert("net.onnx", "--calibration", "x.npy"))
    time.sleep(6.0)
    assert process.poll() is None
    start = time.monotonic()
    process.send_signal(number)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - start < 25
    assert process.returncode == 128 + number
    assert said.startswith("interrupted; ")
    assert left(tmp_path) == []


@pytest.mark.parametrize("network", ["mlp", "endless"])
def test_a_limit_of_time_ends_the_work_with_a_sentence(network: str, tmp_path: Path) -> None:
    onnx.save({"mlp": mlp, "endless": endless}[network](), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", inputs_for("mlp", 4))
    more = ["--calibration", "x.npy", "--time-limit", "2", "--timesteps", str(10**9)]
    process = started(tmp_path, *convert("net.onnx", *more))
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said.startswith("error: the work takes longer than --time-limit 2;")
    assert said.count("\n") == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize("limit", ["16M", "60M", "100M"])
def test_a_limit_of_memory_ends_the_work_with_a_sentence(limit: str, tmp_path: Path) -> None:
    onnx.save(mlp(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", inputs_for("mlp", 4))
    more = ["--calibration", "x.npy", "--memory-limit", limit]
    process = started(tmp_path, *convert("net.onnx", *more))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.startswith("error: there is not enough memory")
    assert left(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
def test_too_little_address_space_is_told_before_libraries_fail(tmp_path: Path) -> None:
    onnx.save(mlp(), tmp_path / "net.onnx")
    words = " ".join(convert("net.onnx"))
    command = f"ulimit -v 200000; {sys.executable} -m onnx2snn {words}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the limit of address space (ulimit -v) is 195.3 MiB")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("closed", ["1", "2", "1 2"])
def test_closed_streams_change_no_result(closed: str, tmp_path: Path) -> None:
    onnx.save(mlp(), tmp_path / "net.onnx")
    redirections = " ".join(f"{number}>&-" for number in closed.split())
    words = " ".join(convert("net.onnx", "--report", "r.json"))
    command = f"{sys.executable} -m onnx2snn {words} {redirections}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"net.onnx", "out.onnx", "r.json"}


@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_closed_stream_that_is_written_to_is_told(closed: str, tmp_path: Path) -> None:
    onnx.save(mlp(), tmp_path / "net.onnx")
    json = "--json" if closed == "1" else ""
    command = f"{sys.executable} -m onnx2snn inspect net.onnx {json} {closed}>&-"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == (2 if closed == "1" else 0)


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {"PYTHONUTF8": "0"}, {"HOME": "/none"}])
def test_the_environment_changes_no_result(environment: dict[str, str], tmp_path: Path) -> None:
    model = mlp()
    model.graph.node[1].name = "größe\u2603"
    onnx.save(model, tmp_path / "net.onnx")
    command = [sys.executable, "-m", "onnx2snn", "net.onnx", "-o", "out.onnx", "--timesteps", "4"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_unusable_folder_for_temporary_files_is_told(tmp_path: Path) -> None:
    onnx.save(mlp(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", inputs_for("mlp", 4))
    # Python falls back to the working folder, which is taken away, too
    script = (
        "import sys, tempfile; tempfile.tempdir = '/nowhere'; "
        "from onnx2snn.cli.commands import main; sys.exit(main(sys.argv[1:]))"
    )
    words = convert("net.onnx", "--calibration", "x.npy")
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "set TMPDIR" in done.stderr
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    ("words", "work"),
    [
        (["--method", "max", "--timesteps", str(10**9)], "time-steps"),
        (["--method", "local", "--iterations", str(10**7)], "local threshold balancing"),
    ],
)
def test_what_would_take_far_longer_than_the_limit_is_refused_by_name(
    words: list[str], work: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(mlp(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", inputs_for("mlp", 4))
    net, data, out = (str(tmp_path / name) for name in ("net.onnx", "x.npy", "out.onnx"))
    limited = ["--time-limit", "120", "--preset", "paper", "--quiet"]
    assert main([net, "-o", out, "--calibration", data, *limited, *words]) == 2
    assert f"--time-limit 120; {work} (" in capsys.readouterr().err
    assert not Path(out).exists()


def test_the_pipe_that_watches_for_signals_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    pair = socket.socketpair

    def recorded() -> tuple[socket.socket, socket.socket]:
        made.extend(ends := pair())
        return ends

    monkeypatch.setattr(socket, "socketpair", recorded)
    monkeypatch.setattr(sys, "argv", ["onnx2snn", "inspect", "no such file.onnx"])
    assert main() == 2
    assert [end.fileno() for end in made] == [-1, -1]
