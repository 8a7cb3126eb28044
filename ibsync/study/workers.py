"""Processes on this machine, or those of a Dask scheduler, as an executor on which the jobs of a study run."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from typing import Any

from ..coupling.backends.choice import backend_named
from ..errors import DeviceError, PlanError

_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_THRESHOLD_": str(1 << 30)}
"""Freed memory is used again. Dask's own setting gives it back at once, which costs 2.4 times the CPU time."""
_UNWATCHED = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
}
"""Nobody looks at what Dask would record of each process many times a second."""
_GPUS = "CUDA_VISIBLE_DEVICES"
_ANSWER_SECONDS = 10.0  # until a scheduler is taken for none
_WORKER_SECONDS = 60.0  # until a scheduler is taken for one without workers
_SCHEMES = ("tcp", "tls")  # of addresses that are tried before Dask does, which takes long to say that nobody is there


@contextmanager
def workers_of(n: int | None = None, scheduler: str | None = None, backend: str = "auto") -> Iterator[Executor | None]:
    """
    An executor for as long as it is needed; None where neither processes nor a scheduler are asked for.

    Parameters
    ----------
    n : int, optional
        Processes on this machine, each with one thread; on GPUs each with one of its own.
    scheduler : str, optional
        Address of a Dask scheduler, such as "tcp://host:8786", whose workers see the study's file.
    backend : str
        As `Engine`.

    Raises
    ------
    PlanError
        If both are asked for, the number is none, or there are fewer GPUs.
    DeviceError
        If Dask is not installed, no scheduler answers within 10 s, or none of its workers is there after a minute.
    """
    if n is None and scheduler is None:
        yield None
        return
    if n is not None and scheduler is not None:
        raise PlanError("workers are processes here, a scheduler has its own: give one of the two")
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
        raise PlanError(f"workers={n!r} must be a whole number of at least 1")
    distributed = _distributed()
    if scheduler is not None:
        _require_answer(scheduler)
    gpus = _gpus(n or 0, backend)
    with _cluster(distributed, n, gpus) if scheduler is None else nullcontext(scheduler) as address:
        try:
            client = distributed.Client(address, timeout="30s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise DeviceError(
                f"{scheduler}: no Dask scheduler answers there ({' '.join(str(error).split())})"
            ) from error
        with client:
            try:
                client.wait_for_workers(n or 1, timeout=120 if scheduler is None else _WORKER_SECONDS)
            except TimeoutError as error:
                raise DeviceError(
                    f"{scheduler or 'Dask'}: no worker is there after {_WORKER_SECONDS:.0f} s: start some, such as "
                    f"dask worker {scheduler or 'tcp://host:8786'} --nthreads 1, and run the same command again"
                ) from error
            yield client.get_executor(pure=False)


def _require_answer(scheduler: str) -> None:
    """Refuse an address at which nobody listens."""
    scheme, found, rest = scheduler.partition("://")
    if found and scheme not in _SCHEMES:
        return
    host, _, port = (rest if found else scheme).rpartition(":")
    try:
        if not host or not port.isdecimal():
            raise ValueError("an address names host and port, such as tcp://host:8786")
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise DeviceError(f"{scheduler}: no Dask scheduler answers there ({error})") from error


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise DeviceError("workers need Dask: pip install 'ibsync[dask]'") from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what dies is told of by the jobs
    return distributed


def _cluster(distributed: Any, n: int | None, gpus: list[str]) -> Any:
    """Processes that are started again when they die; jobs are counted dead here, not there."""
    import dask

    environ = {
        **_KEEP_MEMORY,
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    }
    of_workers = {
        number: {
            "cls": distributed.Nanny,
            "options": {
                "nthreads": 1, "memory_limit": 0, "silence_logs": logging.CRITICAL,
                "host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0",
                "env": {**environ, **({_GPUS: gpus[number]} if gpus else {})},
            },
        }
        for number in range(n or 1)
    }  # fmt: skip
    scheduler = {
        "cls": distributed.Scheduler,
        "options": {"dashboard": False, "dashboard_address": "127.0.0.1:0", "port": 0, "host": "127.0.0.1"},
    }
    with dask.config.set({
        **_UNWATCHED,
        "distributed.scheduler.allowed-failures": 0,
        "distributed.nanny.pre-spawn-environ": environ,
    }):  # fmt: skip
        os.environ.update(_KEEP_MEMORY)  # Dask leaves its own there, which would win
        return distributed.SpecCluster(of_workers, scheduler, silence_logs=logging.CRITICAL)


def _gpus(n: int, backend: str) -> list[str]:
    """The GPU of each process, as the system counts them; none on the CPU, or where one GPU is named."""
    if not n or backend_named(backend).device is None or ":" in backend:
        return []
    from ..coupling.backends.cuda.device import device_count, import_cupy

    visible = os.environ.get(_GPUS, "")
    names = (
        [name.strip() for name in visible.split(",")]
        if visible
        else [str(k) for k in range(device_count(import_cupy()))]
    )
    if n > len(names):
        raise PlanError(f"workers={n} are more than the {len(names)} GPUs here: one process uses one, ask for as many")
    return names
