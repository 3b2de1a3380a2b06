"""The file of a catalog: an SQLite database that several processes use, or a temporary one.

The catalog's path is a symbolic link to the database in use.  A database that is damaged, or that
another version wrote, is replaced: its files are removed, and the link gets a new database, with a
name that was never used.  A process that has the old one open finishes its searches there, and
follows the link when it syncs.  So nobody waits for others to let go, and no database meets the
write-ahead log of another (sqlite.org/howtocorrupt.html, "Unlinking or renaming a database file
while in use").  Opening and replacing take turns under a lock.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from receiver import clock, disk
from receiver.catalog.filters import Shard
from receiver.catalog.tables import FORMAT, SCHEMA
from receiver.errors import StoreError

_log = logging.getLogger(__name__)

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY_SECONDS = 60.0
_PAGE_BYTES = 8192
_CACHE_BYTES = 32 << 20
_LOG_BYTES = 64 << 20


class Unusable(StoreError):
    """The file of the catalog cannot be used at this moment."""


class Replaced(StoreError):
    """The database was damaged, and an empty one has taken its place: sync again."""


class _OtherFormat(sqlite3.DatabaseError):
    """Another version wrote the file; to this one it is not a database."""

    sqlite_errorcode = sqlite3.SQLITE_NOTADB


class _Connection(sqlite3.Connection):
    """A connection that is closed when its last user, such as a search, lets go of it."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        super().__init__(name, **options)

    def __del__(self) -> None:
        with contextlib.suppress(sqlite3.ProgrammingError):  # it was never opened
            self.close()


class File:
    """A database with the tables of a catalog; without a path a temporary one, gone at the end.

    Both ways to use it raise `Unusable` where something is in the way, and `Replaced` where damage
    is found in use; damage that is found on opening is dealt with at once.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._kept: _Connection | None = None

    @property
    def is_temporary(self) -> bool:
        """Whether no other process will ever see it."""
        return self._path is None

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for reading, opened once."""
        if self._kept is None:
            self._kept = self._open()
        with self._errors(self._kept):
            yield self._kept

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection for writing to the database that is now the catalog's.

        It is another than for reading: a search under way sees the past, and SQLite refuses to
        write upon that.
        """
        if self._path is None:
            with self.reading() as database:
                yield database
            return
        with contextlib.closing(self._open()) as opened, self._errors(opened):
            if self._kept is not None and self._kept.name != opened.name:
                self._kept = None
            yield opened

    def _open(self) -> _Connection:
        try:
            if self._path is None:
                return _connect("")
            with _turn(self._path):
                return _open(self._path)
        except sqlite3.OperationalError as exc:
            raise Unusable(f"the catalog {self._path} cannot be opened: {exc}") from exc

    @contextlib.contextmanager
    def _errors(self, database: _Connection) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as exc:
            raise Unusable(f"the catalog {self._path} failed: {exc}") from exc
        except sqlite3.DatabaseError as exc:
            if self._path is None or not _is_damage(exc):
                raise
            self._kept = None
            with _turn(self._path):
                if str(self._path.resolve()) == database.name:
                    _replace(self._path, exc)
            raise Replaced(f"the catalog {self._path} was damaged: {exc}; try again") from exc


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


@contextlib.contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Keep other processes from opening or replacing the database of a path."""
    try:
        path.parent.mkdir(disk.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        # Opened for writing: over NFS only a writable descriptor can take the lock.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(path.with_suffix(".lock"), flags, disk.PRIVATE_FILE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)
    except OSError as exc:
        raise Unusable(f"the catalog {path} cannot be made: {exc.strerror or exc}") from exc


def _open(path: Path) -> _Connection:
    """Open the database of a path; one that is missing or damaged is made anew."""
    damage = None
    if path.exists():
        found = path.resolve()
        disk.make_private(found)
        try:
            return _connect(str(found))
        except sqlite3.DatabaseError as exc:
            if not _is_damage(exc):
                raise
            damage = exc
    return _connect(str(_replace(path, damage)))


def _replace(path: Path, damage: Exception | None) -> Path:
    """Let a path lead to an empty database, remove all that it led to before, return the new."""
    if damage is not None:
        _log.warning(
            "catalog is damaged or of another version, and built again",
            extra={"error": str(damage)},
        )
    ours = f"{path.name}-"
    for found in list(path.parent.iterdir()):
        if found.name.startswith(ours):
            found.unlink(missing_ok=True)
    new = path.with_name(f"{ours}{clock.new_id()}")
    # An empty file is an empty database.
    disk.make_private(new)
    link = new.with_name(f"{new.name}-link")
    link.symlink_to(new.name)
    link.replace(path)
    return new.resolve()


def _connect(name: str) -> _Connection:
    # A sweep asks from one thread after another.
    database = sqlite3.connect(
        name,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        factory=_Connection,
    )
    try:
        database.create_function("in_shard", 4, _in_shard, deterministic=True)
        # Larger pages than usual: taking in costs a tenth less.
        database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        database.execute(f"PRAGMA cache_size = {-(_CACHE_BYTES // 1024)}")
        # Some builds overwrite what is deleted with zeros, which nothing here needs.
        database.execute("PRAGMA secure_delete = OFF")
        database.execute(f"PRAGMA journal_mode = {'WAL' if name else 'MEMORY'}")
        # A power cut may undo the last transactions, which are then repeated; it damages nothing.
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
    for statement in SCHEMA:
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {FORMAT}")


def _format(database: sqlite3.Connection) -> int:
    (known,) = database.execute("PRAGMA user_version").fetchone()
    assert isinstance(known, int)
    return known


def _is_damage(exc: sqlite3.DatabaseError) -> bool:
    """Say whether a file must be replaced; one that is only busy or unreachable must not."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
