"""An S3 endpoint on loopback, and buckets in it: moto's server behind ordinary boto3."""

import io
import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import botocore.config
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCESS_KEY_ID = "AKIATESTTESTTESTTEST"
SECRET_ACCESS_KEY = "secret-of-the-tests-0123456789abcdefghij"
REGION = "us-east-1"


def environ(url: str) -> dict[str, str]:
    """Return the `AWS_…` variables that lead a program to an endpoint, and to nothing else."""
    return {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


def connect(url: str, key_id: str = ACCESS_KEY_ID, secret: str = SECRET_ACCESS_KEY) -> "S3Client":
    """Return a plain client of an endpoint."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        region_name=REGION,
        config=botocore.config.Config(connect_timeout=5, read_timeout=30),
    )


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket and an endpoint that reaches it."""

    name: str
    endpoint: str
    client: "S3Client"

    @property
    def environ(self) -> dict[str, str]:
        """The `AWS_…` variables that lead to this bucket's endpoint."""
        return environ(self.endpoint)

    def keys(self, prefix: str = "") -> list[str]:
        """Return all keys under a prefix, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        )
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return an object, or a range of it."""
        options: dict[str, Any] = {}
        if start or length is not None:
            end = "" if length is None else start + length - 1
            options["Range"] = f"bytes={start}-{end}"
        return self.client.get_object(Bucket=self.name, Key=key, **options)["Body"].read()

    def put(self, key: str, content: bytes) -> None:
        """Write an object."""
        self.client.put_object(Bucket=self.name, Key=key, Body=content)


class _Atomic:
    """moto's application, made to decide one conditional write after the other, as S3 does.

    Where ``session_token`` is set, it refuses requests that are signed with another one; where
    ``conditional`` is not, it refuses conditional writes, as stores do that have none.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._guard = threading.Lock()
        self.session_token = ""
        self.conditional = True

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        token = environ.get("HTTP_X_AMZ_SECURITY_TOKEN")
        if token and self.session_token not in ("", token):
            return _refuse(environ, start_response, "400 Bad Request", "ExpiredToken")
        if not {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"} & environ.keys():
            return self._app(environ, start_response)
        if not self.conditional:
            return _refuse(environ, start_response, "501 Not Implemented", "NotImplemented")
        # The body is waited for before the others are made to wait.
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        with self._guard:
            return self._app(environ, start_response)


def _refuse(environ: dict[str, Any], start_response: Any, status: str, code: str) -> list[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response(status, [("Content-Type", "application/xml")])
    return [f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()]


class S3Server:
    """moto's S3 on 127.0.0.1, at a port that the system chose."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel("ERROR")  # it logs each request
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        server = self._moto._server
        assert server is not None
        server.app = self._app = _Atomic(server.app)
        self.address: tuple[str, int] = self._moto.get_host_and_port()
        self.url = "http://{}:{}".format(*self.address)
        self.client = connect(self.url)

    def new_bucket(self) -> Bucket:
        """Make an empty bucket of a name that nobody else has."""
        name = f"callbacks-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return Bucket(name, self.url, self.client)

    def accept(self, session_token: str) -> None:
        """Refuse from now on what is signed with another session token; "" accepts all."""
        self._app.session_token = session_token

    def allow_conditions(self, allowed: bool) -> None:
        """Take conditional writes from now on, or refuse them as not implemented."""
        self._app.conditional = allowed

    def close(self) -> None:
        """Stop serving."""
        self.client.close()
        self._moto.stop()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Serve S3 for as long as the context lasts."""
    server = S3Server()
    try:
        yield server
    finally:
        server.close()
