"""Behaviour of --save-thresholds and --thresholds: a calibration outlives the run that made it."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import inputs_for, mlp, resnet
from numpy.typing import NDArray
from onnx import numpy_helper

from onnx2snn import Conversion, ModelFileError, OutputError, UsageError, convert

Array = NDArray[Any]
FAST: dict[str, Any] = {"iterations": 150, "batch_size": 50}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Conversion]:
    """Thresholds of a small ResNet, and the conversion they were saved from."""
    path = tmp_path_factory.mktemp("thresholds") / "t.npz"
    return path, convert(resnet(), inputs_for("resnet", 200), save_thresholds=str(path), **FAST)


def arrays(path: Path) -> dict[str, Array]:
    with np.load(path) as file:
        return dict(file)


def scales(model: onnx.ModelProto) -> dict[str, Array]:
    nodes = [n for n in model.graph.node if n.op_type == "IF"]
    return {
        n.name: numpy_helper.to_array(a.t) for n in nodes for a in n.attribute if a.name == "scale"
    }


def test_a_file_holds_each_sites_thresholds_and_the_models_hash(
    saved: tuple[Path, Conversion],
) -> None:
    path, conversion = saved
    found = arrays(path)
    sites = {site["name"]: site for site in conversion.report.sites}
    assert set(found) == {
        *(f"{kind}:{site}" for kind in ("threshold", "mean") for site in sites),
        "source_sha256",
        "settings",
        "calibrated",
    }
    assert str(found["source_sha256"]) == conversion.report.model["sha256"]
    assert json.loads(str(found["settings"])).items() <= conversion.report.settings.items()
    assert found["calibrated"]
    for name, theta in scales(conversion.model).items():
        assert found[f"threshold:{name}"].shape == (1, sites[name]["channels"], 1, 1)
        np.testing.assert_allclose(found[f"threshold:{name}"], theta, rtol=1e-6)


@pytest.mark.parametrize("data", [None, "the same", "other"])
def test_thresholds_of_a_file_make_the_same_model_again(
    data: str | None, saved: tuple[Path, Conversion]
) -> None:
    path, conversion = saved
    calibration = {
        None: None,
        "the same": inputs_for("resnet", 200),
        "other": inputs_for("resnet", 30, seed=9),
    }[data]
    again = convert(resnet(), calibration, thresholds=str(path), **FAST)
    assert again.to_bytes() == conversion.to_bytes()


def test_the_settings_they_were_made_with_need_no_repeating(saved: tuple[Path, Conversion]) -> None:
    path, conversion = saved
    again = convert(resnet(), None, thresholds=str(path), timesteps=conversion.report.timesteps)
    assert again.to_bytes() == conversion.to_bytes()


def test_thresholds_of_a_file_serve_other_time_steps(saved: tuple[Path, Conversion]) -> None:
    path, conversion = saved
    other = convert(
        resnet(),
        inputs_for("resnet", 200),
        thresholds=str(path),
        timesteps=64,
        delay="auto",
        **FAST,
    )
    assert other.report.timesteps == 64
    for name, theta in scales(other.model).items():
        assert np.array_equal(theta, scales(conversion.model)[name])


@pytest.mark.filterwarnings("ignore:agreement with the ANN")
def test_thresholds_that_were_fitted_to_something_else_are_a_warning(tmp_path: Path) -> None:
    path, x = str(tmp_path / "t.npz"), inputs_for("mlp", 60)
    convert(mlp(), x, method="mmse", timesteps=8, save_thresholds=path)
    with pytest.warns(
        UserWarning,
        match=r"were fitted to 8 timesteps, not 4; give --timesteps 8, or find new ones",
    ):
        convert(mlp(), x, thresholds=path, timesteps=4)
    with pytest.warns(UserWarning, match="were fitted to 1 levels, not 2; give --levels 1"):
        convert(mlp(), x, thresholds=path, timesteps=8, preset="low-latency")


def test_the_report_says_that_the_comparison_was_on_random_inputs(
    saved: tuple[Path, Conversion],
) -> None:
    path, conversion = saved
    again = convert(resnet(), None, thresholds=str(path), **FAST).report
    assert again.calibrated is True  # the thresholds are
    assert again.agreement["random"] is True  # the samples compared on are not
    assert conversion.report.agreement["random"] is False


def test_thresholds_of_random_inputs_stay_uncalibrated(tmp_path: Path) -> None:
    path = str(tmp_path / "t.npz")
    with pytest.warns(UserWarning, match="maxima over 64 random inputs"):
        convert(mlp(), save_thresholds=path)
    with pytest.warns(UserWarning, match="maxima over random inputs") as caught:
        again = convert(mlp(), inputs_for("mlp", 20), thresholds=path)
    assert len(caught) == 1
    assert again.report.calibrated is False
    assert again.report.agreement["random"] is False


def test_saving_is_atomic_and_needs_a_place(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="missing"):
        convert(mlp(), inputs_for("mlp", 20), save_thresholds=str(tmp_path / "missing" / "t.npz"))
    assert not list(tmp_path.iterdir())


def changed(path: Path, folder: Path, **arrays_: Any) -> Path:
    """A copy of a thresholds file with some arrays replaced, or left out where None is given."""
    found = {key: value for key, value in (arrays(path) | arrays_).items() if value is not None}
    np.savez(folder / "changed.npz", **found)
    return folder / "changed.npz"


GOOD = np.ones((1, 6, 1, 1))

MISMATCHES: dict[str, tuple[dict[str, Any], str]] = {
    "another model": (
        {"source_sha256": np.array("0" * 64)},
        "belong to a model with source hash 000000000000",
    ),
    "no model named": ({"source_sha256": None}, "source hash None"),
    "a site missing": (
        {"threshold:a1": None},
        r"hold no finite thresholds of shape \(1, 6, 1, 1\) for site 'a1'",
    ),
    "means missing": ({"mean:a2": None}, "hold no finite means .* for site 'a2'"),
    "wrong shape": ({"threshold:a1": np.ones(6)}, "for site 'a1'"),
    "NaN": ({"threshold:a1": GOOD * np.nan}, "for site 'a1'"),
    "negative": ({"threshold:a1": -GOOD}, "for site 'a1'"),
    "text": ({"threshold:a1": GOOD.astype(str)}, "for site 'a1'"),
    "no settings": ({"settings": None}, "'settings'"),
    "no word on calibration": ({"calibrated": None}, "'calibrated'"),
}


@pytest.mark.parametrize("kind", MISMATCHES)
def test_a_file_that_does_not_match_is_refused_by_name(
    kind: str, saved: tuple[Path, Conversion], tmp_path: Path
) -> None:
    replaced, named = MISMATCHES[kind]
    path = changed(saved[0], tmp_path, **replaced)
    with pytest.raises(UsageError, match=named) as caught:
        convert(resnet(), inputs_for("resnet", 20), thresholds=str(path))
    assert str(path) in str(caught.value)


def test_thresholds_of_another_granularity_are_refused(saved: tuple[Path, Conversion]) -> None:
    with pytest.raises(UsageError, match=r"shape \(1, 1, 1, 1\) .*--granularity layer"):
        convert(resnet(), inputs_for("resnet", 20), thresholds=str(saved[0]), granularity="layer")


@pytest.mark.parametrize(
    "content", [b"", b"text", b"PK\x03\x04 damaged", "half", "array", "pickle"]
)
def test_a_file_that_cannot_be_read_is_refused(
    content: bytes | str, saved: tuple[Path, Conversion], tmp_path: Path
) -> None:
    path = tmp_path / "bad.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "half":
        path.write_bytes(saved[0].read_bytes()[:-200])
    else:
        value = np.ones(3) if content == "array" else np.array([{}], object)
        with path.open("wb") as file:
            np.save(file, value, allow_pickle=True)
    with pytest.raises(
        ModelFileError, match=r"thresholds .* cannot be read .*--save-thresholds"
    ) as caught:
        convert(resnet(), inputs_for("resnet", 20), thresholds=str(path))
    assert str(path) in str(caught.value)
    del caught
    gc.collect()  # pytest makes an error of a file left open
