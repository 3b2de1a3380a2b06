"""A directory as a store: the embedded default, for a laptop or a test."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from receiver import disk
from receiver.errors import Conflict, NotFound, StoreError, StoreRefused
from receiver.store.base import Check, Listed

_LOCK = ".lock"


class DirectoryStore:
    """Keys are paths below a directory; files whose names begin with a dot are not objects.

    The umask says who may read what is written, so that other programs can query an archive.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def url(self) -> str:
        """The directory's path."""
        return str(self._root)

    @property
    def identity(self) -> str:
        """The directory's absolute path."""
        return str(self._root.resolve())

    def put(self, key: str, content: bytes) -> None:
        """Write temp, sync, rename, sync the directory; durable on return."""
        path = self._path(key)
        try:
            disk.make_directory(path.parent)
            disk.write_durably(path, content, mode=disk.SHARED_FILE)
        except OSError as exc:
            raise _error(exc, f"cannot write {path}") from exc

    def put_if(self, key: str, content: bytes, *, etag: str | None) -> str:
        """Write under a lock that all writers of this directory on this machine share."""
        try:
            disk.make_directory(self._root)
            lock = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT, disk.SHARED_FILE)
        except OSError as exc:
            raise _error(exc, f"cannot lock {self._root}") from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._etag(key) != etag:
                raise Conflict(f"{key} is not as expected")
            self.put(key, content)
        finally:
            os.close(lock)
        return _etag(content)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Read the file, or a range of it."""
        path = self._path(key, error=NotFound)
        try:
            with path.open("rb") as file:
                # Memory is taken for all that is asked for, so ask for no more than is there.
                left = max(0, os.fstat(file.fileno()).st_size - start)
                file.seek(start)
                return file.read(-1 if length is None else min(length, left))
        except FileNotFoundError as exc:
            raise NotFound(f"there is no {key} in {self.url}") from exc
        except OSError as exc:
            raise _error(exc, f"cannot read {key}") from exc

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """Read the file; its etag is the hash of its content."""
        content = self.get(key)
        return content, _etag(content)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        """Walk only the directories that can hold such keys."""
        yield from self._walk(prefix, after, prefix.rpartition("/")[0])

    def folders(self, prefix: str) -> Iterator[str]:
        """Name the directories of one directory."""
        found = _entries(self._root / prefix)
        yield from sorted(f"{prefix}{entry.name}/" for entry in found if entry.is_dir())

    def delete(self, key: str) -> None:
        """Unlink the file; directories stay."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise _error(exc, f"cannot remove {path}") from exc

    def checks(self) -> Iterator[Check]:
        """Write, read and remove a file."""
        key = f"leases/.check-{os.getpid()}"
        try:
            self.put(key, b"check")
            self.get(key)
            self.delete(key)
        except StoreError as exc:
            hint = "make it writable for this user, or set RECEIVER_ARCHIVE to another"
            yield Check("archive", False, exc.detail, hint, refused=True)
            return
        yield Check("archive", True, f"{self.url} can be written")
        detail = "a lock file keeps the processes of this machine apart, not those of others"
        yield Check("conditional writes", True, detail)

    def _path(self, key: str, *, error: type[StoreError] = StoreRefused) -> Path:
        """Return the path of a key; raise ``error`` if it would not be a file below the root."""
        parts = key.split("/")
        if {"", ".", ".."} & set(parts) or "\0" in key:
            raise error(f"{key!r} is not the key of an object in a directory")
        return self._root.joinpath(*parts)

    def _etag(self, key: str) -> str | None:
        try:
            return self.get_with_etag(key)[1]
        except NotFound:
            return None

    def _walk(self, prefix: str, after: str, folder: str) -> Iterator[Listed]:
        found = _entries(self._root / folder)
        base = f"{folder}/" if folder else ""
        # As S3 sorts: a directory's keys all go on with a slash.
        for key, entry in sorted((base + e.name + "/" * e.is_dir(), e) for e in found):
            if key.endswith("/"):
                reaches = key.startswith(prefix) or prefix.startswith(key)
                if reaches and (key > after or after.startswith(key)):
                    yield from self._walk(prefix, after, key[:-1])
            elif key.startswith(prefix) and key > after:
                try:
                    size = entry.stat().st_size
                except FileNotFoundError:
                    continue  # deleted since
                yield Listed(key, size)


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        return [entry for entry in os.scandir(folder) if entry.name[0] != "."]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        raise _error(exc, f"cannot list {folder}") from exc


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _error(exc: OSError, what: str) -> StoreError:
    lasting = PermissionError | NotADirectoryError | FileExistsError
    kind = StoreRefused if isinstance(exc, lasting) else StoreError
    return kind(f"{what}: {exc.strerror or exc}")
