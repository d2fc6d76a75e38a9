"""What makes a broker speak TLS alone: to clients with a certificate, and to users with a password."""

from pathlib import Path
from typing import NamedTuple

__all__ = ["SCRAM", "Security", "secured_properties"]

SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")


class Security(NamedTuple):
    """A broker's key with its certificate in one PEM file, the authority of clients, and users with
    their passwords, who may come by SCRAM or PLAIN."""

    keystore: Path
    authority: Path
    users: dict[str, str]


def secured_properties(security: Security, sasl: int, tls: int, controller: int) -> dict[str, str]:
    """Listeners on these ports: SASL_SSL for users, TLS for certificates; no listener is unencrypted."""
    module = "org.apache.kafka.common.security"
    users = " ".join(f'user_{name}="{password}"' for name, password in security.users.items())
    out = {
        "listeners": f"SASL_SSL://127.0.0.1:{sasl},TLS://127.0.0.1:{tls},CONTROLLER://127.0.0.1:{controller}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,TLS:SSL,CONTROLLER:SSL",
        "inter.broker.listener.name": "TLS",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(security.keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(security.authority),
        "ssl.client.auth": "required",
        "listener.name.sasl_ssl.ssl.client.auth": "none",
        "sasl.enabled.mechanisms": ",".join([*SCRAM, "PLAIN"]),
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{module}.plain.PlainLoginModule required {users};",
    }
    for mechanism in SCRAM:
        name = f"listener.name.sasl_ssl.{mechanism.lower()}.sasl.jaas.config"
        out[name] = f"{module}.scram.ScramLoginModule required;"
    return out
