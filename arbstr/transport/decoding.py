"""Compressed bodies, unfolded piece by piece, whoever sent them.

The end of what was compressed is the end of the body, whatever comes after it; what brings nothing for long is no body.
"""

from __future__ import annotations

import zlib

PIECE_BYTES = 256 * 1024  # of what a compressed body unfolds to, at a time
BARREN_BYTES = 1024 * 1024  # compressed, that may bring nothing
ENCODINGS = ("gzip", "x-gzip", "deflate")


class Decoder:
    """One compressed body: `feed` it, and take a `piece` after the other as long as it `has_more`.

    `ended` says that it is whole. Calls raise ValueError when it is not what its encoding says. `encoding` is one of
    `ENCODINGS`.
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
        """Whether any of it has come."""
        return self._decompressor is not None

    def feed(self, compressed: bytes) -> None:
        """More of the compressed body is here."""
        self._compressed = self._compressed + compressed if self._compressed else compressed
        self.has_more = bool(self._compressed) and not self.ended

    def piece(self) -> bytes:
        """The next `PIECE_BYTES` of it at most, possibly none."""
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
        """A decompressor for what is coming; `deflate` is sent with zlib's wrapping or, wrongly, without."""
        if self._encoding != "deflate":
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        wrapped = self._compressed[0] & 15 == zlib.DEFLATED
        return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)

    def _limit(self, piece: bytes, taken_bytes: int) -> None:
        """A body may be compressed to nothing but headers or empty blocks, without an end."""
        self._barren_bytes = 0 if piece else self._barren_bytes + taken_bytes
        if self._barren_bytes > BARREN_BYTES:
            raise ValueError(f"{BARREN_BYTES:,} bytes of it decompress to nothing")
