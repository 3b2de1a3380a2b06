"""The standard library's zstd, or its backport."""

import sys

if sys.version_info >= (3, 14):
    from compression.zstd import decompress
    from compression.zstd import open as open_zstd
else:
    from backports.zstd import decompress
    from backports.zstd import open as open_zstd

__all__ = ["decompress", "open_zstd"]
