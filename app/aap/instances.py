"""Instances of the protocol: an API key for each agent, and where its requests are reported."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field, field_validator

from app.aap.requests import Body, Text
from app.domain.errors import InvalidRequest
from app.domain.ids import uuid_of
from app.engine.webhooks import Delivery, Instance
from app.spawning.outbound.signing import SECRET_PREFIX, check_secret
from swarmhold.models.shapes import JsonObject

_WEBHOOK = "webhook"


class DeliveryInput(Body):
    """Where notifications go, and the secret that signs them."""

    type: Text
    url: Annotated[str, Field(min_length=1, max_length=2048)]
    registration_id: UUID
    signing_secret: str = Field(max_length=200, repr=False)

    @field_validator("signing_secret")
    @classmethod
    def _signs(cls, given: str) -> str:
        if not given.startswith(SECRET_PREFIX.decode()):
            raise ValueError("a secret begins with whsec_")
        check_secret(given.encode())
        return given


class Provision(Body):
    """An instance to make."""

    instance_name: Text | None = None
    delivery: DeliveryInput | None = None

    def wanted(self) -> Delivery | None:
        """Return where it is to be notified. Raises InvalidRequest for a type of delivery that there is not."""
        asked = self.delivery
        if asked is None:
            return None
        if asked.type != _WEBHOOK:
            raise InvalidRequest(f"deliveries are of the type {_WEBHOOK} alone", "type")
        return Delivery(asked.url, str(asked.registration_id), asked.signing_secret)


def shown_instance(made: Instance, delivery: Delivery | None) -> JsonObject:
    """Render an instance with its credential, and never the secret of its receiver."""
    described: JsonObject = {"id": str(uuid_of(made.key.id)), "name": made.key.name}
    if delivery is not None:
        notified = {"type": _WEBHOOK, "url": delivery.url, "registration_id": delivery.registration_id}
        described["delivery"] = notified
    return {"instance": described, "credential": {"token": made.text}}
