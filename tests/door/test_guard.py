"""The guard: tokens, signatures, source addresses."""

import hmac
import ipaddress
import time
from collections.abc import Sequence

import pytest

from receiver.door.guard import Guard, SignatureMode, SourcesMode
from receiver.errors import Rejected

TOKENS = [b"first-token-0123456789", b"second-token-012345678"]
NAME = b"x-hub-signature-256"
BODY = [b'{"id":', b'"79e6d350"}']


def reason_of(rejected: Rejected) -> tuple[int, str]:
    return rejected.answer_status, rejected.reason


@pytest.mark.parametrize("token", TOKENS)
def test_any_of_the_tokens_opens(token: bytes) -> None:
    assert token == Guard(tokens=TOKENS).check_token(token)


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"first-token-012345678",
        b"first-token-01234567890",
        b"FIRST-TOKEN-0123456789",
        b"first-token-0123456789 ",
        b"first%2Dtoken-0123456789",
        b"first-token-0123456789second-token-012345678",
        b"\xff\xfe",
        b"***",
    ],
)
def test_nothing_else_opens(given: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        Guard(tokens=TOKENS).check_token(given)
    assert (401, "bad_token") == reason_of(caught.value)
    assert given == b"" or given.decode("latin-1") not in str(caught.value)


def test_without_tokens_nothing_opens() -> None:
    for given in (b"", b"anything"):
        with pytest.raises(Rejected):
            Guard(tokens=[]).check_token(given)


def test_every_token_is_compared_in_constant_time_whichever_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    guard = Guard(tokens=TOKENS, signature_keys=[b"key-1", b"key-2"])
    guard.check_token(TOKENS[0])
    assert [(token, TOKENS[0]) for token in TOKENS] == compared
    compared.clear()
    guard.check_signature(NAME, [(NAME, signature(b"key-1"))], BODY)
    assert 2 == len(compared)


def signature(key: bytes, body: Sequence[bytes] = BODY) -> bytes:
    return b"sha256=" + hmac.new(key, b"".join(body), "sha256").hexdigest().encode()


def check_signature(
    mode: SignatureMode,
    given: bytes | None,
    keys: Sequence[bytes] = (b"key-1", b"key-2"),
    body: Sequence[bytes] = BODY,
) -> tuple[int, str] | None:
    """Return the refusal of a signature, or None."""
    headers = [(b"content-type", b"application/json")]
    if given is not None:
        headers.append((NAME, given))
    try:
        Guard(tokens=[], signature=mode, signature_keys=keys).check_signature(NAME, headers, body)
    except Rejected as rejected:
        return reason_of(rejected)
    return None


BAD = (401, "bad_signature")
MISSING = (401, "missing_signature")


@pytest.mark.parametrize(
    ("mode", "given", "expected"),
    [
        ("required", signature(b"key-1"), None),
        ("required", signature(b"key-2"), None),
        ("required", signature(b"key-3"), BAD),
        ("required", b"", BAD),
        ("required", None, MISSING),
        ("if-present", signature(b"key-1"), None),
        ("if-present", signature(b"key-3"), BAD),
        ("if-present", None, None),
        ("off", signature(b"key-3"), None),
        ("off", None, None),
    ],
)
def test_signatures_are_checked_as_the_mode_says(
    mode: SignatureMode, given: bytes | None, expected: tuple[int, str] | None
) -> None:
    assert expected == check_signature(mode, given)


@pytest.mark.parametrize(
    "given",
    [
        signature(b"key-1").removeprefix(b"sha256="),
        b"sha1=" + signature(b"key-1")[7:],
        signature(b"key-1")[:-1],
        signature(b"key-1") + b"0",
        b"\xff" * 71,
    ],
)
def test_a_signature_of_another_form_is_bad(given: bytes) -> None:
    assert BAD == check_signature("if-present", given)


def test_hex_may_be_written_in_capitals() -> None:
    assert check_signature("required", signature(b"key-1").upper()) is None


def test_white_space_behind_a_signature_is_no_part_of_it() -> None:
    assert check_signature("required", signature(b"key-1") + b" \t") is None


def test_the_signature_is_of_the_bytes_as_they_came() -> None:
    given = signature(b"key-1")
    assert check_signature("required", given, body=[b"".join(BODY)]) is None
    assert BAD == check_signature("required", given, body=[*BODY, b"\n"])
    assert check_signature("required", signature(b"key-1", []), body=[]) is None


def test_without_keys_a_signature_cannot_be_checked_and_is_let_in() -> None:
    assert check_signature("if-present", signature(b"key-3"), keys=[]) is None


SOURCES = [
    ipaddress.ip_network("144.76.154.130"),
    ipaddress.ip_network("178.63.193.0/24"),
    ipaddress.ip_network("2001:db8::/32"),
]


def check_source(mode: SourcesMode, peer: str | None, provider: str = "dataforseo") -> bool:
    """Return whether an address may come in."""
    guard = Guard(tokens=[], sources=SOURCES, sources_mode=mode)
    try:
        guard.check_source(provider, peer)
    except Rejected as rejected:
        return reason_of(rejected) != (401, "unknown_source")
    return True


@pytest.mark.parametrize(
    ("peer", "known"),
    [
        ("144.76.154.130", True),
        ("144.76.154.131", False),
        ("178.63.193.217", True),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        ("::ffff:144.76.154.130", True),
        ("::ffff:144.76.154.131", False),
        ("unix:", False),
        ("", False),
        (None, False),
    ],
)
def test_sources_are_enforced_where_that_is_asked_for(
    peer: str | None, known: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assert known == check_source("enforce", peer)
    assert check_source("log", peer)
    assert ["unknown source address"] * (0 if known else 2) == caplog.messages
    assert check_source("off", peer)
    assert check_source("enforce", peer, provider="diffbot")


def test_unknown_sources_do_not_fill_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    guard = Guard(tokens=[], sources=SOURCES, sources_mode="log")
    for _ in range(100):
        guard.check_source("dataforseo", "203.0.113.7")
    assert 5 == len(caplog.messages)
