"""The file of a catalog: an SQLite database that several processes use, or a temporary one.

Whoever has it open holds a shared lock on a file beside it.  A damaged one is removed under the
exclusive lock, so nobody's database is taken away beneath him; who removes it makes the lock's
file a byte longer, by which the others see that it has been done.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from receiver.catalog.filters import Shard
from receiver.catalog.tables import FORMAT, SCHEMA
from receiver.errors import StoreError

_log = logging.getLogger(__name__)

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY_SECONDS = 60.0
_LOCK_SECONDS = 10.0
_LOCK_PAUSE_SECONDS = 0.05
_PAGE_BYTES = 8192
_CACHE_BYTES = 32 << 20
_LOG_BYTES = 64 << 20


class Unusable(StoreError):
    """The file of the catalog cannot be used at this moment."""


class Discarded(StoreError):
    """The file was damaged and has been removed: what is asked for must be synced anew."""


class _OtherFormat(Exception):
    """The file was written by another version."""


@dataclass(frozen=True, slots=True)
class _Opened:
    database: sqlite3.Connection
    # A temporary one has no lock.
    lock: "_Lock | None" = None
    inode: int | None = None

    def close(self) -> None:
        self.database.close()
        if self.lock is not None:
            self.lock.close()


class File:
    """A database with the tables of a catalog; without a path a temporary one, gone at the end."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._opened: _Opened | None = None

    @property
    def is_temporary(self) -> bool:
        """Whether nobody else will ever see it."""
        return self._path is None

    @contextlib.contextmanager
    def use(self, *, writing: bool = False) -> Iterator[sqlite3.Connection]:
        """Open it, once, and turn SQLite's errors into ours.

        Who writes gets a connection of his own: one that reads all the while sees the past, and
        may not write upon that.

        Raises `Unusable` where something is in the way, and `Discarded` where the file turns out
        to be damaged while it is used; one that is found so when it is opened is built again.
        """
        try:
            opened = self._open()
            if writing and self._path is not None:
                with contextlib.closing(_connect(str(self._path))) as database:
                    yield database
            else:
                yield opened.database
        except sqlite3.OperationalError as exc:
            raise Unusable(f"the catalog {self._path} failed: {exc}") from exc
        except (sqlite3.DatabaseError, _OtherFormat) as exc:
            if self._opened is None or not _is_damage(exc):
                raise
            self._discard(exc)
            raise Discarded(f"the catalog {self._path} was damaged: {exc}; try again") from exc

    def look_again(self) -> None:
        """Let go of a file that was removed or replaced."""
        if self._opened is not None and self._opened.inode != _inode(self._path):
            self._close()

    def _open(self) -> _Opened:
        if self._opened is None:
            self._opened = _Opened(_connect("")) if self._path is None else _open(self._path)
            self._closing = weakref.finalize(self, self._opened.close)
        return self._opened

    def _discard(self, why: Exception) -> None:
        opened = self._open()
        opened.database.close()
        try:
            if self._path is not None and opened.lock is not None:
                _remove(self._path, opened.lock, why)
        finally:
            self._close()

    def _close(self) -> None:
        self._closing()
        self._opened = None


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing; other processes wait meanwhile."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _open(path: Path) -> _Opened:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _Lock(path.with_name(f"{path.name}.lock"))
    except OSError as exc:
        raise Unusable(f"the catalog {path} cannot be made: {exc.strerror or exc}") from exc
    try:
        try:
            database = _connect(str(path))
        except (sqlite3.DatabaseError, _OtherFormat) as exc:
            if not _is_damage(exc):
                raise
            _remove(path, lock, exc)
            database = _connect(str(path))
    except BaseException:
        lock.close()
        raise
    return _Opened(database, lock, _inode(path))


class _Lock:
    """A lock that is shared from the beginning."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        self._removals = self._counted()

    def try_alone(self) -> bool:
        """Try to be the only one; the share is lost meanwhile, also where it fails."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @property
    def has_removed(self) -> bool:
        """Whether anybody has removed the file since the lock was shared."""
        return self._counted() != self._removals

    def count_removal(self) -> None:
        """Let the others know."""
        os.write(self._fd, b".")

    def share(self) -> None:
        """Share it again."""
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        self._removals = self._counted()

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)

    def _counted(self) -> int:
        return os.fstat(self._fd).st_size


def _connect(name: str) -> sqlite3.Connection:
    # A sweep asks from one thread after another.
    database = sqlite3.connect(
        name, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        database.create_function("in_shard", 4, _in_shard, deterministic=True)
        # Larger pages than usual: taking in costs a tenth less.
        database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        database.execute(f"PRAGMA cache_size = {-(_CACHE_BYTES // 1024)}")
        # Nothing here is worth overwriting with zeros, which some builds do.
        database.execute("PRAGMA secure_delete = OFF")
        database.execute(f"PRAGMA journal_mode = {'WAL' if name else 'MEMORY'}")
        # A power cut may take the last transactions, which are read again, but damages nothing.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA wal_autocheckpoint = {_LOG_BYTES // _PAGE_BYTES}")
        database.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        if _format(database) == 0:
            with transaction(database):
                _create(database)
        if _format(database) != FORMAT:
            raise _OtherFormat("another version wrote it")
    except BaseException:
        database.close()
        raise
    return database


def _in_shard(provider: str, key: str, index: int, of: int) -> bool:
    return Shard(index, of).holds(provider, key)


def _create(database: sqlite3.Connection) -> None:
    if _format(database) == 0:  # else another process was quicker
        for statement in SCHEMA:
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {FORMAT}")


def _format(database: sqlite3.Connection) -> int:
    (known,) = database.execute("PRAGMA user_version").fetchone()
    assert isinstance(known, int)
    return known


def _is_damage(exc: Exception) -> bool:
    """Say whether a file must be built again; one that is only busy or unreachable must not."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    return isinstance(exc, _OtherFormat) or code in _DAMAGED


def _remove(path: Path, lock: _Lock, why: Exception) -> None:
    """Remove a file once nobody uses it, unless another process has done so by then."""
    end = time.monotonic() + _LOCK_SECONDS
    while not lock.has_removed:
        if lock.try_alone():
            if not lock.has_removed:
                _log.warning(
                    "catalog is damaged or of another version, and built again",
                    extra={"error": str(why)},
                )
                lock.count_removal()
                for suffix in ("", "-wal", "-shm"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
            break
        if time.monotonic() > end:
            raise Unusable(f"the catalog {path} is damaged, and in use: {why}")
        time.sleep(_LOCK_PAUSE_SECONDS)
    lock.share()


def _inode(path: Path | None) -> int | None:
    try:
        return None if path is None else path.stat().st_ino
    except FileNotFoundError:
        return None
