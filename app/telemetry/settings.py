"""Settings of what the server reports about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, SecretStr

_URL = Field(pattern=r"^https?://[^\s?#@]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class OtelSettings:
    """Where traces go."""

    endpoint: Annotated[str, _URL] | None = None
    """URL of a receiver of OTLP over HTTP, such as `http://collector:4318`; without a path `/v1/traces` is added. Needs
    the extra `swarmhold[otel]`. By default no spans are written."""
    headers: SecretStr | None = None
    """Headers for the receiver, as `name=value,name=value`."""
    service_name: str = "swarmhold"
    """Name of this service in traces."""
    content: bool = False
    """Whether spans hold prompts, results, questions and answers, the first 8 KiB of each; otherwise never."""
