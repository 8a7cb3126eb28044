"""What a kernel takes, read from its source, and arguments in exactly that form."""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....errors import DeviceError

Cast = Callable[[Any], Any]

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\b')
_BOUNDS = re.compile(r"\s*__launch_bounds__\s*\(")
_PARAMETER = re.compile(r"^(?P<type>[\w: ]+?)\s*(?P<pointer>\*)?\s*(?P<name>\w+)$")
_QUALIFIER = re.compile(r"\bconst\b|\bvolatile\b|__restrict__|\bibsync::")

# C++ type: bytes of one element, and dtypes that a pointer to it may point to. A scalar has the first of them.
_TYPES: dict[str, tuple[int, tuple[str, ...]]] = {
    "bool": (1, ("bool",)),
    "signed char": (1, ("int8",)),
    "unsigned char": (1, ("uint8",)),
    "short": (2, ("int16",)),
    "unsigned short": (2, ("uint16", "float16")),
    "int": (4, ("int32",)),
    "unsigned": (4, ("uint32",)),
    "unsigned int": (4, ("uint32",)),
    "u32": (4, ("uint32",)),
    "long long": (8, ("int64",)),
    "unsigned long long": (8, ("uint64",)),
    "u64": (8, ("uint64",)),
    "float": (4, ("float32",)),
    "double": (8, ("float64",)),
    "float2": (8, ("complex64",)),
    "Complex": (8, ("complex64",)),
    "double2": (16, ("complex128",)),
    "float4": (16, ("float32", "complex64")),
    "int2": (8, ("int32",)),
    "int4": (16, ("int32",)),
    "uint2": (8, ("uint32", "uint16", "float16")),
    "uint4": (16, ("uint32", "uint16", "float16")),
    "void": (1, ()),
}


@dataclass(frozen=True)
class Parameter:
    """
    One parameter of a kernel.

    Attributes
    ----------
    name : str
    pointer : bool
    dtypes : tuple of dtype
        Of the elements or of the scalar; empty if any will do.
    n_bytes : int
        Of one element; an array holds a whole number of them.
    """

    name: str
    pointer: bool
    dtypes: tuple[np.dtype[Any], ...]
    n_bytes: int

    def __str__(self) -> str:
        kinds = " or ".join(str(dtype) for dtype in self.dtypes) or "any dtype"
        return f"{self.name} (array of {kinds})" if self.pointer else f"{self.name} ({kinds})"


@dataclass(frozen=True)
class Declaration:
    """
    A kernel as its source declares it.

    Attributes
    ----------
    parameters : tuple of Parameter
    bounds : str
        Largest number of threads of a block, an expression of ``__launch_bounds__``; empty without one.
    """

    parameters: tuple[Parameter, ...]
    bounds: str


def declarations(source: str) -> dict[str, Declaration]:
    """
    Every kernel in a source, by its name.

    Parameters
    ----------
    source : str
        Kernels are declared ``extern "C" __global__ void``, with types that are no macros.

    Raises
    ------
    DeviceError
        If a parameter's type is not known.
    """
    text = _COMMENT.sub(" ", source)
    return dict(_declaration(text, start.end()) for start in _KERNEL.finditer(text))


def _declaration(text: str, start: int) -> tuple[str, Declaration]:
    """Name and declaration of the kernel that goes on at `start`."""
    bounds = ""
    if opened := _BOUNDS.match(text, start):
        start = _closing(text, opened.end()) + 1
        bounds = _split(text[opened.end() : start - 1])[0]
    opening = text.index("(", start)
    name = text[start:opening].strip()
    words = _split(text[opening + 1 : _closing(text, opening + 1)])
    return name, Declaration(tuple(_parameter(name, word) for word in words if word), bounds)


