"""Many images labelled by a Ray cluster: Ray Data hands batches of names to an actor per GPU or core, which reads,
labels and writes them itself, so that neither images nor labels pass through the machine that asked for it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from segattn.contracts import cut
from segattn.evaluation.protocol import Protocol
from segattn.models.segmenter import Segmenter
from segattn.predicting.addresses import Store
from segattn.predicting.collection import INSTALL, Item
from segattn.predicting.many import Labelled, label_many
from segattn.predicting.parquet_labels import table_bytes, table_row
from segattn.predicting.predict import ReadingSize

_LARGEST_BATCH = 64
"""Images that a worker takes at a time: what is done again when it is killed, and the rows of a Parquet file."""
_BATCHES_EACH = 4
"""Of fewer images, so many batches a worker, that all end at about the same time."""
_ATTEMPTS = 3
"""How often a batch is begun before its images are taken for what kills its workers."""
_TO_CONNECT = 5.0
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what Ray's processes say would go to the standard output
}


class Job(NamedTuple):
    """What every worker does with its images.

    Attributes:
        model: on the CPU; each worker moves its copy to `device`.
        device: "cpu", or "cuda" where Ray gives each worker a GPU.
        prepare: brings it into the form in which it is run, on the worker.
        output: the folder of the results, or its address.
        parquet: whether labels go to tables rather than to one PNG an image.
        survives: as for `label_many`.
        said: the line for an error.
        max_memory: bytes for the work of each worker, as `predict` has them.
    """

    model: Segmenter
    device: str
    prepare: Callable[[Segmenter], Segmenter]
    protocol: Protocol
    size: ReadingSize
    output: Path | str
    parquet: bool
    survives: Callable[[Exception], bool]
    said: Callable[[Exception], str]
    max_memory: int | None = None


class Cluster(NamedTuple):
    """A connected cluster: its address as given, and how many workers of what kind are to be started."""

    address: str
    workers: int
    on_gpus: bool

    def describe(self) -> str:
        """One line: where the work is done."""
        where = "this machine" if self.address == "local" else self.address
        kind = "GPU" if self.on_gpus else "core"
        return f"Ray on {where}: {self.workers} worker{'s' * (self.workers != 1)}, each with a {kind}"


class Done(NamedTuple):
    """How many images are labelled, why others are not, and how many batches were begun again."""

    labelled: int
    failed: list[str]
    begun_again: int


@contextmanager
def cluster(address: str, workers: int | None, device: str) -> Iterator[Cluster]:
    """For the block, this process is connected to a Ray cluster, or "local" starts one here.

    Args:
        address: "local", "auto", HOST:PORT or ray://HOST:PORT.
        workers: how many; None for one a GPU or, without GPUs, one a core.
        device: "auto", "cpu" or "cuda".

    Raises:
        ValueError: Ray is not installed, or the cluster has fewer GPUs or cores than workers.
        ConnectionError: no cluster answers.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ValueError(f"--ray {cut(address)}: needs Ray, which is not installed ({error}): {INSTALL}") from None
    _connect(ray, address, workers)
    try:
        has = ray.cluster_resources()
        gpus, cores = int(has.get("GPU", 0)), int(has.get("CPU", 0))
        on_gpus = device == "cuda" or (device == "auto" and gpus > 0)
        most = gpus if on_gpus else cores
        if most < 1 or (workers or 1) > most:
            raise ValueError(
                f"--ray {cut(address)}: {workers or 1} workers asked for, and the cluster has {gpus} GPUs and {cores} "
                f"cores; each worker takes a {'GPU' if on_gpus else 'core'}"
            )
        yield Cluster(address, workers or most, on_gpus)
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str, workers: int | None) -> None:
    here = address == "local"
    if not here and address != "auto":
        _require_answer(address)
    own: dict[str, Any] = {"include_dashboard": False, "num_cpus": workers} if here else {}
    try:
        with _errors_aside(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except Exception as error:  # of Ray's many kinds
        raise ConnectionError(
            f"--ray {cut(address)}: no cluster could be joined ({cut(' '.join(str(error).split()))}); one that asks "
            "for a token takes it where RAY_AUTH_MODE=token is set"
        ) from None
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)
    logging.getLogger("ray").setLevel(logging.CRITICAL)


def _require_answer(address: str) -> None:
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise ValueError(f"--ray {cut(address)}: expected local, auto, HOST:PORT or ray://HOST:10001")
    try:
        socket.create_connection((host, port), timeout=_TO_CONNECT).close()
    except OSError as error:
        raise ConnectionError(f"--ray {cut(address)}: nothing answers there ({error.strerror or error})") from None


