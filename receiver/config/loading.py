"""Reading the settings from the environment, and handing them to another process."""

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import SecretStr, ValidationError

from receiver.config import environment
from receiver.config.settings import SECRETS, Settings, variable
from receiver.config.types import EMPTY, expected
from receiver.errors import SettingsError


def load(**given: Any) -> Settings:
    """Return the settings of this process's environment; ``given`` ones take precedence.

    Raises `SettingsError`, which names the variable but never shows its value.
    """
    environment.add_file()
    refuse_unknown()
    return _read(given)


def load_known() -> Settings:
    """Return the settings of this process's environment, even if it sets unknown names."""
    environment.add_file()
    return _read({})


def refuse_unknown() -> None:
    """Raise `SettingsError` if the environment sets a `RECEIVER_…` name that is no setting."""
    environment.refuse_unknown(map(variable, Settings.model_fields), map(variable, SECRETS))


def dump(settings: Settings) -> bytes:
    """Return settings as one line for another process of this instance, secrets included."""
    return orjson.dumps({name: _plain(getattr(settings, name)) for name in Settings.model_fields})


def restore(line: bytes) -> Settings:
    """Return the settings that `dump` wrote."""
    return Settings(**orjson.loads(line))


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, int | float | str) else str(value)


def _read(given: Mapping[str, Any]) -> Settings:
    contents = environment.read_files({name: variable(name) for name in SECRETS})
    before = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**contents | before)
    except ValidationError as exc:
        # One message per setting: pydantic has one for each type of value that it tried.
        lines = dict.fromkeys(_explain(dict(error)) for error in exc.errors())
        raise SettingsError("; ".join(lines)) from None


def _explain(error: dict[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    field = str(error["loc"][0])
    if field not in Settings.model_fields:
        return f"{field}: {message}"
    if error["type"] == EMPTY:
        return f"{variable(field)} {message}"
    if error["type"] != "value_error":
        wanted = expected(Settings.model_fields[field])
        message = f"must be {wanted}" if wanted else message
    return f"{variable(field)}: {message}"
