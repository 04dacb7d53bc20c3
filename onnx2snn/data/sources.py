"""Sources of data: a path is told apart by its ending, a folder by the files in it.

Every reader hands its arrays to an `Intake` and blames, in its errors, the file or batch at fault.
`.npy` files stay where they are, images are decoded once; `.npz` members, `.pb` files and
generators are spooled to temporary files.

* `onnx2snn.script("script.py:function")`: `data.scripts` runs it, `data.objects` takes the object
  it returns
* `.npy`, `.npz` and `.pb` files, and folders of these: `data.arrays`
* folders of images, and of folders that are classes: `data.images`
* WebDataset archives and tables of Parquet and Arrow: `data.shards`
* Python objects: `data.objects`
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

from onnx2snn.data.arrays import npy_rows, npz_group, onnx_test_group, pb_rows
from onnx2snn.data.images import IMAGE_SUFFIXES, class_folders, classified_group, image_group
from onnx2snn.data.intake import Intake
from onnx2snn.data.objects import open_object
from onnx2snn.data.scripts import Script, names_script, script_function
from onnx2snn.data.shards import streamed_groups, streams
from onnx2snn.errors import DataError
from onnx2snn.protos.reading import require_file

ARRAY_SUFFIXES = (".npy", ".npz")


def open_source(intake: Intake, where: str, source: object) -> None:
    """Give `intake` all that a source holds.

    `source` is a path, a `Script` or Python arrays; `where` names it in errors.
    """
    if isinstance(source, str | os.PathLike):
        _open_path(intake, where, may_run=isinstance(source, Script))
    else:
        open_object(intake, where, source)


def _open_path(intake: Intake, source: str, *, may_run: bool) -> None:
    script, _, function = source.rpartition(":")
    is_script = names_script(source)
    path = Path(script if is_script else source).absolute()
    if not path.exists():
        raise DataError(f"{path} does not exist: check the path of the data")
    if is_script and not may_run:
        raise DataError(f"{source} would run code: give onnx2snn.script({source!r}) if it may")
    if is_script:
        _open_script(intake, path, function)
    elif path.is_dir():
        _open_folder(intake, path)
    else:
        _open_file(intake, path)


def _open_script(intake: Intake, path: Path, function: str) -> None:
    with script_function(path, function) as made:
        open_object(intake, f"{path}:{function}", made)


def _open_file(intake: Intake, path: Path) -> None:
    where = str(path)
    require_file(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        name = intake.only(where)
        intake.add(where, {name: npy_rows(path, where)})
    elif suffix == ".npz":
        intake.add(where, npz_group(intake, path))
    elif suffix == ".pb":
        name = intake.only(where)
        intake.spool([(where, {name: pb_rows(path)})])
    elif streams(path):
        intake.spool(streamed_groups(intake, path))
    else:
        raise DataError(
            f"{path} is no data this package reads: give a .npy, .npz, .pb, .tar, "
            ".parquet or .arrow file, a folder of them or of images, or script.py:function"
        )


def _open_folder(intake: Intake, folder: Path) -> None:
    """Read a folder's test data sets, or else its images, or else its arrays."""
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    arrays = _with_suffix(files, ARRAY_SUFFIXES)
    images = _with_suffix(files, IMAGE_SUFFIXES)
    sets = _test_data_sets(folder, files)
    shards = [path for path in files if streams(path)]
    classes = {} if arrays or images or sets or shards else class_folders(folder)
    for path in itertools.chain(arrays, images, *classes.values()):
        require_file(path)
    if not files:
        raise DataError(f"folder {folder} is empty: put arrays or images there")
    if arrays and images:
        raise DataError(f"folder {folder} holds both arrays and images: keep one kind")
    if sets:
        intake.spool((str(path), onnx_test_group(intake, path)) for path in sets)
    elif images:
        intake.add(str(folder), image_group(intake, folder, images))
    elif classes:
        intake.add(str(folder), classified_group(intake, folder, classes))
    elif shards:
        for path in shards:
            require_file(path)
        intake.spool(group for path in shards for group in streamed_groups(intake, path))
    elif arrays:
        for path in arrays:
            _open_array_of_folder(intake, path)
    else:
        raise DataError(
            f"folder {folder} holds no .npy, .npz, input_0.pb, .png, .jpg, .bmp, .tar, .parquet or "
            ".arrow: check the path"
        )


def _with_suffix(files: list[Path], suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in files if path.suffix.lower() in suffixes]


def _test_data_sets(folder: Path, files: list[Path]) -> list[Path]:
    """Return the folders of input_*.pb files, as ONNX's own tests have them, in order of number."""
    if (folder / "input_0.pb").exists():
        return [folder]
    sets = [path for path in files if re.fullmatch(r"test_data_set_\d+", path.name)]
    # by length first: set 10 comes after set 9
    return sorted(sets, key=lambda path: (len(path.name), path.name))


def _open_array_of_folder(intake: Intake, path: Path) -> None:
    """Read one of a folder's arrays; labels.npy holds labels, x.npy the input of that name."""
    where = str(path)
    if path.suffix.lower() == ".npz":
        intake.add(where, npz_group(intake, path))
        return
    name = path.stem if intake.knows(path.stem) else intake.only(where)
    intake.add(where, {name: npy_rows(path, where)})
