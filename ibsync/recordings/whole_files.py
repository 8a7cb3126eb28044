"""Files written whole or not at all, and paths refused before any work is done."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, PlanError

_FULL = (errno.ENOSPC, errno.EDQUOT)


class JsonFile:
    """A result that can be written as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Everything, as a dictionary that JSON can carry."""
        raise NotImplementedError

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """
        Write `to_json` to a file, whole or not at all.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        write_whole(path, self.to_json().encode())
        return Path(path)


def check_writable(path: str | os.PathLike[str]) -> Path:
    """
    The path with links resolved, if a file can be written there; call it before a long run.

    Raises
    ------
    InputError
        If the folder is missing or refuses new files, or if the path is a folder, a device or a read-only file.
    """
    target = Path(path).resolve()
    if not target.parent.is_dir():
        raise InputError(f"{path}: the folder {target.parent} does not exist; create it or choose another path")
    if target.is_dir():
        raise InputError(f"{path}: is a folder; add a file name")
    if target.exists():
        _check_replaceable(target, shown=str(path))
    _check_folder_takes_files(target, shown=str(path))
    return target


def _check_replaceable(target: Path, *, shown: str) -> None:
    mode = target.stat().st_mode
    if not stat.S_ISREG(mode):
        raise InputError(f"{shown}: is not an ordinary file; choose another path")
    # The mode is read as well, because a superuser passes every access check and would replace a protected file.
    if not mode & 0o222 or not os.access(target, os.W_OK):
        raise InputError(f"{shown}: the file is read-only; make it writable or choose another path")


def _check_folder_takes_files(target: Path, *, shown: str) -> None:
    # Trying is the only sure way: mode bits know nothing of read-only mounts, quotas and network shares.
    trial = _temporary_beside(target)
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise InputError(
            f"{shown}: no file can be written in its folder ({error.strerror}); choose another path"
        ) from error


def write_whole(path: str | os.PathLike[str], payload: bytes | memoryview) -> None:
    """Write bytes to a file, whole or not at all, as `written_whole`."""
    with written_whole(path) as temporary:
        temporary.write_bytes(payload)


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """
    Where to write a file so that its path holds either all of it or what it held before.

    The file beside the path is forced to the disk and takes the final name in one step, when the block ends well.

    Raises
    ------
    InputError
        If the path cannot be written, or the disk is full. Nothing is left behind, and an older file stays as it was.
    """
    target = check_writable(path)
    temporary = _temporary_beside(target)
    try:
        yield temporary
        with temporary.open("r+b") as stream:  # Windows forces no file to the disk that is open for reading only
            os.fsync(stream.fileno())
        temporary.replace(target)
        _force_to_disk(target.parent)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        fix = "free some space or choose another disk" if error.errno in _FULL else "choose another path"
        raise InputError(f"{path}: could not be written ({reason}); {fix}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_beside(target: Path) -> Path:
    # A short prefix of the name keeps the temporary name below the file system's limit of 255 bytes.
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.tmp")


def _force_to_disk(folder: Path) -> None:
    # The file is complete by now. Some network file systems refuse to sync a folder, and Windows to open one.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def require_ending(path: str | os.PathLike[str], known: Sequence[str]) -> None:
    """Refuse a path whose ending names no format that can be written."""
    if Path(path).suffix not in known:
        raise PlanError(f"{os.fspath(path)}: the name must end in {' or '.join(known)}")
