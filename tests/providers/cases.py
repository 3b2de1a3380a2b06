"""The cases that every adapter must pass.

A provider's tests subclass `AdapterCases` and name the provider, and those of its samples that are
deliveries of one callback.
"""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import ClassVar

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.archive.body import decode, recognise
from receiver.door.guard import Guard
from receiver.providers import Entrance, Recognised
from receiver.providers.base import placeholder, query_of
from receiver.providers.envelope import Envelope
from receiver.providers.registry import find_problem
from tests.providers.samples import ADAPTERS, OUTSCRAPER_KEY, TOKEN, Sample, samples
from tests.tools.deliveries import envelope_of, head_of

# Names that the providers use, so that generated JSON reaches the code that reads them.
NAMES = [
    "id",
    "status",
    "status_code",
    "tasks",
    "data",
    "tag",
    "postback_data",
    "result",
    "name",
    "type",
    "jobStatus",
    "jobs",
    "roundsCompleted",
    "jobCreationTimeUTC",
    "report",
    "state",
]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), values, max_size=5)
    ),
    max_leaves=12,
)
OTHER_JSON = [b'{"hello":"world"}', b"{}", b"[]", b"[{}]", b"1", b'"text"', b"null", b"true"]


# Text that strict parsers refuse within a string, and a document that it is around.
ODD_STRINGS = [rb"\ud83d", rb"\udc00x", rb"\q", b"\x01", b"\n", b"\xfc", b"\xff\xfe", rb"\ud83d\n"]
ODD_AROUND = [(b"\xef\xbb\xbf", b""), (b"", b"\0"), (b"", b"\n\0\0"), (b"\xef\xbb\xbf ", b"\0\n")]
ODD_VALUES = [
    *(b"NaN", b"-Infinity", b"01", b"None"),
    b"[" * 3000 + b"]" * 3000,
    b'{"":' * 3000 + b"0" + b"}" * 3000,
]
_MARK = "odd-text-stands-here"


def strings_marked(value: object) -> Iterator[object]:
    """Yield a document once for each string in it, with a mark at the end of that string."""
    if isinstance(value, str):
        yield value + _MARK
    items = value.items() if isinstance(value, dict) else ()
    for name, within in items:
        for marked in strings_marked(within):
            yield {**value, name: marked}  # type: ignore[dict-item]
    for at, within in enumerate(value if isinstance(value, list) else ()):
        for marked in strings_marked(within):
            yield [*value[:at], marked, *value[at + 1 :]]  # type: ignore[index]


def objects_marked(value: object) -> Iterator[object]:
    """Yield a document once for each object in it, with a member of that object marked."""
    if isinstance(value, dict):
        yield {"before": _MARK, **value}
        for name, within in value.items():
            for marked in objects_marked(within):
                yield {**value, name: marked}
    for at, within in enumerate(value if isinstance(value, list) else ()):
        for marked in objects_marked(within):
            yield [*value[:at], marked, *value[at + 1 :]]  # type: ignore[index]


# Each subclass runs the same cases, which is what the health check asks about.
shared = settings(suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])


