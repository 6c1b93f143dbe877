"""The kinds of values that several tables of the configuration share.

Bounds far beyond use keep sums within 64 bits and clocks within their range.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from arbstr.config import validators

Sats = Annotated[float, Field(ge=0, le=2.1e15, allow_inf_nan=False)]  # all that will ever exist
Rate = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]  # sats per 1000 tokens, or per request
PerSecond = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
PositiveCount = Annotated[int, Field(ge=1, le=1_000_000_000)]  # a field's own `ge` would not win over that of `Count`
Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(validators.printable_name)]
Text = Annotated[str, Field(min_length=1)]
