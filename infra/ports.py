"""Ports: free ones on the loopback, and whether a wanted one can be had."""

import socket
from contextlib import ExitStack

from streams.errors import OperatorError

__all__ = ["free_ports", "require_port"]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; another process may take one before you do."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def require_port(setting: str, host: str, port: int) -> None:
    """Does nothing if `port` can be listened on.

    Raises:
        OperatorError: it is taken; the line names the setting.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OperatorError(f"{setting}: cannot listen on {host}:{port}: {error.strerror}") from None
