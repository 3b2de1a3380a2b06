"""Secrets are taken out of text in every form in which they are written down, and little else."""

import base64
import re
import time
from collections.abc import Callable

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.masking import Masker, url_secrets, userinfo
from tests.tools.support.secrets import FORMS

# With something of everything that is escaped somewhere.
SECRET = "pa ss\"w'o\\r/d+=&<ü€🧰%2F"
WRITTEN: dict[str, Callable[[str], str]] = {
    **FORMS,
    # With logins of three lengths, so that the secret begins at each offset of a group.
    "Basic credentials": lambda text: FORMS["Base64"](f"login:{text}"),
    "Basic credentials of another": lambda text: FORMS["Base64"](f"me2:{text}"),
    "Basic credentials of a third": lambda text: FORMS["URL-safe Base64"](f"i:{text}"),
}


@pytest.mark.parametrize("form", WRITTEN.values(), ids=WRITTEN.keys())
@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        "token-one-0123456789",
        "diffbot+secret=",
        '"quoted"',
        "/slash/first",
        "\\back\\\\slashes\\",
        "%percent%41",
        "üñíçødé!",
        "a\nb\tc line",
        "\x7fdelete\x85",
    ],
)
def test_every_secret_is_masked_in_every_writing(secret: str, form: Callable[[str], str]) -> None:
    masked = Masker([secret]).text(f"before {form(secret)} after")
    assert form(secret) not in masked
    # What stands around it stays, such as the login of Basic credentials.
    assert re.fullmatch(r"before '?\w{0,8}\*{3} after", masked), masked


_TEXTS = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\"'\\/%+ &<>=nrtu0")),
    min_size=6,
    max_size=40,
)


@given(secret=_TEXTS, name=st.sampled_from(sorted(WRITTEN)))
@example(secret='0\\\\\\n\\"', name="JSON, twice")
def test_any_secret_is_masked_in_any_form(secret: str, name: str) -> None:
    form = WRITTEN[name]
    masked = Masker([secret]).text(f"({form(secret)})")
    assert form(secret) not in masked
    assert "***" in masked


@given(
    secret=_TEXTS,
    before=st.text(st.sampled_from('\\"\n/a'), max_size=5),
    after=st.text(st.sampled_from('\\"\n/a'), max_size=5),
)
@example(secret="nsecret", before="\\", after="")
@example(secret="nsecret", before="\n", after="")
@example(secret="secret\\", before="", after='"')
@example(secret='"secret', before="\\\\\\", after="")
@example(secret="/secret", before="\\\\", after="")
def test_json_stays_json(secret: str, before: str, after: str) -> None:
    value = {"text": f"{before}{secret}{after}", "other": [1, "x"]}
    for masked in (
        orjson.loads(Masker([secret]).text(orjson.dumps(value["text"]).decode())),
        Masker([secret]).value(value)["text"],
    ):
        assert isinstance(masked, str)
        assert secret not in masked


def test_data_is_masked_wherever_there_is_text() -> None:
    masker = Masker(["canary-0001"])
    data = {"a": ["x canary-0001", {"canary-0001": ("canary-0001", 1, None, True, 2.5)}], "b": "y"}
    assert {"a": ["x ***", {"***": ["***", 1, None, True, 2.5]}], "b": "y"} == masker.value(data)


def test_data_of_any_depth_is_masked() -> None:
    nested: list[object] = ["canary-0001"]
    for _ in range(100_000):
        nested = [nested]
    assert b"canary" not in orjson.dumps(Masker(["canary-0001"]).value(nested))


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    masker = Masker(["key-one", "key-one-and-more"])
    assert "*** and ***" == masker.text("key-one-and-more and key-one")


def test_secrets_can_be_added() -> None:
    masker = Masker()
    assert "canary-0001" == masker.text("canary-0001")
    hide = masker.text
    masker.add(["canary-0001", ""])
    assert "***" == hide("canary-0001")
    masker.add(["canary-0002"])
    assert "*** ***" == hide("canary-0001 canary-0002")


