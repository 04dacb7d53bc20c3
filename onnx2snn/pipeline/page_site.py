"""The layer whose spikes a page shows, checked before any work is done."""

from __future__ import annotations

from collections.abc import Sequence

from onnx2snn.aliases import ModelSource
from onnx2snn.errors import UsageError, quoted
from onnx2snn.protos.load import load_model
from onnx2snn.snn.step_model import read_step_model


def require_site(site: str | None, names: Sequence[str]) -> None:
    """Refuse a layer that is none of those with neurons (UsageError); None: the page's choice."""
    if site is not None and site not in names:
        raise UsageError(f"there is no neuron site '{site}'; the sites are {quoted(names)}")


def check_site(snn: ModelSource, site: str | None) -> None:
    """Refuse a layer that a spiking model has not (UsageError)."""
    if site is None:
        return
    loaded = load_model(snn)
    step = read_step_model(loaded.proto, loaded.name)
    require_site(site, [neuron["name"] for neuron in step.metadata["neurons"]])
