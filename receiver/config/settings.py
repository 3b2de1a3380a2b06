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
    Hosts,
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
    """The settings in force; each `description` is also its row in `infra/settings.md`."""

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
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    workers: int = Field(1, ge=1, le=256, description="number of server processes")
    admin_host: str = Field("127.0.0.1", description="address to serve `/metrics` and `/status` on")
    admin_port: int = Field(
        8001, ge=0, le=65535, description="port to serve them on; 0 picks a free one"
    )
    admin_hosts: Hosts = Field(
        (),
        description="names besides loopback and IP addresses that they are served for; `*` for all",
    )
    public_url: Url | None = Field(
        None, description="base URL that the providers call, for `receiver urls`"
    )
    instance: str = Field(
        default_factory=socket.gethostname,
        description="name of this receiver, for the column `instance`",
    )
    tokens: Tokens = Field(
        (), description="secrets in the URLs, comma-separated; all are valid at once"
    )
    ack: Literal["spool", "archive"] = Field(
        "spool",
        description="what a 2xx waits for: the disk (`spool`) or the archive (`archive`)",
    )
    archive_ack_ms: int = Field(
        100,
        ge=1,
        le=10_000,
        description="with `ACK=archive`: milliseconds for which callbacks gather in a segment",
    )
    archive_ack_seconds_max: SecondsAboveZero = Field(
        8.0, description="with `ACK=archive`: time limit for the archive to confirm; then 503"
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
        "off", description="what to do about callbacks from elsewhere: `off`, `log` or `enforce`"
    )
    outscraper_signature: Literal["required", "if-present", "off"] = Field(
        "if-present",
        description="check of `X-Hub-Signature-256`: `required`, `if-present` or `off`",
    )
    outscraper_api_keys: List[SecretStr] = Field(
        (), description="API keys, comma-separated: any may sign webhooks, sweeps use the first"
    )
    dataforseo_url: Url = Field("https://api.dataforseo.com", description="base URL of the API")
    dataforseo_login: str | None = Field(
        None, description="API login; without it there are no sweeps"
    )
    dataforseo_password: SecretStr | None = Field(None, description="API password")
    dataforseo_families: Families = Field(
        ("serp", "merchant", "app_data", "business_data", "on_page"),
        description="`tasks_ready` lists to sweep; name only those you use",
    )
    dataforseo_tags: str = Field(
        "*", description="pattern of your tags; tasks with other tags are never collected"
    )
    dataforseo_sweep_seconds: Seconds = Field(300.0, description="seconds between sweeps")
    dataforapps_url: Url = Field("https://api.dataforapps.com", description="base URL of the API")
    dataforapps_login: str | None = Field(
        None, description="API login; without it there are no sweeps"
    )
    dataforapps_password: SecretStr | None = Field(None, description="API password")
    dataforapps_families: Families = Field(
        ("app_data",), description="`tasks_ready` lists to sweep"
    )
    dataforapps_tags: str = Field(
        "*", description="pattern of your tags; tasks with other tags are never collected"
    )
    dataforapps_sweep_seconds: Seconds = Field(300.0, description="seconds between sweeps")
    diffbot_url: Url = Field("https://api.diffbot.com", description="base URL of the API")
    diffbot_token: SecretStr | None = Field(
        None, description="API token; without it there are no sweeps"
    )
    diffbot_sweep_seconds: Seconds = Field(900.0, description="seconds between sweeps")
    outscraper_url: Url = Field("https://api.outscraper.cloud", description="base URL of the API")
    outscraper_sweep_seconds: Seconds = Field(
        900.0, description="seconds between sweeps; results are kept for four hours"
    )
    sweep_grace_seconds: Seconds = Field(
        600.0, description="a task younger than this is not missing yet"
    )
    sweep_tasks_max: int = Field(
        100_000, ge=1, description="maximum number of tasks that one sweep fetches"
    )
    lease_seconds: Annotated[float, Field(ge=5)] = Field(
        60.0, description="time to live of the leases for sweeps and forwarding"
    )
    leases: Literal["on", "off"] = Field(
        "on",
        description="`off` for a bucket without conditional writes: "
        "your word that this instance alone sweeps and forwards",
    )
    api_timeout_seconds: SecondsAboveZero = Field(
        60.0, description="time limit for the next bytes from a provider's API"
    )
    result_bytes_max: Bytes = Field(
        ByteSize(256 << 20),
        le=2 << 30,
        description="largest response accepted from a provider's API",
    )
    catalog: Path = Field(Path("data/catalog"), description="directory of the cache of the index")
    forward_url: SecretStr | None = Field(
        None,
        description="URL that `serve` forwards to; may contain `{provider}`, `{kind}`, `{path}`",
    )
    forward_concurrency: int = Field(
        16, ge=1, le=1024, description="number of concurrent requests when forwarding"
    )
    forward_late_days: int = Field(
        7,
        ge=1,
        le=366,
        description="callbacks that reach the archive later than this are not forwarded",
    )
    forward_gzip: bool = Field(False, description="send bodies that came as gzip as gzip again")
    replay_secret: SecretStr | None = Field(
        None, description="`whsec_…` secret that signs replays and forwards (Standard Webhooks)"
    )
    sent_bytes_max: Bytes = Field(
        ByteSize(256 << 20), description="largest body replayed or forwarded, decoded"
    )
    target_timeout_seconds: SecondsAboveZero = Field(
        30.0, description="time limit for the response to a replayed or forwarded callback"
    )
    jobs: Path = Field(Path("data/jobs"), description="directory of the jobs of `replay`")
    # A record counts its body in 32 bits, and a body is held in memory.
    body_bytes_max: Bytes = Field(
        ByteSize(64 << 20), le=2 << 30, description="largest body accepted; larger ones get 413"
    )
    body_seconds_max: Seconds = Field(60.0, description="time limit for a body; then 503")
    head_bytes_max: Bytes = Field(
        ByteSize(128 << 10),
        description="largest request line and headers together; larger ones get 431",
    )
    head_seconds_max: SecondsAboveZero = Field(
        30.0,
        description="time limit for the request line and headers; then the connection is closed",
    )
    connections_max: int = Field(
        10_000,
        ge=1,
        description="connections per server process, 5 to 13 KiB each; more are answered 503",
    )
    inflight_bytes_max: Bytes = Field(
        ByteSize(256 << 20), description="bytes of all bodies in memory, per server process"
    )
    inflated_bytes_max: Bytes = Field(
        ByteSize(512 << 20),
        description="largest body after gunzip; larger ones are archived as they came",
    )
    batch_bytes: Bytes = Field(ByteSize(16 << 20), description="a segment is sealed at this size")
    batch_seconds: SecondsAboveZero = Field(
        10.0, description="a segment is sealed at this age, even if nothing more arrives"
    )
    spool_bytes_max: Bytes = Field(
        ByteSize(10 << 30), description="size limit of the spool; then 503"
    )
    disk_reserve_bytes: Annotated[ByteSize, Field(ge=0)] = Field(
        ByteSize(512 << 20), description="free disk space that the spool leaves alone; below it 503"
    )
    compression: Literal["gzip", "zstd"] = Field(
        "gzip", description="compression of callbacks objects: `gzip` or `zstd`"
    )
    ship_concurrency: int = Field(
        4, ge=1, le=64, description="number of segments shipped concurrently"
    )
    retry_seconds_max: SecondsAboveZero = Field(
        60.0, description="longest pause before a failed pass is retried"
    )
    s3_timeout_seconds: SecondsAboveZero = Field(
        30.0, description="time limit for a response from S3"
    )
    s3_kms_key_id: str | None = Field(None, description="encrypt objects with this KMS key")
    s3_storage_class: str | None = Field(None, description="storage class of objects")
    s3_bucket_owner: str | None = Field(
        None, description="id of the account that must own the bucket, or requests fail"
    )
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        description="how long idle connections stay open; longer than in the load balancer",
    )
    drain_seconds: Seconds = Field(
        10.0, description="after SIGTERM: time for the load balancer to take this instance out"
    )
    shutdown_seconds: Seconds = Field(
        15.0, description="after that: time for requests in flight and for shipping"
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="`json`, `text`, or `auto`: text on a terminal, JSON lines elsewhere"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest level logged: `debug`, `info`, `warning` or `error`"
    )
    log_queue_bytes_max: Bytes = Field(
        ByteSize(1 << 20),
        description="size limit of log lines that wait to be written, per process",
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
