"""A job: what a replay was asked to send and the outcome of each callback, in a SQLite file.

An outcome is in the file when `record` returns, so it survives the process.  The latest may be lost
if the machine fails; those callbacks are then sent again.
"""

import errno
import fcntl
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from receiver import disk
from receiver.archive.schema import Entry
from receiver.errors import SettingsError, StoreError

SUFFIX = ".sqlite"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_FORMAT = 1
_HINT = "set RECEIVER_JOBS to a directory that this user can write"
# Errors that may pass by themselves; any other means that the directory is the wrong one.
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)
_WRONG_PLACE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS asked (what TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS outcomes (
        delivery_id BLOB PRIMARY KEY,
        confirmed INTEGER NOT NULL, attempts INTEGER NOT NULL, why TEXT
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS failed ON outcomes (delivery_id) WHERE NOT confirmed;
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The outcome of one callback."""

    delivery_id: str
    confirmed: bool
    attempts: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """The progress of a job."""

    confirmed: int
    failed: int


class Job:
    """A job file, used by one process at a time.  Use as a context manager, from one thread.

    A file that was made and whose job never began is removed again.  Raises `SettingsError` for an
    invalid name, a job that is running or a directory that cannot be written, and `StoreError` if
    the file fails.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.path = directory / f"{check_name(name)}{SUFFIX}"

    def __enter__(self) -> Self:
        try:
            disk.make_directory(self.path.parent, mode=disk.PRIVATE_DIRECTORY)
            # The database's own locks last for a transaction, this one as long as the process.
            flags = os.O_RDWR | os.O_CREAT
            self._lock = os.open(self.path.with_suffix(".lock"), flags, disk.PRIVATE_FILE)
        except OSError as exc:
            raise self._error(exc) from exc
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._stays = self.path.exists()
            disk.make_private(self.path)
            self._database = _connect(self.path)
        except BlockingIOError:
            os.close(self._lock)
            raise SettingsError(f"job {self.name} is running in another process") from None
        except OSError as exc:
            os.close(self._lock)
            raise self._error(exc) from exc
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()
        if not self._stays:
            self.path.unlink(missing_ok=True)
        os.close(self._lock)

    def _error(self, exc: OSError) -> StoreError | SettingsError:
        detail = f"cannot use the job file {self.path}: {exc.strerror}"
        if exc.errno in _PASSING:
            return StoreError(detail)
        return SettingsError(detail, hint=_HINT)

    def asked(self) -> dict[str, Any] | None:
        """Return what the job was asked to send, None if it is new."""
        with _raising(self.path):
            return _asked(self._database)

    def begin(self, what: Mapping[str, Any]) -> None:
        """Record what a new job is asked to send."""
        with _raising(self.path), self._database:
            self._database.execute("INSERT INTO asked VALUES (?)", (orjson.dumps(what).decode(),))
        self._stays = True

    def unconfirmed(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield the entries that the target has not confirmed; may run in another thread."""
        query = "SELECT 1 FROM outcomes WHERE delivery_id = ? AND confirmed"
        with _raising(self.path), closing(_connect(self.path)) as database:
            for entry in entries:
                if not database.execute(query, (_packed(entry.delivery_id),)).fetchone():
                    yield entry

    def record(self, outcomes: Iterable[Recorded]) -> None:
        """Record outcomes; a later one of the same callback replaces the earlier.

        Raises `StoreError` if they cannot be written.
        """
        rows = ((_packed(o.delivery_id), o.confirmed, o.attempts, o.why or None) for o in outcomes)
        with _raising(self.path), self._database:
            self._database.executemany("REPLACE INTO outcomes VALUES (?, ?, ?, ?)", rows)

    def counts(self) -> Counts:
        """Return how many callbacks were confirmed, and how many failed."""
        with _raising(self.path):
            return _counts(self._database)

    def failed(self) -> Iterator[Recorded]:
        """Yield the callbacks that were given up and not confirmed since, by arrival."""
        with _raising(self.path):
            yield from _failed(self._database)


def check_name(name: str) -> str:
    """Return a name if it is valid in a file name and a key.  Raises `SettingsError`."""
    if not _NAME.match(name):
        raise SettingsError("a name is 1 to 100 of A-Z a-z 0-9 . _ -, not beginning with . _ -")
    return name


def look(directory: Path, name: str) -> tuple[dict[str, Any], Counts, list[Recorded]]:
    """Return what a job was asked to send, its progress and what failed; it may be running.

    Raises `SettingsError` if there is no such job.
    """
    path = check_exists(directory, name)
    with _raising(path), closing(_connect(path)) as database:
        return _asked(database) or {}, _counts(database), list(_failed(database))


def check_exists(directory: Path, name: str) -> Path:
    """Return a job's file.  Raises `SettingsError` if there is no such job."""
    path = directory / f"{check_name(name)}{SUFFIX}"
    if not path.exists():
        raise SettingsError(f"there is no job {name} in {directory}; `receiver jobs` lists all")
    return path


def names(directory: Path) -> list[str]:
    """Return the names of all jobs."""
    return sorted(path.stem for path in directory.glob(f"*{SUFFIX}"))


def _connect(path: Path) -> sqlite3.Connection:
    with _raising(path):
        database = sqlite3.connect(path, timeout=60.0)
        try:
            (known,) = database.execute("PRAGMA user_version").fetchone()
            if known not in (0, _FORMAT):
                raise StoreError(f"the job file {path} was written by another version")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.executescript(_SCHEMA)
            database.execute(f"PRAGMA user_version = {_FORMAT}")
        except BaseException:
            database.close()
            raise
        return database


@contextmanager
def _raising(path: Path) -> Iterator[None]:
    """Raise errors of the database as our own."""
    try:
        yield
    except (sqlite3.Error, orjson.JSONDecodeError) as exc:
        detail = f"the job file {path} failed: {exc}"
        # The lowest byte is the kind of error.
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF in _WRONG_PLACE:
            raise SettingsError(detail, hint=_HINT) from exc
        raise StoreError(detail) from exc


def _asked(database: sqlite3.Connection) -> dict[str, Any] | None:
    row = database.execute("SELECT what FROM asked").fetchone()
    return None if row is None else orjson.loads(row[0])


def _counts(database: sqlite3.Connection) -> Counts:
    query = "SELECT coalesce(sum(confirmed), 0), coalesce(sum(NOT confirmed), 0) FROM outcomes"
    confirmed, failed = database.execute(query).fetchone()
    return Counts(confirmed, failed)


def _failed(database: sqlite3.Connection) -> Iterator[Recorded]:
    query = (
        "SELECT delivery_id, attempts, why FROM outcomes WHERE NOT confirmed ORDER BY delivery_id"
    )
    for packed, attempts, why in database.execute(query):
        yield Recorded(_unpacked(packed), confirmed=False, attempts=attempts, why=why or "")


def _packed(delivery_id: str) -> bytes:
    return bytes.fromhex(delivery_id.replace("-", ""))


def _unpacked(packed: bytes) -> str:
    text = packed.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
