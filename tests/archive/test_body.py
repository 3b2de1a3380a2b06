"""Bodies: gzip is undone where it is whole, and kept as it came where it is not."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.archive import body as bodies
from receiver.archive import members
from receiver.archive.body import Body, decode, recognise
from receiver.providers import PROVIDERS
from tests.tools.deliveries import envelope_of, head_of

TEXT = '{"tasks":[{"id":"ä€😀"}]}'.encode()
FAR = 1 << 30


@pytest.fixture(params=[False, True], ids=["whole", "stepwise"])
def _sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as it is, and once with sizes so small that every body is taken in steps."""
    if request.param:
        monkeypatch.setattr(bodies, "WHOLE_BYTES_MAX", 8)
        monkeypatch.setattr(members, "STEP_BYTES", 5)


both_ways = pytest.mark.usefixtures("_sizes")


def content_of(body: Body) -> bytes:
    return b"".join(body.steps())


def judged(wire: bytes, *, inflated_bytes_max: int = FAR) -> tuple[bytes, bool, bool, str | None]:
    """Return what a body decodes to, whether it was inflated, is text, and what is wrong."""
    body = decode(wire, inflated_bytes_max=inflated_bytes_max)
    content = content_of(body)
    assert wire == body.wire
    assert len(content) == body.size
    assert content.startswith(body.content)
    if body.whole:
        assert content == body.content
        assert body.is_text == (body.text is not None)
    else:
        assert body.text is None
    return content, body.inflated, body.is_text, body.invalid


@both_ways
@pytest.mark.parametrize("content", [b"", b"x", TEXT, bytes(range(256)), TEXT * 5000])
def test_a_plain_body_is_kept(content: bytes) -> None:
    is_text = content != bytes(range(256))
    assert (content, False, is_text, None) == judged(content)


@both_ways
@pytest.mark.parametrize("content", [b"", b"x", TEXT, bytes(range(256)), TEXT * 5000])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_gzip_is_undone(content: bytes, level: int) -> None:
    is_text = content != bytes(range(256))
    assert (content, True, is_text, None) == judged(gzip.compress(content, level))


@both_ways
def test_gzip_may_have_a_name_a_comment_and_many_members() -> None:
    named = bytearray(gzip.compress(b"first "))
    named[3] |= 0x18  # FNAME and FCOMMENT, RFC 1952 §2.3.1
    named[10:10] = b"body.json\x00a comment\x00"
    members = bytes(named) + gzip.compress(b"") + gzip.compress(b"second") + gzip.compress(b"")
    assert (b"first second", True, True, None) == judged(members)


@both_ways
def test_gzip_cut_at_any_length_is_kept_as_it_came() -> None:
    wire = gzip.compress(TEXT)
    for length in range(2, len(wire)):
        cut = wire[:length]
        assert (cut, False, False, "not_gzip") == judged(cut)


@both_ways
def test_gzip_with_a_wrong_checksum_or_length_is_kept_as_it_came() -> None:
    wire = gzip.compress(TEXT)
    for position in range(len(wire) - 8, len(wire)):
        flipped = bytearray(wire)
        flipped[position] ^= 1
        assert (bytes(flipped), False, False, "not_gzip") == judged(bytes(flipped))


@both_ways
@pytest.mark.parametrize(
    "garbage", [b"\0", bytes(8), b"garbage", b"\x1f", b"\x1f\x8b", b"\x1f\x8bgarbage", b'{"a":1}']
)
def test_gzip_followed_by_anything_else_is_kept_as_it_came(garbage: bytes) -> None:
    wire = gzip.compress(TEXT) + garbage
    assert (wire, False, False, "not_gzip") == judged(wire)


@both_ways
@pytest.mark.parametrize(
    "wire", [b"\x1f\x8b", b"\x1f\x8b\x08", b"\x1f\x8bno gzip at all", b"\x1f\x8b" + bytes(100)]
)
def test_what_only_begins_like_gzip_is_kept_as_it_came(wire: bytes) -> None:
    assert (wire, False, False, "not_gzip") == judged(wire)


@both_ways
def test_other_compressions_are_bodies_like_any_other() -> None:
    wire = zlib.compress(TEXT)
    assert (wire, False, False, None) == judged(wire)
    assert (b"\x1f", False, True, None) == judged(b"\x1f")


@both_ways
def test_gzip_within_gzip_is_undone_once() -> None:
    inner = gzip.compress(TEXT)
    assert (inner, True, False, None) == judged(gzip.compress(inner))


@both_ways
def test_the_limit_is_of_what_comes_out_and_is_exact() -> None:
    wire = gzip.compress(bytes(1000))
    assert (bytes(1000), True, True, None) == judged(wire, inflated_bytes_max=1000)
    assert (wire, False, False, "inflates_too_far") == judged(wire, inflated_bytes_max=999)
    members = gzip.compress(bytes(500)) * 2
    assert (members, False, False, "inflates_too_far") == judged(members, inflated_bytes_max=999)


@both_ways
def test_a_plain_body_has_no_limit_but_its_own_size() -> None:
    assert (b"x" * 1000, False, True, None) == judged(b"x" * 1000, inflated_bytes_max=10)


