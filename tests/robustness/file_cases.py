"""Odd files: pipes, devices, links, long names, bombs, and what must not be written over."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from helpers.networks import inputs_for, mlp

from robustness.ann_cases import FAST, written
from robustness.matrix import OUT, Arguments, Case
from robustness.snn_cases import spiking

KIND = "odd file"

Place = Callable[[Path], str]
"""Makes something in a folder and returns its path."""


def missing(folder: Path) -> str:
    return str(folder / "nothing")


def a_folder(folder: Path) -> str:
    (folder / "folder").mkdir()
    return str(folder / "folder")


def loop_of_links(folder: Path) -> str:
    (folder / "one").symlink_to(folder / "two")
    (folder / "two").symlink_to(folder / "one")
    return str(folder / "one")


def broken_link(folder: Path) -> str:
    (folder / "link").symlink_to(folder / "nothing")
    return str(folder / "link")


def long_name(folder: Path) -> str:
    return str(folder / ("a" * 300))


def long_path(folder: Path) -> str:
    return str(folder) + "/a" * 3000


def with_nul(folder: Path) -> str:
    return f"{folder}/a\0b"


def with_newline(folder: Path) -> str:
    return f"{folder}/a\nerror: all is fine"


def with_escape(folder: Path) -> str:
    return f"{folder}/\x1b[2Jx"


def below_a_file(folder: Path) -> str:
    (folder / "file").write_bytes(b"x")
    return str(folder / "file" / "inner")


def a_pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return str(folder / "pipe")


def a_socket(folder: Path) -> str:
    import socket

    # the path of a socket may be no longer than 107 characters
    here = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{here}/socket")
    os.close(here)
    return str(folder / "socket")


def zeros(folder: Path) -> str:
    return "/dev/zero"


def full(folder: Path) -> str:
    return "/dev/full"


PLACES: dict[str, Place] = {
    "nothing": missing,
    "a folder": a_folder,
    "a loop of links": loop_of_links,
    "a broken link": broken_link,
    "a name of 300 characters": long_name,
    "a path of 6,000 characters": long_path,
    "a name with NUL": with_nul,
    "a name with a newline": with_newline,
    "a name with an escape sequence": with_escape,
    "below a file": below_a_file,
    "a pipe nobody writes to": a_pipe,
    "a socket": a_socket,
    "/dev/zero": zeros,
}

Read = Callable[[Path, str], Arguments]
"""A command that reads a path."""


def network_file(folder: Path) -> str:
    written(folder, mlp())
    return str(folder / "net.onnx")


def spiking_file(folder: Path) -> str:
    written(folder, spiking(), "snn.onnx")
    return str(folder / "snn.onnx")


def data_file(folder: Path) -> str:
    np.savez(folder / "x.npz", input=inputs_for("mlp", 4), labels=np.arange(4) % 3)
    return str(folder / "x.npz")


READERS: dict[str, Read] = {
    "the model": lambda folder, path: [path, "-o", str(folder / OUT), *FAST],
    "the spiking model": lambda folder, path: [
        "export", path, "--to", "rollout", "-o", str(folder / OUT),
    ],
    "the calibration data": lambda folder, path: [
        network_file(folder), "-o", str(folder / OUT), "--calibration", path, *FAST,
    ],
    "the inputs": lambda folder, path: [
        "run", spiking_file(folder), "--inputs", path, "-o", str(folder / OUT),
    ],
    "the thresholds": lambda folder, path: [
        network_file(folder), "-o", str(folder / OUT), "--thresholds", path, *FAST,
    ],
}  # fmt: skip

Write = Callable[[Path, str], Arguments]

WRITERS: dict[str, Write] = {
    "OUT": lambda folder, path: [network_file(folder), "-o", path, *FAST],
    "the report": lambda folder, path: [
        network_file(folder), "-o", str(folder / OUT), "--report", path, *FAST,
    ],
    "the outputs": lambda folder, path: [
        "run", spiking_file(folder), "--inputs", data_file(folder), "-o", path,
    ],
}  # fmt: skip

UNWRITABLE = [
    *("a folder", "a loop of links", "a name of 300 characters", "below a file", "a socket"),
    *("a path of 6,000 characters", "a name with NUL"),
]


def _reading(folder: Path, place: Place, suffix: str, read: Read) -> Arguments:
    return read(folder, place(folder) + suffix)


def _writing(folder: Path, place: Place, write: Write) -> Arguments:
    return write(folder, place(folder))


# Archives.


def header(shape: tuple[int, ...], dtype: object = np.float32, order: bool = False) -> bytes:
    """The header of a .npy file."""
    file = io.BytesIO()
    described = {"descr": np.dtype(dtype).str, "fortran_order": order, "shape": shape}  # type: ignore[call-overload]
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue()


Archive = Callable[[Path], None]


def members(**content: bytes) -> Archive:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in content.items():
                archive.writestr(f"{name}.npy", data)

    return make


def bomb(path: Path) -> None:
    """Four gigabytes of zeros in sixteen kilobytes, as the archive's directory has it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("input.npy", header((2**32 // 40 - 10, 10)) + bytes(2**24))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(data)


