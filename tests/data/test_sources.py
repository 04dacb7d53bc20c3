"""Behaviour of onnx2snn.data.sources: data that is accepted, and how other data is refused."""

from __future__ import annotations

import pickle
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.data import F32, Array, everything, rows, spec
from hypothesis import given, settings
from hypothesis import strategies as st

import onnx2snn
from onnx2snn.aliases import Dim
from onnx2snn.data.samples import open_samples
from onnx2snn.errors import DataError

Content = Array | dict[str, Array] | bytes
Make = Callable[[Path], object]


def put(folder: Path, name: str, content: Content) -> Path:
    """Write one file, of the format its suffix names: an array, the arrays of a .npz, or bytes."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)  # type: ignore[arg-type]
    elif path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix == ".pb":
        import onnx

        onnx.save_tensor(onnx.numpy_helper.from_array(content), str(path))
    else:
        pytest.importorskip("PIL.Image").fromarray(content).save(path)
    return path


def fill(folder: Path, files: Mapping[str, Content]) -> Path:
    for name, content in files.items():
        put(folder, name, content)
    return folder


def script(folder: Path, body: str) -> str:
    path = put(folder, "make.py", f"import numpy as np\n{body}\n".encode())
    return onnx2snn.script(f"{path}:make")


# --- sources that all give the same 5 samples ---


FIVE = rows(5, 3)


def compressed(folder: Path) -> object:
    np.savez_compressed(folder / "x.npz", x=FIVE)
    return folder / "x.npz"


def script_with_neighbour(folder: Path) -> object:
    put(folder, "neighbour_of_make.py", b"COUNT = 5")
    return script(
        folder,
        "from neighbour_of_make import COUNT\n"
        "def make():\n    for i in range(COUNT): yield {'x': np.full((1, 3), i, np.float32)}",
    )


def reused_memory(_: Path) -> Iterator[Array]:
    buffer = np.empty((1, 3), F32)
    for i in range(5):
        buffer[:] = i
        yield buffer


SOURCES: dict[str, Make] = {
    "npy": lambda d: put(d, "x.npy", FIVE),
    "fortran npy": lambda d: put(d, "x.npy", np.asfortranarray(FIVE)),
    "big-endian npy": lambda d: put(d, "x.npy", FIVE.astype(">f4")),
    "npz": lambda d: str(put(d, "x.npz", {"x": FIVE})),
    "compressed npz": compressed,
    "pb": lambda d: put(d, "x.pb", FIVE),
    "folder of arrays": lambda d: fill(
        d, {"b.npy": FIVE[2:], "a.npz": {"x": FIVE[:2]}, ".hidden": b""}
    ),
    "onnx test data": lambda d: fill(d, {"input_0.pb": FIVE, "output_0.pb": rows(5, 7)}),
    "onnx test data sets": lambda d: fill(
        d,
        {
            "test_data_set_2/input_0.pb": FIVE[:2],
            "test_data_set_10/input_0.pb": FIVE[2:],
            "model.onnx": b"",
        },
    ),
    "script": lambda d: script(
        d, "def make(): return np.repeat(np.arange(5, dtype=np.float32)[:, None], 3, 1)"
    ),
    "script with neighbour": script_with_neighbour,
    "array": lambda d: FIVE,
    "dict": lambda d: {"x": FIVE},
    "dict of lists": lambda d: {"x": FIVE.tolist()},
    "list of arrays": lambda d: [FIVE[:4], FIVE[4:]],
    "list of dicts": lambda d: [{"x": FIVE[:4]}, {"x": FIVE[4:]}],
    "iterator": lambda d: iter([FIVE[:4], FIVE[4:]]),
    "generator": reused_memory,
    "function": lambda d: lambda: FIVE,
    "generator function": lambda d: lambda: (FIVE[i : i + 1] for i in range(5)),
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_every_source_gives_the_samples_asked_for_in_any_order(
    make: Make, tmp_path: Path, temporary_folder: Path
) -> None:
    with open_samples(make(tmp_path), [spec()]) as samples:
        assert len(samples) == 5
        assert samples.targets == ()
        for indices in ([0, 1, 2, 3, 4], [4, 0, 3, 3], [2], []):
            got = samples.batch(indices)
            assert list(got) == ["x"]
            assert got["x"].dtype == F32
            assert got["x"].shape == (len(indices), 3)
            assert np.array_equal(got["x"], FIVE[np.array(indices, int)])
    assert list(temporary_folder.iterdir()) == []


TWO = {"a": rows(4, 2), "b": np.arange(4), "labels": np.arange(4)}


@pytest.mark.parametrize(
    "make",
    [
        lambda d: put(d, "two.npz", TWO),
        lambda d: fill(d, {f"{key}.npy": array for key, array in TWO.items()}),
        lambda d: ({key: array[i:][:2] for key, array in TWO.items()} for i in (0, 2)),
    ],
    ids=["npz", "folder", "generator"],
)
def test_several_inputs_and_targets_are_kept_apart(make: Make, tmp_path: Path) -> None:
    with open_samples(
        make(tmp_path), [spec("a", ("N", 2)), spec("b", ("N",), np.int64)]
    ) as samples:
        got = samples.batch([3, 1])
        assert {key: value.tolist() for key, value in got.items()} == {
            "a": [[3, 3], [1, 1]],
            "b": [3, 1],
        }
        assert samples.targets == ("labels",)
        assert samples.target("labels", [3, 1]).tolist() == [3, 1]
        with pytest.raises(DataError, match=r"only 'labels'.*'masks'"):
            samples.target("masks", [0])


def test_onnx_test_data_goes_to_the_inputs_in_order(tmp_path: Path) -> None:
    for k in (0, 1):
        put(tmp_path, f"test_data_set_{k}/input_0.pb", rows(2, 2) + k)
        put(tmp_path, f"test_data_set_{k}/input_1.pb", rows(2, dtype=np.int64) - k)
    with open_samples(tmp_path, [spec("q", (1, 2)), spec("p", ("N",), np.int64)]) as samples:
        assert everything(samples, "q").tolist() == [[0, 0], [1, 1], [1, 1], [2, 2]]
        assert everything(samples, "p").tolist() == [0, 1, -1, 0]


@pytest.mark.parametrize(
    "make",
    [
        lambda d: put(d, "x.npy", FIVE),
        lambda d: put(d, "x.pb", FIVE),
        lambda d: FIVE,
        lambda d: iter([FIVE]),
    ],
    ids=["npy", "pb", "array", "iterator"],
)
def test_one_array_cannot_serve_several_inputs(make: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is one array, but the model's inputs are 'a', 'b'"):
        open_samples(make(tmp_path), [spec("a"), spec("b")])


# --- refused sources ---


def truncated(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return path


def damaged(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[300] ^= 255
    path.write_bytes(content)
    return path


def foreign_member(folder: Path) -> object:
    with zipfile.ZipFile(folder / "x.npz", "w") as archive:
        archive.writestr("x", "not an array")
    return folder / "x.npz"


def raising(_: Path) -> Iterator[Array]:
    yield rows(1, 3)
    raise KeyError("no more")


OBJECTS = np.array([{}, []], object)
REFUSED: dict[str, tuple[Make, str]] = {
    "missing path": (lambda d: d / "none.npz", r"none\.npz does not exist"),
    "missing script": (lambda d: onnx2snn.script(f"{d}/none.py:make"), r"none\.py does not exist"),
    "unknown suffix": (lambda d: put(d, "x.csv", b""), r"x\.csv is no data"),
    "script without function": (
        lambda d: put(d, "x.py", b""),
        r"x\.py is no data.*script\.py:function",
    ),
    "empty folder": (lambda d: d, "is empty"),
    "useless folder": (lambda d: fill(d, {"readme.md": b""}), r"holds no \.npy"),
    "arrays and images": (
        lambda d: fill(d, {"x.npy": FIVE, "x.png": b""}),
        "both arrays and images",
    ),
    "truncated npy": (lambda d: truncated(put(d, "x.npy", rows(500, 3))), r"x\.npy is truncated"),
    "truncated npz": (
        lambda d: truncated(put(d, "x.npz", {"x": rows(500, 3)})),
        r"x\.npz is truncated",
    ),
    "damaged npz": (
        lambda d: damaged(put(d, "x.npz", {"x": rows(50, 3)})),
        r"x\.npz is truncated.*CRC",
    ),
    "empty npy": (lambda d: put(d, "x.npy", b""), r"x\.npy is truncated"),
    "empty npz": (lambda d: put(d, "x.npz", b""), r"x\.npz is truncated"),
    "npz of nothing": (
        lambda d: put(d, "x.npz", {}),
        "lacks the model's inputs 'x' and holds nothing",
    ),
    "foreign member": (foreign_member, r"'x' in .*x\.npz is truncated or no \.npy array"),
    "empty pb": (lambda d: put(d, "x.pb", b""), r"x\.pb is truncated"),
    "foreign pb": (lambda d: put(d, "x.pb", b"\x09\xff hello"), r"x\.pb is truncated"),
    "too many pb": (
        lambda d: fill(d, {"input_0.pb": FIVE, "input_1.pb": FIVE}),
        r"2 input_\*\.pb.*'x'",
    ),
    "pickle named npy": (
        lambda d: put(d, "x.npy", pickle.dumps([1])),
        r"x\.npy is truncated or no \.npy",
    ),
    "object npy": (lambda d: put(d, "x.npy", OBJECTS), r"x\.npy holds pickled"),
    "object npz": (lambda d: put(d, "x.npz", {"x": OBJECTS}), r"'x' in .*x\.npz holds pickled"),
    "no samples": (lambda d: put(d, "x.npy", rows(0, 3)), "no samples"),
    "wrong key": (lambda d: put(d, "x.npz", {"arr_0": FIVE}), "'arr_0'.*inputs are 'x'.*rename"),
    "script lacks function": (
        lambda d: script(d, "def other(): pass"),
        r"make\.py has no function 'make'",
    ),
    "script attribute": (lambda d: script(d, "make = 3"), "no function 'make'"),
    "script syntax": (lambda d: script(d, "def make(:"), r"make\.py raised SyntaxError"),
    "script import": (
        lambda d: script(d, "import no_such_module_x"),
        r"make\.py raised ModuleNotFoundError",
    ),
    "script exits": (
        lambda d: script(d, "raise SystemExit(1)"),
        r"make\.py raised SystemExit \(1\)",
    ),
    "script raises": (
        lambda d: script(d, "def make(): raise ValueError('a\\nb')"),
        r"py:make raised ValueError \(a\)",
    ),
    "script stops": (
        lambda d: script(d, "def make(): raise StopIteration"),
        "raised StopIteration",
    ),
    "script gives none": (lambda d: script(d, "def make(): pass"), "py:make is a NoneType"),
    "generator raises": (raising, "batch 1 of the data raised KeyError"),
    "generator of tuples": (lambda d: iter([(1, 2)]), "batch 0 of the data is a tuple"),
    "ragged lists": (lambda d: {"x": [[1.0], [1.0, 2.0]]}, "the data raised ValueError"),
    "number": (lambda d: 3, "the data is a int"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_serve_is_refused_in_one_sentence(
    make: Make, message: str, tmp_path: Path, temporary_folder: Path
) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        open_samples(make(tmp_path), [spec()])
    assert "\n" not in str(refusal.value)
    assert list(temporary_folder.iterdir()) == []


def test_errors_of_a_script_keep_their_cause(tmp_path: Path) -> None:
    path = list(sys.path)
    with pytest.raises(DataError) as refusal:
        open_samples(script(tmp_path, "def make(): raise ValueError('mine')"), [spec()])
    assert isinstance(refusal.value.__cause__, ValueError)
    assert sys.path == path


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["x.npy", "x.npz", "x.pb"]), st.data())
def test_a_damaged_file_is_read_or_refused_but_never_crashes(
    name: str, draw: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder), name, {"x": FIVE} if name == "x.npz" else FIVE)
        content = bytearray(path.read_bytes())
        for _ in range(draw.draw(st.integers(1, 4))):
            content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
        path.write_bytes(content[: draw.draw(st.integers(0, len(content)))])
        try:
            with open_samples(path, [spec()]) as samples:
                everything(samples)
        except DataError as error:
            assert str(error)


# --- images ---


BLACK = np.zeros((2, 2), np.uint8)


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        (("N", 3, 2, 4), np.uint8, (3, 3, 2, 4)),
        (("N", 3, 2, 4), F32, (3, 3, 2, 4)),
        ((1, 2, 4, 3), F32, (3, 2, 4, 3)),
        (("N", 1, 2, 4), np.float16, (3, 1, 2, 4)),
        (("N", 2, 4, 1), np.uint8, (3, 2, 4, 1)),
    ],
)
def test_images_take_size_layout_and_scale_of_the_input(
    shape: tuple[Dim, ...], dtype: Any, expected: tuple[int, ...], tmp_path: Path
) -> None:
    black, white = np.zeros((5, 7, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    fill(tmp_path, {"a.png": black, "b.bmp": white[:2, :4, 0], "C.JPG": white})
    with open_samples(tmp_path, [spec(shape=shape, dtype=dtype)]) as samples:
        got = everything(samples)
        assert got.shape == expected
        assert got.dtype == dtype
        top = 255 if dtype == np.uint8 else 1
        assert [set(np.unique(image).tolist()) for image in got] == [
            {top},
            {0},
            {top},
        ]  # C.JPG, a.png, b.bmp


def test_image_channels_and_pixels_keep_their_places(tmp_path: Path) -> None:
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    put(tmp_path, "a.png", pixels)
    first, last = (
        open_samples(tmp_path, [spec(shape=s, dtype=np.uint8)])
        for s in ((1, 3, 2, 4), (1, 2, 4, 3))
    )
    assert np.array_equal(everything(first)[0], pixels.transpose(2, 0, 1))
    assert np.array_equal(everything(last)[0], pixels)


@pytest.mark.parametrize(
    ("name", "text"),
    [("labels.csv", "b.png,1\na.png,7\n"), ("labels.txt", "file,label\na.png, 7\n\nb.png, 1")],
)
def test_labels_beside_images_follow_the_images(name: str, text: str, tmp_path: Path) -> None:
    fill(tmp_path, {"a.png": BLACK, "b.png": BLACK, name: text.encode()})
    with open_samples(tmp_path, [spec(shape=("N", 1, 2, 2))]) as samples:
        assert samples.target("labels", [0, 1]).tolist() == [7, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,1", "no label for 'b.png'"),
        ("a.png,1\nb.png,2\nc.png,3", "labels 'c.png', which the folder lacks"),
        ("a.png,1\nb.png,cat", "line 2 of .* is 'b.png,cat'"),
    ],
)
def test_labels_must_match_the_images(text: str, message: str, tmp_path: Path) -> None:
    fill(tmp_path, {"a.png": BLACK, "b.png": BLACK, "labels.csv": text.encode()})
    with pytest.raises(DataError, match=message):
        open_samples(tmp_path, [spec(shape=("N", 1, 2, 2))])


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        (("N", 3), F32),
        (("N", 3, "H", 4), F32),
        (("N", 4, 2, 2), F32),
        (("N", None, 2, 2), F32),
        (None, F32),
        (("N", 3, 2, 2), np.int64),
    ],
)
def test_inputs_that_are_no_images_refuse_a_folder_of_images(
    shape: tuple[Dim, ...] | None, dtype: Any, tmp_path: Path
) -> None:
    put(tmp_path, "a.png", BLACK)
    with pytest.raises(DataError, match=r"images in .* cannot feed input 'x"):
        open_samples(tmp_path, [spec(shape=shape, dtype=dtype)])


def test_a_file_that_is_no_image_is_named_at_opening(tmp_path: Path) -> None:
    fill(tmp_path, {"a.png": BLACK, "b.png": b"no image"})
    with pytest.raises(DataError, match=r"b\.png is truncated or no image"):
        open_samples(tmp_path, [spec(shape=("N", 3, 2, 2))])


def test_a_truncated_image_is_named_when_read_at_the_latest(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    truncated(put(tmp_path, "a.jpg", noise))
    with (
        pytest.raises(DataError, match=r"a\.jpg is truncated"),
        open_samples(tmp_path, [spec(shape=("N", 3, 8, 8))]) as samples,
    ):
        samples.batch([0])


def test_images_without_pillow_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.png", b"")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"pip install onnx2snn\[images\]"):
        open_samples(tmp_path, [spec(shape=("N", 3, 8, 8))])
