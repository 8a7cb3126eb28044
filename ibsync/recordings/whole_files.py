"""Files written whole or not at all, replaced only by their own kind, and kept elsewhere where their folder fails."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from os.path import exists
from pathlib import Path

from ..errors import IbsyncError, InputError, PlanError

try:
    import fcntl
except ImportError:  # Windows, where nobody can remove a file that is open, so that no lock is needed
    fcntl = None  # type: ignore[assignment]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HOST = re.sub(r"[^\w-]", "-", platform.node(), flags=re.ASCII)[:40]
_TEMPORARY = re.compile(r"\..*\.ibsync-(?P<host>[\w-]*)-(?P<process>\d+)-[0-9a-f]{8}\.tmp", re.DOTALL)
_IDLE_SECONDS = 60.0  # on Windows a file is closed for a moment before it takes its name

written_files: list[Path] = []
"""Files that this process has written, for what is said of an interrupted command."""


@dataclass(frozen=True)
class Kind:
    """
    What an output is.

    Attributes
    ----------
    name : str
        In words, such as "an ibsync study".
    recognises : callable
        Whether a file that exists is one. One that raises an OSError is taken for another kind.
    """

    name: str
    recognises: Callable[[Path], bool]


@dataclass(frozen=True)
class Output:
    """
    A file to be written, and what it may replace.

    Attributes
    ----------
    path : Path
    kind : Kind
        An older file is replaced if it is of this kind, or empty.
    inputs : tuple of Path
        Files that are never replaced; of a folder, no file that is of another kind.
    overwrite : bool
        Replace a file of another kind too.
    """

    path: Path
    kind: Kind
    inputs: tuple[Path, ...] = ()
    overwrite: bool = False

    def check(self) -> Path:
        """
        The path with links resolved, if the file can be written there; call it before a long run.

        Raises
        ------
        InputError
            As `check_writable`, or if the path holds a file of another kind.
        PlanError
            If it holds an input.
        """
        target = check_writable(self.path)
        self._refuse_another_kind(target)
        return target

    def require_replaceable(self) -> Path:
        """The path with links resolved, if what it holds may be replaced; nothing is said of its folder."""
        target = _resolved(self.path)
        if target.exists():
            _refuse_protected(target, shown=str(self.path))
            self._refuse_another_kind(target)
        return target

    def write(self, payload: bytes | memoryview) -> Path:
        """Write the file as `write_together` does; one that may not be replaced is refused and nothing kept."""
        self.require_replaceable()
        write_together([(self, payload)])
        return self.path

    def _refuse_another_kind(self, target: Path) -> None:
        if not target.exists():
            return
        if any(same_file(target, source) for source in self.inputs):
            raise PlanError(f"{self.path}: would replace an input of this run; give the output another name")
        if not target.stat().st_size or self._is_of_kind(target):
            return
        if not self.overwrite:
            raise InputError(
                f"{self.path}: exists and is not {self.kind.name}; choose another name, remove the file, or replace "
                "it with --overwrite (in Python overwrite=True)"
            )
        if any(source.is_dir() and target.is_relative_to(source.resolve()) for source in self.inputs):
            raise PlanError(f"{self.path}: lies among the inputs and is not {self.kind.name}; choose another name")

    def _is_of_kind(self, target: Path) -> bool:
        with suppress(OSError):
            return self.kind.recognises(target)
        return False


def outputs_differ(outputs: Sequence[Output]) -> None:
    """
    Refuse two outputs of one path.

    Raises
    ------
    PlanError
        Also where the names differ in capitals or in the form of their letters only, which some systems ignore.
    """
    for number, output in enumerate(outputs):
        if any(same_file(output.path, other.path) for other in outputs[:number]):
            raise PlanError(f"{output.path}: two outputs have this name; give them different names")


def same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to one file: through links, by another spelling, or once it is written."""
    with suppress(OSError, ValueError):
        return Path(one).samefile(other)
    return not exists(one) and not exists(other) and _folded(one) == _folded(other)


