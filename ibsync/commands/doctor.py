"""The state of an installation, layer by layer: which works, which is absent, which is broken and how to fix it."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import DeviceError
from .machine import usable_cores

if TYPE_CHECKING:
    from ..coupling.wavelet_coherence import Coherence

State = Literal["ok", "absent", "failed"]
PACKAGES = (
    "numpy", "scipy", "h5py", "xarray", "h5netcdf", "pandas", "matplotlib", "jinja2", "threadpoolctl", "tqdm",
    "msgspec",
)  # fmt: skip
SELF_TEST_SAMPLES = 600
PROMISED_ERROR = 3e-5  # of band means with accuracy "exact"


@dataclass(frozen=True)
class Finding:
    """One layer: "ok", "absent" (optional and not there) or "failed", with what was seen."""

    layer: str
    state: State
    text: str


@dataclass(frozen=True)
class Examination:
    """All layers, in the order in which one stands on the other."""

    findings: tuple[Finding, ...]

    def describe(self) -> dict[str, Any]:
        """For a script, as a dictionary that JSON can carry."""
        healthy = all(finding.state != "failed" for finding in self.findings)
        return {"ok": healthy, "layers": [asdict(finding) for finding in self.findings]}

    def __str__(self) -> str:
        width = max(len(finding.layer) for finding in self.findings)
        return "\n".join(f"{f.layer:<{width}}  {f.state:<6}  {f.text}" for f in self.findings)


def examine() -> Examination:
    """Return the state of every layer; a broken one does not keep the others from being examined."""
    layers: dict[str, Callable[[], str | Finding]] = {
        "ibsync": _ibsync,
        "python": _python,
        "packages": _packages,
        "processors": _processors,
        "memory": _memory,
        "linear algebra": _linear_algebra,
        "compiled loops": _compiled_loops,
        "table cache": _table_cache,
        "result files": _result_files,
        "numpy backend": _numpy_backend,
        "mne": _mne,
    }
    findings = [_found(layer, look) for layer, look in layers.items()]
    return Examination((*findings, *_gpu_findings(), _found("cuda backend", _cuda_backend)))


def _found(layer: str, look: Callable[[], str | Finding]) -> Finding:
    """What one look at a layer gives, whatever breaks in it."""
    try:
        seen = look()
    except Exception as error:
        return Finding(layer, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}")
    return seen if isinstance(seen, Finding) else Finding(layer, "ok", seen)


def _ibsync() -> str:
    folder = Path(__file__).parents[1]
    try:
        return f"{version('ibsync')} in {folder}"
    except PackageNotFoundError:
        return f"a checkout that is not installed, in {folder}"


def _python() -> str:
    return f"{platform.python_version()} ({platform.python_implementation()}), {platform.platform()}, {sys.executable}"


def _packages() -> str:
    for name in PACKAGES:
        import_module(name)
    return ", ".join(f"{name} {version(name)}" for name in PACKAGES)


def _processors() -> str:
    return f"{len(usable_cores())} usable of {os.cpu_count()} ({platform.machine()})"


def _memory() -> str:
    """Free and total memory, from the kernel's own table where there is one."""
    table = Path("/proc/meminfo")
    if not table.is_file():
        return "unknown on this system"
    words = (line.split() for line in table.read_text(encoding="ascii").splitlines())
    gib = {row[0].rstrip(":"): int(row[1]) / 2**20 for row in words}
    return f"{gib['MemAvailable']:.1f} GiB free of {gib['MemTotal']:.1f} GiB"


def _linear_algebra() -> str:
    import numpy as np
    from threadpoolctl import threadpool_info

    identity = np.eye(64)
    assert np.array_equal(identity @ identity, identity), "a matrix product is wrong"
    pools = threadpool_info()
    described = [f"{p['internal_api']} {p.get('version') or ''} with {p['num_threads']} threads" for p in pools]
    return "; ".join(" ".join(text.split()) for text in dict.fromkeys(described)) or "no library found by threadpoolctl"


def _compiled_loops() -> str | Finding:
    from ..compiled.choice import VARIABLE, choice

    chosen = choice()
    if chosen.loops is not None:
        return f"{chosen.build}, {chosen.why}; {VARIABLE}=0 takes NumPy"
    if os.environ.get(VARIABLE):
        fix = f"leave {VARIABLE} out for compiled ones"
    else:
        fix = "for compiled ones, with gcc or clang: pip install --force-reinstall --no-deps --no-cache-dir ibsync"
    return Finding("compiled loops", "absent", f"{chosen.why}; NumPy does their work, more slowly; {fix}")


