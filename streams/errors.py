"""One root error and one class per neighbour, so that an edge can retry what it knows."""

__all__ = [
    "KafkaRefused",
    "KafkaUnavailable",
    "ModelRefused",
    "OperatorError",
    "RankError",
    "StoreHangs",
    "StoreUnavailable",
    "StreamrecError",
]


class StreamrecError(Exception):
    """Root of every error this project raises on purpose."""


class OperatorError(StreamrecError):
    """A setting, file or port is wrong: one clear line for the operator, exit code 2."""


class KafkaUnavailable(StreamrecError):
    """The broker did not answer within the time allowed."""


class KafkaRefused(KafkaUnavailable):
    """The broker, or our check of it, refused: a password, a certificate. Waiting does not mend it."""


class StoreUnavailable(StreamrecError):
    """Redis did not answer, or refused a command."""


class StoreHangs(StoreUnavailable):
    """Redis took a call and did not answer within the time allowed."""


class ModelRefused(StreamrecError):
    """A model version failed its checks: hash, columns, shapes or golden rows."""


class RankError(StreamrecError):
    """A request was answered by an error; `code` is the wire code, such as DEADLINE_EXCEEDED."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