def _folded(path: str | os.PathLike[str]) -> str:
    import unicodedata

    return unicodedata.normalize("NFC", str(_resolved(path))).casefold()


def check_writable(path: str | os.PathLike[str]) -> Path:
    """
    The path with links resolved, if a file can be written there.

    Raises
    ------
    InputError
        If the folder is missing or refuses new files, or if the path is a folder, a device, a read-only file or no
        name that a file can have.
    """
    target = _resolved(path)
    if not target.parent.is_dir():
        raise InputError(f"{path}: the folder {target.parent} does not exist; create it or choose another path")
    if target.exists():
        _refuse_protected(target, shown=str(path))
    _check_folder_takes_files(target, shown=str(path))
    return target


def _resolved(path: str | os.PathLike[str]) -> Path:
    try:
        target = Path(path).resolve()
        target.exists()
        is_loop = target.is_symlink()
    # Python says it in several ways that a link leads to itself, that a name is too long or holds a NUL.
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(
            f"{os.fspath(path)!r}: no file can be written there ({reason}); choose another path"
        ) from error
    if is_loop:
        raise InputError(f"{path}: is a link that leads to itself; choose another path")
    return target


def _refuse_protected(target: Path, *, shown: str) -> None:
    if target.is_dir():
        raise InputError(f"{shown}: is a folder; add a file name")
    mode = target.stat().st_mode
    if not stat.S_ISREG(mode):
        raise InputError(f"{shown}: is not an ordinary file; choose another path")
    # The mode is read as well, because a superuser passes every access check and would replace a protected file.
    if not mode & 0o222 or not os.access(target, os.W_OK):
        raise InputError(f"{shown}: the file is read-only; make it writable or choose another path")


def _check_folder_takes_files(target: Path, *, shown: str) -> None:
    # Trying is the only sure way: mode bits know nothing of read-only mounts, quotas and network shares.
    trial = _temporary_name(target)
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise InputError(
            f"{shown}: no file can be written in its folder ({error.strerror}); choose another path"
        ) from error


def write_whole(output: Output, payload: bytes | memoryview) -> None:
    """Write bytes to a file, whole or not at all, as `written_whole`."""
    with written_whole(output) as stream:
        write_all(stream, payload)


@contextlib.contextmanager
def written_whole(output: Output) -> Iterator[FileIO]:
    """
    Where to write a file so that its path holds either all of it or what it held before.

    What is written beside the path is forced to the disk and takes the final name in one step, when the block ends
    well.

    Raises
    ------
    InputError
        If the path cannot be written, or the disk is full. Nothing is left behind, and an older file stays as it was.
    """
    target = output.check()
    with _failures_named(output.path), _temporary(target) as stream:
        yield stream
        os.fsync(stream.fileno())
        output.require_replaceable()
        _take_name(stream, target)


def write_together(files: Sequence[tuple[Output, bytes | memoryview]]) -> None:
    """
    Write files that belong together: all are complete before the first takes its name.

    Where that fails, nothing that was computed is lost: what has no name yet is kept beside the output under another
    name, else in the working folder, else in the temporary folder.

    Raises
    ------
    InputError
        If a file cannot be written; it says where they are kept.
    """
    remaining = list(files)
    try:
        with contextlib.ExitStack() as stack:
            complete = [stack.enter_context(_completed(output, payload)) for output, payload in files]
            targets = [output.require_replaceable() for output, _ in files]
            for stream, target, (output, _) in zip(complete, targets, files, strict=True):
                with _failures_named(output.path):
                    _take_name(stream, target)
                remaining.pop(0)
    except IbsyncError as error:
        places = [(output.path.name, _kept(output, payload)) for output, payload in remaining]
        raise InputError(f"{error}; {_kept_in_words(places)}") from error


@contextlib.contextmanager
def _completed(output: Output, payload: bytes | memoryview) -> Iterator[FileIO]:
    """A temporary file that holds the payload, on the disk."""
    target = check_writable(output.path)
    with _failures_named(output.path), _temporary(target) as stream:
        write_all(stream, payload)
        os.fsync(stream.fileno())
        yield stream


