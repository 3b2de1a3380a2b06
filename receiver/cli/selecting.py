"""Which callbacks `replay` sends: those that it is asked for, or those that its job began with."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import orjson

from receiver import clock
from receiver.catalog import Catalog
from receiver.catalog.filters import Shard
from receiver.cli.lookup import read_filters
from receiver.errors import SettingsError
from receiver.replay import Job, Selection, job

# Stands for an empty list of ids, when nothing failed: no ids would select everything.
_NONE = "none"
# Absent ids that are named; the others are only counted.
_NAMED_MAX = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of the user; ``given`` are the options that select callbacks."""

    url: str
    ids: tuple[str, ...]
    failed_of: str | None
    given: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """Return it as the user wrote it, without the URL, which can hold secrets."""
        texts = {
            name: _text(value)
            for name, value in self.given.items()
            if value not in (None, False) and (name, value) != ("order", "arrival")
        }
        if self.ids:
            texts["ids"] = " ".join(self.ids)
        if self.failed_of is not None:
            texts["failed_of"] = self.failed_of
        return texts

    @property
    def url_sha256(self) -> str:
        """Identifies the target, without showing it."""
        return hashlib.sha256(self.url.encode()).hexdigest()


def selected(asked: Asked, jobs: Path, opened: Job | None) -> Selection:
    """Return what to send.

    Raises `SettingsError` if the job began with other options, and `click.UsageError` for options
    that exclude each other.
    """
    _check(asked)
    before = None if opened is None else opened.asked()
    if before is not None:
        assert opened is not None
        _check_same(opened.name, before, asked)
        if asked.failed_of != opened.name:
            return Selection.of(before["selection"])
    if asked.failed_of is not None:
        failed = opened.failed() if opened is not None else iter(())
        if opened is None or asked.failed_of != opened.name:
            failed = iter(job.look(jobs, asked.failed_of)[2])
        return Selection(ids=tuple(each.delivery_id for each in failed) or (_NONE,))
    options = dict(asked.given)
    rest = {name: options.pop(name) for name in ("order", "limit", "latest", "shard")}
    filters = read_filters(options)
    if not asked.ids:
        # Callbacks that arrive while it runs, or before it is resumed, are left out.
        now_us = clock.now_us()
        filters = replace(filters, until_us=min(filters.until_us or now_us, now_us))
    return Selection(ids=asked.ids, filters=filters, **rest)


def lacking(selection: Selection, catalog: Catalog, *, found: int) -> str:
    """Return a message about callbacks that were asked for and are not there, "" if none are.

    A part of the keys may well be empty.
    """
    if selection.ids == (_NONE,):
        return ""
    if not selection.ids:
        total = found or replace(selection, shard=None).size(catalog).callbacks
        return "" if total else "nothing found"
    absent = selection.absent(catalog)
    if not absent:
        return ""
    more = f" and {len(absent) - _NAMED_MAX} more" if len(absent) > _NAMED_MAX else ""
    return f"not in the archive: {', '.join(absent[:_NAMED_MAX])}{more}"


def begin(asked: Asked, selection: Selection, opened: Job) -> None:
    """Record what a job is asked for, if it is new."""
    if opened.asked() is None:
        opened.begin(
            {
                "asked": asked.plain(),
                "url_sha256": asked.url_sha256,
                "selection": selection.plain(),
                "begun_at": clock.rfc3339(clock.now_us()),
            }
        )


def _check(asked: Asked) -> None:
    texts = set(asked.plain()) - {"ids", "failed_of", "limit"}
    if asked.ids and texts:
        raise click.UsageError("give ids or filters, not both")
    if asked.failed_of is not None and (asked.ids or texts or asked.given["limit"]):
        raise click.UsageError("--failed-of sends what failed, and takes no ids or filters")


def _check_same(name: str, before: Mapping[str, Any], asked: Asked) -> None:
    """Raise `SettingsError` unless a job goes on with the options it began with, or with none."""
    if before["url_sha256"] != asked.url_sha256:
        raise SettingsError(
            f"job {name} was begun with another --to, and holds its confirmations; use another name"
        )
    plain = asked.plain()
    if plain and plain not in (before["asked"], {"failed_of": name}):
        begun = orjson.dumps(before["asked"]).decode()
        raise SettingsError(
            f"job {name} was begun with {begun}: give the same, or none, or use another name"
        )


def _text(value: Any) -> str:
    if isinstance(value, Shard):
        return f"{value.index}/{value.of}"
    return str(getattr(value, "text", value))