def twice(path: Path) -> None:
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        for _ in range(2):
            archive.writestr("input.npy", header((0, 10)))


def raw(content: bytes) -> Archive:
    def make(path: Path) -> None:
        path.write_bytes(content)

    return make


ARRAY = header((4, 10)) + bytes(160)

ARCHIVES: dict[str, Archive] = {
    "a bomb": bomb,
    "an array shorter than its shape": members(input=ARRAY[:-4]),
    "an array of 10^12 samples": members(input=header((10**12, 10))),
    "an array of 2^80 values": members(input=header((2**40, 2**40))),
    "a negative shape": members(input=header((-4, 10))),
    "no array": members(input=b"gadget"),
    "an empty member": members(input=b""),
    "a member twice": twice,
    "objects": members(input=header((4, 10), object) + bytes(160)),
    "texts": members(input=header((4, 10), "U3") + bytes(480)),
    "records": members(input=header((4, 10), "V7") + bytes(280)),
    "NaN": members(input=header((4, 10)) + b"\xff" * 160),
    "another shape": members(input=header((4, 11)) + bytes(176)),
    "a scalar": members(input=header(()) + bytes(4)),
    "rank 32": members(input=header((1,) * 32) + bytes(4)),
    "nothing": members(),
    "other names": members(gadget=ARRAY),
    "text": raw(b"no archive\n"),
    "an empty file": raw(b""),
    "half an archive": raw(b"PK\x03\x04" + bytes(50)),
}


def _archive(folder: Path, make: Archive, suffix: str) -> Arguments:
    path = folder / f"data{suffix}"
    make(path)
    return READERS["the calibration data"](folder, str(path))


def _thresholds(folder: Path, make: Archive) -> Arguments:
    path = folder / "thresholds.npz"
    make(path)
    return READERS["the thresholds"](folder, str(path))


# What is read is not written over.


def _external(folder: Path) -> str:
    path = folder / "net.onnx"
    onnx.save_model(mlp(), path, save_as_external_data=True, location="w.data", size_threshold=0)
    return str(path)


def _images(folder: Path) -> str:
    inner = folder / "arrays"
    inner.mkdir()
    np.save(inner / "input.npy", inputs_for("mlp", 4))
    return str(inner)


