"""The settings: environment variables `RECEIVER_…`, read once, typed.

A secret may stand in a file instead, named by the same variable with `_FILE` behind it.  Where
there is a file `.env`, what it sets and the environment does not is added to the environment, so
that it can hold `AWS_…` too.  An unknown `RECEIVER_…` name is an error, and so is an empty value: a
typo, or a template with a hole in it, loses data quietly.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from receiver.config import environment
from receiver.config.environment import PREFIX
from receiver.config.types import (
    EMPTY,
    Bytes,
    Families,
    List,
    Networks,
    Seconds,
    SecondsAboveZero,
    Tokens,
    Url,
    expected,
    read_text,
)
from receiver.errors import SettingsError

# For this one, empty has a meaning: no proxy is believed.
_MAY_BE_EMPTY = "forwarded_allow_ips"


class Settings(BaseSettings):
    """What is in force; `description` is the line that the README prints."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    archive: str = Field("data/archive", description="`s3://bucket/prefix` or a directory")
    spool: Path = Field(Path("data/spool"), description="directory of the spool, on a local disk")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    workers: int = Field(1, ge=1, le=256, description="server processes")
    admin_host: str = Field("127.0.0.1", description="address of `/metrics` and `/status`")
    admin_port: int = Field(8001, ge=0, le=65535, description="their port; 0 takes a free one")
    public_url: Url | None = Field(None, description="what the providers call, for `receiver urls`")
    instance: str = Field(
        default_factory=socket.gethostname, description="name of this receiver in every line"
    )
    tokens: Tokens = Field(
        (), description="secrets in the URLs, comma-separated; all are valid at once"
    )
    ack: Literal["spool", "archive"] = Field(
        "spool", description="what a 2xx waits for: the disk, or the archive too"
    )
    archive_ack_ms: int = Field(
        100, ge=1, le=10_000, description="with `ACK=archive`: callbacks gather for so long"
    )
    archive_ack_seconds_max: SecondsAboveZero = Field(
        8.0, description="with `ACK=archive`: longest wait for the archive; 503 above"
    )
    forwarded_allow_ips: str = Field(
        "127.0.0.1",
        validation_alias="FORWARDED_ALLOW_IPS",
        description="proxies whose `X-Forwarded-For` is believed",
    )
    dataforseo_sources: Networks = Field(
        (), description="addresses or networks that DataForSEO calls from"
    )
    dataforseo_sources_mode: Literal["off", "log", "enforce"] = Field(
        "off", description="what to do about other addresses"
    )
    outscraper_signature: Literal["required", "if-present", "off"] = Field(
        "if-present", description="whether `X-Hub-Signature-256` is checked"
    )
    outscraper_api_keys: List[SecretStr] = Field(
        (), description="keys that sign Outscraper's webhooks, comma-separated"
    )
    dataforseo_url: Url = Field("https://api.dataforseo.com", description="its API")
    dataforseo_login: str | None = Field(None, description="login of its API; sweeps need it")
    dataforseo_password: SecretStr | None = Field(None, description="API password")
    dataforseo_families: Families = Field(
        ("serp", "merchant", "app_data", "business_data", "on_page"),
        description="lists of `tasks_ready` that are swept; name only those in use",
    )
    dataforseo_tags: str = Field(
        "*", description="pattern of the tags that are ours; others are never collected"
    )
    dataforseo_sweep_seconds: Seconds = Field(300.0, description="time between sweeps")
    dataforapps_url: Url = Field("https://api.dataforapps.com", description="its API")
    dataforapps_login: str | None = Field(None, description="login of its API; sweeps need it")
    dataforapps_password: SecretStr | None = Field(None, description="API password")
    dataforapps_families: Families = Field(
        ("app_data",), description="lists of `tasks_ready` that are swept"
    )
    dataforapps_tags: str = Field("*", description="pattern of the tags that are ours")
    dataforapps_sweep_seconds: Seconds = Field(300.0, description="time between sweeps")
    diffbot_url: Url = Field("https://api.diffbot.com", description="its API")
    diffbot_token: SecretStr | None = Field(None, description="token of its API; sweeps need it")
    diffbot_sweep_seconds: Seconds = Field(900.0, description="time between sweeps")
    outscraper_url: Url = Field(
        "https://api.outscraper.cloud", description="its API; sweeps use the first of the API keys"
    )
    outscraper_sweep_seconds: Seconds = Field(
        900.0, description="time between sweeps; results are kept for four hours"
    )
    sweep_grace_seconds: Seconds = Field(
        600.0, description="a task younger than this is not missing yet"
    )
    sweep_tasks_max: int = Field(100_000, ge=1, description="tasks that one sweep fetches")
    lease_seconds: Annotated[float, Field(ge=5)] = Field(
        60.0, description="time to live of a lease: sweeps, forwarding"
    )
    api_timeout_seconds: SecondsAboveZero = Field(
        60.0, description="longest wait for bytes of a provider's API"
    )
    result_bytes_max: Bytes = Field(
        ByteSize(256 << 20), le=2 << 30, description="largest answer of a provider's API"
    )
    catalog: Path = Field(Path("data/catalog"), description="directory of the index's cache")
    forward_url: SecretStr | None = Field(
        None, description="where `serve` forwards to; may hold `{provider}`, `{kind}`, `{path}`"
    )
    forward_concurrency: int = Field(
        16, ge=1, le=1024, description="callbacks being forwarded at once"
    )
    forward_late_days: int = Field(
        7, ge=1, le=366, description="what reaches the archive later than this is not forwarded"
    )
    forward_gzip: bool = Field(False, description="forward as gzip what came as gzip")
    replay_secret: SecretStr | None = Field(
        None, description="`whsec_…` secret that signs replays and forwards (Standard Webhooks)"
    )
    target_timeout_seconds: SecondsAboveZero = Field(
        30.0, description="longest wait for the answer to a replayed or forwarded callback"
    )
    jobs: Path = Field(Path("data/jobs"), description="directory of the jobs of `replay`")
    # A record counts its body in 32 bits, and a body is held in memory.
    body_bytes_max: Bytes = Field(
        ByteSize(64 << 20), le=2 << 30, description="largest body taken; 413 above"
    )
    body_seconds_max: Seconds = Field(60.0, description="longest time for one body; 503 above")
    head_bytes_max: Bytes = Field(
        ByteSize(128 << 10), description="largest request line and headers together; 431 above"
    )
    head_seconds_max: SecondsAboveZero = Field(
        30.0, description="longest time for them; the connection is closed above"
    )
    inflight_bytes_max: Bytes = Field(
        ByteSize(256 << 20), description="bodies in memory at once, for each server process"
    )
    inflated_bytes_max: Bytes = Field(
        ByteSize(512 << 20), description="largest body after gunzip; kept as it came above"
    )
    batch_bytes: Bytes = Field(ByteSize(16 << 20), description="a segment is sealed at this size")
    batch_seconds: SecondsAboveZero = Field(
        10.0, description="and at this age, also when nothing comes"
    )
    spool_bytes_max: Bytes = Field(
        ByteSize(10 << 30), description="the spool takes no more than this; 503 above"
    )
    disk_reserve_bytes: Annotated[ByteSize, Field(ge=0)] = Field(
        ByteSize(512 << 20), description="free disk that the spool leaves alone; 503 below"
    )
    compression: Literal["gzip", "zstd"] = Field("gzip", description="of callbacks objects")
    ship_concurrency: int = Field(4, ge=1, le=64, description="segments shipped at once")
    retry_seconds_max: SecondsAboveZero = Field(
        60.0, description="longest pause before a failed pass is tried again"
    )
    s3_timeout_seconds: SecondsAboveZero = Field(
        30.0, description="longest wait for an answer of S3"
    )
    s3_kms_key_id: str | None = Field(None, description="encrypt objects with this KMS key")
    s3_storage_class: str | None = Field(None, description="storage class of objects")
    s3_bucket_owner: str | None = Field(
        None, description="account id that must own the bucket, else requests fail"
    )
    keep_alive_seconds: int = Field(
        75, ge=1, description="idle connections stay open; longer than the load balancer's"
    )
    drain_seconds: Seconds = Field(
        10.0, description="after SIGTERM: time to be taken out of the load balancer"
    )
    shutdown_seconds: Seconds = Field(
        15.0, description="then: time for requests in flight, and for shipping"
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="`auto` is text on a terminal, JSON lines elsewhere"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level logged"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _text(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name
        if isinstance(value, str) and name is not None and name != _MAY_BE_EMPTY:
            return read_text(value, cls.model_fields[name])
        return value

    @model_validator(mode="after")
    def _together(self) -> "Settings":
        if self.inflight_bytes_max < self.body_bytes_max:
            raise ValueError(
                "RECEIVER_INFLIGHT_BYTES_MAX must be at least RECEIVER_BODY_BYTES_MAX, "
                "or the largest body could never be taken"
            )
        if self.outscraper_signature == "required" and not self.outscraper_api_keys:
            raise ValueError(
                "RECEIVER_OUTSCRAPER_SIGNATURE=required needs RECEIVER_OUTSCRAPER_API_KEYS"
            )
        if self.dataforseo_sources_mode != "off" and not self.dataforseo_sources:
            raise ValueError(
                "RECEIVER_DATAFORSEO_SOURCES_MODE needs addresses in RECEIVER_DATAFORSEO_SOURCES"
            )
        for brand in ("dataforseo", "dataforapps"):
            login, password = getattr(self, f"{brand}_login"), getattr(self, f"{brand}_password")
            if (login is None) != (password is None):
                names = f"RECEIVER_{brand.upper()}_LOGIN and RECEIVER_{brand.upper()}_PASSWORD"
                raise ValueError(f"{names} go together")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments first, then the environment; `load` has seen to files."""
        return init_settings, env_settings


SECRETS = frozenset(
    {
        "tokens",
        "outscraper_api_keys",
        "dataforseo_password",
        "dataforapps_password",
        "diffbot_token",
        "forward_url",
        "replay_secret",
    }
)


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else PREFIX + field.upper()


def load(**given: Any) -> Settings:
    """Return the settings of this process's environment; ``given`` goes before it.

    Raises `SettingsError`, which names the variable and never its value.
    """
    environment.add_file()
    refuse_unknown()
    return _read(given)


def load_known() -> Settings:
    """Return the settings of this process's environment, whatever else it sets."""
    environment.add_file()
    return _read({})


def refuse_unknown() -> None:
    """Raise `SettingsError` where the environment sets what is no setting."""
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
        # One line for each: pydantic has one for each sort of value that it tried.
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