@pytest.mark.parametrize("secret", ["a", "pw", "no-1", "0"])
def test_a_short_secret_is_masked_only_as_a_word(secret: str) -> None:
    masker = Masker([secret])
    assert "x=***&y (***) ***" == masker.text(f"x={secret}&y ({secret}) {secret}")
    others = f"b{secret}b {secret}0 _{secret}_ {secret * 2} {base64.b64encode(b'abc').decode()}"
    assert others == masker.text(others)


def test_credentials_in_headers_are_masked_whoever_issued_them() -> None:
    headers = [("Authorization", "Basic eDp5"), ("cookie", "a=b"), ("x-id", "canary-0001")]
    assert [("Authorization", "***"), ("cookie", "***"), ("x-id", "***")] == Masker(
        ["canary-0001"]
    ).headers(headers)


# URLs.


def masked_parts(url: str) -> Callable[[str], str]:
    return Masker(url_secrets(url)).text


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("https://user:canary@h/", ["user:canary", "canary"]),
        ("https://user:pass%2Fword@h/x", ["pass%2Fword", "pass/word"]),
        ("https://canary@h/", ["canary"]),
        ("https://canary-user:x@h/", ["canary-user"]),
        ("https://h/hook-token?a=b", ["hook-token", "https://h/hook-token?a=b"]),
        ("https://h/{provider}/hook-token{path}?k=12345678", ["hook-token", "12345678"]),
        ("https://h/services/T0001/B0001/dGhlLXNlY3JldA", ["dGhlLXNlY3JldA"]),
        ("https://h/verylongwordofletters", ["verylongwordofletters"]),
        ("https://h/?api_key=word", ["api_key=word", "word"]),
        *(
            (f"https://h/?{name}=production", ["production"])
            for name in ("key", "X-Api-Key", "apiKey", "access_token", "clientSecret", "auth")
        ),
        ("https://h/?a=b&sig=%2B%2F", ["%2B%2F", "+/"]),
        ("https://h/?canary-0001", ["canary-0001"]),
        ("https://[::1/canary-0001?x=canary-0002", ["canary-0001", "canary-0002"]),
    ],
)
def test_what_can_be_a_secret_in_a_url_is_masked(url: str, secrets: list[str]) -> None:
    hide = masked_parts(url)
    for secret in secrets:
        assert "(***)" == hide(f"({secret})")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://hooks.example.net:8443/notifications", ["hooks.example.net:8443"]),
        ("https://h/v2/webhooks/dataforseo/postback", ["v2", "webhooks", "dataforseo", "postback"]),
        ("https://h/Callbacks/WEBHOOKS?source=receiver&v=1", ["Callbacks", "receiver", "1", "v=1"]),
        ("https://receiver:canary@h/", ["receiver"]),
        ("https://h/?keyword=receiver&author=postback&monkey=serve", ["receiver", "postback"]),
        ("https://h", ["https://h"]),
        ("https://h:1/", ["https://h:1"]),
    ],
)
def test_common_words_and_the_host_of_a_url_are_not_masked(url: str, words: list[str]) -> None:
    hide = masked_parts(url)
    for word in words:
        assert word == hide(word)


def test_userinfo_is_found_however_it_is_written() -> None:
    assert set() == set(userinfo("https://h/path")) == set(userinfo(""))
    assert {"u:p", "p"} == set(userinfo("https://u:p@h/"))
    # No URL, but people write it: everything up to the last @.
    assert {"u:p/q@r", "p/q@r"} == set(userinfo("http://u:p/q@r@h"))


# What it costs.


def test_a_megabyte_is_masked_quickly_whatever_it_holds() -> None:
    masker = Masker([SECRET, *(f"{number:x}" * 12 for number in range(2**40, 2**40 + 20))])
    masker.text("")  # compiled once
    size = 1 << 20
    for text in (
        orjson.dumps([{"id": number, "title": f"Title {number}"} for number in range(30_000)]),
        base64.b64encode(bytes(range(256)) * 3000),
        b"\\" * size,
        b'\\"' * (size // 2),
        b"%25" * (size // 3),
        b"&amp;" * (size // 5),
        b"&#" + b"0" * size,
        (b"pa" + b"+" * 30) * (size // 32),
        (b"pa ss" + b"\\" * 40) * (size // 45),
    ):
        began = time.process_time()
        masker.text(text.decode())
        assert time.process_time() - began < 2.0, text[:20]
