"""Train the six Fashion-MNIST example networks and write them as ONNX files.

Run from the repository root, with the `train` extra (torch, onnx, onnxruntime) installed:

    apt-get install dataset-fashion-mnist        # the data, from Debian
    python models/train.py                       # data files and all six networks
    python models/train.py resnet vgg            # some of: data, resnet, vgg, mobilenet,
                                                 # vit, convnext, mobilenetv3
    python models/train.py --epochs 1 mobilenet  # a quick look

vit and convnext learn from fashion_resnet.onnx, too, which must lie in the folder of the output.
Networks take (pixel / 255 - 0.2860) / 0.3530 as their input. Every batch normalisation, clip
and dropout stays a node of its own in the ONNX graph.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from architectures import mobilenet, resnet, vgg
from exporting import export
from modern_architectures import convnext, mobilenetv3, vit
from numpy.typing import NDArray
from scenes import DEBIAN_DATA, read_garments, save_arrays
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

MEAN, STD = 0.2860, 0.3530
TEACHER = "resnet"
"""Network whose answers others may learn from."""
SMOOTHING = 0.05
"""Share of a label that is spread over all classes."""


@dataclass(frozen=True)
class Recipe:
    """How to build, train and export a network."""

    build: Callable[[], nn.Module]
    epochs: int
    shift: int = 2
    """Pixels that training images are shifted by at most; short trainings do better without."""
    batch: int = 128
    adam: bool = False
    """AdamW, as transformers want it, in place of SGD."""
    taught: bool = False
    """Learn from the ResNet's answers as well as from the labels, as a DeiT does."""
    fold: bool = False
    """Export with constants folded, which turns a linear layer on tokens into one MatMul."""


NETWORKS = {
    "resnet": Recipe(resnet, 16),
    "vgg": Recipe(vgg, 14),
    "mobilenet": Recipe(mobilenet, 12),
    "vit": Recipe(vit, 11, shift=0, batch=64, adam=True, taught=True, fold=True),
    "convnext": Recipe(convnext, 10, shift=0, batch=64, adam=True, taught=True, fold=True),
    "mobilenetv3": Recipe(mobilenetv3, 4, shift=0),
}


def read_split(data_dir: Path, split: str) -> tuple[Tensor, Tensor]:
    """Normalised images [n, 1, 28, 28] and labels [n] of `train` or `t10k`."""
    images, labels = read_garments(data_dir, split)
    x = images[:, None].astype(np.float32)
    return torch.from_numpy((x / 255 - MEAN) / STD), torch.from_numpy(labels)


def balanced(labels: Tensor, per_class: int, seed: int) -> NDArray[np.int64]:
    """Indices of a shuffled seeded choice holding `per_class` items of each class."""
    rng, y = np.random.default_rng(seed), labels.numpy()
    picks = [rng.choice(np.flatnonzero(y == c), per_class, replace=False) for c in range(10)]
    return rng.permutation(np.concatenate(picks))


def write_data(data_dir: Path, out_dir: Path, seed: int) -> None:
    """Write fashion_calibration.npz (training images) and fashion_test.npz (test images)."""
    for name, split, per_class in (("calibration", "train", 100), ("test", "t10k", 200)):
        x, y = read_split(data_dir, split)
        chosen = balanced(y, per_class, seed)
        arrays: dict[str, Any] = {"input": x.numpy()[chosen]}
        if name == "test":
            arrays["labels"] = y.numpy()[chosen]
        save_arrays(out_dir / f"fashion_{name}.npz", arrays)


def augment(x: Tensor, shift: int) -> Tensor:
    """Random crop after padding by `shift`, and random horizontal flip, of a whole batch."""
    n = len(x)
    padded = functional.pad(x, (shift,) * 4, value=-MEAN / STD).squeeze(1)
    rows = torch.randint(0, 2 * shift + 1, (n, 1)) + torch.arange(28)
    cols = torch.where(torch.rand(n, 1) < 0.5, torch.arange(28), torch.arange(27, -1, -1))
    cols = cols + torch.randint(0, 2 * shift + 1, (n, 1))
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], cols[:, None, :]].unsqueeze(1)


