"""The schema of `[otel]`: where traces go."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from arbstr.config import validators
from arbstr.config.section import Section


class Otel(Section):
    """`[otel]`: a collector that takes OpenTelemetry's traces by OTLP over HTTP."""

    endpoint: Annotated[str, AfterValidator(validators.provider_url)] | None = None

    @property
    def traces_url(self) -> str | None:
        """Where traces are posted to: below the endpoint, unless that is already their place."""
        if self.endpoint is None or self.endpoint.endswith("/v1/traces"):
            return self.endpoint
        return f"{self.endpoint}/v1/traces"
