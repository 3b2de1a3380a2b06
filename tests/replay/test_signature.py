"""Signatures, checked by the package that receivers of such webhooks use."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from receiver.replay.signature import Signer

keys = st.binary(min_size=24, max_size=64)


def secret_of(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


def headers_of(signer: Signer, identifier: str, at: int, body: bytes) -> dict[str, str]:
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(at),
        "webhook-signature": signer.sign(identifier, at, body),
    }


@given(key=keys, identifier=st.uuids(version=4).map(str), text=st.text())
def test_a_signature_is_good_for_what_was_signed_and_nothing_else(
    key: bytes, identifier: str, text: str
) -> None:
    secret, at, body = secret_of(key), int(time.time()), text.encode()
    headers = headers_of(Signer(secret), identifier, at, body)
    webhook = Webhook(secret)
    webhook.verify(body, headers, json_parse=False)
    others = [
        (body + b" ", headers),
        (body, {**headers, "webhook-id": identifier + "0"}),
        (body, {**headers, "webhook-timestamp": str(at - 1)}),
    ]
    for other, with_headers in others:
        with pytest.raises(WebhookVerificationError):
            webhook.verify(other, with_headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_of(key + b"x")).verify(body, headers, json_parse=False)


def test_the_specification_has_an_example() -> None:
    # From the tests of github.com/standard-webhooks/standard-webhooks.
    signer = Signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" == signature


@pytest.mark.parametrize("size", [24, 64])
def test_the_shortest_and_the_longest_key_are_taken(size: int) -> None:
    assert Signer(secret_of(bytes(size))).sign("id", 0, b"").startswith("v1,")


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        base64.b64encode(b"k" * 32).decode(),
        "WHSEC_" + base64.b64encode(b"k" * 32).decode(),
        secret_of(b"k" * 23),
        secret_of(b"k" * 65),
        secret_of(b"k" * 32)[:-1],
        secret_of(b"k" * 32) + "\n",
        "whsec_do-not-show-this-value-0123456789ab",
        "whsec_" + "ü" * 40,
    ],
)
def test_an_invalid_secret_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_ and the base64 of 24 to 64 bytes") as caught:
        Signer(secret)
    said = f"{caught.value} {caught.value.__cause__} {caught.value.args}"
    assert len(secret) < 8 or secret.removeprefix("whsec_") not in said


@pytest.mark.parametrize("steps", [[], [b""], [b"a", b"", b"bc"], [b"abc"]])
def test_a_body_in_steps_has_the_signature_of_the_whole(steps: list[bytes]) -> None:
    signer = Signer(secret_of(b"k" * 32))
    assert signer.sign("id", 7, b"".join(steps)) == signer.sign_steps("id", 7, steps)
