"""What a stored callback becomes: what came, byte for byte, and what says that it comes again."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import random
import tempfile
from pathlib import Path
from urllib.parse import parse_qsl

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from receiver import clock
from receiver.archive import members
from receiver.archive.schema import Entry
from receiver.errors import Damaged, SettingsError
from receiver.replay.long_body import LongBody
from receiver.replay.request import Form, Request
from receiver.replay.url_template import NotSendable
from tests.door.place import KEY, TOKEN, opened
from tests.replay.place import Delivery, Place, content_of

URL = "https://hooks.example.net:8443/take"
POSTBACK = b'{"status_code":20000,"tasks":[{"id":"t","status_code":20000}]}'
LIMITS = {"body_bytes_max": 1 << 20, "body_seconds_max": 30.0, "inflight_bytes_max": 1 << 30}
# Every header that a request may have.
OURS = {
    "webhook-id",
    "webhook-received-at",
    "webhook-provider",
    "webhook-kind",
    "webhook-origin",
    "webhook-replay",
}
OF_THE_CALLBACK = {"content-type", "content-encoding", "x-hub-signature-256"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def one(place: Place, delivery: Delivery, form: Form | None = None) -> Request:
    """Return what one delivery becomes."""
    place.take(delivery)
    (request,) = place.requests(form or Form(URL))
    return request


# What came.


@pytest.mark.parametrize(
    "body",
    [
        b"",
        POSTBACK,
        b"no JSON\x00\x7f\n\r\t\x1b",
        "Grüße 東京 \u2028 🧰 \x85".encode(),
        b"\xff\xfe\x00 no text",
        b"\x1f\x8b\x08 no gzip",
        gzip.compress(POSTBACK, mtime=0)[:-7],
        b"\n\n\n" + POSTBACK,
    ],
)
def test_a_body_is_sent_as_it_came(place: Place, body: bytes) -> None:
    request = one(place, Delivery(body=body))
    assert ("POST", body) == (request.method, content_of(request))
    assert OURS == request.headers.keys()


@pytest.mark.parametrize("text", [True, False])
def test_a_body_of_forty_megabytes_is_sent_as_it_came(place: Place, text: bool) -> None:
    noise = random.Random(4).randbytes(4 << 20)
    body = base64.b64encode(noise) * 7 if text else noise * 10
    assert len(body) > 37 << 20
    request = one(place, Delivery(body=body))
    assert isinstance(request.body, LongBody)
    assert (len(body), body) == (request.body.size, content_of(request))


@pytest.mark.parametrize("gzip_wanted", [False, True])
def test_a_long_body_is_read_in_steps_however_it_is_sent(place: Place, gzip_wanted: bool) -> None:
    body = b"\x01" * (3 << 20)
    headers = [("content-encoding", "gzip"), ("content-type", "text/plain")]
    delivery = Delivery(body=gzip.compress(body, mtime=0), headers=headers)
    request = one(place, delivery, Form(URL, gzip=gzip_wanted))
    assert isinstance(request.body, LongBody)
    assert max(map(len, request.body.steps())) <= 1 << 20
    sent = content_of(request)
    assert len(sent) == request.body.size
    assert body == (gzip.decompress(sent) if gzip_wanted else sent)
    assert gzip_wanted == ("content-encoding" in request.headers)
    # Every attempt reads it again.
    assert sent == content_of(request)


def test_a_long_body_that_came_as_it_is_keeps_its_signature(place: Place) -> None:
    body = random.Random(5).randbytes(8 << 20)
    headers = [("x-hub-signature-256", "sha256=00"), ("content-encoding", "gzip")]
    request = one(place, Delivery(body=body, headers=headers))
    assert isinstance(request.body, LongBody)
    assert dict(headers).items() <= request.headers.items()
    assert body == content_of(request)


@pytest.mark.parametrize("size", [1000, 9 << 20])
def test_a_body_over_the_limit_is_not_sent_and_says_why(place: Place, size: int) -> None:
    place.take(Delivery(body=b"a" * size))
    assert [size] == [len(content_of(request)) for request in place.requests(Form(URL))]
    place.requests(Form(URL, sent_bytes_max=size))
    with pytest.raises(NotSendable, match=f"{size} bytes.*RECEIVER_SENT_BYTES_MAX"):
        place.requests(Form(URL, sent_bytes_max=size - 1))


@pytest.mark.parametrize("change", [{"body_bytes": 5}, {"method": "PUT"}, {"headers": [["one"]]}])
def test_a_long_line_that_is_not_as_it_was_written_is_not_sent(
    place: Place, change: dict[str, object]
) -> None:
    place.take(Delivery(body=b"a" * (9 << 20)))
    (entry,) = place.entries()
    line = orjson.dumps(orjson.loads(place.line(entry)) | change)
    member = members.of(entry.object).member(line)
    place.store.put(entry.object, member)
    odd = replace(entry, member_offset=0, member_bytes=len(member), line_bytes=len(line))
    with pytest.raises((Damaged, NotSendable)):
        Form(URL).long_request(odd, place.store)


def test_gzip_is_sent_as_what_it_holds(place: Place) -> None:
    headers = [("Content-Encoding", "gzip"), ("Content-Type", "application/json")]
    headers = [(name.lower(), value) for name, value in headers]
    request = one(place, Delivery(body=gzip.compress(POSTBACK, mtime=0), headers=headers))
    assert POSTBACK == content_of(request)
    assert "application/json" == request.headers["content-type"]
    assert "content-encoding" not in request.headers


def test_gzip_is_sent_as_gzip_if_it_is_wanted(place: Place) -> None:
    request = one(place, Delivery(body=gzip.compress(POSTBACK, mtime=0)), Form(URL, gzip=True))
    assert POSTBACK == gzip.decompress(content_of(request))
    assert "gzip" == request.headers["content-encoding"]


def test_what_did_not_come_as_gzip_is_not_sent_as_gzip(place: Place) -> None:
    request = one(place, Delivery(body=POSTBACK), Form(URL, gzip=True))
    assert POSTBACK == content_of(request)
    assert "content-encoding" not in request.headers


@pytest.mark.parametrize("gzip_wanted", [False, True])
def test_gzip_that_cannot_be_undone_goes_on_as_it_came(place: Place, gzip_wanted: bool) -> None:
    broken = gzip.compress(POSTBACK, mtime=0)[:-7]
    delivery = Delivery(body=broken, headers=[("content-encoding", "gzip")])
    request = one(place, delivery, Form(URL, gzip=gzip_wanted))
    assert (broken, "gzip") == (content_of(request), request.headers["content-encoding"])


def test_a_body_that_says_gzip_and_is_none_says_so_again(place: Place) -> None:
    request = one(place, Delivery(body=POSTBACK, headers=[("content-encoding", "gzip")]))
    assert (POSTBACK, "gzip") == (content_of(request), request.headers["content-encoding"])


def test_gzip_of_its_own_size_is_not_taken_for_what_it_holds(place: Place) -> None:
    # So small that what it holds is as long as itself: found by trying.
    content = next(
        noise
        for size in range(1, 400)
        for noise in [b"a" * size + random.Random(size).randbytes(3).hex().encode()]
        for squeezed in [gzip.compress(noise, mtime=0)]
        if len(squeezed) == len(noise)
    )
    headers = [("content-encoding", "gzip"), ("x-hub-signature-256", "sha256=00")]
    request = one(place, Delivery(body=gzip.compress(content, mtime=0), headers=headers))
    assert content == content_of(request)
    assert OURS == request.headers.keys()


def test_a_signature_goes_with_the_bytes_it_signs(place: Place) -> None:
    body = b'{"id": "x", "status": "SUCCESS"}'
    signature = "sha256=" + hmac.new(KEY, body, hashlib.sha256).hexdigest()
    delivery = Delivery(
        provider="outscraper",
        kind="webhook",
        rest="",
        body=body,
        headers=[("x-hub-signature-256", signature)],
    )
    request = one(place, delivery)
    assert (body, signature) == (content_of(request), request.headers["x-hub-signature-256"])


def test_a_signature_of_other_bytes_stays_behind(place: Place) -> None:
    delivery = Delivery(
        body=gzip.compress(POSTBACK, mtime=0), headers=[("x-hub-signature-256", "sha256=00")]
    )
    assert "x-hub-signature-256" not in one(place, delivery).headers


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([("content-type", "application/json; charset=utf-8")], "application/json; charset=utf-8"),
        ([("content-type", "first/one"), ("content-type", "second/one")], "first/one"),
        ([("content-type", "")], None),
        ([("content-type", "text/pl\xe4in")], None),
        ([("content-type", "a\x01b")], None),
    ],
)
def test_the_content_type_is_that_of_the_callback(
    place: Place, headers: list[tuple[str, str]], expected: str | None
) -> None:
    assert expected == one(place, Delivery(headers=headers)).headers.get("content-type")


def test_no_other_header_of_the_callback_is_sent(place: Place) -> None:
    names = ["host", "authorization", "cookie", "user-agent", "connection", "x-forwarded-for"]
    names += ["content-length", "transfer-encoding", "expect", "webhook-id", "webhook-signature"]
    request = one(place, Delivery(headers=[(name, "x") for name in names]))
    assert OURS == request.headers.keys()
    assert "x" not in request.headers.values()


# The query.


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ""),
        ("?id=a&tag=acme%7Crun-42", "?id=a&tag=acme%7Crun-42"),
        ("?id=%41%2f&x=%zz%&y=+%20&&=&", "?id=%41%2f&x=%zz%&y=+%20&&=&"),
        ("?a={b}|c\\d^e`f<g>\"h'i", "?a={b}|c\\d^e`f<g>\"h'i"),
        ("?a=b?c?d", "?a=b?c?d"),
        # What may not stand in a request line.
        ("?a=\xfc\xc3\xbc\x80", "?a=%FC%C3%BC%80"),
        ("?a=b c\td\x7fe\x01", "?a=b%20c%09d%7Fe%01"),
        ("?a=b#c", "?a=b%23c"),
    ],
)
def test_a_query_is_sent_undecoded(place: Place, query: str, expected: str) -> None:
    assert URL + expected == one(place, Delivery(rest=query)).url


def test_a_query_stands_behind_that_of_the_url(place: Place) -> None:
    request = one(place, Delivery(rest="?id=1&key=theirs"), Form(URL + "?key=mine%2f&b"))
    assert URL + "?key=mine%2f&b&id=1&key=theirs" == request.url


def test_without_a_query_that_of_the_url_stands_alone(place: Place) -> None:
    request = one(
        place, Delivery(provider="diffbot", kind="notification", rest=""), Form("http://h/?k=1")
    )
    assert "http://h/?k=1" == request.url


def test_an_empty_path_is_left_to_http(place: Place) -> None:
    assert "http://h?id=task-1&tag=try" == one(place, Delivery(), Form("http://h")).url


# Method and marks.


def test_a_pingback_is_a_get_again(place: Place) -> None:
    request = one(
        place,
        Delivery(kind="pingback", method="GET", rest="/serp/google?id=1&tag=$tag", body=b""),
    )
    assert ("GET", b"") == (request.method, content_of(request))
    assert URL + "?id=1&tag=$tag" == request.url


def test_marks_say_what_it_is_and_when_it_came(place: Place) -> None:
    at_us = clock.now_us() - 3_600_000_000
    delivery = Delivery(provider="dataforapps", at_us=at_us)
    (delivery_id,) = place.take(delivery)
    (request,) = place.requests(Form(URL))
    assert {
        "webhook-id": delivery_id,
        "webhook-received-at": clock.rfc3339(at_us),
        "webhook-provider": "dataforapps",
        "webhook-kind": "postback",
        "webhook-origin": "callback",
        "webhook-replay": "true",
    } == request.headers
    (forwarded,) = place.requests(Form(URL, marked=False))
    assert OURS - {"webhook-replay"} == forwarded.headers.keys()


# What came by no callback.


def test_a_collected_result_becomes_the_postback_that_did_not_come(place: Place) -> None:
    body = orjson.dumps(
        {
            "status_code": 20000,
            "tasks": [{"id": "a/b c", "status_code": 20000, "data": {"tag": "100% $id&ü"}}],
        }
    )
    delivery = Delivery(
        kind="result",
        method="GET",
        target="/v3/serp/google/organic/task_get/advanced/a%2Fb%20c",
        origin="sweep",
        body=body,
        headers=[("content-type", "application/json")],
    )
    form = Form("http://h/{provider}/{kind}{path}?own=1")
    request = one(place, delivery, form)
    assert "POST" == request.method
    query = "id=a%2Fb%20c&tag=100%25%20%24id%26%C3%BC"
    assert f"http://h/dataforseo/postback?own=1&{query}" == request.url
    assert body == content_of(request)
    assert ("result", "sweep") == (
        request.headers["webhook-kind"],
        request.headers["webhook-origin"],
    )


def test_a_collected_result_without_a_tag_has_an_empty_one(place: Place) -> None:
    delivery = Delivery(
        kind="result", method="GET", target="/v3/x/task_get/t", origin="sweep", body=POSTBACK
    )
    assert URL + "?id=t&tag=" == one(place, delivery).url


@pytest.mark.parametrize(
    ("provider", "kind", "becomes"),
    [("diffbot", "notification", "notification"), ("outscraper", "result", "webhook")],
)
def test_what_a_sweep_found_becomes_a_post(
    place: Place, provider: str, kind: str, becomes: str
) -> None:
    body = b'{"id": "x", "name": "x", "jobStatus": {"status": 9}}'
    delivery = Delivery(
        provider=provider, kind=kind, method="GET", target="/v3/crawl", origin="sweep", body=body
    )
    request = one(place, delivery, Form("http://h/{provider}/{kind}"))
    assert ("POST", body) == (request.method, content_of(request))
    assert f"http://h/{provider}/{becomes}" == request.url


# The URL.


@pytest.mark.parametrize(
    ("rest", "path"),
    [
        ("?id=1", ""),
        ("/?id=1", ""),
        ("/serp/google/organic?id=1", "/serp/google/organic"),
        ("/serp%2Fgoogle/a//b/?id=1", "/serp%2Fgoogle/a//b"),
        ("/\xfc{kind}?id=1", "/%FC{kind}"),
    ],
)
def test_places_in_the_url_are_filled(place: Place, rest: str, path: str) -> None:
    form = Form("http://h/x/{kind}/{provider}{path}")
    request = one(place, Delivery(kind="pingback", method="GET", rest=rest, body=b""), form)
    assert f"http://h/x/pingback/dataforseo{path}?id=1" == request.url


def test_places_in_the_query_of_the_url_are_filled(place: Place) -> None:
    form = Form("http://h/x?from={provider}&kind={kind}")
    request = one(place, Delivery(rest="?tag={provider}"), form)
    assert "http://h/x?from=dataforseo&kind=postback&tag={provider}" == request.url


@pytest.mark.parametrize(
    "path",
    [
        "/../../admin/delete",
        "/..",
        "/.",
        "/a/./b",
        "/a/../",
        "/%2e%2e/admin",
        "/.%2E/admin",
        "/a%2f..%2fadmin",
        "/a/..%2Fadmin",
        "/..\\admin",
        "/%2e%2e%5cadmin",
        "/..;x=1/admin",
        "/%2e%2e%3bx/admin",
        "/..%20/admin",
        "/..%09/admin",
    ],
)
def test_a_path_that_climbs_out_of_its_prefix_is_not_sent(place: Place, path: str) -> None:
    place.take(Delivery(kind="pingback", method="GET", rest=f"{path}?id=1", body=b""))
    with pytest.raises(NotSendable, match="is not sent: its path has a dot segment"):
        place.requests(Form("http://h/hooks{path}"))
    # Where the path is not part of the URL, it does no harm.
    (request,) = place.requests(Form("http://h/hooks"))
    assert "http://h/hooks?id=1" == request.url


@pytest.mark.parametrize("path", ["/..a/b", "/a../b", "/%252e%252e/x", "/a.b/...", "/.well-known"])
def test_a_path_with_dots_and_no_dot_segment_is_sent(place: Place, path: str) -> None:
    place.take(Delivery(kind="pingback", method="GET", rest=f"{path}?id=1", body=b""))
    (request,) = place.requests(Form("http://h/hooks{path}"))
    assert f"http://h/hooks{path}?id=1" == request.url


def test_a_path_adds_no_parameter_to_the_query(place: Place) -> None:
    path = "/a&admin=1+2;x=y/%26"
    place.take(Delivery(kind="pingback", method="GET", rest=f"{path}?id=1", body=b""))
    (request,) = place.requests(Form("http://h/x?path={path}&own=1"))
    assert "http://h/x?path=/a%26admin%3D1%2B2%3Bx%3Dy/%26&own=1&id=1" == request.url
    asked = parse_qsl(request.url.partition("?")[2])
    assert [("path", "/a&admin=1+2;x=y/&"), ("own", "1"), ("id", "1")] == asked


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://h", "http://h"),
        ("https://user:pass@h:444/x?y=z", "https://h:444"),
        ("http://[::1]:80/x", "http://[::1]:80"),
        ("http://127.0.0.1:9000/{provider}/{kind}{path}", "http://127.0.0.1:9000"),
    ],
)
def test_of_a_url_only_where_it_leads_may_be_shown(url: str, origin: str) -> None:
    assert origin == Form(url).origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h/secret-1",
        "ftp://h/secret-1",
        "//h/secret-1",
        "http:///secret-1",
        "http://h:port/secret-1",
        "http://h:70000/secret-1",
        "http://[::1/secret-1",
        "http://h/secret-1#part",
        "http://h/secret-1#",
        "http://h/secret 1",
        "http://h/secret-1\n",
        "http://h/secret-1\x01",
        "\x01http://h/secret-1",
        "http://h/secret-ü",
        "http://h/{tag}/secret-1",
        "http://h/{kind/secret-1",
        "http://h/kind}/secret-1",
        "http://h/{}/secret-1",
        "http://{provider}.h/secret-1",
        "http://user:{kind}@h/secret-1",
    ],
)
def test_a_url_that_cannot_be_called_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Form(url)
    assert "URL" in str(caught.value)
    assert "secret" not in str(caught.value)


# Damage.


def entry_and_line(place: Place) -> tuple[Entry, dict[str, object]]:
    place.take(Delivery())
    (entry,) = place.entries()
    line: dict[str, object] = orjson.loads(place.line(entry))
    return entry, line


@pytest.mark.parametrize(
    "change",
    [
        {"body": "{} "},
        {"body": None, "body_base64": "e30"},
        {"body": None, "body_base64": "****"},
        {"body": None, "body_base64": None},
        {"body_bytes": "2"},
        {"headers": [["one"]]},
        {"method": 7},
    ],
)
def test_a_line_that_is_not_as_it_was_written_is_damaged(
    place: Place, change: dict[str, object]
) -> None:
    entry, line = entry_and_line(place)
    Form(URL).request(entry, orjson.dumps(line))
    with pytest.raises(Damaged, match=entry.delivery_id):
        Form(URL).request(entry, orjson.dumps(line | change))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"method": "PUT"}, "method"),
        ({"method": "G ET"}, "method"),
        ({"method": "POST / HTTP/1.1\r\nHost: x\r\n\r\nPOST"}, "method"),
        ({"provider": "../../x"}, "name"),
        ({"provider": "x&admin=1"}, "name"),
        ({"kind": "a/../b"}, "name"),
        ({"kind": "x\r\nHost: evil"}, "header"),
        ({"received_at": "2026\r\nHost: evil"}, "header"),
        ({"origin": "callback\n"}, "header"),
    ],
)
def test_a_line_that_would_make_another_request_is_not_sent(
    place: Place, change: dict[str, object], why: str
) -> None:
    entry, line = entry_and_line(place)
    with pytest.raises(NotSendable, match=f"{entry.delivery_id} is not sent: .*{why}"):
        Form("http://h/{provider}/{kind}").request(entry, orjson.dumps(line | change))


@pytest.mark.parametrize("delivery_id", ["x", "a\r\nb: c", ""])
def test_a_line_of_another_delivery_is_damaged(place: Place, delivery_id: str) -> None:
    entry, line = entry_and_line(place)
    with pytest.raises(Damaged, match="is of another delivery"):
        Form(URL).request(entry, orjson.dumps(line | {"delivery_id": delivery_id}))


def test_a_target_beyond_latin_1_is_damaged(place: Place) -> None:
    entry, line = entry_and_line(place)
    target = {"target": "/dataforseo/postback/***?id=\u6771"}
    with pytest.raises(Damaged, match=entry.delivery_id):
        Form(URL).request(entry, orjson.dumps(line | target))


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"\xff", b"{}"])
def test_what_is_no_line_is_damaged(place: Place, line: bytes) -> None:
    entry, _ = entry_and_line(place)
    with pytest.raises(Damaged, match=entry.delivery_id):
        Form(URL).request(entry, line)


# All the way: the door, the shipper, the archive, the request.

visible = st.integers(0x21, 0x7E).filter(lambda code: chr(code) not in "#?")
queries = st.lists(visible | st.integers(0x80, 0xFF), max_size=40).map(
    lambda codes: "".join(map(chr, codes))
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200).map(str.encode)
contents = st.one_of(st.binary(max_size=400), texts)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str, str, str, list[tuple[str, str]], bytes, bytes]:
    """Return provider, kind, method, what follows the token, headers, wire and content."""
    provider, kind, method = draw(
        st.sampled_from(
            [
                ("dataforseo", "postback", "POST"),
                ("dataforapps", "pingback", "GET"),
                ("diffbot", "notification", "POST"),
                ("outscraper", "webhook", "POST"),
            ]
        )
    )
    content = wire = draw(contents)
    headers = draw(
        st.sampled_from([[], [("content-type", "application/json")], [("x-other", "\xe4")]])
    )
    if draw(st.booleans()):
        wire = gzip.compress(content, draw(st.integers(0, 9)))
        headers = [*headers, ("content-encoding", "gzip")]
    rest = "?id=1&" + draw(queries)
    if kind == "pingback" and draw(st.booleans()):
        rest = "/serp" + rest
    return provider, kind, method, rest, headers, wire, content


def escaped(query: str) -> str:
    """The plainest model: what is not visible ASCII is escaped."""
    return "".join(c if "!" <= c <= "~" else f"%{ord(c):02X}" for c in query)


@settings(max_examples=25, deadline=None)
@given(made=st.lists(calls(), min_size=1, max_size=12), gzip_wanted=st.booleans())
def test_what_came_to_the_door_goes_to_the_target(
    made: list[tuple[str, str, str, str, list[tuple[str, str]], bytes, bytes]], gzip_wanted: bool
) -> None:
    form = Form(URL, gzip=gzip_wanted)
    with tempfile.TemporaryDirectory() as name:
        place = Place(Path(name))
        taken = asyncio.run(_take(place, made))
        requests = {request.entry.delivery_id: request for request in place.requests(form)}
        for delivery_id, call in zip(taken, made, strict=True):
            _, _, method, rest, headers, wire, content = call
            request = requests.pop(delivery_id)
            assert method == request.method
            assert URL + "?" + escaped(rest.partition("?")[2]) == request.url
            assert dict(headers).get("content-type") == request.headers.get("content-type")
            assert request.headers.keys() <= OURS | OF_THE_CALLBACK
            squeezed = gzip_wanted and wire != content
            assert ("gzip" if squeezed else None) == request.headers.get("content-encoding")
            assert content == (
                gzip.decompress(content_of(request)) if squeezed else content_of(request)
            )
        assert {} == requests


async def _take(
    place: Place,
    made: list[tuple[str, str, str, str, list[tuple[str, str]], bytes, bytes]],
) -> list[str]:
    taken = []
    async with opened(place.spool, limits=LIMITS) as caller:
        for provider, kind, method, rest, headers, wire, _ in made:
            target = f"/{provider}/{kind}/{TOKEN}{rest}"
            answer = await caller.call(method, target, wire, headers=headers)
            assert 200 == answer.status, answer
            taken.append(answer.delivery_id)
    place.ship()
    return taken