def _split(text: str) -> list[str]:
    """Parts of a list between its outermost commas."""
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _closing(text: str, start: int) -> int:
    """Place of the bracket that closes the one before `start`."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise DeviceError("a bracket is not closed in a kernel's declaration")


def _parameter(kernel: str, words: str) -> Parameter:
    found = _PARAMETER.match(" ".join(_QUALIFIER.sub("", words).split()))
    kind = found["type"].strip() if found else ""
    if found is None or kind not in _TYPES:
        raise DeviceError(f"kernel {kernel}: the type of parameter {' '.join(words.split())!r} is not known")
    n_bytes, names = _TYPES[kind]
    return Parameter(found["name"], found["pointer"] is not None, tuple(np.dtype(name) for name in names), n_bytes)


def casts(kernel: str, parameters: Sequence[Parameter], array: Any) -> tuple[Cast, ...]:
    """
    For each parameter what makes of an argument what a launch needs: an array that fits, a scalar of the declared type.

    CuPy checks neither the number nor the types of arguments and sends a Python number as 64 bits. All that can be
    known before a launch is prepared here, once for a kernel: a launch has few microseconds.

    Parameters
    ----------
    kernel : str
        Named in errors.
    parameters : sequence of Parameter
    array : type
        Class of the device's arrays.
    """
    return tuple(_array_cast(kernel, p, array) if p.pointer else _scalar_cast(kernel, p) for p in parameters)


def checked(kernel: str, casts: Sequence[Cast], arguments: Sequence[Any]) -> tuple[Any, ...]:
    """
    Arguments as a launch needs them.

    Parameters
    ----------
    kernel : str
        Named in errors.
    casts : sequence of callable
        From `casts`.
    arguments : sequence
        Arrays of the device, numbers; None is a null pointer.

    Raises
    ------
    TypeError
        If the number of arguments, an array's kind, dtype, order or size, or a scalar's kind is wrong.
    OverflowError
        If a scalar does not fit its type.
    """
    if len(arguments) != len(casts):
        raise TypeError(f"{kernel} takes {len(casts)} arguments, got {len(arguments)}")
    return tuple([cast(value) for cast, value in zip(casts, arguments, strict=True)])


def _array_cast(kernel: str, parameter: Parameter, array: Any) -> Cast:
    dtypes, n_bytes = parameter.dtypes, parameter.n_bytes
    is_vector = any(dtype.itemsize < n_bytes for dtype in dtypes)
    null = np.uintp(0)

    def cast(value: Any) -> Any:
        if value is None:
            return null
        if not isinstance(value, array):
            found = f"{type(value).__module__}.{type(value).__name__}"
            raise TypeError(f"{kernel}: {parameter} needs an array of the device, got {found}")
        if dtypes and value.dtype not in dtypes:
            raise TypeError(f"{kernel}: {parameter} got {value.dtype}")
        if not value.flags.c_contiguous:
            raise TypeError(f"{kernel}: {parameter} is not C-contiguous; pass a copy")
        if is_vector and value.nbytes % n_bytes:
            raise TypeError(f"{kernel}: {parameter} has {value.nbytes} bytes, no multiple of {n_bytes}")
        return value

    return cast


def _scalar_cast(kernel: str, parameter: Parameter) -> Cast:
    dtype = parameter.dtypes[0]
    kind: Callable[[Any], np.generic] = dtype.type
    usual, low, high = _surely_held(dtype)

    def cast(value: Any) -> np.generic:
        if type(value) is usual and low <= value <= high:
            return kind(value)
        return _scalar(kernel, parameter, value)

    return cast


def _surely_held(dtype: np.dtype[Any]) -> tuple[type, Any, Any]:
    """A Python type, and the range of its numbers that a dtype holds; other numbers are looked at more closely."""
    if dtype.kind == "f":
        return float, float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    if dtype.kind in "iu":
        return int, int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return bool, dtype.kind != "b", dtype.kind == "b"  # of complex numbers none


def _scalar(kernel: str, parameter: Parameter, value: Any) -> np.generic:
    try:
        return _cast(parameter.dtypes[0], value)
    except TypeError:
        raise TypeError(f"{kernel}: {parameter} got {value!r} ({type(value).__name__})") from None
    except OverflowError:
        raise OverflowError(f"{kernel}: {parameter} cannot hold {value!r}") from None


def _cast(dtype: np.dtype[Any], value: Any) -> np.generic:
    """A number as a NumPy scalar; OverflowError if it does not fit."""
    number = _number(dtype.kind, value)
    with np.errstate(over="ignore"):
        scalar: np.generic = dtype.type(number)
    if np.isfinite(number) and not np.isfinite(scalar):
        raise OverflowError
    return scalar


def _number(kind: str, value: Any) -> Any:
    """A Python number of a kind, without loss."""
    truth = isinstance(value, bool | np.bool_)
    if truth != (kind == "b"):
        raise TypeError
    if truth:
        return bool(value)
    if kind in "iu":
        return operator.index(value)
    if isinstance(value, str | bytes) or np.ndim(value):
        raise TypeError
    return float(value) if kind == "f" else complex(value)
