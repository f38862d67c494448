"""Spans of an OTLP export of traces, from protobuf or JSON. Pure; standard library only.

ExportTraceServiceRequest of opentelemetry-proto 1.x (trace.proto, common.proto): the numbers below are its fields. An
unknown field is passed over, as protobuf wants it; what is cut off, or is none of this, is a ValueError.
"""

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from typing import Any

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
DEPTH = 8  # of values within values
_NANO = 1e9


def of_protobuf(data: bytes) -> list[dict[str, Any]]:
    """Spans as plain data: trace, span, parent, name, began, ended (unix seconds), attributes, resource."""
    found = []
    for one in _messages(data, 1):
        resource: dict[str, Any] = {}
        for part in _messages(one, 1):
            resource |= _attributes(part, 1)
        for scope in _messages(one, 2):
            found += [{**_span(span), "resource": resource} for span in _messages(scope, 2)]
    return found


def of_json(data: bytes) -> list[dict[str, Any]]:
    """The same from OTLP's JSON encoding."""
    try:
        said = json.loads(data)
        found = []
        for one in said.get("resourceSpans", []):
            resource = _json_attributes(one.get("resource", {}).get("attributes", []))
            for scope in one.get("scopeSpans", []):
                found += [{**_json_span(span), "resource": resource} for span in scope.get("spans", [])]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no OTLP export of traces: {type(error).__name__} {error}") from None
    return found


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """Number, wire type and raw value of each field of a message."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        value: Any
        if kind == _VARINT:
            value, place = _varint(data, place)
        else:
            length, place = (
                _varint(data, place) if kind == _BYTES else ({_FIXED64: 8, _FIXED32: 4}.get(kind, -1), place)
            )
            if not number or length < 0 or place + length > len(data):
                raise ValueError(f"no protobuf message: field {number} of wire type {kind} ends beyond its message")
            value, place = data[place : place + length], place + length
        yield number, kind, value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 64:
        part = data[place]
        value |= (part & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not part & 0x80:
            return value, place
    raise ValueError("no protobuf message: a number is cut off")


def _messages(data: bytes, number: int) -> Iterator[bytes]:
    return (value for found, kind, value in _fields(data) if found == number and kind == _BYTES)


def _span(data: bytes) -> dict[str, Any]:
    span: dict[str, Any] = {"trace": "", "span": "", "parent": "", "name": "", "began": 0.0, "ended": 0.0}
    attributes: dict[str, Any] = {}
    for number, kind, value in _fields(data):
        if kind == _BYTES and number in (1, 2, 4):
            span[{1: "trace", 2: "span", 4: "parent"}[number]] = value.hex()
        elif kind == _BYTES and number == 5:
            span["name"] = value.decode(errors="replace")
        elif kind == _FIXED64 and number in (7, 8):
            span["began" if number == 7 else "ended"] = struct.unpack("<Q", value)[0] / _NANO
        elif kind == _BYTES and number == 9:
            attributes |= _attribute(value)
    return {**span, "attributes": attributes}


def _attributes(data: bytes, number: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for value in _messages(data, number):
        found |= _attribute(value)
    return found


def _attribute(data: bytes, depth: int = DEPTH) -> dict[str, Any]:
    """A KeyValue."""
    key, said = "", None
    for number, kind, value in _fields(data):
        if kind == _BYTES and number == 1:
            key = value.decode(errors="replace")
        elif kind == _BYTES and number == 2:
            said = _value(value, depth)
    return {key: said}


def _value(data: bytes, depth: int) -> Any:
    """An AnyValue."""
    if not depth:
        return None
    for number, kind, value in _fields(data):
        if number == 1 and kind == _BYTES:
            return value.decode(errors="replace")
        if number == 2 and kind == _VARINT:
            return bool(value)
        if number == 3 and kind == _VARINT:
            return value - (1 << 64) if value >> 63 else value
        if number == 4 and kind == _FIXED64:
            return struct.unpack("<d", value)[0]
        if number == 5 and kind == _BYTES:
            return [_value(entry, depth - 1) for entry in _messages(value, 1)]
        if number == 6 and kind == _BYTES:
            found: dict[str, Any] = {}
            for entry in _messages(value, 1):
                found |= _attribute(entry, depth - 1)
            return found
        if number == 7 and kind == _BYTES:
            return value.hex()
    return None


def _json_span(span: dict[str, Any]) -> dict[str, Any]:
    return {
        "trace": _hexadecimal(span.get("traceId", "")),
        "span": _hexadecimal(span.get("spanId", "")),
        "parent": _hexadecimal(span.get("parentSpanId", "")),
        "name": str(span.get("name", "")),
        "began": int(span.get("startTimeUnixNano", 0)) / _NANO,
        "ended": int(span.get("endTimeUnixNano", 0)) / _NANO,
        "attributes": _json_attributes(span.get("attributes", [])),
    }


def _hexadecimal(text: str) -> str:
    """OTLP's JSON has identities in hexadecimal; protobuf's own JSON, which some send, in base64."""
    if len(text) in (0, 16, 32):
        return text.lower()
    try:
        return base64.b64decode(text, validate=True).hex()
    except binascii.Error:
        raise ValueError(f"{text[:40]!r} is no identity of a span") from None


def _json_attributes(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {str(entry["key"]): _json_value(entry.get("value", {})) for entry in found}


def _json_value(value: dict[str, Any]) -> Any:
    for kind, said in value.items():
        if kind == "intValue":
            return int(said)
        if kind == "arrayValue":
            return [_json_value(entry) for entry in said.get("values", [])]
        if kind == "kvlistValue":
            return _json_attributes(said.get("values", []))
        return said
    return None
