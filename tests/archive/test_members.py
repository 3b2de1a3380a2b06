"""Members: whatever goes in comes out, in bounded memory, and nothing damaged passes."""

import ast
import gzip
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import receiver
from receiver.archive import members
from receiver.archive.members import COMPRESSIONS, GZIP, STEP_BYTES, Compression
from receiver.errors import Damaged
from tests.tools.support import zstd

both = pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)
NUMBERS = b"".join(b"%d," % number for number in range(1 << 18))


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


def made(compression: Compression, content: bytes) -> list[bytes]:
    """Return a member of a content, made in both ways."""
    return [
        compression.member(content),
        b"".join(compression.stream(cut(content, 1000))),
    ]


def is_damaged(compression: Compression, content: bytes) -> bool:
    """Return whether a member is found to be damaged, whole as in steps."""
    results = []
    for read in (compression.inflate, lambda content: list(compression.steps(content))):
        try:
            read(content)
        except Damaged:
            results.append(True)
        else:
            results.append(False)
    assert results[0] == results[1]
    return results[0]


@given(content=st.binary(max_size=2000), compression=st.sampled_from(list(COMPRESSIONS.values())))
def test_what_goes_in_comes_out(content: bytes, compression: Compression) -> None:
    for member in made(compression, content):
        assert content == compression.inflate(member)
        assert content == b"".join(compression.steps(member))
        assert content * 3 == compression.inflate(member * 3)
        assert content * 3 == b"".join(compression.steps(member * 3, members_max=3))


@both
def test_any_tool_reads_members_one_after_the_other(compression: Compression) -> None:
    content = b"".join(made(compression, NUMBERS))
    read = gzip.decompress if compression is GZIP else zstd.decompress
    assert NUMBERS * 2 == read(content)


@both
def test_a_member_is_read_in_small_steps(compression: Compression) -> None:
    for member in made(compression, NUMBERS):
        steps = list(compression.steps(member))
        assert NUMBERS == b"".join(steps)
        assert max(map(len, steps)) <= STEP_BYTES


@both
def test_a_damaged_member_is_found(compression: Compression) -> None:
    # Time, flags and system in a gzip header say nothing about the content (RFC 1952 §2.3).
    silent = range(4, 10) if compression is GZIP else range(0)
    for member in made(compression, NUMBERS):
        for at in (*range(0, len(member), 7001), len(member) - 1):
            flipped = member[:at] + bytes([member[at] ^ 0x10]) + member[at + 1 :]
            assert is_damaged(compression, flipped) or at in silent, at
            assert is_damaged(compression, member[:at]), at


@both
def test_nothing_may_follow_the_last_member(compression: Compression) -> None:
    member = compression.member(b"content")
    for rest in (b"more", b"\0", bytes(100), member[:1], member[:-1]):
        assert is_damaged(compression, member + rest)
    with pytest.raises(Damaged, match="follows"):
        list(compression.steps(member * 2))
    with pytest.raises(Damaged, match="follows"):
        list(compression.steps(member * 3, members_max=2))


@both
def test_what_is_whole_before_damage_is_yielded(compression: Compression) -> None:
    seen: list[bytes] = []
    with pytest.raises(Damaged):
        seen.extend(compression.steps(compression.member(b"content") + b"more", members_max=9))
    steps = compression.steps(compression.member(NUMBERS)[:-1])
    with pytest.raises(Damaged, match="cut short"):
        seen.extend(steps)
    assert b"content" + NUMBERS == b"".join(seen)


@both
def test_little_is_held_of_what_inflates_far(compression: Compression) -> None:
    pieces = (b"a" * 1_000_000 for _ in range(60))
    member = b"".join(compression.stream(pieces))
    tracemalloc.start()
    try:
        size = sum(map(len, compression.steps(member)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 60_000_000 == size
    assert peak < 4 << 20


def test_a_key_tells_its_compression() -> None:
    for compression in COMPRESSIONS.values():
        assert compression is members.of(f"callbacks/any{compression.suffix}")
    with pytest.raises(Damaged, match="readme"):
        members.of("callbacks/readme.txt")


def test_only_this_module_knows_the_libraries() -> None:
    """The spool takes only a checksum from isal."""
    package = Path(receiver.__file__).parent
    libraries = {"isal", "backports", "compression", "gzip", "zlib", "zstandard"}
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if libraries & _imported(ast.parse(path.read_text()))
    }
    allowed = {"archive/members.py", "spool/segment.py", "catalog/filters.py", "catalog/tables.py"}
    assert users <= allowed
    for name in allowed - {"archive/members.py"}:
        # zlib.crc32 and isal_zlib.crc32
        text = (package / name).read_text()
        assert text.count("zlib.") == text.count("zlib.crc32(")


def _imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found
