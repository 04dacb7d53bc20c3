"""Write a PyTorch network as the ONNX file common exporters make.

Nothing folded, names as the modules are called.
"""

from __future__ import annotations

import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

ROLES = {("Clip", 1): "min", ("Clip", 2): "max"}
"""What a constant is called after its node, by operator and input; others are numbered."""


def export(
    net: nn.Module, target: Path, example: Tensor, outputs: tuple[str, ...], fold: bool = False
) -> None:
    """Write the network as ONNX with a free batch, check the file, then put it in place.

    `example` [N,...] becomes the input `input`. Nothing is folded but, with `fold`, what is
    computed from weights and constants alone.
    """
    temporary = target.with_suffix(".tmp")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter is the one that keeps every node
        torch.onnx.export(
            net,
            (example,),
            temporary,
            dynamo=False,
            opset_version=17,
            do_constant_folding=fold,
            training=torch.onnx.TrainingMode.PRESERVE,
            input_names=["input"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in ("input", *outputs)},
        )
    model = onnx.load(temporary)
    tidy(model.graph, net)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, temporary)
    temporary.replace(target)


def tidy(graph: onnx.GraphProto, net: nn.Module) -> None:
    """Short names, all weights and constants as initialisers, and the dropout put back."""
    constants = {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
    nodes = [
        n for n in graph.node if n.op_type not in ("Constant", "Identity")
    ]  # Identity: weights it has merged
    number = Counter(_scopes(node) for node in nodes)
    kept = {o.name for o in graph.output}
    folded = {t.name: t for t in graph.initializer if t.name not in net.state_dict()}
    weights = {k: v for k, v in net.state_dict().items() if not k.endswith("batches_tracked")}
    del graph.initializer[:], graph.node[:]
    renamed: dict[str, str] = {}
    for node in nodes:
        scopes, operator = _scopes(node), node.name.split("/")[-1].lower()
        alone = scopes and number[scopes] == 1 and node.op_type != "Add"
        node.name = ".".join(scopes if alone else (*scopes, operator))
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
            if name in constants:
                node.input[i] = f"{node.name}.{ROLES.get((node.op_type, i), f'constant{i}')}"
                constant = onnx.TensorProto()
                constant.CopyFrom(constants[name])
                constant.name = node.input[i]
                graph.initializer.append(constant)
            elif name in folded:
                node.input[i] = f"{node.name}.weight"
                graph.initializer.append(folded[name])
                graph.initializer[-1].name = node.input[i]
        for i, name in enumerate(node.output):
            if name not in kept:
                node.output[i] = f"{node.name}.output{i or ''}"
                renamed[name] = node.output[i]
    for (before, _), (name, layer) in pairwise(net.named_children()):
        if isinstance(layer, nn.Dropout):  # the exporter leaves it out of an inference graph
            at = next(i for i, n in enumerate(nodes, 1) if n.name == before)
            inputs, nodes[at].input[0] = [nodes[at].input[0], f"{name}.ratio"], f"{name}.output"
            graph.initializer.append(onnx.helper.make_tensor(inputs[1], 1, [], [layer.p]))
            nodes.insert(at, onnx.helper.make_node("Dropout", inputs, [f"{name}.output"], name))
    used = {name for node in nodes for name in node.input}
    for key, value in weights.items():
        if key in used:
            graph.initializer.append(onnx.numpy_helper.from_array(value.contiguous().numpy(), key))
    graph.node.extend(nodes)


def _scopes(node: onnx.NodeProto) -> tuple[str, ...]:
    """The modules around a node, without those whose name the next one repeats.

    Stage1, stage1.0 are one.
    """
    parts = node.name.strip("/").split("/")
    return tuple(p for p, q in pairwise(parts) if not q.startswith(p + "."))
