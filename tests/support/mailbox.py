"""A mail server on loopback that keeps what it takes, with a certificate of its own."""

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.spawning.outbound.settings import SmtpSettings
from tests.support.ports import LOOPBACK, listen


@dataclass(slots=True)
class Mailbox:
    """What came: each message with its envelope. `refusals` are replies to the next messages."""

    settings: SmtpSettings = field(default_factory=SmtpSettings)
    mails: list[EmailMessage] = field(default_factory=list[EmailMessage])
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list[tuple[str, list[str]]])
    raw: list[bytes] = field(default_factory=list[bytes])
    encrypted: list[bool] = field(default_factory=list[bool])
    signed_in: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    refusals: list[str] = field(default_factory=list[str])

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - a name of the library
        if self.refusals:
            return self.refusals.pop(0)
        self.raw.append(envelope.content)
        self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
        self.encrypted.append(session.ssl is not None)
        parsed = message_from_bytes(envelope.content, policy=default)
        assert isinstance(parsed, EmailMessage)
        self.mails.append(parsed)
        return "250 OK"

    def sign_in(self, *args: Any) -> AuthResult:
        """Take every name and password, and keep them."""
        found = args[-1]
        assert isinstance(found, LoginPassword)
        self.signed_in.append((found.login, found.password))
        return AuthResult(success=True)


@contextlib.asynccontextmanager
async def mailbox(folder: Path, **settings: Any) -> AsyncIterator[Mailbox]:
    """A mail server that demands STARTTLS, and the settings that reach it."""
    cert, key = _certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    box = Mailbox()

    def serve() -> SMTP:
        return SMTP(
            box,
            tls_context=context,
            require_starttls=True,
            auth_required=bool(settings.get("username")),
            authenticator=box.sign_in,
        )

    bound = listen()
    given: dict[str, Any] = {"host": LOOPBACK, "sender": "Swarm <swarm@example.com>", "ca_file": cert} | settings
    box.settings = SmtpSettings(port=bound.getsockname()[1], **given)
    async with await asyncio.get_running_loop().create_server(serve, sock=bound):
        yield box


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for the loopback address that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "mail.pem", folder / "mail.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert, private
