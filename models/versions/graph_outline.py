"""An ONNX file's outline, read from its bytes without the onnx package.

A scorer has ONNX Runtime but no onnx; what may make a foreign graph dangerous (data outside the
file, operators of other domains, functions, subgraphs) is therefore read here, from the protobuf
wire format, before ONNX Runtime sees a byte.

Source: onnx.proto3 (field numbers), protobuf encoding guide (wire types).
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from streams.errors import ModelRefused

__all__ = ["TEXT", "Operators", "Outline", "read_outline", "refuse_foreign"]

_PLAIN = """
    Abs Add Cast Clip Concat Div Exp Gather Gemm IsNaN Log MatMul Mul Neg Pow ReduceMean ReduceSum Relu
    Reshape Sigmoid Sign Slice Softmax Sqrt Squeeze Sub Tanh Transpose Unsqueeze Where
    DynamicQuantizeLinear MatMulInteger QuantizeLinear DequantizeLinear
"""
OPERATORS = frozenset(_PLAIN.split())
TEXT = (("", "StringNormalizer"), ("com.microsoft", "Tokenizer"), ("ai.onnx.ml", "LabelEncoder"))
OPSETS = {"": range(13, 24), "ai.onnx.ml": range(2, 5), "com.microsoft": range(1, 2)}
MAX_NODES = 2_000

Operators = Collection[tuple[str, str]]  # (domain, kind); the standard domain is ""
_Field = tuple[int, int | bytes]


class Outline(NamedTuple):
    """Opset by domain, operators as (domain, kind), and what a plain graph has none of."""

    opsets: dict[str, int]
    operators: tuple[tuple[str, str], ...]
    external: tuple[str, ...]  # names of tensors whose data lies outside the file
    functions: int
    subgraphs: int


def refuse_foreign(model: bytes, also: Operators = ()) -> None:
    """Returns when the model is a plain graph of known operators with all its data inside; `also` are known
    beside OPERATORS.

    Raises:
        ModelRefused: naming what it is instead.
    """
    outline = read_outline(model)
    if outline.external:
        raise ModelRefused(f"initialiser {outline.external[0]!r}: its data lies outside the file")
    for domain, opset in outline.opsets.items():
        if _standard(domain) not in {"", *(known for known, _ in also)}:
            raise ModelRefused(f"domain {domain!r}: expected the standard one only")
        known = OPSETS[_standard(domain)]
        if opset not in known:
            raise ModelRefused(
                f"{domain} opset: expected {known.start} to {known.stop - 1}, got {opset}".strip()
            )
    if not outline.opsets:
        raise ModelRefused("opset: expected one, got none")
    if outline.functions or outline.subgraphs:
        raise ModelRefused("graph: expected neither functions nor subgraphs")
    for domain, kind in outline.operators:
        plain = _standard(domain) == "" and kind in OPERATORS
        if not plain and (_standard(domain), kind) not in also:
            raise ModelRefused(
                f"operator {domain + ':' if domain else ''}{kind}: not one that this graph needs"
            )
    if not 1 <= len(outline.operators) <= MAX_NODES:
        raise ModelRefused(f"graph: expected 1 to {MAX_NODES} nodes, got {len(outline.operators)}")


def _standard(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def read_outline(model: bytes) -> Outline:
    """The outline of a serialised ModelProto.

    Raises:
        ModelRefused: the bytes are no such thing.
    """
    fields = list(_fields(model))
    opsets = dict(_opset(value) for number, value in fields if number == 8 and isinstance(value, bytes))
    graphs = [value for number, value in fields if number == 7 and isinstance(value, bytes)]
    if len(graphs) != 1:
        raise ModelRefused(f"graph: expected one, got {len(graphs)}")
    operators, external, subgraphs = [], [], 0
    for number, value in _fields(graphs[0]):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            operator, tensors, inner = _node(value)
            operators.append(operator)
            subgraphs += inner
            external += [name for name in map(_external, tensors) if name]
        elif number == 5:
            external += [name for name in (_external(value),) if name]
        elif number == 15:
            external.append("sparse")
    functions = sum(number in (20, 25) for number, _ in fields)
    return Outline(opsets, tuple(operators), tuple(external), functions, subgraphs)


def _opset(value: bytes) -> tuple[str, int]:
    parts = dict(_fields(value))
    return _text(parts.get(1, b"")), int(parts.get(2, 0) or 0)


def _node(value: bytes) -> tuple[tuple[str, str], list[bytes], int]:
    """(domain, kind), tensors in attributes, and how many subgraphs there are."""
    kind, domain, tensors, subgraphs = b"", b"", list[bytes](), 0
    for number, part in _fields(value):
        if not isinstance(part, bytes):
            continue
        if number == 4:
            kind = part
        elif number == 7:
            domain = part
        elif number == 5:
            for inner, attribute in _fields(part):
                subgraphs += inner in (6, 11)
                if inner in (5, 10) and isinstance(attribute, bytes):
                    tensors.append(attribute)
                if inner in (22, 23):  # sparse tensors
                    subgraphs += 1
    return (_text(domain), _text(kind)), tensors, subgraphs


def _external(tensor: bytes) -> str:
    """The tensor's name when its data lies outside the file, else nothing."""
    name, outside = "unnamed", False
    for number, value in _fields(tensor):
        if number == 8 and isinstance(value, bytes):
            name = _text(value) or name
        outside = outside or number == 13 or (number == 14 and value != 0)
    return name if outside else ""


def _text(value: int | bytes) -> str:
    return value.decode("utf-8", "replace")[:100] if isinstance(value, bytes) else ""


def _fields(value: bytes) -> Iterator[_Field]:
    """Field numbers with their values: an integer, or the bytes of a length-delimited or fixed field."""
    at, end = 0, len(value)
    while at < end:
        tag, at = _varint(value, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            whole, at = _varint(value, at)
            yield number, whole
            continue
        if kind == 2:
            size, at = _varint(value, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ModelRefused("not an ONNX file: unknown wire type")
        if at + size > end:
            raise ModelRefused("not an ONNX file: it ends inside a field")
        yield number, value[at : at + size]
        at += size


def _varint(value: bytes, at: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if at >= len(value):
            break
        byte = value[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
    raise ModelRefused("not an ONNX file: a number does not end")
