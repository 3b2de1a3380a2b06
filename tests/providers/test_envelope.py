"""The head of a record: what came in is what comes out, without the secret."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import clock
from receiver.providers.envelope import REDACTED, decode, encode_head, received_at_us
from tests.tools.deliveries import AT_US, envelope_of, head_of

SECRET = b"9f2c-the.secret~of_this-URL"

wire_bytes = st.binary(max_size=40)
wire_headers = st.lists(st.tuples(wire_bytes, wire_bytes), max_size=8)
texts = st.text(max_size=20)


@given(
    delivery_id=texts,
    at_us=st.integers(0, 253_402_300_799_999_999),
    peer=st.none() | texts,
    instance=texts,
    method=st.sampled_from(["GET", "POST"]),
    target=wire_bytes,
    headers=wire_headers,
    body=st.binary(max_size=40),
)
def test_every_byte_of_a_request_survives(
    delivery_id: str,
    at_us: int,
    peer: str | None,
    instance: str,
    method: str,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    ours = (delivery_id, at_us, "diffbot", "notification", "callback", peer, instance)
    head = encode_head(ours, method, target, headers)
    delivery = decode(head, body)
    assert ours == (
        delivery.delivery_id,
        delivery.received_at_us,
        delivery.provider,
        delivery.kind,
        delivery.origin,
        delivery.peer,
        delivery.instance,
    )
    assert method == delivery.method
    assert target == delivery.target.encode("latin-1")
    assert headers == [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in delivery.headers
    ]
    assert body == delivery.body
    assert at_us == received_at_us(head)


@given(before=wire_bytes, after=wire_bytes, headers=wire_headers)
def test_the_secret_is_kept_nowhere(
    before: bytes, after: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    target = b"/dataforseo/postback/" + SECRET + b"?tag=" + before + SECRET
    repeated = [*headers, (b"x-original-uri", target + after), (b"x-" + SECRET, SECRET + SECRET)]
    head = encode_head(("id", 1, "p", "k", "o", None, "i"), "POST", target, repeated, secret=SECRET)
    assert SECRET not in head
    delivery = decode(head, b"")
    assert target.replace(SECRET, REDACTED.encode()) == delivery.target.encode("latin-1")
    assert ("x-***", "******") == tuple(delivery.headers[-1])


def test_our_own_fields_are_not_redacted() -> None:
    ours = ("id", 1, "p", "k", "o", None, "callback-receiver")
    head = encode_head(ours, "POST", b"/p/k/callback", [], secret=b"callback")
    assert "callback-receiver" == decode(head, b"").instance


def test_repeated_headers_are_kept_in_order() -> None:
    headers = [("via", "one"), ("x-tag", "a"), ("via", "two")]
    delivery = envelope_of(head=head_of(headers=headers))
    assert headers == [tuple(pair) for pair in delivery.headers]
    assert "one" == delivery.header("via")
    assert delivery.header("absent") is None


GOOD = ["id", AT_US, "dataforseo", "postback", "callback", None, "tests"]
NOT_OURS = [
    b"",
    b"\n",
    b"not json\n[]",
    b"1\n2",
    b"null\nnull",
    b"{}\n{}",
    b"[]\n[]",
    b"\xff\xfe\n[]",
    *(
        orjson.dumps([*GOOD[:place], wrong, *GOOD[place + 1 :]]) + b'\n["POST","/",[]]'
        for place, wrong in [
            (0, None),
            (1, "soon"),
            (1, -1),
            (1, 1 << 62),
            (1, 1.5),
            (2, 7),
            (3, None),
            (5, ["peer"]),
            (6, None),
        ]
    ),
    *(
        orjson.dumps(GOOD) + theirs
        for theirs in (b"", b"\n", b"\n5", b'\n["POST","/"]', b'\n["POST","/",[["alone"]]]')
    ),
]


@pytest.mark.parametrize("head", NOT_OURS)
def test_a_head_that_is_not_ours_is_a_value_error(head: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode(head, b"")


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(1, 255))
def test_a_damaged_head_raises_nothing_but_a_value_error(
    noise: bytes, position: int, mask: int
) -> None:
    flipped = bytearray(head_of())
    flipped[position % len(flipped)] ^= mask
    for head in (noise, bytes(flipped), bytes(flipped) + noise):
        for read in (received_at_us, lambda damaged: decode(damaged, b"")):
            try:
                read(head)
            except ValueError:
                continue


def test_the_time_of_arrival_is_read_without_the_rest() -> None:
    assert AT_US == received_at_us(head_of())
    assert AT_US == received_at_us(head_of().partition(b"\n")[0])
    now = clock.now_us()
    assert now == received_at_us(head_of(at_us=now))
