"""Odd data: folders with pipes among the images, archives, tensors apart, scripts, baselines."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from robustness.ann_cases import FAST, written
from robustness.file_cases import PLACES, data_file, header, network_file, spiking_file
from robustness.matrix import OUT, REFUSED, Arguments, Case

KIND = "odd file"

SIDE = 8

Fill = Callable[[Path], object]
"""Puts files into a folder."""


def seeing() -> onnx.ModelProto:
    """A network that takes colour images."""
    first, last = np.ones((4, 3, 3, 3), np.float32), np.ones((2, 4, 1, 1), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "first"], ["a"], "conv"),
            helper.make_node("Relu", ["a"], ["b"], "relu"),
            helper.make_node("Conv", ["b", "last"], ["y"], "out"),
        ],
        "seeing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2, SIDE - 2, SIDE - 2])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(last, "last")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def png(folder: Path, name: str = "a.png", mode: str = "RGB") -> Path:
    folder.mkdir(exist_ok=True)
    Image.new(mode, (SIDE, SIDE)).save(folder / name)
    return folder / name


def beside(fill: Fill) -> Fill:
    """An image, and something in the place of another one."""

    def both(folder: Path) -> None:
        png(folder)
        fill(folder / "b.png")

    return both


def alone(name: str, fill: Fill) -> Fill:
    """Something in the place of the only file."""
    return lambda folder: fill(folder / name)


def labelled(fill: Fill) -> Fill:
    """An image, and something in the place of its labels."""

    def both(folder: Path) -> None:
        png(folder)
        fill(folder / "labels.csv")

    return both


def classes(fill: Fill) -> Fill:
    """A folder of images of one class, and something in that of another."""

    def both(folder: Path) -> None:
        png(folder / "one")
        (folder / "two").mkdir()
        fill(folder / "two" / "a.png")

    return both


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path)


def text(words: str) -> Fill:
    return lambda path: path.write_text(words)


FOLDERS: dict[str, Fill] = {
    "a pipe among the images": beside(os.mkfifo),
    "a device among the images": beside(zeros),
    "a loop among the images": beside(loop),
    "a folder among the images": beside(Path.mkdir),
    "an image that is text": beside(text("x")),
    "labels that are a pipe": labelled(os.mkfifo),
    "labels that are a device": labelled(zeros),
    "labels that are a folder": labelled(Path.mkdir),
    "labels beyond 64 bits": labelled(text("a.png," + "9" * 30 + "\n")),
    "labels of 5,000 digits": labelled(text("a.png," + "9" * 5000 + "\n")),
    "labels that are no text": labelled(lambda path: path.write_bytes(b"\xff\xfe,1\n,,")),
    "a pipe among a class": classes(os.mkfifo),
    "a device among a class": classes(zeros),
    "a loop among a class": classes(loop),
    "a tensor that is a pipe": alone("input_0.pb", os.mkfifo),
    "a tensor that is a device": alone("input_0.pb", zeros),
    "a table that is a pipe": alone("a.parquet", os.mkfifo),
    "an archive that is a device": alone("a.tar", zeros),
}
"""Folders of calibration data, by what is wrong in them."""


def _folder(work: Path, fill: Fill) -> Arguments:
    (work / "data").mkdir()
    fill(work / "data")
    written(work, seeing())
    return [
        str(work / "net.onnx"),
        "-o",
        str(work / OUT),
        "--calibration",
        str(work / "data"),
        *FAST,
    ]


def tensor(**fields: Any) -> bytes:
    made = TensorProto(name="input", **fields)
    return bytes(made.SerializeToString())


def apart(location: str) -> bytes:
    """A tensor whose values lie in another file."""
    made = TensorProto(name="input", data_type=1, dims=[4, 10])
    made.data_location = TensorProto.EXTERNAL
    made.external_data.add(key="location", value=location)
    return bytes(made.SerializeToString())


TENSORS: dict[str, bytes] = {
    "values outside of its folder": apart("../secret"),
    "values behind a link": apart("link"),
    "values behind a hard link": apart("hard"),
    "values in a pipe": apart("pipe"),
    "values at an absolute path": apart("/etc/hostname"),
    "values in a file that is not there": apart("nothing"),
    "values in a path with NUL": apart("a\0b"),
    "values twice": tensor(data_type=1, dims=[1], raw_data=b"1234", float_data=[1.0]),
    "values of a type nobody knows": tensor(data_type=99, dims=[4, 10]),
    "fewer values than its shape": tensor(data_type=1, dims=[4, 10], raw_data=b"1234"),
    "a shape of 2^80": tensor(data_type=1, dims=[2**40, 2**40]),
    "65 axes": tensor(data_type=1, dims=[1] * 65, raw_data=b"1234"),
}


def _tensor(work: Path, data: bytes) -> Arguments:
    inner = work / "inner"
    inner.mkdir()
    (work / "secret").write_bytes(bytes(160))
    (inner / "link").symlink_to(work / "secret")
    (inner / "hard").hardlink_to(work / "secret")
    os.mkfifo(inner / "pipe")
    (inner / "x.pb").write_bytes(data)
    data_path = str(inner / "x.pb")
    return [network_file(work), "-o", str(work / OUT), "--calibration", data_path, *FAST]


Member = tuple[str, bytes]

PICTURE = io.BytesIO()
Image.new("RGB", (SIDE, SIDE)).save(PICTURE, "png")

ARCHIVES: dict[str, list[Member]] = {
    "no member": [],
    "a member that is text": [("a.png", b"x")],
    "a name that forges a line": [("a\nerror: all is fine\x1b[2J.png", b"x")],
    "a class beyond 64 bits": [("a.png", PICTURE.getvalue()), ("a.cls", b"9" * 30)],
    "an array of 10^12 samples": [("a.npy", header((10**12, 10)))],
    "an array of objects": [("a.npy", header((4,), object) + b"cos\nsystem\n")],
}


def _tar(work: Path, members: list[Member]) -> Arguments:
    with tarfile.open(work / "x.tar", "w") as archive:
        for name, data in members:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    written(work, seeing())
    data_path = str(work / "x.tar")
    return [str(work / "net.onnx"), "-o", str(work / OUT), "--calibration", data_path, *FAST]


def _bomb(work: Path) -> Arguments:
    """A member of 64 MB in an archive of 64 KB, with room for 32 MB."""
    with tarfile.open(work / "x.tar.gz", "w:gz") as archive:
        about = tarfile.TarInfo("a.png")
        about.size = 2**26
        archive.addfile(about, io.BytesIO(bytes(2**26)))
    written(work, seeing())
    data = ["--calibration", str(work / "x.tar.gz"), "--memory-limit", "32M"]
    return [str(work / "net.onnx"), "-o", str(work / OUT), *data, *FAST]


SCRIPTS: dict[str, Fill] = {
    "a pipe": os.mkfifo,
    "a device": zeros,
    "a loop of links": loop,
    "a folder": Path.mkdir,
    "nothing": lambda _: None,
    "no Python": text("def make(:"),
    "raising what is no exception": text(
        "class Odd(BaseException): ...\ndef make(*_): raise Odd()\n"
    ),
    "raising what cannot be told": text(
        "class Odd(Exception):\n    def __str__(self): raise ValueError\n"
        "def make(*_): raise Odd()\n"
    ),
    "ending the program": text("import sys\ndef make(*_): sys.exit(0)\n"),
    "calling itself": text("def make(*_): return make()\n"),
}


def _script(work: Path, fill: Fill, use: str) -> Arguments:
    fill(work / "own.py")
    named = f"{work}/own.py:make"
    net, snn = network_file(work), spiking_file(work)
    if use == "data":
        return [net, "-o", str(work / OUT), "--calibration", named, *FAST]
    return ["eval", net, snn, "--data", data_file(work), "--metric", named, "--quiet"]


def _evaluated(work: Path, option: list[str], name: str) -> Arguments:
    more = [*option, PLACES[name](work)]
    files = [network_file(work), spiking_file(work), "--data", data_file(work)]
    return ["eval", *files, "--quiet", *more]


LATE = ("--report", "--html", "--save-thresholds")


def _late(work: Path, option: str, path: str) -> Arguments:
    """A conversion whose other result cannot be written."""
    if path == "pipe":
        path = PLACES["a pipe nobody writes to"](work)
    return [network_file(work), "-o", str(work / OUT), *FAST, option, path]


SHARDS = (".tar", ".tgz", ".tar.gz", ".parquet", ".arrow", ".feather")


def _over_shard(work: Path, suffix: str) -> Arguments:
    (work / "data").mkdir()
    place = work / "data" / f"a{suffix}"
    place.write_bytes(b"what was there")
    data = ["--calibration", str(work / "data")]
    return [network_file(work), "-o", str(place), *data, *FAST]


def _over_values(work: Path) -> Arguments:
    (work / "x.pb").write_bytes(apart("values"))
    (work / "values").write_bytes(bytes(160))
    data = ["--calibration", str(work / "x.pb")]
    return [network_file(work), "-o", str(work / "values"), *data, *FAST]


def cases() -> Iterator[Case]:
    for name, fill in FOLDERS.items():
        yield Case(KIND, f"data are a folder with {name}", partial(_folder, fill=fill))
    for name, data in TENSORS.items():
        yield Case(KIND, f"data are a tensor with {name}", partial(_tensor, data=data), (2,))
    for name, members in ARCHIVES.items():
        yield Case(KIND, f"data are a .tar with {name}", partial(_tar, members=members), (2,))
    yield Case(KIND, "data are a .tar.gz with a bomb", _bomb, (2,), "memory")
    for name, fill in SCRIPTS.items():
        for use in ("data", "metric"):
            make = partial(_script, fill=fill, use=use)
            yield Case(KIND, f"{use} of a script that is {name}", make, (2,))
    auto = ["--exit-margin", "auto", "--max-drop", "1", "--exit-data"]
    for what, option in {"the baseline": ["--baseline"], "the exit data": auto}.items():
        for name in PLACES:
            make = partial(_evaluated, option=option, name=name)
            yield Case(KIND, f"{what} is {name}", make, REFUSED)
    for late in LATE:
        for path, where in {"/dev/full": "a full disk", "pipe": "a pipe nobody reads"}.items():
            make = partial(_late, option=late, path=path)
            yield Case(KIND, f"{late} goes to {where}", make, (2,), "cannot be written")
    for suffix in SHARDS:
        make = partial(_over_shard, suffix=suffix)
        yield Case(KIND, f"OUT over a {suffix} of the data", make, (2,), "overwrite")
    yield Case(KIND, "OUT over the values of a tensor", _over_values, (2,), "overwrite")