def _kept(output: Output, payload: bytes | memoryview) -> Path | None:
    """Where the payload of an output that could not be written lies now; None if no folder takes it."""
    path = output.path.absolute()
    name = f"{path.stem[:40]}.kept-{secrets.token_hex(4)}{path.suffix}"
    folders: tuple[Callable[[], str | Path], ...] = (lambda: path.parent, Path.cwd, tempfile.gettempdir)
    for folder in folders:
        with suppress(OSError):
            place = folder() / Path(name)
            with _temporary(place) as stream:
                write_all(stream, payload)
                os.fsync(stream.fileno())
                _take_name(stream, place)
            return place
    return None


def write_all(stream: FileIO, payload: bytes | memoryview) -> None:
    """Write every byte; a raw file may take fewer at a time."""
    rest = memoryview(payload).cast("B")
    while rest:
        rest = rest[stream.write(rest) :]


@contextlib.contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    """What the system refuses, in a line that names the file and the fix."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        fix = "free some space or choose another disk" if error.errno in _FULL else "choose another path"
        raise InputError(f"{path}: could not be written ({reason}); {fix}") from error


# --- temporary files --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[FileIO]:
    """A new file beside the target, locked while it is written; those of dead processes are swept first."""
    _sweep(target.parent)
    stream = _locked_beside(target)
    try:
        yield stream
    finally:
        stream.close()
        with suppress(OSError):  # what cannot be removed is swept later; a file that has its name is no failure
            Path(stream.name).unlink()


def _temporary_name(target: Path) -> Path:
    # A short prefix of the name keeps the temporary name below the file system's limit of 255 bytes.
    return target.with_name(f".{target.name[:30]}.ibsync-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _locked_beside(target: Path) -> FileIO:
    while True:
        path = _temporary_name(target)
        stream = path.open("x+b", buffering=0)
        with suppress(OSError):  # some file systems have no locks: then nobody sweeps there
            _lock(stream)
        # Between its birth and the lock another process may have taken it for abandoned.
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(stream.fileno())):
                return stream
        stream.close()


def _lock(stream: FileIO) -> None:
    # Not flock: HDF5 asks for that one when it opens a file.
    if fcntl is not None:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sweep(folder: Path) -> None:
    """Remove temporary files that a process of this host left when it was killed."""
    with suppress(OSError):
        for path in folder.iterdir():
            name = _TEMPORARY.fullmatch(path.name)
            # A process is always granted its own lock, and loses it when it closes the file.
            if name and name["host"] == _HOST and int(name["process"]) != os.getpid():
                _remove_abandoned(path)


def _remove_abandoned(path: Path) -> None:
    """Remove a temporary file unless its writer lives."""
    with suppress(OSError):
        if fcntl is None:
            if time.time() - path.stat().st_mtime > _IDLE_SECONDS:
                path.unlink()
            return
        with path.open("r+b", buffering=0) as stream:
            _lock(stream)
            path.unlink()


def _take_name(stream: FileIO, target: Path) -> None:
    """Give a complete temporary file its final name."""
    if fcntl is None:
        stream.close()  # Windows renames no file that is open
    Path(stream.name).replace(target)
    written_files.append(target)
    _force_to_disk(target.parent)


def _force_to_disk(folder: Path) -> None:
    # The file is complete by now. Some network file systems refuse to sync a folder, and Windows to open one.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _kept_in_words(places: Sequence[tuple[str, Path | None]]) -> str:
    kept = ", ".join(f"{name} is kept as {place}" for name, place in places if place)
    lost = ", ".join(f"no folder takes {name}" for name, place in places if not place)
    return "; ".join(words for words in (kept, lost) if words)


def require_ending(path: str | os.PathLike[str], known: Sequence[str]) -> None:
    """Refuse a path whose ending names no format that can be written."""
    if Path(path).suffix not in known:
        raise PlanError(f"{os.fspath(path)}: the name must end in {' or '.join(known)}")