def _result_files() -> str:
    """Write and read back a result file in a temporary folder."""
    import numpy as np
    import xarray as xr

    from ..results.result import load, save_dataset

    values = np.linspace(0.0, 1.0, 5)
    dataset = xr.Dataset({"coherence": ("band", values)}, attrs={"kind": "synchrony"})
    with tempfile.TemporaryDirectory() as folder:
        path = save_dataset(dataset, Path(folder) / "doctor.h5")
        read = load(path).dataset["coherence"].to_numpy()
    assert np.array_equal(read, values), "a result file was read back wrongly"
    return f"written and read back in {tempfile.gettempdir()}"


def _table_cache() -> str | Finding:
    from ..coupling.transform.feature_cache import cache_dir, cache_limit, cached_files

    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fix = "tables are built anew in every run; set IBSYNC_CACHE_DIR to a folder that can be written"
        return Finding("table cache", "absent", f"{folder} cannot be written ({error.strerror}); {fix}")
    sizes = [size for _, size, _ in cached_files()]
    room = f"{sum(sizes) / 1e9:.2f} GB of at most {cache_limit() / 1e9:g} GB (IBSYNC_CACHE_GB)"
    return f"{folder} can be written; {len(sizes)} files, {room}"


def _numpy_backend() -> str:
    return _self_test("numpy")


def _mne() -> str | Finding:
    """MNE, which reads raw light and EEG; it is no fault that there is none."""
    try:
        return version("mne")
    except PackageNotFoundError:
        need = "raw light (pack --preprocess) and EEG need it; pip install 'ibsync[mne]'"
        return Finding("mne", "absent", need)


def _gpu_findings() -> tuple[Finding, ...]:
    """The layers that a GPU needs, up to the first one without which the others cannot be looked at."""
    found = []
    for layer, look in {"cupy": _cupy, "gpu": _gpu}.items():
        found.append(_found(layer, look))
        if found[-1].state != "ok":
            return tuple(found)
    return (*found, *(_found(layer, look) for layer, look in _gpu_checks().items()))


def _cupy() -> str | Finding:
    """CuPy as it is installed; it is no fault that there is none."""
    from ..coupling.backends.cuda.device import import_cupy

    installed = sorted({name for name in _distributions() if name.startswith("cupy")})
    if len(installed) > 1:
        fix = f"pip uninstall {' '.join(installed[1:])}"
        return Finding("cupy", "failed", f"{' and '.join(installed)} are both installed and disturb each other; {fix}")
    try:
        cupy = import_cupy()
    except DeviceError as error:
        return Finding("cupy", "failed" if installed else "absent", f"{error}; everything runs on the CPU")
    return f"{cupy.__version__} in {Path(cupy.__file__).parent}"


def _distributions() -> list[str]:
    return [(found.metadata["Name"] or "").lower() for found in distributions()]


def _gpu() -> str | Finding:
    """Driver and devices; a machine without them is well too."""
    from ..coupling.backends.cuda.device import CudaDevice, device_count

    try:
        device = CudaDevice()
    except DeviceError as error:
        return Finding("gpu", "absent", f"{error}; everything runs on the CPU")
    free = f"{device.free_bytes() / 2**30:.1f} GiB free"
    return f"{device_count(device.xp)} of them, the first {device.name}, {free}"


def _gpu_checks() -> dict[str, Callable[[], str]]:
    """What the first GPU must be able to do."""
    from ..coupling.backends.cuda.device import CudaDevice
    from .gpu_examination import check_compiler, check_fft, check_kernel, check_pinned_memory

    device = CudaDevice()
    return {
        "gpu compiler": partial(check_compiler, device),
        "gpu kernel": partial(check_kernel, device),
        "gpu fft": partial(check_fft, device),
        "gpu copies": partial(check_pinned_memory, device),
    }


def _cuda_backend() -> str | Finding:
    try:
        return _self_test("cuda")
    except DeviceError as error:
        return Finding("cuda backend", "absent", f"{error}; everything runs on the CPU")


def _self_test(backend: str) -> str:
    """A small coherence against the definition, on a device."""
    import numpy as np

    from ..coupling.engine import Engine
    from ..coupling.spec import WTC

    signals = np.random.default_rng(0).standard_normal((3, SELF_TEST_SAMPLES)).cumsum(axis=-1)
    bands = {"fast": (0.5, 1.0), "slow": (0.2, 0.5)}

    def computed(accuracy: str, device: str) -> Coherence:
        engine = Engine(SELF_TEST_SAMPLES, 10.0, WTC(bands=bands, accuracy=accuracy), backend=device)
        means: Coherence = engine.coherence(engine.features(signals[:2]), engine.features(signals[1:]))
        return means

    fast, defined = computed("exact", backend), computed("reference", "numpy")
    error = float(np.abs(fast.coherence - defined.coherence).max())
    phase_error = float(np.abs(fast.coherency - defined.coherency).max())
    assert max(error, phase_error) < PROMISED_ERROR, f"differs from the definition by {max(error, phase_error):.1e}"
    return f"largest difference from the definition {max(error, phase_error):.1e} (promised {PROMISED_ERROR:.0e})"
