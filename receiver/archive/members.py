"""Members: gzip and zstd, and the only code that knows either.

An object is a sequence of members, each compressed by itself: gzip members (RFC 1952 §2.2) or zstd
frames (RFC 8878 §3.1).  One after the other they are an ordinary `.gz` or `.zst` file, and each
can be read alone.  A member ends in a checksum of its content.

Reading is strict: a member that is cut short, fails its checksum or is followed by something else
is `Damaged`.  Where members are read in steps, memory is bounded by the step, whatever they hold.
"""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from isal import igzip_lib, isal_zlib

from receiver.errors import Damaged

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Longer lines are read in steps; members of shorter ones are held, inflated, with their newline.
LONG_BYTES = 8 << 20
HELD_BYTES_MAX = LONG_BYTES + 1
# The most that a step yields.
STEP_BYTES = 256 << 10
# In steps, input is given in slices: a decompressor copies all that it cannot use yet.
_INPUT_BYTES = 64 << 10

# isal's level 1 costs as much CPU as its level 0 and saves a sixth of the bytes.
_GZIP_LEVEL = 1
# A window of 32 KiB, with gzip's header and trailer.
_GZIP_WINDOW = 31
_GZIP_MAGIC = b"\x1f\x8b"
# zstd leaves the checksum out by default, and a damaged frame then inflates to something else.
_ZSTD_OPTIONS: Mapping[int, int] = {
    zstd.CompressionParameter.compression_level: 3,
    zstd.CompressionParameter.checksum_flag: 1,
}


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """How members are made and read.

    ``suffix`` ends the keys of objects made of such members; `member` returns content as one.
    """

    suffix: str
    member: Callable[[bytes], bytes]
    _compressor: Callable[[], _Compressor]
    _decompressor: Callable[[], _Decompressor]
    _error: type[Exception]

    def stream(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield one member made of pieces, holding one of them at a time."""
        compressor = self._compressor()
        for piece in pieces:
            yield compressor.compress(piece)
        yield compressor.flush()

    def inflate(self, content: bytes, *, bytes_max: int = HELD_BYTES_MAX) -> bytes:
        """Return what one or several members hold.

        Raises `Damaged`, also where that is longer than ``bytes_max``.
        """
        steps = self._members(
            content, len(content), input_bytes=len(content), output_bytes=bytes_max + 1
        )
        return b"".join(limited(steps, bytes_max=bytes_max))

    def steps(self, content: bytes, *, members_max: int = 1) -> Iterator[bytes]:
        """Yield what members hold, at most `STEP_BYTES` at a time.

        Raises `Damaged`, after yielding what could be read, also where there are more members
        than ``members_max``.
        """
        return self._members(
            content, members_max, input_bytes=_INPUT_BYTES, output_bytes=STEP_BYTES
        )

    def _members(self, content: bytes, members_max: int, **sizes: int) -> Iterator[bytes]:
        end = yield from self._member(content, 0, **sizes)
        members = 1
        while end < len(content):
            if members == members_max:
                raise Damaged("something follows a member")
            end = yield from self._member(content, end, **sizes)
            members += 1

    def _member(
        self, content: bytes, start: int, *, input_bytes: int, output_bytes: int = -1
    ) -> Generator[bytes, None, int]:
        """Yield what the member at ``start`` holds, and return where it ends."""
        decompressor = self._decompressor()
        while not decompressor.eof:
            given = b""
            if decompressor.needs_input:
                given = content[start : start + input_bytes]
                if not given:
                    raise Damaged("a member is cut short")
                start += len(given)
            try:
                step = decompressor.decompress(given, output_bytes)
            except self._error as exc:
                raise Damaged(f"a member is damaged: {exc}") from exc
            if step:
                yield step
        return start - len(decompressor.unused_data)


GZIP = Compression(
    suffix=".jsonl.gz",
    member=lambda content: isal_zlib.compress(content, _GZIP_LEVEL, _GZIP_WINDOW),
    _compressor=lambda: isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW),
    _decompressor=lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP),
    _error=isal_zlib.error,  # type: ignore[arg-type] # typed as a value
)
ZSTD = Compression(
    suffix=".jsonl.zst",
    member=lambda content: zstd.compress(content, options=_ZSTD_OPTIONS),
    _compressor=lambda: zstd.ZstdCompressor(options=_ZSTD_OPTIONS),
    _decompressor=zstd.ZstdDecompressor,
    _error=zstd.ZstdError,
)
# By the names that the setting has for those of callbacks objects.
COMPRESSIONS: Mapping[str, Compression] = {"gzip": GZIP, "zstd": ZSTD}
# Index objects are gzip whatever the setting.
INDEX = GZIP


def limited(steps: Iterable[bytes], *, bytes_max: int) -> Iterator[bytes]:
    """Yield steps.  Raises `Damaged` once they are longer than ``bytes_max`` together."""
    left = bytes_max
    for step in steps:
        left -= len(step)
        if left < 0:
            raise Damaged(f"a member holds more than {bytes_max} bytes")
        yield step


def of(key: str) -> Compression:
    """Return the compression of the object under a key.  Raises `Damaged` if it is unknown."""
    for compression in COMPRESSIONS.values():
        if key.endswith(compression.suffix):
            return compression
    raise Damaged(f"{key} has the suffix of no compression")


def is_gzip(wire: bytes) -> bool:
    """Say whether bytes begin as gzip does."""
    return wire.startswith(_GZIP_MAGIC)
