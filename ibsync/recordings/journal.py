"""Finished parts of a long computation in a file that only grows, so that what was computed is never lost.

A file begins with `MAGIC`. Records follow, each with the digest of all that comes after it in the record: the key of
the call that computed the part, the part's number, and its arrays. The first record says what was asked for.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import struct
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, PlanError
from .output_kinds import JOURNAL, JOURNAL_MAGIC
from .whole_files import Output, write_all

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]

Arrays = Mapping[str, NDArray[Any]]

_RECORD = struct.Struct("<16s16sqQ")  # digest of the rest, key of the call, number of the part, bytes of its arrays
_HEAD = struct.Struct("<I")  # bytes of the text that describes the arrays
_OF_FILE = bytes(16)  # the key of what concerns the file
_IDENTITY, _NOTE = -1, -2
_SYNC_SECONDS = 30.0
_LOCKED = (errno.EACCES, errno.EAGAIN)

unfinished_files: list[Path] = []
"""Journals that this process has begun or taken up and not removed, for what is said of an interrupted command."""


@dataclass
class Journal:
    """
    Parts that are finished, in one file that is written, or in several that are read together.

    Parameters
    ----------
    path : Path
    identity : mapping of str to what JSON can carry
        What was asked for.
    share : (int, int), optional
        Number of this share of the jobs, from 1, and of how many; the others are computed elsewhere.
    """

    path: Path
    identity: Mapping[str, Any]
    share: tuple[int, int] | None = None
    _index: dict[tuple[bytes, int], tuple[FileIO, int, int]] = field(default_factory=dict, repr=False)
    _readers: list[FileIO] = field(default_factory=list, repr=False)
    _stream: FileIO | None = field(default=None, repr=False)
    _end: int = field(default=0, repr=False)
    _synced: float = field(default_factory=time.monotonic, repr=False)
    _has_warned: bool = field(default=False, repr=False)
    merged_from: int = 0

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        identity: Mapping[str, Any],
        *,
        inputs: Sequence[Path] = (),
        share: tuple[int, int] | None = None,
    ) -> Self:
        """
        The journal of a computation: taken up where it is there, begun where not.

        What cannot be written later does not end the computation; it is told of by one warning.

        Parameters
        ----------
        path : path-like
        identity : mapping of str to what JSON can carry
            What must be the same for finished parts to be taken.
        inputs : sequence of Path
            Files that are never replaced.
        share : (int, int), optional
            As the attribute; part of the identity.

        Raises
        ------
        InputError, PlanError
            If the path cannot be written, holds something else or the parts of something else, naming what differs;
            or if another process writes it.
        """
        identity = as_kept({**identity, **({} if share is None else {"shard": f"{share[0]}/{share[1]}"})})
        target = Output(Path(path), JOURNAL, tuple(inputs)).check()
        journal = cls(target, identity, share)
        journal._begin(target)
        return journal

    def _begin(self, target: Path) -> None:
        try:
            stream = FileIO(os.open(target, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+")
        except OSError as error:
            self._warn(error)
            return
        try:
            _lock_or_refuse(stream, self.path)
            reader = target.open("rb", buffering=0)
        except BaseException:
            stream.close()
            raise
        self._stream = stream
        unfinished_files.append(self.path)
        self._readers.append(reader)
        try:
            begun, self._end = self._scan(reader)
            if begun is None:
                self._index, self._end = {}, 0
            else:
                require_same(self.path, begun, self.identity)
        except BaseException:
            self.close()
            raise
        with self._told():
            stream.truncate(self._end)
            stream.seek(self._end)
            if begun is None:
                self._write(JOURNAL_MAGIC + _record(_OF_FILE, _IDENTITY, {"json": _as_array(self.identity)}))

    @classmethod
    def together(cls, paths: Sequence[Path]) -> Self:
        """
        Finished parts of all shards of a run, to be read; the identity is that of the first.

        Raises
        ------
        InputError, PlanError
            If a file is no shard or one of something else, or if shards are missing or there twice.
        """
        journal = cls(paths[0], {})
        try:
            journal._gather(paths)
        except BaseException:
            journal.close()
            raise
        return journal

    def _gather(self, paths: Sequence[Path]) -> None:
        known: dict[int, Path] = {}
        for path in paths:
            begun = self._read_in(path)
            number, self.merged_from = _shard_of(path, begun, self.merged_from)
            if not known:
                self.identity = {name: value for name, value in begun.items() if name != "shard"}
            require_same(path, begun, self.identity, "name the shards of one run, and compute this one again")
            if number in known:
                raise PlanError(
                    f"{path}: is shard {number}/{self.merged_from}, and so is {known[number]}: name it once"
                )
            known[number] = path
        missing = [f"{k}/{self.merged_from}" for k in range(1, self.merged_from + 1) if k not in known]
        if missing:
            raise PlanError(f"shards {', '.join(missing)} are missing: run them, or name their files too")

    def _read_in(self, path: Path) -> dict[str, Any]:
        """Index the records of a file that is only read; what it was begun with."""
        try:
            reader = path.open("rb", buffering=0)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); name the files of shards") from error
        self._readers.append(reader)
        begun, _ = self._scan(reader)
        if begun is None:
            raise InputError(f"{path}: is no shard of a run; name the files that ibsync run --shard wrote")
        return begun

    def _scan(self, reader: FileIO) -> tuple[dict[str, Any] | None, int]:
        """What a file was begun with, None where it does not say, and the end of its last whole record."""
        if reader.read(len(JOURNAL_MAGIC)) != JOURNAL_MAGIC:
            return None, 0
        begun, end = None, len(JOURNAL_MAGIC)
        size = os.fstat(reader.fileno()).st_size
        while len(head := _read(reader, _RECORD.size)) == _RECORD.size:
            digest, key, number, length = _RECORD.unpack(head)
            start = end + _RECORD.size
            if length > size - start or _digest(head[16:], payload := _read(reader, length)) != digest:
                break
            if key == _OF_FILE and number == _IDENTITY:
                begun = dict(json.loads(_arrays(payload)["json"].tobytes()))
            else:
                while key == _OF_FILE and (key, number) in self._index:  # a note of another shard
                    number -= 1
                self._index[key, number] = reader, start, length
            end = start + length
        return begun, end

    def part(self, *of: object) -> Parts:
        """
        Parts of one call among those of the computation.

        Parameters
        ----------
        *of : what JSON can carry
            What tells the call from others.
        """
        return Parts(self, blake2b(json.dumps(of, sort_keys=True, default=str).encode(), digest_size=16).digest())

    def note(self, text: str) -> list[str]:
        """Keep a line, such as on what kind of processor parts were computed, and return all that were kept."""
        known = {number: _text(self._read(key, number)) for key, number in self._index if key == _OF_FILE}
        if text not in known.values():
            number = min(known, default=_NOTE + 1) - 1
            self._append(_OF_FILE, number, {"text": np.frombuffer(text.encode(), np.uint8)})
            known[number] = text
        return list(known.values())

    def close(self) -> None:
        """Force what was written to the disk, and let others write."""
        with self._told():
            if self._stream is not None:
                os.fsync(self._stream.fileno())
        for reader in self._readers:
            reader.close()
        if self._stream is not None:
            self._stream.close()
        self._stream, self._readers = None, []

    def remove(self) -> None:
        """Close and delete the file, once all that was computed is kept elsewhere."""
        with suppress(OSError):
            self.path.unlink()
        with suppress(ValueError):
            unfinished_files.remove(self.path)
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, key: bytes, number: int) -> dict[str, NDArray[Any]]:
        reader, start, length = self._index[key, number]
        reader.seek(start)
        return _arrays(_read(reader, length))

    def _append(self, key: bytes, number: int, arrays: Arrays) -> None:
        record = _record(key, number, arrays)
        with self._told():
            start = self._end + _RECORD.size
            self._write(record)
            if self._stream is not None:
                self._index[key, number] = self._readers[0], start, len(record) - _RECORD.size

    def _write(self, content: bytes) -> None:
        """Write at the end; what was written in part is taken back."""
        if self._stream is None:
            return
        try:
            write_all(self._stream, content)
        except OSError:
            with suppress(OSError):
                self._stream.truncate(self._end)
                self._stream.seek(self._end)
            raise
        self._end += len(content)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._stream.fileno())
            if not os.fstat(self._stream.fileno()).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "the file is gone")
            self._synced = time.monotonic()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell once of what the disk refuses, and go on."""
        try:
            yield
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            text = f"{self.path}: could not be written ({error.strerror}); the computation goes on, but could not be "
            warnings.warn(text + "resumed", UserWarning, stacklevel=5)


