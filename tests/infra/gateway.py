"""What an HTTPRoute of the Gateway API may hold, as far as the route of `infra/` uses it.

Nothing else is taken, so that a name that is misspelt, or stands in the wrong place, is found.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=253)]
Host = Annotated[str, Field(pattern=r"^(\*\.)?([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)+[a-z]+$")]
Duration = Annotated[str, Field(pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(_Part):
    """What every object has."""

    name: Name
    namespace: Name
    labels: dict[str, str]


class Parent(_Part):
    """A Gateway, and the listener of it."""

    name: Name
    namespace: Name
    sectionName: Name


class Path(_Part):
    """Which paths match."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"]
    value: Annotated[str, Field(pattern="^/", max_length=1024)]


class Match(_Part):
    """Which requests match."""

    path: Path


class Timeouts(_Part):
    """How long a request may take."""

    request: Duration


class Backend(_Part):
    """A Service, and its port."""

    name: Name
    port: Annotated[int, Field(ge=1, le=65535)]


class Rule(_Part):
    """Where the requests go that match."""

    matches: Annotated[list[Match], Field(min_length=1, max_length=64)]
    timeouts: Timeouts
    backendRefs: Annotated[list[Backend], Field(min_length=1, max_length=16)]


class Spec(_Part):
    """What is wanted."""

    parentRefs: Annotated[list[Parent], Field(max_length=32)]
    hostnames: Annotated[list[Host], Field(max_length=16)]
    rules: Annotated[list[Rule], Field(min_length=1, max_length=16)]


class HTTPRoute(_Part):
    """A route."""

    apiVersion: Literal["gateway.networking.k8s.io/v1"]
    kind: Literal["HTTPRoute"]
    metadata: Metadata
    spec: Spec