@contextmanager
def _errors_aside() -> Iterator[None]:
    """What Ray's libraries write to the standard error stream themselves is dropped for the block."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)


def label_on_ray(joined: Cluster, job: Job, items: Iterable[Item], total: int, progress: Callable[[int], None]) -> Done:
    """Label images on a connected cluster.

    Args:
        total: at most so many images come.
        progress: called with the number of images that are done.

    Raises:
        ValueError: an image is neither a file nor an address.
        OSError: a result can't be written, the model can't run on a worker, or the cluster broke off.
    """
    import ray
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    failed: list[str] = []
    size = max(1, min(_LARGEST_BATCH, total // (_BATCHES_EACH * joined.workers)))
    batches = list(_batches(items, size, failed, job.said))
    labelled, begun_again, returned = 0, 0, 0
    progress(len(failed))
    try:
        for outcome in _outcomes(joined, job, batches):
            if outcome["stopped"]:
                raise OSError(outcome["stopped"])
            reasons = json.loads(outcome["failed"])
            labelled, returned = labelled + outcome["labelled"], returned + 1
            failed += reasons
            begun_again += outcome["attempt"] > 1
            progress(labelled + len(failed))
    except ray.exceptions.RayError as error:
        text = cut(" ".join(str(error).split()))
        raise OSError(f"--ray {joined.address}: broke off ({text}); the same call does the rest") from None
    if returned < len(batches):
        raise OSError(f"--ray {joined.address}: {len(batches) - returned} batches were lost; the same call does them")
    return Done(labelled, failed, begun_again)


def _batches(
    items: Iterable[Item], size: int, failed: list[str], said: Callable[[Exception], str]
) -> Iterator[dict[str, Any]]:
    """Batches of names and sources, as bytes, which names of files may be; what can't be labelled goes to `failed`."""

    def rows() -> Iterator[tuple[bytes, bytes]]:
        for item in items:
            if isinstance(item.source, ValueError):
                failed.append(said(item.source))
            elif isinstance(item.source, bytes):
                raise ValueError(f"{cut(item.where)}: holds an image itself; with --ray, lists and tables name paths")
            else:
                source = str(item.source.absolute()) if isinstance(item.source, Path) else item.source
                yield os.fsencode(item.name), os.fsencode(source)

    left = rows()
    for number in range(sys.maxsize):
        batch = list(islice(left, size))
        if not batch:
            return
        names, sources = zip(*batch, strict=True)
        yield {"batch": number, "names": list(names), "sources": list(sources)}


def _outcomes(joined: Cluster, job: Job, batches: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row a batch, as it is done."""
    import ray

    if not batches:
        return
    if joined.address.startswith("ray://"):  # Ray Data does not run on this side of such a connection
        run = ray.remote(num_cpus=0)(lambda: list(_run(joined, job, batches)))
        yield from ray.get(run.remote())
    else:
        yield from _run(joined, job, batches)


def _run(joined: Cluster, job: Job, batches: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import ray
    from ray.data import ActorPoolStrategy, from_arrow

    attempts = ray.remote(num_cpus=0)(_Attempts).remote()
    # A row is a batch and a table a task, which is what a killed worker costs.
    work = from_arrow([pa.Table.from_pylist([batch]) for batch in batches]).map(
        _Labeller,
        fn_constructor_args=(ray.put(job), attempts),
        compute=ActorPoolStrategy(size=min(joined.workers, len(batches)), max_tasks_in_flight_per_actor=1),
        num_cpus=1,
        num_gpus=1 if joined.on_gpus else None,
    )
    yield from work.iter_rows()


class _Attempts:
    """How often each batch was begun: Ray begins one again, without end, whose worker died."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, batch: int) -> int:
        self._begun[batch] = self._begun.get(batch, 0) + 1
        return self._begun[batch]


class _Labeller:
    """A worker: labels batches with a model that it prepares once."""

    def __init__(self, job: Any, attempts: Any) -> None:
        self._job_given, self._attempts = job, attempts
        self._job: Job | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        import ray

        sources = [os.fsdecode(source) for source in batch["sources"]]
        attempt = ray.get(self._attempts.begin.remote(batch["batch"]))
        labelled, failed, stopped = 0, [], ""
        if attempt > _ATTEMPTS:
            why = f"its worker was killed {_ATTEMPTS} times by this image or one of its batch of {len(sources)}"
            failed = [f"{source}: {why}" for source in sources]
        else:
            try:
                if self._job is None:
                    self._job = _ready(ray.get(self._job_given))
                labelled, failed = label_batch(self._job, list(_items(map(os.fsdecode, batch["names"]), sources)))
            except Exception as error:  # an error that is raised here would end as one of Ray's own
                known = isinstance(error, (ValueError, OSError))
                stopped = str(error) if known else f"{type(error).__name__}: {error}"
        return {"labelled": labelled, "failed": json.dumps(failed), "stopped": stopped, "attempt": attempt}


def _ready(job: Job) -> Job:
    """The job with its model on this worker's device and in the form in which it is run."""
    from filelock import FileLock

    from segattn.weights.download import cache_folder

    folder = cache_folder()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "ray.lock"):  # one worker of a machine measures or exports, and the others find what it left
        return job._replace(model=job.prepare(job.model.to(job.device)))


def _items(names: Iterable[str], sources: list[str]) -> Iterator[Item]:
    from segattn.predicting.addresses import is_address

    for name, source in zip(names, sources, strict=True):
        yield Item(name, source if is_address(source) else Path(source), source)


def label_batch(job: Job, items: list[Item]) -> tuple[int, list[str]]:
    """Label images and write what they give: how many are labelled, and why the others are not.

    Doing the same batch again replaces the same files.

    Raises:
        OSError: a result can't be written.
    """
    store = Store(job.output)
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    labelled = 0

    def take(result: Labelled) -> None:
        nonlocal labelled
        if result.prediction is None:
            assert result.error is not None
            text = job.said(result.error)
            failed.append(text if result.failed == "read" else f"{result.item.where}: {text}")
            return
        labelled += 1
        if job.parquet:
            rows.append(table_row(result.prediction))
        else:
            store.write(f"{result.item.name}_labels.png", result.prediction.labels_png())

    label_many(
        job.model,
        items,
        job.protocol,
        size=job.size,
        confidence=False,
        max_memory=job.max_memory,
        take=take,
        survives=job.survives,
    )
    if rows:
        digest = hashlib.sha256("\n".join(row["name"] for row in rows).encode(errors="surrogateescape")).hexdigest()
        store.write(f"labels-{digest[:20]}.parquet", table_bytes(rows))
    return labelled, failed
