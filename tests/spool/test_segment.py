"""A segment file: all that was written is read, damage is reported, nothing is invented."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver import clock
from receiver.spool import segment
from receiver.spool.segment import Damage, Record, Torn
from tests.tools.deliveries import framed

PROCESS = "019da001-7b2c-7d4e-8f00-0123456789ab"
RECORDS = [
    (b'["a"]\n["POST"]', b"first body"),
    (b'["b"]\n["GET"]', b""),
    (b'["c"]\n["POST"]', bytes(range(48))),
    (b'["d"]\n["POST"]', b"last body"),
]
SUFFIXES = [segment.OPEN, segment.TORN, segment.SEALED]
in_one_file = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=150,
)


def path_of(directory: Path, suffix: str = segment.SEALED) -> Path:
    return directory / f"{segment.name_of(PROCESS, 0)}{suffix}"


def write(directory: Path, content: bytes | bytearray, suffix: str = segment.SEALED) -> Path:
    path = path_of(directory, suffix)
    path.write_bytes(content)
    return path


def end_of(part: Record | Damage | Torn) -> int:
    if isinstance(part, Record):
        return part.offset + segment.HEADER_BYTES + len(part.head) + len(part.body)
    return part.end


def records_in(parts: Sequence[Record | Damage | Torn]) -> list[tuple[bytes, bytes]]:
    return [(part.head, part.body) for part in parts if isinstance(part, Record)]


def assert_every_byte_is_covered(parts: Sequence[Record | Damage | Torn], size: int) -> None:
    offset = 0
    for part in parts:
        assert offset == part.offset
        assert end_of(part) > offset
        offset = end_of(part)
    assert size == offset


@in_one_file
@given(st.lists(st.tuples(st.binary(max_size=80), st.lists(st.binary(max_size=60), max_size=4))))
def test_what_was_written_is_read(tmp_path: Path, written: list[tuple[bytes, list[bytes]]]) -> None:
    marker = segment.marker_of(PROCESS)
    content = b"".join(
        segment.frame(marker, head, chunks) + b"".join(chunks) for head, chunks in written
    )
    parts = list(segment.read(write(tmp_path, content)))
    assert [(head, b"".join(chunks)) for head, chunks in written] == records_in(parts)
    assert len(written) == len(parts)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_at_any_length_yields_what_was_whole(tmp_path: Path, suffix: str) -> None:
    content = framed(PROCESS, RECORDS)
    ends = [len(framed(PROCESS, RECORDS[:count])) for count in range(len(RECORDS) + 1)]
    path = write(tmp_path, content, suffix)
    for length in range(len(content), -1, -1):
        os.truncate(path, length)
        parts = list(segment.read(path))
        whole = sum(end <= length for end in ends) - 1
        assert RECORDS[:whole] == records_in(parts)
        rest: list[Damage | Torn] = []
        if length > ends[whole]:
            cut = Damage if suffix == segment.SEALED else Torn
            rest = [cut(ends[whole], length)]
        assert rest == parts[whole:]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_flipped_byte_costs_no_more_than_its_record(tmp_path: Path, suffix: str) -> None:
    content = framed(PROCESS, RECORDS)
    ends = [len(framed(PROCESS, RECORDS[: count + 1])) for count in range(len(RECORDS))]
    for position in range(len(content)):
        hit = sum(end <= position for end in ends)
        for mask in (0x01, 0x20, 0x80, 0xFF):
            flipped = bytearray(content)
            flipped[position] ^= mask
            parts = list(segment.read(write(tmp_path, flipped, suffix)))
            assert RECORDS[:hit] + RECORDS[hit + 1 :] == records_in(parts)
            damages = [part for part in parts if not isinstance(part, Record)]
            assert [Damage(([0, *ends])[hit], ends[hit])] == damages
            assert_every_byte_is_covered(parts, len(content))


@in_one_file
@given(
    records=st.lists(
        st.tuples(st.binary(min_size=1, max_size=30), st.binary(max_size=60)), max_size=6
    ),
    strokes=st.lists(
        st.tuples(st.integers(0, 400), st.one_of(st.binary(max_size=90), st.just(bytes(64)))),
        max_size=4,
    ),
    length=st.integers(0, 600),
    suffix=st.sampled_from(SUFFIXES),
)
def test_whatever_befell_a_file_the_untouched_records_are_read_and_no_others(
    tmp_path: Path,
    records: list[tuple[bytes, bytes]],
    strokes: list[tuple[int, bytes]],
    length: int,
    suffix: str,
) -> None:
    content = framed(PROCESS, records)
    damaged = bytearray(content)
    for offset, stroke in strokes:
        end = min(len(damaged), offset + len(stroke))
        damaged[offset:end] = stroke[: max(0, end - offset)]
    damaged = damaged[:length]
    untouched = []
    start = 0
    for record in records:
        end = start + len(framed(PROCESS, [record]))
        if damaged[start:end] == content[start:end] and end <= len(damaged):
            untouched.append(record)
        start = end
    parts = list(segment.read(write(tmp_path, damaged, suffix)))
    assert untouched == records_in(parts)
    assert_every_byte_is_covered(parts, len(damaged))


def test_a_body_that_imitates_a_record_is_not_taken_for_one(tmp_path: Path) -> None:
    stranger = clock.new_id()
    imitation = framed(stranger, [(b'["false"]\n[]', b"never sent")])
    content = bytearray(framed(PROCESS, [(b"head", imitation), (b"next", b"body")]))
    assert [(b"head", imitation), (b"next", b"body")] == records_in(
        list(segment.read(write(tmp_path, content)))
    )
    content[0] ^= 1  # the reader must search now, and meets the imitation
    parts = list(segment.read(write(tmp_path, content)))
    assert [(b"next", b"body")] == records_in(parts)


def test_records_of_another_process_are_not_read_under_this_name(tmp_path: Path) -> None:
    content = framed(clock.new_id(), RECORDS)
    assert [Damage(0, len(content))] == list(segment.read(write(tmp_path, content)))


def test_a_marker_without_a_header_is_passed_over(tmp_path: Path) -> None:
    marker = segment.marker_of(PROCESS)
    content = bytearray(framed(PROCESS, [(b"head", marker * 9), (b"next", b"body")]))
    content[9] ^= 1
    parts = list(segment.read(write(tmp_path, content)))
    assert [(b"next", b"body")] == records_in(parts)
    assert_every_byte_is_covered(parts, len(content))


@pytest.mark.parametrize(
    "zeros", [1, segment.HEADER_BYTES - 1, segment.HEADER_BYTES, 4096, 3 << 20]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_zeros_at_the_end_are_torn_unless_the_file_was_sealed(
    tmp_path: Path, suffix: str, zeros: int
) -> None:
    content = framed(PROCESS, RECORDS)
    *records, rest = segment.read(write(tmp_path, content + bytes(zeros), suffix))
    assert RECORDS == records_in(records)
    kind = Damage if suffix == segment.SEALED else Torn
    assert kind(len(content), len(content) + zeros) == rest


def test_a_page_that_was_never_written_costs_only_its_records(tmp_path: Path) -> None:
    records = [(b"head %d" % number, bytes([number]) * 900) for number in range(1, 20)]
    content = bytearray(framed(PROCESS, records))
    content[4096:8192] = bytes(4096)
    parts = list(segment.read(write(tmp_path, content, segment.OPEN)))
    length = len(framed(PROCESS, records[:1]))
    lost = range(4096 // length, 8191 // length + 1)
    kept = [record for number, record in enumerate(records) if number not in lost]
    assert kept == records_in(parts)
    assert_every_byte_is_covered(parts, len(content))


@pytest.mark.parametrize("shift", range(-9, 10))
def test_the_next_record_is_found_wherever_it_begins(tmp_path: Path, shift: int) -> None:
    # Around a mebibyte, where the window of the search ends.
    first_end = (1 << 20) + 1 + shift
    body = bytes(first_end - segment.HEADER_BYTES - len(b"head"))
    content = bytearray(framed(PROCESS, [(b"head", body), (b"next", b"body")]))
    content[3] ^= 1
    damage, record = segment.read(write(tmp_path, content))
    assert Damage(0, first_end) == damage
    assert Record(first_end, b"next", b"body") == record


def test_reading_stops_at_the_size_the_file_had(tmp_path: Path) -> None:
    path = write(tmp_path, framed(PROCESS, RECORDS[:2]), segment.OPEN)
    reading = segment.read(path)
    first = next(reading)
    with path.open("ab") as file:
        file.write(framed(PROCESS, RECORDS[2:]))
    assert RECORDS[:2] == records_in([first, *reading])


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    assert [] == list(segment.read(write(tmp_path, b"")))


def test_a_file_that_is_not_there_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(segment.read(path_of(tmp_path)))


def test_the_bytes_of_damage_can_be_read(tmp_path: Path) -> None:
    content = bytearray(framed(PROCESS, RECORDS))
    content[-1] ^= 1
    path = write(tmp_path, content)
    damage = list(segment.read(path))[-1]
    assert isinstance(damage, Damage)
    assert bytes(content[damage.offset :]) == segment.read_bytes(path, damage)


def test_the_first_head_is_read(tmp_path: Path) -> None:
    assert RECORDS[0][0] == segment.first_head(write(tmp_path, framed(PROCESS, RECORDS)))


def test_a_damaged_header_has_no_head(tmp_path: Path) -> None:
    content = framed(PROCESS, RECORDS)
    for position in range(segment.HEADER_BYTES):
        flipped = bytearray(content)
        flipped[position] ^= 0x80
        assert segment.first_head(write(tmp_path, flipped)) is None
    assert segment.first_head(write(tmp_path, content[:20])) is None
    assert segment.first_head(write(tmp_path, b"")) is None


# Names.


@given(st.integers(0, 253_402_300_799_999_999), st.integers(0, 10**18 - 1))
def test_a_name_is_parsed_into_what_it_was_made_of(at_us: int, number: int) -> None:
    process = clock.new_id(at_us)
    name = segment.name_of(process, number)
    assert f"{process}-{number}" == name
    assert (process, number) == segment.parse(name)
    assert (process, number) == (segment.process_of(name), segment.number_of(name))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "notes-1",
        PROCESS,
        f"{PROCESS}-",
        f"{PROCESS}-x",
        f"{PROCESS}--1",
        f"{PROCESS}-+1",
        f"{PROCESS}-01",  # `name_of` writes no zeros in front
        f"{PROCESS}-1 ",
        f"{PROCESS}-1\n",
        f"{PROCESS}-\N{ARABIC-INDIC DIGIT ONE}",
        f"{PROCESS}-1000000000000000000",  # larger than any store or catalog must take
        f"{PROCESS}-1.seg",
        f"x{PROCESS}-1",
        f"{PROCESS.upper()}-1",
        f"{PROCESS.replace('-7d4e-', '-4d4e-')}-1",  # a UUID of another version
        f"{PROCESS.replace('-', '')}-1",
    ],
)
def test_other_text_is_not_the_name_of_a_segment(text: str) -> None:
    assert segment.parse(text) is None
    for part_of in (segment.process_of, segment.number_of):
        with pytest.raises(ValueError, match="not the name of a segment"):
            part_of(text)


@pytest.mark.parametrize("name", ["notes", "notes-1", PROCESS])
def test_a_file_that_is_not_named_like_a_segment_is_read_as_damage(
    tmp_path: Path, name: str
) -> None:
    content = framed(PROCESS, RECORDS)
    path = tmp_path / f"{name}{segment.SEALED}"
    path.write_bytes(content)
    assert [Damage(0, len(content))] == list(segment.read(path))
    assert segment.first_head(path) is None
    assert [] == list(segment.heads(path))
