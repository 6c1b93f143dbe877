"""From a screen's SVG to a picture that looks the same everywhere: Braille as dots, and PNG."""

from __future__ import annotations

import re
from html import escape, unescape

from rich.cells import cell_len

# Bit of a Braille character, and where its dot stands: column and row.
_DOTS = ((0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 1, 0), (4, 1, 1), (5, 1, 2), (6, 0, 3), (7, 1, 3))
_TEXT = re.compile(r'<text class="([^"]+)" x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"[^>]*>([^<]*)</text>')
_FONT_SIZE = "font-size: 20.26px"  # at which a character of that font is as wide as the picture's cells
_FONT_FACE = re.compile(r"@font-face \{.*?\}", re.DOTALL)


_LENT = {"⤷": "font-family: DejaVu Serif; font-size: 14px"}  # what the font has not got


def drawn(svg: str) -> str:
    """The SVG with every Braille character drawn as dots, since few fonts have them, and no font from elsewhere."""
    plain = _FONT_FACE.sub("", svg).replace("Fira Code", "DejaVu Sans Mono").replace("font-size: 20px", _FONT_SIZE)
    return _TEXT.sub(_redrawn, plain)


def png(svg: str, scale: float = 1.0) -> bytes:
    """The SVG as PNG."""
    import cairosvg

    data: bytes = cairosvg.svg2png(svg.encode(), scale=scale)
    return data


def _redrawn(match: re.Match[str]) -> str:
    """A run of text with every character put where its cell is, whatever the font."""
    style, left, base, length, escaped = match.groups()
    text = unescape(escaped)
    width = sum(cell_len(character) for character in text) or 1
    cell = float(length) / width
    places, dots, lent, at = [], [], [], float(left)
    for character in text:
        places.append(f"{at:.4g}" if at < 1000 else f"{at:.5g}")
        if _braille(character):
            dots.append(_cell(ord(character) - 0x2800, at, float(base), cell))
        if character in _LENT:
            lent.append(f'<text class="{style}" x="{at:.5g}" y="{base}" style="{_LENT[character]}">{character}</text>')
        at += cell * cell_len(character)
    rest = "".join("\N{NO-BREAK SPACE}" if _braille(one) or one in _LENT else one for one in text)
    drawing = (f'<g class="{style}">{"".join(dots)}</g>' if dots else "") + "".join(lent)
    if not rest.strip():
        return drawing
    return f'<text class="{style}" x="{" ".join(places)}" y="{base}">{escape(rest)}</text>{drawing}'


def _braille(character: str) -> bool:
    return 0x2800 < ord(character) <= 0x28FF


def _cell(bits: int, left: float, base: float, cell: float) -> str:
    """The dots of a character whose text line stands on `base`; a line is twice as high as a cell is wide."""
    top = base - 1.51 * cell
    centres = [
        (left + cell * (0.27 + 0.5 * x), top + cell * (0.25 + 0.5 * y)) for bit, x, y in _DOTS if bits >> bit & 1
    ]
    return "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{cell * 0.17:.1f}"/>' for x, y in centres)
