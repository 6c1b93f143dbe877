"""Forms in multipart coding: fields are found and replaced, files are left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.dialects.multipart import form_field, is_multipart, with_form_field


def form(*parts: tuple[str, bytes], boundary: str = "xyz") -> bytes:
    """A form; a name is that of a field, or the whole of what follows `form-data`."""
    body = b""
    for name, content in parts:
        about = name if ";" in name else f'; name="{name}"'
        body += f"--{boundary}\r\nContent-Disposition: form-data{about}\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


@pytest.mark.parametrize(
    "body",
    [
        form(("model", b"m-1")),
        form(("prompt", b"a"), ("model", b"m-1"), ("model", b"m-2")),
        form(('; name="model"; filename="x"', b"no"), ("model", b"m-1")),
        form(('; filename="model"; name="file"', b"\r\n\r\n--xy"), ("; name=model", b"m-1")),
        form(("file", b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nno'), ("model", b"m-1")),
        form(("model", b"m-1")).replace(b"Content-Disposition", b"Content-Type: text/plain\r\ncontent-disposition"),
    ],
)
def test_a_field_is_found_among_others(body: bytes) -> None:
    assert is_multipart(body)
    assert form_field(body, "model") == "m-1"
    assert with_form_field(body, "model", "other") == body.replace(b"m-1", b"other")


@pytest.mark.parametrize("body", [b"", b"--", b"--x", b"--x\r\n", form(), form(("file", b"x")), form(("model", b""))])
def test_a_field_that_is_not_there_is_none(body: bytes) -> None:
    assert not form_field(body, "model")
    assert form_field(body, "nothing") is None
    assert with_form_field(body, "nothing", "x") == body


@given(st.binary(max_size=300) | st.lists(st.sampled_from([b"--x", b"\r\n", b"name=", b'"model"', b"a"])).map(b"".join))
def test_no_body_is_too_much(body: bytes) -> None:
    found = form_field(body, "model")
    assert found is None or isinstance(with_form_field(body, "model", "m"), bytes)
