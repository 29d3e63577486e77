"""Turn plain mappings (TOML, JSON) into frozen records and back, strictly.

Refuses to guess: an unknown key, a missing key or a value of another type is a `SchemaError` that names the key.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

Record = TypeVar("Record")


class SchemaError(Exception):
    """A mapping does not have a record's shape; `key` is the dotted place, `problem` and `remedy` are sentences."""

    def __init__(self, key: str, problem: str, remedy: str) -> None:
        super().__init__(f"{key} {problem}; {remedy}")
        self.key, self.problem, self.remedy = key, problem, remedy


def to_plain(value: Any) -> Any:
    """Return `value` with records, tuples and mappings turned into what `json` can write."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    return value


def from_mapping(kind: type[Record], mapping: Mapping[str, Any], key: str = "") -> Record:
    """Build the record `kind` from `mapping`; `key` is the dotted place it stands at, for errors."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for name in mapping:
        if name not in fields:
            raise SchemaError(_join(key, name), "is not a setting", suggest(name, fields))
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in mapping and not optional:
            raise SchemaError(_join(key, name), "is missing", "add it")
    return kind(**{name: from_plain(hints[name], value, _join(key, name)) for name, value in mapping.items()})


def from_plain(kind: Any, value: Any, key: str) -> Any:
    """Return `value` as the annotation `kind` asks: records, tuples, dicts, literals, unions with None and scalars."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return from_mapping(kind, _expect(value, Mapping, key, "a table"), key)  # type: ignore[arg-type]
    if origin is tuple:
        items = _expect(value, (list, tuple), key, "a list")
        return tuple(from_plain(arguments[0], item, f"{key}[{index}]") for index, item in enumerate(items))
    if origin is dict:
        items = _expect(value, Mapping, key, "a table")
        return {name: from_plain(arguments[1], item, _join(key, name)) for name, item in items.items()}
    if origin is typing.Literal:
        return _one_of(arguments, value, key)
    if origin in (types.UnionType, typing.Union):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else from_plain(inner, value, key)
    return _scalar(kind, value, key)


def _scalar(kind: type, value: Any, key: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is not bool and isinstance(value, bool):
        raise SchemaError(key, f"is {value!r}", f"write a value of type {kind.__name__}")
    return _expect(value, kind, key, f"a value of type {kind.__name__}")


def _one_of(choices: tuple[Any, ...], value: Any, key: str) -> Any:
    if value not in choices:
        raise SchemaError(key, f"is {value!r}", suggest(str(value), [str(choice) for choice in choices]))
    return value


def _expect(value: Any, kind: Any, key: str, wanted: str) -> Any:
    if not isinstance(value, kind):
        raise SchemaError(key, f"is {value!r}", f"write {wanted}")
    return value


def suggest(name: str, known: Iterable[str]) -> str:
    """What to do about the unknown `name`: the `known` one that looks most like it, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"perhaps you meant {close[0]!r}" if close else f"known are: {', '.join(known)}"


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
