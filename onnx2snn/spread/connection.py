"""The connection to a Dask cluster: tasks in, results out, and what went wrong in a sentence."""

from __future__ import annotations

import queue
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any, Protocol

from onnx2snn.errors import ClusterError, one_line
from onnx2snn.spread.parcels import Refusal, handed_on, versions
from onnx2snn.spread.work import Finished
from onnx2snn.version import __version__

RETRIES = 2
"""Times that a task is tried again which raised something unexpected."""

PATIENCE = 60.0
"""Seconds without any worker, after which the cluster is given up."""

LOOK = 1.0
"""Seconds between two looks at the cluster, while nothing comes."""


class Client(Protocol):
    """What is asked of a `distributed.Client`."""

    status: Any

    def submit(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Return the future of a task."""

    def run(self, function: Callable[..., Any]) -> Any:
        """Return what a function returns on each worker."""

    def scheduler_info(self) -> Any:
        """Return what is known of the cluster."""

    def wait_for_workers(self, n_workers: int, timeout: float | None) -> Any:
        """Wait until there are some workers."""


class Connection:
    """A cluster reached by a client; the errors of Dask become ours."""

    def __init__(self, client: Client) -> None:
        """Look at the workers.

        Raises:
            ClusterError: There are none, or they cannot do the work.
        """
        self._client = client
        self.require_workers()
        self._require_package()

    def submitted(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the future of a task: a pure function, which may run again elsewhere."""
        with self._speaking():
            return self._client.submit(function, *arguments, pure=False, retries=RETRIES)

    def sent(self, thing: object) -> Any:
        """Return the future of something that goes to the first worker, and from there to others.

        It is the result of a task: where all workers that have it end, the scheduler sends it
        again. (What is scattered would be lost, and scattering hangs where a worker ends.)
        """
        with warnings.catch_warnings():
            # that something is large
            warnings.simplefilter("ignore")
            return self.submitted(handed_on, thing)

    def workers(self) -> int:
        """Return the number of workers."""
        with self._speaking():
            return len(self._client.scheduler_info()["workers"])

    def require_scheduler(self) -> None:
        """Raise ClusterError where the scheduler is gone."""
        if self._client.status != "running":
            raise _no_scheduler()

    def require_workers(self) -> None:
        """Wait for the first worker; ClusterError where none comes."""
        self.require_scheduler()
        if self.workers():
            return
        try:
            self._client.wait_for_workers(1, PATIENCE)
        except TimeoutError as error:
            raise _no_workers() from error

    def _require_package(self) -> None:
        """Raise ClusterError for workers without this release of the package."""
        mend = f"install onnx2snn {__version__} and its extra `distributed` there"
        try:
            with self._speaking():
                found = self._client.run(versions)
        except ClusterError:
            raise
        except Exception as error:
            raise ClusterError(
                f"the Dask workers cannot run onnx2snn ({one_line(error)}): {mend}"
            ) from error
        for worker, version in found.items():
            if version != __version__:
                raise ClusterError(f"the Dask worker {worker} has onnx2snn {version}: {mend}")

    def in_order(
        self, futures: Sequence[Any], sizes: Sequence[int], finished: Finished
    ) -> Iterator[Any]:
        """Yield the results of tasks in order, each as soon as those before it are there.

        Args:
            futures: The tasks.
            sizes: The items of each.
            finished: Is told how many items are done, in whatever order.
        """
        waiting = list(futures)
        over: set[int] = set()
        first = 0
        for index in self._as_they_end(futures, sizes, finished):
            over.add(index)
            while first in over:
                yield self._result(waiting[first])
                # the worker may forget it
                waiting[first] = None
                first += 1

    def ended(self, futures: Sequence[Any], sizes: Sequence[int], finished: Finished) -> None:
        """Wait for tasks whose results stay on the workers; the arguments are as above."""
        for index in self._as_they_end(futures, sizes, finished):
            if futures[index].status != "finished":
                self._result(futures[index])

    def _as_they_end(
        self, futures: Sequence[Any], sizes: Sequence[int], finished: Finished
    ) -> Iterator[int]:
        """Yield the numbers of tasks as they end, well or not."""
        over: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number, future in enumerate(futures):
            future.add_done_callback(_putting(over, number))
        done = 0
        for _ in futures:
            index = self._next(over)
            done += sizes[index]
            finished(done)
            yield index

    def _next(self, over: queue.SimpleQueue[int]) -> int:
        """Wait for a task as long as there is a cluster."""
        alone_since = time.monotonic()
        while True:
            try:
                return over.get(timeout=LOOK)
            except queue.Empty:
                self.require_scheduler()
            if self.workers():
                alone_since = time.monotonic()
            elif time.monotonic() - alone_since > PATIENCE:
                raise _no_workers()

    def _result(self, future: Any) -> Any:
        """Return the result of a task that has ended."""
        patience = LOOK
        while True:
            with self._speaking():
                try:
                    # not what it raised: an OSError of a worker's disk says nothing of the cluster
                    error = future.exception(timeout=patience)
                    found = None if error is not None else future.result(timeout=patience)
                    break
                except TimeoutError:
                    # the scheduler is gone, or a worker, and all is computed again, or it is large
                    self.require_workers()
            patience *= 2
        if error is not None:
            raise _told(error) from error
        if isinstance(found, Refusal):
            raise found.error
        return found

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Tell in a sentence what went wrong with the cluster.

        Raises:
            ClusterError: The scheduler is gone, or took the work away.
        """
        try:
            yield
        except (CancelledError, OSError) as error:
            # asked something, it does not answer; Dask's own errors of this kind are among these
            raise _no_scheduler() from error


def _told(error: BaseException) -> BaseException:
    """Return the error of a task that ended several workers, or what it raised."""
    from distributed import KilledWorker

    if isinstance(error, CancelledError):
        return _no_scheduler()
    if not isinstance(error, KilledWorker):
        return error
    return ClusterError(
        f"{error.allowed_failures + 1} worker processes ended in the middle of the same task, most "
        "likely for lack of memory: give each worker more"
    )


def _putting(over: queue.SimpleQueue[int], number: int) -> Callable[[object], None]:
    return lambda _: over.put(number)


def _no_scheduler() -> ClusterError:
    return ClusterError(
        "the connection to the Dask scheduler is lost, or the cluster was restarted: start it "
        "again, then the work; it had written nothing"
    )


def _no_workers() -> ClusterError:
    return ClusterError(
        f"the Dask scheduler has had no workers for {PATIENCE:g} s: start some, and look at why "
        "those before ended"
    )
