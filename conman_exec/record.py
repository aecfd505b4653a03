"""Small immutable values with named fields, for programs that start in milliseconds.

A ``NamedTuple`` in all but its cost: ``typing`` and ``dataclasses`` take 5 and 13 ms to import, which every console
would pay at its every start. Type checkers see the real ``NamedTuple``.
"""

from __future__ import annotations

__all__ = ["TYPE_CHECKING", "Record"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as Record
else:
    from operator import itemgetter

    class Record(tuple):
        __slots__ = ()

        def __init_subclass__(cls) -> None:
            cls._fields = tuple(cls.__dict__.get("__annotations__", ()))
            cls._defaults = {name: cls.__dict__[name] for name in cls._fields if name in cls.__dict__}
            for index, name in enumerate(cls._fields):
                setattr(cls, name, property(itemgetter(index)))

        def __new__(cls, *values: object, **named: object) -> Record:
            rest = cls._fields[len(values) :]
            try:
                more = [named.pop(name) if name in named else cls._defaults[name] for name in rest]
            except KeyError as error:
                raise TypeError(f"{cls.__name__}: missing field {error}") from None
            if named or len(values) > len(cls._fields):
                raise TypeError(f"{cls.__name__}: no such field: {', '.join(named) or len(values)}")
            return tuple.__new__(cls, (*values, *more))

        def _replace(self, **named: object) -> Record:
            return type(self)(**{**dict(zip(self._fields, self)), **named})

        def __eq__(self, other: object) -> bool:
            return type(self) is type(other) and tuple.__eq__(self, other)

        def __ne__(self, other: object) -> bool:
            return not self == other

        def __hash__(self) -> int:
            return tuple.__hash__(self)

        def __repr__(self) -> str:
            fields = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self))
            return f"{type(self).__name__}({fields})"
