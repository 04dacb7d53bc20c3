"""What moves before statistics are taken: max-pools to the front of their activation."""

from __future__ import annotations

from dataclasses import dataclass, field

from ._graph import (
    Graph,
    Node,
    add_node,
    drop,
    infer_shapes,
    is_output,
    names_in,
    producer,
    tidy,
    unique_name,
    variable,
)
from ._operators import MAX_POOLS, standard, upper_bound


@dataclass
class Arrangement:
    """What `arrange` did: `sources` maps an activation's name to the ANN node it came from where the two differ."""

    moved_pools: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)


def arrange(graph: Graph) -> tuple[Graph, Arrangement]:
    """Pool the input current, then fire (paper, theorem 2).

    Algebra: maxpool(clip(z, 0, u)) = clip(maxpool(z), 0, u), since clipping is monotone and padding never wins.
    Cases: the activation feeds only the pool: the two change places; it feeds others too: they keep it, and the pool
    gets an activation of its own behind it; pool after pool: both move. Refused: a pool whose indices are used.
    """
    done = Arrangement()
    pending = [node for node in graph.nodes if node.op in MAX_POOLS and standard(node)]
    while pending:
        moved = [pool for pool in pending if _movable(pool)]
        for pool in moved:
            _swap(graph, pool, done)
        pending = [pool for pool in pending if _movable(pool)] if moved else []
    graph = tidy(graph)
    infer_shapes(graph)
    return graph, done


def _movable(pool: Node) -> bool:
    activation = producer(pool.inputs[0])
    indices_used = len(pool.outputs) > 1 and bool(pool.outputs[1].outputs)
    return activation is not None and upper_bound(activation) is not None and not indices_used


def _swap(graph: Graph, pool: Node, done: Arrangement) -> None:
    activation, out = producer(pool.inputs[0]), pool.outputs[0]
    z, a = activation.inputs[0], activation.outputs[0]
    taken = names_in(graph)
    pooled = variable(unique_name(taken, f"{pool.name}_current"), dtype=z.dtype)
    pool.outputs.clear()
    pool.outputs.append(pooled)
    pool.inputs[0] = z
    alone = not a.outputs and not is_output(graph, a)
    source = done.sources.get(activation.name, activation.name)
    name = activation.name if alone else unique_name(taken, f"{activation.name}/{pool.name}")
    bounds = list(activation.inputs[1:])
    if alone:
        drop(graph, activation)
    add_node(graph, "Relu" if not bounds else "Clip", name, [pooled, *bounds], [out])
    done.moved_pools.append(pool.name)
    if name != source:
        done.sources[name] = source
