"""Train the three Fashion-MNIST example networks and write them as ONNX files.

Run from the repository root, with the `train` extra (torch, onnx, onnxruntime) installed:

    apt-get install dataset-fashion-mnist        # the data, from Debian
    python models/train.py                       # data files and all three networks
    python models/train.py resnet vgg            # some of: data, resnet, vgg, mobilenet
    python models/train.py --epochs 1 mobilenet  # a quick look

Networks take (pixel / 255 - 0.2860) / 0.3530 as their input. Every batch normalisation, clip
and dropout stays a node of its own in the ONNX graph.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import time
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from architectures import NETWORKS
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

MEAN, STD = 0.2860, 0.3530
DEBIAN_DATA = Path("/usr/share/datasets/fashion-mnist")


def read_split(data_dir: Path, split: str) -> tuple[Tensor, Tensor]:
    """Normalised images [n, 1, 28, 28] and labels [n] of `train` or `t10k`."""
    paths = [data_dir / f"{split}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    for path in paths:
        if not path.is_file():
            sys.exit(
                f"Fashion-MNIST is missing: no file {path}. Install Debian's package "
                "dataset-fashion-mnist, or name the folder of its four idx files by --data-dir."
            )
    pixels, labels = (gzip.decompress(path.read_bytes()) for path in paths)
    x = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 1, 28, 28).astype(np.float32)
    y = np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)
    return torch.from_numpy((x / 255 - MEAN) / STD), torch.from_numpy(y)


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
        temporary = out_dir / f".{name}.tmp.npz"
        np.savez_compressed(temporary, **arrays)
        temporary.replace(out_dir / f"fashion_{name}.npz")


def augment(x: Tensor) -> Tensor:
    """Random crop after padding by 2, and random horizontal flip, of a whole batch."""
    n = len(x)
    padded = functional.pad(x, (2, 2, 2, 2), value=-MEAN / STD).squeeze(1)
    rows = torch.randint(0, 5, (n, 1)) + torch.arange(28)
    cols = torch.where(torch.rand(n, 1) < 0.5, torch.arange(28), torch.arange(27, -1, -1))
    cols = cols + torch.randint(0, 5, (n, 1))
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], cols[:, None, :]].unsqueeze(1)


def train(net: nn.Module, x: Tensor, y: Tensor, epochs: int, batch: int = 128) -> None:
    """One-cycle Nesterov SGD; weight decay on convolution and linear weights only."""
    nn.utils.convert_conv2d_weight_memory_format(net.train(), torch.channels_last)  # faster
    decayed = {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": 5e-4}
    others = {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0}
    optimiser = torch.optim.SGD([decayed, others], lr=0.1, momentum=0.9, nesterov=True)
    steps = len(x) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.1, total_steps=epochs * steps, pct_start=0.25)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    for epoch in range(1, epochs + 1):
        started, total = time.perf_counter(), 0.0
        for chosen in torch.randperm(len(x))[: steps * batch].view(steps, batch):
            loss = criterion(net(augment(x[chosen])), y[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() / steps
        seconds = time.perf_counter() - started
        print(f"  epoch {epoch}/{epochs}: loss {total:.4f}, {seconds:.0f} s", flush=True)
    net.eval()


def tidy(graph: onnx.GraphProto, net: nn.Module) -> None:
    """Short names, all weights and clip bounds as initialisers, and the dropout put back."""
    bounds = {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
    nodes = [n for n in graph.node if n.op_type not in ("Constant", "Identity")]
    weights = {k: v for k, v in net.state_dict().items() if not k.endswith("batches_tracked")}
    del graph.initializer[:], graph.node[:]  # Identity: weights which the exporter merged
    for key, value in weights.items():
        graph.initializer.append(onnx.numpy_helper.from_array(value.contiguous().numpy(), key))
    renamed: dict[str, str] = {}
    for node in nodes:
        parts = node.name.strip("/").split("/")  # stage1, stage1.0, a, conv, Conv
        scopes = [p for p, q in pairwise(parts) if not q.startswith(p + ".")]
        node.name = ".".join([*scopes, "add"] if node.op_type == "Add" else scopes)
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
            if name in bounds:
                node.input[i] = bounds[name].name = f"{node.name}.{('', 'min', 'max')[i]}"
                graph.initializer.append(bounds[name])
        if node.output[0] != "logits":
            renamed[node.output[0]] = node.output[0] = f"{node.name}.output"
    for (before, _), (name, layer) in pairwise(net.named_children()):
        if isinstance(layer, nn.Dropout):  # the exporter leaves it out of an inference graph
            at = next(i for i, n in enumerate(nodes, 1) if n.name == before)
            inputs, nodes[at].input[0] = [nodes[at].input[0], f"{name}.ratio"], f"{name}.output"
            graph.initializer.append(onnx.helper.make_tensor(inputs[1], 1, [], [layer.p]))
            nodes.insert(at, onnx.helper.make_node("Dropout", inputs, [f"{name}.output"], name))
    graph.node.extend(nodes)


def export(net: nn.Module, target: Path) -> None:
    """Write the network as ONNX with nothing folded, check the file, then put it in place."""
    temporary = target.with_suffix(".tmp")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter is the one that keeps every node
        torch.onnx.export(
            net,
            (torch.zeros(1, 1, 28, 28),),
            temporary,
            dynamo=False,
            opset_version=17,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        )
    model = onnx.load(temporary)
    tidy(model.graph, net)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, temporary)
    temporary.replace(target)


def report(net: nn.Module, path: Path, x: Tensor, y: Tensor, subset: NDArray[np.int64]) -> None:
    """Print the accuracy, cost, size and node counts of an exported file."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    batches = np.array_split(x.numpy(), 20)
    logits = np.concatenate([session.run(None, {"input": batch})[0] for batch in batches])
    right = 100.0 * (logits.argmax(1) == y.numpy())
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
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if unknown := set(args.target) - set(targets):
        parser.error(f"no target {', '.join(sorted(unknown))}; choose from {', '.join(targets)}")
    torch.set_num_threads(2)
    if "data" in args.target:
        write_data(args.data_dir, args.out_dir, args.seed)
    test_x, test_y = read_split(args.data_dir, "t10k")
    for name in [name for name in NETWORKS if name in args.target]:
        torch.manual_seed(args.seed)
        build, epochs = NETWORKS[name]
        net, path = build(), args.out_dir / f"fashion_{name}.onnx"
        print(f"{name}:", flush=True)
        train(net, *read_split(args.data_dir, "train"), epochs=args.epochs or epochs)
        export(net, path)
        report(net, path, test_x, test_y, balanced(test_y, 200, args.seed))


if __name__ == "__main__":
    main()