class AdapterCases:
    """The cases; pytest collects the subclasses."""

    provider: ClassVar[str]
    # Sets of samples that are deliveries of one callback; all others are different callbacks.
    repeated: ClassVar[list[set[str]]] = []

    def test_the_adapter_passes_the_checks_of_the_registry(self) -> None:
        assert find_problem(ADAPTERS[self.provider]) is None

    def test_a_sample_is_recognised_as_what_it_is(self, sample: Sample) -> None:
        expected = {name: value for name, value in sample.expected.items() if name != "kind"}
        assert expected == asdict(sample.recognise())

    def test_a_sample_comes_in_by_an_entrance(self, sample: Sample) -> None:
        path = sample.target.partition("?")[0].split("/")
        entrance = self.entrance(sample.kind)
        assert ["", self.provider, sample.kind, TOKEN] == path[:4]
        assert [] == path[5:] or entrance.path_follows
        assert entrance.method == sample.method
        if entrance.needs_id:
            assert placeholder(query_of(sample.target).get("id"), "$id")

    def test_a_signed_sample_is_let_in_by_its_key_and_by_no_other(self, sample: Sample) -> None:
        name = self.entrance(sample.kind).signature_header
        if name is None or name not in dict(sample.headers):
            return
        good = Guard(tokens=[], signature="required", signature_keys=[OUTSCRAPER_KEY.encode()])
        good.check_signature(name, sample.headers, [sample.wire])
        other = Guard(tokens=[], signature="required", signature_keys=[b"another"])
        with pytest.raises(Exception, match="matches none of"):
            other.check_signature(name, sample.headers, [sample.wire])

    def test_deliveries_of_one_callback_have_one_key_and_others_have_another(self) -> None:
        keys = {one.scenario: one.recognise().key for one in samples(self.provider)}
        groups = {
            scenario: frozenset(next((group for group in self.repeated if scenario in group), ()))
            for scenario in keys
        }
        for one, key in keys.items():
            for other, other_key in keys.items():
                if one < other and key is not None:
                    same = bool(groups[one]) and groups[one] == groups[other]
                    assert same == (key == other_key), (one, other)

    def test_no_secret_is_in_what_goes_into_the_index(self, sample: Sample) -> None:
        found = orjson.dumps(asdict(sample.recognise())).decode()
        for secret in (TOKEN, OUTSCRAPER_KEY, "sampleapitoken"):
            assert secret not in found

    def test_a_sample_cut_anywhere_raises_nothing_and_is_not_taken_for_whole(
        self, sample: Sample
    ) -> None:
        content = sample.content or b""
        stripped = content.rstrip()
        for length in {*range(0, len(stripped), max(1, len(stripped) // 97)), *range(40)}:
            cut = stripped[:length]
            recognised = self.recognise(sample.envelope, cut)
            if length < len(stripped) and stripped.startswith((b"{", b"\n")):
                expected = "not_json" if cut.strip() else "empty"
                assert expected == recognised.invalid
            self.recognise(sample.envelope, cut, whole=False)

    def test_odd_text_in_any_string_loses_nothing(self, sample: Sample) -> None:
        """Lone surrogates, unknown escapes, control characters, bytes that are not UTF-8."""
        document = self.document(sample)
        for number, marked in enumerate(strings_marked(document)):
            odd = ODD_STRINGS[number % len(ODD_STRINGS)]
            self.check_odd(sample, orjson.dumps(marked).replace(_MARK.encode(), odd))

    def test_odd_values_and_deep_nesting_lose_nothing(self, sample: Sample) -> None:
        document = self.document(sample)
        for number, marked in enumerate(objects_marked(document)):
            odd = ODD_VALUES[number % len(ODD_VALUES)]
            self.check_odd(sample, orjson.dumps(marked).replace(b'"%b"' % _MARK.encode(), odd))

    def test_byte_order_marks_and_trailing_nuls_lose_nothing(self, sample: Sample) -> None:
        if self.document(sample) is not None:
            for before, behind in ODD_AROUND:
                self.check_odd(sample, before + (sample.content or b"").strip() + behind)

    def document(self, sample: Sample) -> object:
        """Return the document that a sample holds, None if it holds none."""
        try:
            return orjson.loads(sample.content or b"")
        except orjson.JSONDecodeError:
            return None

    def check_odd(self, sample: Sample, body: bytes) -> None:
        """Check that odd text hides nothing and, if it is seen, is told from a broken body."""
        good = sample.recognise()
        odd = recognise(
            ADAPTERS[self.provider],
            sample.envelope,
            decode(gzip.compress(body), inflated_bytes_max=1 << 30),
        )
        for name in ("task_id", "tag", "key", "status"):
            expected, found = getattr(good, name), getattr(odd, name)
            # The odd text may stand in this very string.
            assert expected is None or found.startswith(expected.split(":")[0]), (name, body)
        assert odd.invalid == (good.invalid or "odd_text")

    def test_white_space_around_a_body_changes_nothing(self, sample: Sample) -> None:
        content = sample.content
        if content:
            spaced = b"\r\n \n\t" + content + b" \n\n"
            assert sample.recognise() == self.recognise(sample.envelope, spaced)

    def test_a_body_that_could_not_be_decoded_is_invalid(self, sample: Sample) -> None:
        recognised = self.recognise(sample.envelope, None)
        if self.has_body(sample.kind):
            assert "undecodable" == recognised.invalid

    def test_an_empty_body_is_invalid(self, sample: Sample) -> None:
        for empty in (b"", b"\n\n", b" \r\n\t"):
            recognised = self.recognise(sample.envelope, empty)
            if self.has_body(sample.kind):
                assert "empty" == recognised.invalid

    @pytest.mark.parametrize("body", OTHER_JSON)
    def test_other_json_is_of_an_unknown_kind(self, body: bytes) -> None:
        for kind in self.kinds():
            recognised = self.recognise(self.envelope(kind), body)
            if self.has_body(kind):
                assert "unknown_kind" == recognised.invalid
                assert recognised.key is None

    def test_a_body_that_is_not_json_is_invalid(self) -> None:
        for body in (b"<html></html>", b"id=1&status=2", b"{'id': 1}", b'{"id":1}x', b"\xff\xfe{}"):
            for kind in self.kinds():
                if self.has_body(kind):
                    assert "not_json" == self.recognise(self.envelope(kind), body).invalid

    @shared
    @given(body=st.none() | st.binary(max_size=80), whole=st.booleans())
    def test_random_bytes_raise_nothing(self, body: bytes | None, whole: bool) -> None:
        for kind in self.kinds():
            self.recognise(self.envelope(kind), body, whole=whole)

    @shared
    @given(value=json_values, whole=st.booleans())
    def test_json_of_any_shape_raises_nothing(self, value: object, whole: bool) -> None:
        for kind in self.kinds():
            self.recognise(self.envelope(kind), orjson.dumps(value), whole=whole)

    @shared
    @given(
        target=st.text(st.characters(max_codepoint=255), max_size=40)
        | st.text("id=tag&%2541$+?/", max_size=40).map("/p/k/***?{}".format),
        name=st.sampled_from(["x-crawl-name", "content-type"]),
        value=st.text(st.characters(max_codepoint=255), max_size=20),
    )
    def test_heads_of_any_shape_raise_nothing(self, target: str, name: str, value: str) -> None:
        for kind in self.kinds():
            envelope = envelope_of(
                head=head_of(
                    provider=self.provider, kind=kind, target=target, headers=[(name, value)]
                )
            )
            for body in (None, b"", b"{}", b'{"id":"1","status":"x"}'):
                self.recognise(envelope, body)

    def test_deep_nesting_raises_nothing(self) -> None:
        for body in (b"[" * 100_000, b'{"tasks":' * 50_000, b'{"jobs":[' * 50_000):
            for kind in self.kinds():
                self.recognise(self.envelope(kind), body)

    # How it is asked.

    def recognise(
        self, envelope: Envelope, body: bytes | None, *, whole: bool = True
    ) -> Recognised:
        """Ask the adapter, and check that what it says has the types of the columns."""
        recognised = ADAPTERS[self.provider].recognise(envelope, body, whole=whole)
        for name, value in asdict(recognised).items():
            assert value is None or (isinstance(value, str) and value), name
        return recognised

    def envelope(self, kind: str) -> Envelope:
        """Return an envelope whose head says nothing."""
        target = f"/{self.provider}/{kind}/***"
        return envelope_of(head=head_of(provider=self.provider, kind=kind, target=target))

    def kinds(self) -> Iterable[str]:
        """Return the kinds that come in."""
        return [entrance.kind for entrance in ADAPTERS[self.provider].entrances]

    def has_body(self, kind: str) -> bool:
        """Say whether a callback of this kind has a body."""
        return self.entrance(kind).method == "POST"

    def entrance(self, kind: str) -> Entrance:
        """Return the entrance of a kind."""
        return next(e for e in ADAPTERS[self.provider].entrances if e.kind == kind)
