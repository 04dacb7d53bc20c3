"""Train the five scene networks and write them as ONNX files.

Run from the repository root, with the `train` and `detection` extras (torch, pycocotools)
installed:

    apt-get install dataset-fashion-mnist          # the garments, from Debian
    python models/train_scenes.py                  # all: fcn, deeplab, retinanet, fcos, yolo
    python models/train_scenes.py retinanet        # one of them
    python models/train_scenes.py --steps 100 fcn  # a quick look

Every step sees new scenes of training garments. deeplab, retinanet and fcos start from the backbone
of scene_fcn.onnx; yolo has one of its own.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from exporting import export
from scene_losses import Truth, loss_of
from scene_networks import FCN, FCOS, DeepLab, RetinaNet
from scenes import DEBIAN_DATA, SIDE, compose, read_garments
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from yolo import YOLO

from onnx2snn.score.registry import metric_class

BATCH = 32
FIRST = "fcn"
RATE, DECAY = 4e-3, 0.02


@dataclass(frozen=True)
class Recipe:
    """How to build and train a scene network, and the names of its outputs."""

    build: Callable[[], nn.Module]
    steps: int
    outputs: tuple[str, ...]
    pretrained: bool = True
    """Start from the backbone of the first network."""


NETWORKS = {
    "fcn": Recipe(FCN, 2600, ("logits",), pretrained=False),
    "deeplab": Recipe(DeepLab, 700, ("logits",)),
    "retinanet": Recipe(RetinaNet, 1500, ("boxes", "scores")),
    "fcos": Recipe(FCOS, 1200, ("boxes", "scores")),
    "yolo": Recipe(YOLO, 1700, ("boxes", "scores"), pretrained=False),
}


def batches(data_dir: Path, seed: int) -> Iterator[tuple[Tensor, Truth]]:
    """New scenes without end."""
    garments, labels = read_garments(data_dir, "train")
    rng = np.random.default_rng([seed, 2])  # 0 and 1: the data files
    while True:
        scenes = compose(rng, garments, labels, BATCH)
        truth = (scenes.masks.astype(np.int64), scenes.boxes, scenes.classes)
        yield torch.from_numpy(scenes.input), tuple(map(torch.from_numpy, truth))  # type: ignore[misc]


def train(net: nn.Module, scenes: Iterator[tuple[Tensor, Truth]], steps: int) -> None:
    """One-cycle AdamW; weight decay on convolution weights only."""
    net.train().to(memory_format=torch.channels_last)  # faster
    decayed = {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": DECAY}
    others = {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0}
    optimiser = torch.optim.AdamW([decayed, others], lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=RATE, total_steps=steps, pct_start=0.2
    )
    started, total = time.perf_counter(), 0.0
    for step in range(1, steps + 1):
        loss = loss_of(net, *next(scenes))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        total += loss.item()
        if step % 100 == 0 or step == steps:
            seconds = time.perf_counter() - started
            print(
                f"  step {step}/{steps}: loss {total / ((step - 1) % 100 + 1):.4f}, {seconds:.0f} "
                "s",
                flush=True,
            )
            total = 0.0
    net.eval()


def start_from(net: nn.Module, path: Path) -> None:
    """Take over the backbone of an exported network; its initialisers are named as the modules."""
    known = {
        t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy())
        for t in onnx.load(path).graph.initializer
    }
    backbone = {name: value for name, value in known.items() if name.startswith("backbone.")}
    missing = net.load_state_dict(backbone, strict=False).missing_keys
    if any(
        name.startswith("backbone.") and not name.endswith("batches_tracked") for name in missing
    ):
        raise ValueError(f"{path} holds no backbone like this network's")


def report(net: nn.Module, outputs: tuple[str, ...], path: Path, data: Path) -> None:
    """Print the accuracy of an exported file on the test scenes, its cost and its size."""
    metric = metric_class("map" if "boxes" in outputs else "miou")(outputs)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    with np.load(data) as test:
        found = []
        for first in range(0, len(test["input"]), BATCH):
            part = slice(first, first + BATCH)
            answers = session.run(list(outputs), {"input": test["input"][part]})
            found.append(
                metric.measure(answers, [test[name][part] for name in metric.targets], first)
            )
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8))
    print(
        f"{path.name}: {'mAP' if 'boxes' in outputs else 'mIoU'} {100 * metric.score(found):.2f} "
        f"% of {data.name}, "
        f"{sum(p.numel() for p in net.parameters())} parameters, "
        f"{counter.get_total_flops() / 2e6:.1f} MMAC, "
        f"{path.stat().st_size} bytes\n  "
        f"{dict(Counter(node.op_type for node in onnx.load(path).graph.node))}",
        flush=True,
    )


def main() -> None:
    """Read the command line and train what it asks for."""
    parser = argparse.ArgumentParser(description="Train and export the scene networks.")
    parser.add_argument("target", nargs="*", default=list(NETWORKS), help=", ".join(NETWORKS))
    parser.add_argument("--data-dir", type=Path, default=DEBIAN_DATA)
    parser.add_argument("--out-dir", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--steps", type=int, help="instead of each network's own number")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if unknown := set(args.target) - set(NETWORKS):
        parser.error(f"no target {', '.join(sorted(unknown))}; choose from {', '.join(NETWORKS)}")
    torch.set_num_threads(args.threads)
    for name in [name for name in NETWORKS if name in args.target]:
        torch.manual_seed(args.seed)
        recipe = NETWORKS[name]
        net, path = recipe.build(), args.out_dir / f"scene_{name}.onnx"
        print(f"{name}:", flush=True)
        if recipe.pretrained:
            start_from(net, args.out_dir / f"scene_{FIRST}.onnx")
        train(net, batches(args.data_dir, args.seed), args.steps or recipe.steps)
        export(net, path, torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8), recipe.outputs)
        report(net, recipe.outputs, path, args.out_dir / "scene_test.npz")


if __name__ == "__main__":
    main()