@dataclass(frozen=True)
class Parts:
    """Parts of one call in a journal, by their numbers."""

    journal: Journal
    key: bytes

    @property
    def numbers(self) -> set[int]:
        """Those that are there."""
        return {number for key, number in self.journal._index if key == self.key}

    def get(self, number: int) -> dict[str, NDArray[Any]]:
        """Arrays of one that is there."""
        return self.journal._read(self.key, number)

    def append(self, number: int, arrays: Arrays) -> None:
        """Keep one that is finished; it is in the system's hands at once, and on the disk within half a minute."""
        self.journal._append(self.key, number, arrays)


@contextlib.contextmanager
def opened(
    journal: str | os.PathLike[str] | Journal | None, identity: Mapping[str, Any], inputs: Sequence[Path] = ()
) -> Iterator[Journal | None]:
    """A journal that is open, or the one of a path, which is closed in the end; None where none is asked for."""
    if journal is None or isinstance(journal, Journal):
        yield journal
    elif isinstance(journal, str | os.PathLike):
        with Journal.open(journal, identity, inputs=inputs) as own:
            yield own
    else:
        raise PlanError(f"journal={journal!r} must be the path of a file")


def require_same(
    path: Path, begun: Mapping[str, Any], asked: Mapping[str, Any],
    fix: str = "remove the file to begin anew, or ask for the same",
) -> None:  # fmt: skip
    """Refuse parts of something else, naming what differs; whether it is a shard is not looked at unless asked for."""
    for name in dict.fromkeys([*asked, *(name for name in begun if name != "shard")]):
        if begun.get(name) != asked.get(name):
            raise PlanError(
                f"{path}: was begun with another {name}: {name}={begun.get(name)!r}, now {asked.get(name)!r}; {fix}"
            )


