"""Decompresses bodies of requests and responses piece by piece.

The end of the compressed data is the end of the body; trailing bytes are ignored. Input that yields no output for long
is refused.
"""

from __future__ import annotations

import zlib

PIECE_BYTES = 256 * 1024  # of output at a time
BARREN_BYTES = 1024 * 1024  # of input that may yield no output
ENCODINGS = ("gzip", "x-gzip", "deflate")


class Decoder:
    """One compressed body: `feed` it, and take one `piece` after the other while it `has_more`.

    `ended`: it is complete. `encoding` is one of `ENCODINGS`; calls raise ValueError if the data does not match it.
    """

    def __init__(self, encoding: str) -> None:
        self.has_more = False
        self.ended = False
        self._encoding = encoding
        self._compressed = b""
        self._barren_bytes = 0
        self._decompressor: zlib._Decompress | None = None

    @property
    def begun(self) -> bool:
        """Whether anything has been decompressed."""
        return self._decompressor is not None

    def feed(self, compressed: bytes) -> None:
        """Add compressed bytes."""
        self._compressed = self._compressed + compressed if self._compressed else compressed
        self.has_more = bool(self._compressed) and not self.ended

    def piece(self) -> bytes:
        """Return up to `PIECE_BYTES` of output, possibly none. Raises ValueError."""
        if self._decompressor is None:
            self._decompressor = self._begin()
        before = len(self._compressed)
        try:
            piece = self._decompressor.decompress(self._compressed, PIECE_BYTES)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        self._compressed = self._decompressor.unconsumed_tail
        self.ended = self._decompressor.eof
        self.has_more = not self.ended and (len(piece) == PIECE_BYTES or bool(self._compressed))
        self._limit(piece, before - len(self._compressed))
        return piece

    def _begin(self) -> zlib._Decompress:
        """Return a decompressor; `deflate` comes with zlib's header or, wrongly, without."""
        if self._encoding != "deflate":
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        wrapped = self._compressed[0] & 15 == zlib.DEFLATED
        return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)

    def _limit(self, piece: bytes, taken_bytes: int) -> None:
        """Raise ValueError for an endless body of nothing but headers or empty blocks."""
        self._barren_bytes = 0 if piece else self._barren_bytes + taken_bytes
        if self._barren_bytes > BARREN_BYTES:
            raise ValueError(f"{BARREN_BYTES:,} bytes of it decompress to nothing")
