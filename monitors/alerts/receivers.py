"""Who is told of alerts: a TOML file, checked whole before anything is sent (docs/alerts.md).

Secrets never stand in the file. It names files or environment variables that hold them; once read they
are `SecretStr`, which no log line or error shows.
"""

import base64
import binascii
import ssl
import tomllib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from monitors.alerts.guard import Reach, Refused, place_of
from streams.errors import OperatorError

__all__ = ["FORMATS", "PAGERDUTY_URL", "Format", "Receivers", "Target", "checked", "load_receivers"]

Format = Literal["standard", "slack", "pagerduty", "alertmanager"]
FORMATS: tuple[Format, ...] = ("standard", "slack", "pagerduty", "alertmanager")
Severity = Literal["info", "warning", "critical"]
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
MAX_FILE_BYTES = 262_144
MAX_SECRET_BYTES = 8_192


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One receiver with its secrets at hand: signing secrets (newest first), a routing key or a token."""

    name: str
    format: Format
    url: SecretStr  # Slack's holds its secret in its path
    secrets: tuple[SecretStr, ...] = ()
    severities: tuple[str, ...] = ("info", "warning", "critical")
    per_minute: int = 30
    timeout_s: float = 10.0


class Receivers(msgspec.Struct, frozen=True):
    """All that the file says."""

    targets: tuple[Target, ...] = ()
    reach: Reach = Reach()


# --- the file's shape -------------------------------------------------------------------------------


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _Secret(_Part):
    file: Path | None = None
    env: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_place(cls, given: Any) -> Any:
        if not isinstance(given, dict) or len({"file", "env"} & given.keys()) != 1:
            raise ValueError('expected { file = "PATH" } or { env = "NAME" }: secrets do not stand here')
        return given

    def read(self, folder: Path, environ: Mapping[str, str]) -> str:
        """The secret without surrounding blanks.

        Raises:
            ValueError: it is missing, empty or too long.
        """
        if self.env is not None:
            found, where = environ.get(self.env, ""), f"environment variable {self.env}"
        else:
            path = folder / (self.file or "")
            where = f"file {path}"
            try:
                with path.open("rb") as stream:
                    found = stream.read(MAX_SECRET_BYTES + 1).decode()
            except (OSError, UnicodeDecodeError):
                raise ValueError(f"{where} cannot be read") from None
        if not found.strip() or len(found) > MAX_SECRET_BYTES:
            raise ValueError(f"{where} is {'too long' if found.strip() else 'empty or not set'}")
        return found.strip()


class _Receiver(_Part):
    name: str = Field(pattern=r"^[A-Za-z0-9_\-]{1,40}$")
    severities: tuple[Severity, ...] = Field(("info", "warning", "critical"), min_length=1)
    per_minute: int = Field(30, ge=1, le=600)
    timeout_s: float = Field(10.0, gt=0, le=60)


class _Standard(_Receiver):
    format: Literal["standard"]
    url: str | _Secret
    secrets: tuple[_Secret, ...] = Field(min_length=1, max_length=2)


class _Slack(_Receiver):
    format: Literal["slack"]
    url: _Secret


class _PagerDuty(_Receiver):
    format: Literal["pagerduty"]
    url: str = PAGERDUTY_URL
    routing_key: _Secret


class _Alertmanager(_Receiver):
    format: Literal["alertmanager"]
    url: str
    bearer: _Secret | None = None


_Any = Annotated[_Standard | _Slack | _PagerDuty | _Alertmanager, Field(discriminator="format")]


class _File(_Part):
    allow_loopback: bool = False
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    ca: Path | None = None
    receivers: tuple[_Any, ...]


# --- reading it ---------------------------------------------------------------------------------------


def load_receivers(path: Path | None, environ: Mapping[str, str]) -> Receivers:
    """The receivers of a file; none without one.

    Raises:
        OperatorError: every fault, a line each; none of them shows a secret.
    """
    if path is None:
        return Receivers()
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError):
        raise OperatorError(f"STREAMREC_ALERT_RECEIVERS: cannot read {path}") from None
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OperatorError(f"{path}: not TOML: {error}") from None
    try:
        shape = _File.model_validate(given)
    except ValidationError as error:
        raise OperatorError(_lines(path, given, error)) from None
    ca = path.parent / shape.ca if shape.ca else None
    reach = Reach(loopback=shape.allow_loopback, networks=shape.allow_networks, ca=ca)
    targets, faults = [], _file_faults(reach, shape)
    for receiver in shape.receivers:
        try:
            targets.append(checked(_target(receiver, path.parent, environ), reach))
        except ValueError as error:
            faults.append(f"receiver {receiver.name}: {error}")
    if faults:
        raise OperatorError("\n".join(f"{path}: {fault}" for fault in faults))
    return Receivers(tuple(targets), reach)


def checked(target: Target, reach: Reach) -> Target:
    """The target itself.

    Raises:
        ValueError: its URL or a secret cannot be right.
    """
    try:
        place_of(target.url.get_secret_value(), reach)
    except Refused as refused:
        raise ValueError(f"url: {refused}") from None
    for secret in target.secrets:
        text = secret.get_secret_value()
        if target.format == "standard" and not _signs(text):
            raise ValueError("secrets: expected whsec_ and base64 of 24 to 64 bytes")
        if not text.isascii() or not text.isprintable():
            raise ValueError("a secret holds characters that no header takes")
    return target


def _signs(secret: str) -> bool:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_") + "==", validate=False)
    except (binascii.Error, ValueError):
        return False
    return secret.startswith("whsec_") and 24 <= len(key) <= 64


def _target(receiver: _Receiver, folder: Path, environ: Mapping[str, str]) -> Target:
    def read(field: str, secret: _Secret) -> str:
        try:
            return secret.read(folder, environ)
        except ValueError as error:
            raise ValueError(f"{field}: {error}") from None

    held: list[tuple[str, _Secret]] = []
    match receiver:
        case _Standard():
            held = [("secrets", one) for one in receiver.secrets]
        case _PagerDuty():
            held = [("routing_key", receiver.routing_key)]
        case _Alertmanager(bearer=_Secret() as bearer):
            held = [("bearer", bearer)]
    url = getattr(receiver, "url")  # noqa: B009
    return Target(
        name=receiver.name,
        format=getattr(receiver, "format"),  # noqa: B009
        url=SecretStr(read("url", url) if isinstance(url, _Secret) else url),
        secrets=tuple(SecretStr(read(*one)) for one in held),
        severities=receiver.severities,
        per_minute=receiver.per_minute,
        timeout_s=receiver.timeout_s,
    )


def _file_faults(reach: Reach, shape: _File) -> list[str]:
    faults = []
    names = [receiver.name for receiver in shape.receivers]
    if not names:
        faults.append("receivers: expected one at the least")
    faults += [
        f"receiver {name}: the name is there twice"
        for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if reach.ca is not None:
        try:
            ssl.create_default_context(cafile=reach.ca)
        except (OSError, ssl.SSLError):
            faults.append(f"ca: not a readable PEM file of certificates: {reach.ca}")
    return faults


def _lines(path: Path, given: Mapping[str, Any], error: ValidationError) -> str:
    """A line for each fault: where in the file, by the receiver's name, and what was expected."""
    out = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        place = [part for part in fault["loc"] if part not in FORMATS and not str(part).startswith("_")]
        if len(place) > 1 and place[0] == "receivers" and isinstance(place[1], int):
            entry = given["receivers"][place[1]]
            name = entry.get("name") if isinstance(entry, dict) else None
            place[:2] = [f"receiver {name if isinstance(name, str) else place[1] + 1}"]
        what = fault["msg"].removeprefix("Value error, ")
        out.append(f"{path}: {': '.join(map(str, place))}: {what[0].lower() + what[1:]}")
    return "\n".join(dict.fromkeys(out))