def described(path: str | os.PathLike[str]) -> tuple[str, dict[str, Any]] | None:
    """What a journal or a shard holds, as text and for JSON; None of any other file.

    Raises
    ------
    InputError
        If it is one and its beginning is damaged.
    """
    if not Path(path).is_file() or not JOURNAL.recognises(Path(path)):
        return None
    journal = Journal(Path(path), {})
    try:
        begun = journal._read_in(Path(path))
    finally:
        journal.close()
    n, shard = sum(key != _OF_FILE for key, _ in journal._index), begun.pop("shard", "")
    what = f"shard {shard} of a run" if shard else "finished parts of a computation"
    use = "ibsync merge finishes the run from all its shards" if shard else "the same command with --resume goes on"
    made_of = "\n".join(f"  {name:<24}{value}" for name, value in begun.items() if value not in (None, [], {}))
    return f"{path}: {what}, {n} parts; {use}\n\n{made_of}", {
        "kind": "shard" if shard else "journal",
        "shard": shard,
        "parts": n,
        "of": begun,
    }


def _shard_of(path: Path, begun: Mapping[str, Any], n: int) -> tuple[int, int]:
    if "shard" not in begun:
        raise PlanError(f"{path}: is the journal of a whole run, not a shard; go on with ibsync run --resume")
    number, of = map(int, begun["shard"].split("/"))
    if n and of != n:
        raise PlanError(f"{path}: is shard {number}/{of}, the others are of {n}: name the shards of one run")
    return number, of


def _lock_or_refuse(stream: FileIO, path: Path) -> None:
    try:
        if fcntl is not None:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # some file systems have no locks
        if error.errno in _LOCKED:
            raise InputError(f"{path}: is being written by another computation; wait for it, or stop it") from error


def _read(reader: FileIO, n: int) -> bytes:
    """So many bytes, or what there is; a raw file may give fewer at a time."""
    parts = []
    while n and (part := reader.read(n)):
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


def as_kept(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, as it comes back from a file."""
    return dict(json.loads(json.dumps(dict(identity), default=str)))


def _as_array(content: object) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


def _text(arrays: Arrays) -> str:
    return arrays["text"].tobytes().decode()


def _digest(*parts: bytes) -> bytes:
    return blake2b(b"".join(parts), digest_size=16).digest()


def _record(key: bytes, number: int, arrays: Arrays) -> bytes:
    plain = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()}
    if any(array.dtype.hasobject for array in plain.values()):
        raise TypeError("a journal holds numbers, not objects")
    head = json.dumps([[name, array.dtype.str, array.shape] for name, array in plain.items()]).encode()
    payload = b"".join([_HEAD.pack(len(head)), head, *(array.tobytes() for array in plain.values())])
    rest = _RECORD.pack(b"", key, number, len(payload))[16:]
    return _digest(rest, payload) + rest + payload


def _arrays(payload: bytes) -> dict[str, NDArray[Any]]:
    (length,) = _HEAD.unpack_from(payload)
    at, arrays = _HEAD.size + length, {}
    for name, dtype, shape in json.loads(payload[_HEAD.size : at]):
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(payload, dtype, count, at).reshape(shape).copy()
        at += arrays[name].nbytes
    return arrays
