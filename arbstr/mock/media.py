"""Images, audio, moderations and reranking: paths that write no text. Nodes report no cost for them."""

from __future__ import annotations

import base64
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from arbstr.mock import filler_text
from arbstr.mock.parsed_request import is_count
from arbstr.types import JsonObject

_MOST_IMAGES = 10
_IMAGE_TOKENS = 272  # what OpenAI counts for a small square image of low quality
_SAMPLES_PER_S = 8000
_CATEGORIES = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")


@dataclass(frozen=True, slots=True)
class Media:
    """An answer: its type and its bytes."""

    content_type: str
    body: bytes = field(repr=False)


Answer = Callable[[JsonObject], Media | None]  # None: the request is none


def image(request: JsonObject) -> Media | None:
    """Return images of one pixel, as base64 or, where that is asked for, as data URLs."""
    prompt = request.get("prompt")
    if not isinstance(prompt, str):
        return None
    number = min(request["n"], _MOST_IMAGES) if is_count(request.get("n")) else 1
    picture = base64.b64encode(_pixel()).decode()
    by_url = request.get("response_format") == "url"
    one = {"url": f"data:image/png;base64,{picture}"} if by_url else {"b64_json": picture}
    asked, drawn = _tokens(prompt), number * _IMAGE_TOKENS
    usage = {
        "input_tokens": asked,
        "input_tokens_details": {"text_tokens": asked, "image_tokens": 0},
        "output_tokens": drawn,
        "total_tokens": asked + drawn,
    }
    return _json({"created": int(time.time()), "data": [one] * number, "usage": usage})


def speech(request: JsonObject) -> Media | None:
    """Return silence, a tenth of a second for each word."""
    text = request.get("input")
    if not isinstance(text, str):
        return None
    samples = bytes(len(text.split()) * _SAMPLES_PER_S // 10)
    if request.get("response_format") == "pcm":
        return Media("audio/pcm", samples)
    return Media("audio/wav", _wave(samples))


def transcription(request: JsonObject) -> Media | None:
    """Return what a recording says, as JSON or plain text; the recording is `file`, its size in bytes."""
    size = request.get("file")
    if not isinstance(size, int):
        return None
    text = "".join(filler_text.tokens_of("This is what a fake provider hears."))
    if request.get("response_format") == "text":
        return Media("text/plain", f"{text}\n".encode())
    heard, written = max(1, size // 1000), _tokens(text)
    usage = {
        "type": "tokens",
        "input_tokens": heard,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": written,
        "total_tokens": heard + written,
    }
    return _json({"text": text, "usage": usage})


def moderation(request: JsonObject) -> Media | None:
    """Return a verdict for each input: harmless."""
    given = request.get("input")
    if not isinstance(given, str | list):
        return None
    verdict = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.0001),
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
    number = len(given) if isinstance(given, list) and all(isinstance(one, str) for one in given) else 1
    model = request.get("model") or "omni-moderation-latest"
    return _json({"id": "modr-mock", "model": model, "results": [verdict] * number})


def ranking(request: JsonObject) -> Media | None:
    """Return the documents in the order of how many of the query's words they have."""
    query, documents = request.get("query"), request.get("documents")
    if not isinstance(query, str) or not isinstance(documents, list):
        return None
    words = set(query.lower().split())
    texts = [one if isinstance(one, str) else str(one) for one in documents]
    scores = [len(words & set(text.lower().split())) / max(1, len(words)) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: -scores[i])
    results = [{"index": i, "relevance_score": scores[i]} for i in order]
    top = request.get("top_n")
    usage = {"total_tokens": sum(map(_tokens, [query, *texts]))}
    ranked = results[:top] if is_count(top) else results
    return _json({"id": "rerank-mock", "model": request.get("model"), "results": ranked, "usage": usage})


ANSWERS: dict[str, Answer] = {
    "images/generations": image,
    "audio/speech": speech,
    "audio/transcriptions": transcription,
    "moderations": moderation,
    "rerank": ranking,
}


def _tokens(text: str) -> int:
    return max(1, len(text) // filler_text.CHARS_PER_TOKEN)


def _json(document: JsonObject) -> Media:
    return Media("application/json", orjson.dumps(document))


def _pixel() -> bytes:
    """Return a PNG of one grey pixel."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\x00\x80")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _wave(samples: bytes) -> bytes:
    """Return samples of 8 bits as a WAV file."""
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, _SAMPLES_PER_S, _SAMPLES_PER_S, 1, 8)
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI4s", b"RIFF", 4 + len(layout) + len(data), b"WAVE") + layout + data
