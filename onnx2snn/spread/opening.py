"""Opening of a cluster: of this machine's processes, by the address of a scheduler, or a client."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from onnx2snn.errors import ClusterError, UsageError, one_line
from onnx2snn.spread.work import HERE, Spread

LOCAL = re.compile(r"local:([1-9][0-9]{0,3})")
"""So many processes of this machine."""

TIMEOUT = 10.0
"""Seconds in which a scheduler has to answer."""


def spread_of(client: Any) -> Spread:
    """Return where work is done: by the cluster of a `distributed.Client`, or here (None).

    Raises:
        UsageError: It is no client.
        ClusterError: The cluster has no workers, or they cannot do the work.
    """
    if client is None:
        return HERE
    distributed = _distributed()
    if not isinstance(client, distributed.Client) or client.asynchronous:
        raise UsageError(
            f"client is a {type(client).__name__}; give a distributed.Client(...) that is not "
            "asynchronous"
        )
    from onnx2snn.spread.cluster import Cluster

    return Cluster(client)


@contextmanager
def spread_over(asked: str | None, threads: int | None, cores: int) -> Iterator[Spread]:
    """Yield where work is done: on the cluster that `--dask` names, or here (None).

    Args:
        asked: The address of a scheduler, or "local:N" for N processes of this machine.
        threads: Of onnxruntime's sessions in each local process; None: the cores, divided.
        cores: Of this machine.

    Raises:
        UsageError: The package `distributed` is missing.
        ClusterError: There is no such cluster, or its workers cannot do the work.
    """
    if asked is None:
        yield HERE
        return
    distributed = _distributed()
    local = LOCAL.fullmatch(asked)
    with _silence():
        if local is None:
            with _reached(distributed, asked) as client:
                yield spread_of(client)
            return
        count = int(local[1])
        threads = threads or max(1, cores // count)
        with _local_cluster(distributed, count, threads) as client:
            yield spread_of(client)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what Dask logs off the terminal: errors are told in a sentence of ours."""
    # each of its modules that logs has a level of its own
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _distributed() -> Any:
    """Return the package, which has types in part (UsageError)."""
    try:
        return import_module("distributed")
    except ImportError as error:
        raise UsageError(
            "work on a Dask cluster needs the package distributed: run "
            "`pip install onnx2snn[distributed]`"
        ) from error


@contextmanager
def _local_cluster(distributed: Any, count: int, threads: int) -> Iterator[Any]:
    """Yield a client of new processes of this machine, which end afterwards."""
    try:
        cluster = distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=threads,
            processes=True,
            silence_logs=logging.CRITICAL,
            # a server of the scheduler's that nobody needs: at any free port, for this machine
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        )
    except (OSError, RuntimeError) as error:
        raise ClusterError(f"no local Dask workers can be started ({one_line(error)})") from error
    with cluster, distributed.Client(cluster) as client:
        yield client


@contextmanager
def _reached(distributed: Any, address: str) -> Iterator[Any]:
    """Yield a client of a scheduler; the cluster goes on afterwards."""
    try:
        client = distributed.Client(address, timeout=TIMEOUT)
    except Exception as error:
        raise ClusterError(
            f"no Dask scheduler answers at '{address}' ({one_line(error)}): give the address that "
            "`dask scheduler` prints, like tcp://host:8786, or local:N for N processes here"
        ) from error
    with client:
        yield client