def _script(folder: Path, text: str, name: str = "data.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


SCRIPT = "import numpy as np\n\ndef make(*_):\n    return np.zeros((4, 10), np.float32)\n"

OVERWRITING: dict[str, Callable[[Path], Arguments]] = {
    "OUT over the model": lambda f: [network_file(f), "-o", str(f / "net.onnx"), *FAST],
    "OUT over external data": lambda f: [_external(f), "-o", str(f / "w.data"), *FAST],
    "OUT over external data by a link": lambda f: [
        _external(f), "-o", _linked(f, "w.data"), *FAST,
    ],
    "OUT.data over external data": lambda f: [
        _renamed_external(f), "-o", str(f / "w.snn"), *FAST,
    ],
    "thresholds over external data": lambda f: [
        _external(f), "-o", str(f / OUT), "--save-thresholds", str(f / "w.data"), *FAST,
    ],
    "the report over external data": lambda f: [
        _external(f), "-o", str(f / OUT), "--report", str(f / "w.data"), *FAST,
    ],
    "OUT over the calibration script": lambda f: [
        network_file(f), "-o", _script(f, SCRIPT), "--calibration", f"{f}/data.py:make", *FAST,
    ],
    "the report over the calibration script": lambda f: [
        network_file(f), "-o", str(f / OUT), "--report", _script(f, SCRIPT),
        "--calibration", f"{f}/data.py:make", *FAST,
    ],
    "OUT over a file of the calibration folder": lambda f: [
        network_file(f), "-o", str(f / "arrays" / "input.npy"), "--calibration", _images(f), *FAST,
    ],
    "thresholds over a file of the calibration folder": lambda f: [
        network_file(f), "-o", str(f / OUT), "--save-thresholds", str(f / "arrays" / "input.npy"),
        "--calibration", _images(f), *FAST,
    ],
    "JSON over the metric script": lambda f: [
        "eval", network_file(f), spiking_file(f), "--data", data_file(f),
        "--metric", f"{_script(f, SCRIPT)}:make", "--json", str(f / "data.py"),
    ],
    "outputs over the inputs": lambda f: [
        "run", spiking_file(f), "--inputs", data_file(f), "-o", str(f / "x.npz"),
    ],
    "a rollout over its model": lambda f: [
        "export", spiking_file(f), "--to", "rollout", "-o", str(f / "snn.onnx"),
    ],
}  # fmt: skip


def _linked(folder: Path, name: str) -> str:
    (folder / "link").symlink_to(folder / name)
    return str(folder / "link")


def _renamed_external(folder: Path) -> str:
    path = folder / "net.onnx"
    onnx.save_model(
        mlp(), path, save_as_external_data=True, location="w.snn.data", size_threshold=0
    )
    return str(path)


def cases() -> Iterator[Case]:
    for what, read in READERS.items():
        suffix = ".npz" if what in ("the calibration data", "the inputs") else ""
        for name, place in PLACES.items():
            # a suffix would name something else than what was made
            ends = suffix if name in ("nothing", "a name with a newline") else ""
            make = partial(_reading, place=place, suffix=ends, read=read)
            yield Case(KIND, f"{what} is {name}", make)
    for what, write in WRITERS.items():
        for name in UNWRITABLE:
            make = partial(_writing, place=PLACES[name], write=write)
            yield Case(KIND, f"{what} goes to {name}", make)
    make = partial(_writing, place=full, write=WRITERS["OUT"])
    yield Case(KIND, "OUT goes to a full disk", make, says="No space left")
    for name, archive in ARCHIVES.items():
        make = partial(_archive, make=archive, suffix=".npz")
        yield Case(KIND, f"data are an archive with {name}", make)
        yield Case(
            KIND, f"thresholds are an archive with {name}", partial(_thresholds, make=archive)
        )
    for name, content in (("cut", ARRAY[:-4]), ("of 10^12 samples", header((10**12, 10)))):
        for suffix in (".npy", ".pb", ".gadget"):
            make = partial(_archive, make=raw(content), suffix=suffix)
            yield Case(KIND, f"data are a {suffix} {name}", make)
    for name, overwriting in OVERWRITING.items():
        yield Case(KIND, name, overwriting, (2,), "overwrite")
