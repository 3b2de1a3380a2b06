"""The settings: environment variables `RECEIVER_…`, read once, typed.

A secret can be kept in a file instead, which the same variable with `_FILE` behind it names.  A
file `.env` adds what the environment does not set, `AWS_…` included.  An unknown `RECEIVER_…` name
is an error, and so is an empty value: a typo, or a template with a gap, would lose data silently.
"""

import socket
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    ByteSize,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from receiver.config.environment import PREFIX
from receiver.config.types import (
    Bytes,
    Families,
    List,
    Networks,
    Seconds,
    SecondsAboveZero,
    Tokens,
    Url,
    read_text,
)

# Empty, this one means that no proxy is trusted.
_MAY_BE_EMPTY = "forwarded_allow_ips"


class Settings(BaseSettings):
    """The settings in force.  The documentation prints each `description`."""

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
    admin_port: int = Field(
        8001, ge=0, le=65535, description="port of `/metrics` and `/status`; 0 takes a free one"
    )
    public_url: Url | None = Field(
        None, description="base URL that the providers call, for `receiver urls`"
    )
    instance: str = Field(
        default_factory=socket.gethostname,
        description="name of this receiver, in every archived line",
    )
    tokens: Tokens = Field(
        (), description="secrets in the URLs, comma-separated; all are valid at once"
    )
    ack: Literal["spool", "archive"] = Field(
        "spool",
        description="what a 2xx waits for: the disk (`spool`), or the archive, too (`archive`)",
    )
    archive_ack_ms: int = Field(
        100,
        ge=1,
        le=10_000,
        description="with `ACK=archive`: how long callbacks are gathered into one segment",
    )
    archive_ack_seconds_max: SecondsAboveZero = Field(
        8.0, description="with `ACK=archive`: time limit for the archive; then 503"
    )
    forwarded_allow_ips: str = Field(
        "127.0.0.1",
        validation_alias="FORWARDED_ALLOW_IPS",
        description="proxies whose `X-Forwarded-For` is trusted",
    )
    dataforseo_sources: Networks = Field(
        (), description="addresses or networks that DataForSEO calls from"
    )
    dataforseo_sources_mode: Literal["off", "log", "enforce"] = Field(
        "off", description="what to do about callers from other addresses"
    )
    outscraper_signature: Literal["required", "if-present", "off"] = Field(
        "if-present", description="whether to check `X-Hub-Signature-256`"
    )
    outscraper_api_keys: List[SecretStr] = Field(
        (), description="keys that sign Outscraper's webhooks, comma-separated"
    )
    dataforseo_url: Url = Field(
        "https://api.dataforseo.com", description="base URL of DataForSEO's API"
    )
    dataforseo_login: str | None = Field(None, description="login of the API; sweeps need it")
    dataforseo_password: SecretStr | None = Field(None, description="password of the API")
    dataforseo_families: Families = Field(
        ("serp", "merchant", "app_data", "business_data", "on_page"),
        description="lists of `tasks_ready` to sweep; name only those in use",
    )
    dataforseo_tags: str = Field(
        "*", description="pattern of the tags to sweep; tasks with others are never collected"
    )
    dataforseo_sweep_seconds: Seconds = Field(300.0, description="time between sweeps")
    dataforapps_url: Url = Field(
        "https://api.dataforapps.com", description="base URL of DataForApps' API"
    )
    dataforapps_login: str | None = Field(None, description="login of the API; sweeps need it")
    dataforapps_password: SecretStr | None = Field(None, description="password of the API")
    dataforapps_families: Families = Field(
        ("app_data",), description="lists of `tasks_ready` to sweep"
    )
    dataforapps_tags: str = Field("*", description="pattern of the tags to sweep")
    dataforapps_sweep_seconds: Seconds = Field(300.0, description="time between sweeps")
    diffbot_url: Url = Field("https://api.diffbot.com", description="base URL of Diffbot's API")
    diffbot_token: SecretStr | None = Field(None, description="token of the API; sweeps need it")
    diffbot_sweep_seconds: Seconds = Field(900.0, description="time between sweeps")
    outscraper_url: Url = Field(
        "https://api.outscraper.cloud",
        description="base URL of Outscraper's API; sweeps use the first of the API keys",
    )
    outscraper_sweep_seconds: Seconds = Field(
        900.0, description="time between sweeps; results are kept for four hours"
    )
    sweep_grace_seconds: Seconds = Field(
        600.0, description="age from which a finished task counts as missing"
    )
    sweep_tasks_max: int = Field(100_000, ge=1, description="maximum number of tasks per sweep")
    lease_seconds: Annotated[float, Field(ge=5)] = Field(
        60.0, description="time to live of the leases of sweeps and forwarding"
    )
    api_timeout_seconds: SecondsAboveZero = Field(
        60.0, description="time limit for each read from a provider's API"
    )
    result_bytes_max: Bytes = Field(
        ByteSize(256 << 20), le=2 << 30, description="maximum size of an answer of a provider's API"
    )
    catalog: Path = Field(
        Path("data/catalog"), description="directory of the catalog, a cache of the archive's index"
    )
    forward_url: SecretStr | None = Field(
        None, description="URL that `serve` forwards to; may hold `{provider}`, `{kind}`, `{path}`"
    )
    forward_concurrency: int = Field(
        16, ge=1, le=1024, description="number of callbacks forwarded concurrently"
    )
    forward_late_days: int = Field(
        7,
        ge=1,
        le=366,
        description="callbacks that reach the archive later than this are not forwarded",
    )
    forward_gzip: bool = Field(False, description="compress again what came as gzip")
    replay_secret: SecretStr | None = Field(
        None, description="`whsec_…` secret that signs replays and forwards (Standard Webhooks)"
    )
    target_timeout_seconds: SecondsAboveZero = Field(
        30.0, description="time limit for the answer to a replayed or forwarded callback"
    )
    jobs: Path = Field(Path("data/jobs"), description="directory of the jobs of `replay`")
    # A record stores the length of its body in 32 bits, and a body is held in memory.
    body_bytes_max: Bytes = Field(
        ByteSize(64 << 20), le=2 << 30, description="maximum size of a body; larger ones get 413"
    )
    body_seconds_max: Seconds = Field(60.0, description="time limit for a body; then 503")
    head_bytes_max: Bytes = Field(
        ByteSize(128 << 10),
        description="maximum size of request line and headers; larger ones get 431",
    )
    head_seconds_max: SecondsAboveZero = Field(
        30.0, description="time limit for the request head; then the connection is closed"
    )
    inflight_bytes_max: Bytes = Field(
        ByteSize(256 << 20),
        description="maximum size of all bodies in the memory of a server process",
    )
    inflated_bytes_max: Bytes = Field(
        ByteSize(512 << 20),
        description="maximum size of a decoded body; larger ones are kept compressed",
    )
    batch_bytes: Bytes = Field(ByteSize(16 << 20), description="size at which a segment is sealed")
    batch_seconds: SecondsAboveZero = Field(
        10.0, description="age at which a segment is sealed, even when nothing arrives"
    )
    spool_bytes_max: Bytes = Field(
        ByteSize(10 << 30), description="maximum size of the spool; then 503"
    )
    disk_reserve_bytes: Annotated[ByteSize, Field(ge=0)] = Field(
        ByteSize(512 << 20),
        description="free disk space that the spool does not use; below it, 503",
    )
    compression: Literal["gzip", "zstd"] = Field(
        "gzip", description="compression of the callbacks objects"
    )
    ship_concurrency: int = Field(
        4, ge=1, le=64, description="number of segments shipped concurrently"
    )
    retry_seconds_max: SecondsAboveZero = Field(
        60.0, description="maximum pause before a failed pass is tried again"
    )
    s3_timeout_seconds: SecondsAboveZero = Field(30.0, description="time limit for an answer of S3")
    s3_kms_key_id: str | None = Field(None, description="encrypt objects with this KMS key")
    s3_storage_class: str | None = Field(None, description="storage class of objects")
    s3_bucket_owner: str | None = Field(
        None, description="account id that must own the bucket, else requests fail"
    )
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        description="time that idle connections stay open; longer than the load balancer's limit",
    )
    drain_seconds: Seconds = Field(
        10.0, description="after SIGTERM: time for the load balancer to take this instance out"
    )
    shutdown_seconds: Seconds = Field(
        15.0, description="after that: time for requests in flight, and for shipping"
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="`auto` is text on a terminal, JSON lines elsewhere"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest level that is logged"
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
                "or the largest body could never be accepted"
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
        """Read arguments first, then the environment; `load` has read the files."""
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