def optimiser_of(net: nn.Module, adam: bool) -> tuple[torch.optim.Optimizer, float]:
    """Return an optimiser, AdamW or Nesterov SGD, and its highest rate.

    Weight decay is on convolution and linear weights only.
    """
    rate, decay = (2e-3, 0.05) if adam else (0.1, 5e-4)
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if adam:
        return torch.optim.AdamW(groups, lr=rate), rate
    return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True), rate


def answers(path: Path, x: Tensor) -> NDArray[np.float32]:
    """Logits [n, 10] of an exported file."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    parts = np.array_split(x.numpy(), max(1, len(x) // 500))
    return np.concatenate([session.run(None, {"input": part})[0] for part in parts])


def with_teacher(teacher: Path, x: Tensor, y: Tensor) -> Tensor:
    """Targets [n, 10]: means of the label and of what a trained network says of the image."""
    said = torch.from_numpy(answers(teacher, x)).softmax(1)
    return (functional.one_hot(y, 10) + said) / 2


def train(net: nn.Module, x: Tensor, y: Tensor, recipe: Recipe) -> None:
    """One-cycle training on randomly cropped and flipped images.

    `y` holds labels [n], or shares of the classes [n, 10].
    """
    nn.utils.convert_conv2d_weight_memory_format(net.train(), torch.channels_last)  # faster
    optimiser, rate = optimiser_of(net, recipe.adam)
    epochs, batch = recipe.epochs, recipe.batch
    steps = len(x) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=rate, total_steps=epochs * steps, pct_start=0.25
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=0.0 if recipe.taught else SMOOTHING)
    for epoch in range(1, epochs + 1):
        started, total = time.perf_counter(), 0.0
        for chosen in torch.randperm(len(x))[: steps * batch].view(steps, batch):
            loss = criterion(net(augment(x[chosen], recipe.shift)), y[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() / steps
        seconds = time.perf_counter() - started
        print(f"  epoch {epoch}/{epochs}: loss {total:.4f}, {seconds:.0f} s", flush=True)
    net.eval()


def report(net: nn.Module, path: Path, x: Tensor, y: Tensor, subset: NDArray[np.int64]) -> None:
    """Print the accuracy, cost, size and node counts of an exported file."""
    right = 100.0 * (answers(path, x).argmax(1) == y.numpy())
    with FlopCounterMode(display=False) as counter:
        net(x[:1])
    print(
        f"{path.name}: {right.mean():.2f} % of the test set, {right[subset].mean():.2f} % of "
        f"fashion_test.npz, {sum(p.numel() for p in net.parameters())} parameters, "
        f"{counter.get_total_flops() / 2e6:.2f} MMAC, {path.stat().st_size} bytes\n"
        f"  {dict(Counter(node.op_type for node in onnx.load(path).graph.node))}",
        flush=True,
    )


def main() -> None:
    """Read the command line and make what it asks for."""
    parser = argparse.ArgumentParser(description="Train and export the example networks.")
    targets = ["data", *NETWORKS]
    parser.add_argument("target", nargs="*", default=targets, help=", ".join(targets))
    parser.add_argument("--data-dir", type=Path, default=DEBIAN_DATA)
    parser.add_argument("--out-dir", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--epochs", type=int, help="instead of each network's own number")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if unknown := set(args.target) - set(targets):
        parser.error(f"no target {', '.join(sorted(unknown))}; choose from {', '.join(targets)}")
    torch.set_num_threads(args.threads)
    if "data" in args.target:
        write_data(args.data_dir, args.out_dir, args.seed)
    test_x, test_y = read_split(args.data_dir, "t10k")
    for name in [name for name in NETWORKS if name in args.target]:
        torch.manual_seed(args.seed)
        recipe = NETWORKS[name]
        if args.epochs:
            recipe = replace(recipe, epochs=args.epochs)
        net, path = recipe.build(), args.out_dir / f"fashion_{name}.onnx"
        print(f"{name}:", flush=True)
        images, targets = read_split(args.data_dir, "train")
        if recipe.taught:
            targets = with_teacher(args.out_dir / f"fashion_{TEACHER}.onnx", images, targets)
        train(net, images, targets, recipe)
        export(net, path, torch.zeros(1, 1, 28, 28), ("logits",), fold=recipe.fold)
        report(net, path, test_x, test_y, balanced(test_y, 200, args.seed))


if __name__ == "__main__":
    main()