@both_ways
def test_members_without_end_are_not_gone_through() -> None:
    member = gzip.compress(b"")
    many = member * 10_000
    assert (b"", True, True, None) == judged(many)
    assert (many + member, False, False, "not_gzip") == judged(many + member)


@given(content=st.binary(max_size=200), members=st.integers(1, 3))
def test_whatever_was_compressed_comes_out(content: bytes, members: int) -> None:
    whole = content * members
    try:
        whole.decode()
        is_text = True
    except UnicodeDecodeError:
        is_text = False
    assert (whole, True, is_text, None) == judged(gzip.compress(content) * members)


@both_ways
@given(st.text(max_size=60), st.integers(0, 200))
def test_text_is_judged_across_steps(text: str, cut: int) -> None:
    wire = text.encode()
    if wire[:2] == b"\x1f\x8b":
        return
    assert (wire, False, True, None) == judged(wire)
    part = wire[: cut % (len(wire) + 1)]
    try:
        part.decode()
        is_text = True
    except UnicodeDecodeError:
        is_text = False
    assert (part, False, is_text, None) == judged(part)


@pytest.mark.parametrize(
    "wrong", [b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xff", b"\x80", b"\xe2\x82"]
)
@pytest.mark.parametrize("place", [0, 100, 9 << 20])
def test_one_wrong_byte_anywhere_makes_it_bytes(wrong: bytes, place: int) -> None:
    content = b"x" * place + wrong + b"y" * 10
    assert not decode(content, inflated_bytes_max=FAR).is_text
    assert not decode(gzip.compress(content, 1), inflated_bytes_max=FAR).is_text


def test_a_long_body_is_not_held_whole() -> None:
    content = TEXT * ((20 << 20) // len(TEXT))
    body = decode(gzip.compress(content, 1), inflated_bytes_max=FAR)
    assert not body.whole
    assert body.is_text
    assert len(content) == body.size
    assert len(body.content) <= members.STEP_BYTES
    for step in body.steps():
        assert len(step) <= members.STEP_BYTES


@pytest.mark.parametrize("inflated_bytes_max", [1 << 20, 64 << 20])
def test_a_bomb_costs_no_memory(inflated_bytes_max: int) -> None:
    compressor = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    bomb = b"".join([*(compressor.compress(zeros) for _ in range(256)), compressor.flush()])
    tracemalloc.start()
    try:
        body = decode(bomb, inflated_bytes_max=inflated_bytes_max)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ("inflates_too_far", False) == (body.invalid, body.inflated)
    assert bomb == content_of(body)
    assert peak < bodies.WHOLE_BYTES_MAX + (2 << 20)


def test_a_bomb_is_given_up_at_the_limit_not_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0
    real = bodies._inflate

    def inflate(wire: bytes) -> object:
        nonlocal taken
        for step in real(wire):
            taken += len(step)
            yield step

    monkeypatch.setattr(bodies, "_inflate", inflate)
    bomb = gzip.compress(bytes(64 << 20), 1)
    assert "inflates_too_far" == decode(bomb, inflated_bytes_max=1 << 20).invalid
    assert taken <= (1 << 20) + 2 * members.STEP_BYTES


# A postback, and what is wrong with all of it.
POSTBACK = b'{"status_code":20000,"tasks":[{"id":"t","status_code":20000.0,"result":["%b"]}]}'
ENDS = [
    (POSTBACK, None),
    (POSTBACK[:-1], "not_json"),
    (POSTBACK[:-4], "not_json"),
    (POSTBACK + b"x", "not_json"),
    (POSTBACK + b"\0", "odd_text"),
    (POSTBACK.replace(b"%b", rb"%b\ud83d"), "odd_text"),
    (POSTBACK.replace(b"%b", b"%b\xfc"), "odd_text"),
    (POSTBACK.replace(b'"]', b'",NaN]'), "odd_text"),
    (b"\xef\xbb\xbf" + POSTBACK, "odd_text"),
]


@pytest.mark.parametrize("size", [10, 9 << 20], ids=["short", "long"])
@pytest.mark.parametrize(("postback", "invalid"), ENDS)
def test_a_body_is_judged_to_its_end(postback: bytes, invalid: str | None, size: int) -> None:
    body = decode(gzip.compress(postback % (b"x" * size), 1), inflated_bytes_max=FAR)
    assert body.whole == (size == 10)
    delivery = envelope_of(head=head_of(kind="postback", target="/dataforseo/postback/***"))
    found = recognise(PROVIDERS["dataforseo"], delivery, body)
    assert ("t", "t", "20000", invalid) == (
        found.task_id,
        found.key,
        found.status,
        found.invalid,
    )


@both_ways
def test_what_does_not_begin_as_json_is_judged_by_its_adapter_alone() -> None:
    for content in (b"<html>", b"report,state\n1,done", bytes(range(200)), b"", b"   "):
        assert decode(content, inflated_bytes_max=FAR).json_problem is None


def test_a_long_body_is_judged_in_bounded_memory() -> None:
    wire = gzip.compress(POSTBACK % (b"x" * (64 << 20)), 1)
    decode(gzip.compress(POSTBACK), inflated_bytes_max=FAR)
    tracemalloc.start()
    body = decode(wire, inflated_bytes_max=FAR)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert body.json_problem is None
    assert most < 32 << 20
