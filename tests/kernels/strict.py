"""A device on the CPU whose arrays keep to themselves, as CuPy's do: none mixes with an array of the host."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from host_module import HostDevice

# What takes arrays of the host.
WELCOMING = ("asarray", "array")


class DeviceArray(np.ndarray):
    """A NumPy array in the place of CuPy's. An array of the host in the same operation is a TypeError."""

    @property
    def __cuda_array_interface__(self):
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.ctypes.data, False), "version": 3}

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **words):
        refuse_host_arrays(ufunc.__name__, [*inputs, *(out or ()), *words.values()])
        if out:
            words["out"] = tuple(bare(x) for x in out)
        found = getattr(ufunc, method)(*(bare(x) for x in inputs), **{k: bare(v) for k, v in words.items()})
        return out[0] if out else on_device(found)

    def __array_function__(self, function, types, args, kwargs):
        refuse_host_arrays(function.__name__, [*args, *kwargs.values()])
        return on_device(function(*bare(args), **bare(kwargs)))

    def __setitem__(self, key, value):
        refuse_host_arrays("assignment", [value])
        super().__setitem__(key, bare(value))


def refuse_host_arrays(what: str, values: Any) -> None:
    """TypeError if there is an array of the host among the values, in a list too; numbers may be anything."""
    for value in values:
        if isinstance(value, (list, tuple)):
            refuse_host_arrays(what, value)
        elif isinstance(value, np.ndarray) and not isinstance(value, DeviceArray) and value.ndim:
            raise TypeError(f"{what}: an array of the host {value.shape} meets arrays of the device")


def bare(x: Any) -> Any:
    """The same as plain NumPy arrays, in lists, tuples and dictionaries too."""
    if isinstance(x, DeviceArray):
        return x.view(np.ndarray)
    if isinstance(x, (list, tuple)):
        return type(x)(bare(one) for one in x)
    return {name: bare(one) for name, one in x.items()} if isinstance(x, dict) else x


def on_device(x: Any) -> Any:
    """Arrays and numbers that an operation gave, as CuPy gives them."""
    if isinstance(x, (list, tuple)):
        return type(x)(on_device(one) for one in x)
    return np.asarray(x).view(DeviceArray) if isinstance(x, (np.ndarray, np.generic)) else x


@cache
def cupy() -> ModuleType | None:
    """CuPy where it is installed; it needs no GPU to be imported."""
    try:
        return import_module("cupy")
    except ImportError:
        return None


class Functions:
    """NumPy's functions, for arrays of the device alone; one that CuPy does not have is an AttributeError."""

    def __init__(self, module: ModuleType, like: ModuleType | None = None):
        self._module, self._like = module, like

    def __getattr__(self, name: str) -> Any:
        if self._like is not None:
            like = getattr(self._like, name)
        found = getattr(self._module, name)
        if isinstance(found, ModuleType):
            return Functions(found, like if self._like is not None else None)
        if isinstance(found, type) or not callable(found):
            return found

        def function(*args, **words):
            if name not in WELCOMING:
                refuse_host_arrays(name, [*args, *words.values()])
            return on_device(found(*bare(args), **bare(words)))

        return function


@dataclass
class StrictDevice(HostDevice):
    """`HostDevice` with such arrays."""

    xp: Any = field(default_factory=lambda: Functions(np, cupy()), repr=False)

    def from_host(self, x):
        assert not isinstance(x, DeviceArray), "the array is on the device already"
        return np.array(x, order="C").view(DeviceArray)

    def upload(self, x):
        return self.from_host(np.asarray(x, np.float64))

    def to_host(self, x):
        return np.array(bare(x))
