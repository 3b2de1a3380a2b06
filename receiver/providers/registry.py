"""The adapters by name: the built-in ones, and those that installed distributions add.

A distribution adds an adapter by an entry point of the group ``receiver.providers``, whose name is
the provider's name and whose object is the adapter or its class.  Every adapter that is added is
checked once, when it is loaded; README.md says what is expected of it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib import metadata
from typing import Any

from receiver.errors import SettingsError
from receiver.providers.base import Entrance, Provider, Recognised, query_of
from receiver.providers.envelope import Envelope

GROUP = "receiver.providers"

_SLUG = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_SLUG_FORM = "1 to 32 of a-z 0-9 _ -, beginning with a letter"
# The door's own paths.
_RESERVED_NAMES = frozenset({"healthz", "readyz", "version"})
# Kinds of lines that are fetched; no callback has them.
_RESERVED_KINDS = frozenset({"result", "file"})
_PARAMETER = re.compile(r"[!-~]+")
_QUERY = re.compile(r"(?:\?[!-~]+)?")


class Registry(Mapping[str, Provider]):
    """All adapters by name.

    Entry points are loaded when the registry is first used, not when this package is imported,
    because the modules of adapters import it.  The first use raises `SettingsError` if one of them
    cannot be loaded or fails its checks.
    """

    def __init__(self, built_in: Sequence[Provider]) -> None:
        self._built_in = built_in

    def __getitem__(self, name: str) -> Provider:
        return self._adapters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._adapters)

    def __len__(self) -> int:
        return len(self._adapters)

    @cached_property
    def _adapters(self) -> Mapping[str, Provider]:
        adapters = {adapter.name: adapter for adapter in self._built_in}
        for entry_point in metadata.entry_points(group=GROUP):
            adapter = _load(entry_point)
            if adapter.name in adapters:
                raise _error(entry_point, "its name is taken")
            adapters[adapter.name] = adapter
        return adapters


def _load(entry_point: metadata.EntryPoint) -> Provider:
    try:
        loaded = entry_point.load()
        adapter = loaded() if isinstance(loaded, type) else loaded
    except Exception as exc:  # a foreign module may raise anything
        raise _error(entry_point, f"{type(exc).__name__}: {exc}") from exc
    problem = find_problem(adapter)
    if problem is None and adapter.name != entry_point.name:
        problem = f"its name is {adapter.name!r}, its entry point's is {entry_point.name!r}"
    if problem is None and any(entrance.signature_header for entrance in adapter.entrances):
        # The keys that sign are settings, and a plug-in has none.
        problem = "signature_header is only for built-in providers"
    if problem is not None:
        raise _error(entry_point, problem)
    checked: Provider = adapter
    return checked


def _error(entry_point: metadata.EntryPoint, problem: str) -> SettingsError:
    distribution = entry_point.dist.name if entry_point.dist else entry_point.module
    return SettingsError(
        f"provider {entry_point.name} ({entry_point.value}) cannot be used: {problem}",
        hint=f"correct or uninstall {distribution}",
    )


def find_problem(adapter: Any) -> str | None:
    """Return why an object cannot be used as an adapter, None if it can."""
    name, entrances = getattr(adapter, "name", None), getattr(adapter, "entrances", None)
    if not _is_slug(name) or name in _RESERVED_NAMES:
        return f"its name is {name!r}, not {_SLUG_FORM}, or reserved"
    if not isinstance(entrances, tuple) or not entrances:
        return "its entrances are not a tuple with at least one Entrance"
    kinds = set()
    for entrance in entrances:
        if not isinstance(entrance, Entrance):
            return f"{entrance!r} is not an Entrance"
        problem = _entrance_problem(entrance)
        if problem is not None:
            return f"the entrance {entrance.kind!r}: {problem}"
        if entrance.kind in kinds:
            return f"two entrances have the kind {entrance.kind!r}"
        kinds.add(entrance.kind)
    return _recognise_problem(adapter)


def _entrance_problem(entrance: Entrance) -> str | None:
    if not _is_slug(entrance.kind) or entrance.kind in _RESERVED_KINDS:
        return f"its kind is not {_SLUG_FORM}, or reserved"
    if entrance.method not in ("GET", "POST"):
        return f"its method is {entrance.method!r}, not GET or POST"
    if not isinstance(entrance.parameter, str) or not _PARAMETER.fullmatch(entrance.parameter):
        return f"its parameter is {entrance.parameter!r}, not visible ASCII"
    if not isinstance(entrance.query, str) or not _QUERY.fullmatch(entrance.query):
        return f"its query is {entrance.query!r}, not a ? and visible ASCII"
    if entrance.needs_id and "id" not in query_of(entrance.query):
        return "it needs an id, which its query does not have"
    return None


def _recognise_problem(adapter: Any) -> str | None:
    """Try an adapter on a callback whose body could not be decoded."""
    for entrance in adapter.entrances:
        callback = Envelope(
            delivery_id="",
            received_at_us=0,
            provider=adapter.name,
            kind=entrance.kind,
            origin="callback",
            peer=None,
            instance="",
            method=entrance.method,
            target=f"/{adapter.name}/{entrance.kind}/***",
            headers=(),
            body=b"",
        )
        try:
            recognised = adapter.recognise(callback, None, whole=True)
        except Exception as exc:  # noqa: BLE001 # foreign code may raise anything
            return f"recognise raises {type(exc).__name__}: {exc}"
        if not isinstance(recognised, Recognised):
            return f"recognise returns {recognised!r}, not a Recognised"
    return None


def _is_slug(value: object) -> bool:
    return isinstance(value, str) and _SLUG.fullmatch(value) is not None
