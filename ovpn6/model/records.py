"""``dataclass`` for classes with slots: what the standard library's makes, made in a hundredth of
the time.

The standard library compiles six methods for each class when it is defined, 0.4 ms: a daemon of 160
such classes spends half of its start on that. Here only ``__init__`` is compiled, when the first
object is made; the other methods are shared. Type checkers see the standard library's own, and its
``field``, ``replace`` and ``fields`` work, but take long for the first object of a class:
``replace`` is here as well. Not here: ``order``, ``kw_only``, ``InitVar``, ``ClassVar``, fields of
a base class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, FrozenInstanceError, field, make_dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass, replace

    __all__ = ["dataclass", "replace"]
else:

    def dataclass(
        *, frozen: bool = False, slots: bool = False, eq: bool = True
    ) -> Callable[[type], type]:
        """A decorator as :func:`dataclasses.dataclass` gives it. ``slots`` must be True."""
        if not slots:
            raise TypeError("a record has slots")
        return lambda described: _record(described, frozen=frozen, eq=eq)

    def replace(record: Any, /, **changes: Any) -> Any:
        """A copy with other values in some fields, as :func:`dataclasses.replace` makes it."""
        values = {name: getattr(record, name) for name in record.__slots__}
        return type(record)(**values | changes)


def _record(described: type, *, frozen: bool, eq: bool) -> type:
    """The class that ``described`` describes. Slots can only be given to a new class."""
    body = dict(described.__dict__)
    types: Mapping[str, str] = body.get("__annotations__", {})
    given = {name: body.pop(name) for name in types if name in body}
    fields = {name: _as_field(given[name]) for name in given}
    for name in ("__dict__", "__weakref__"):
        body.pop(name, None)
    if "__eq__" in body and body.get("__hash__") is None:
        body.pop("__hash__", None)  # Python's, not the author's
    key = _key([name for name in types if name not in fields or fields[name].compare])
    shown = [name for name in types if name not in fields or fields[name].repr]
    attributes: dict[str, Any] = {
        "__slots__": tuple(types),
        "__match_args__": tuple(types),
        "__dataclass_fields__": _Fields(types, given),
        "__repr__": _representation(shown),
        "__getstate__": _get_state,
        "__setstate__": _set_state,
    }
    if eq:
        attributes |= {"__eq__": _equality(key), "__hash__": _hash(key) if frozen else None}
    if frozen:
        attributes |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
    # What the class defines itself stays.
    made: Any = type(described)(described.__name__, described.__bases__, {**attributes, **body})
    made.__qualname__ = described.__qualname__

    def first(self: Any, *values: Any, **named: Any) -> None:
        made.__init__ = _initialiser(made, fields)
        made.__init__(self, *values, **named)

    if "__init__" not in body:
        made.__init__ = first
        _unprepared.append((made, fields))
    return made  # type: ignore[no-any-return]


def prepare(*packages: str) -> None:
    """Compile ``__init__`` of the records in these packages now, before there is work to do: the
    first packet of a tunnel waits for none of them."""
    for made, fields in _unprepared:
        if made.__module__.startswith(packages):
            made.__init__ = _initialiser(made, fields)
    _unprepared.clear()


_unprepared: list[tuple[Any, Mapping[str, Field[Any]]]] = []


class _Fields:
    """``__dataclass_fields__``, made when somebody asks for it."""

    def __init__(self, types: Mapping[str, str], given: Mapping[str, Any]) -> None:
        self._specifications = [
            (name, kind, given[name]) if name in given else (name, kind)
            for name, kind in types.items()
        ]

    def __get__(self, instance: object, owner: Any) -> Mapping[str, Field[Any]]:
        twin: Any = make_dataclass(
            owner.__name__,
            self._specifications,
            # No methods: the fields are all that is wanted of it.
            init=False,
            repr=False,
            eq=False,
            match_args=False,
            # Without one it would be made from the signature.
            namespace={"__doc__": owner.__name__},
        )
        owner.__dataclass_fields__ = twin.__dataclass_fields__
        found: Mapping[str, Field[Any]] = twin.__dataclass_fields__
        return found


def _initialiser(made: Any, fields: Mapping[str, Field[Any]]) -> Callable[..., None]:
    """``__init__`` in the words of Python, so that it checks its arguments and is quick."""
    names: dict[str, Any] = {"_MISSING": MISSING}
    parameters, lines = ["self"], []
    for name in made.__slots__:
        # Past a frozen class's own __setattr__.
        names[f"_set_{name}"] = made.__dict__[name].__set__
        parameter = value = name
        given = fields.get(name)
        if given is not None and given.default_factory is not MISSING:
            names[f"_make_{name}"] = given.default_factory
            parameter = f"{name}=_MISSING"
            value = f"_make_{name}() if {name} is _MISSING else {name}"
        elif given is not None and given.default is not MISSING:
            names[f"_default_{name}"] = given.default
            parameter = f"{name}=_default_{name}"
        parameters.append(parameter)
        lines.append(f"    _set_{name}(self, {value})\n")
    if hasattr(made, "__post_init__"):
        lines.append("    self.__post_init__()\n")
    body = "".join(lines) or "    pass\n"
    exec(f"def __init__({', '.join(parameters)}):\n{body}", names)
    initialiser: Callable[..., None] = names["__init__"]
    initialiser.__qualname__ = f"{made.__qualname__}.__init__"
    return initialiser


def _as_field(given: Any) -> Field[Any]:
    """What stands behind ``=`` in the class: a default, or what ``field()`` made."""
    made: Field[Any] = given if isinstance(given, Field) else field(default=given)
    return made


def _key(names: list[str]) -> Callable[[Any], Any]:
    """What objects are compared by."""
    return attrgetter(*names) if names else lambda _: ()


def _representation(names: list[str]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({shown})"

    return __repr__


def _equality(key: Callable[[Any], Any]) -> Callable[[Any, object], Any]:
    def __eq__(self: Any, other: object) -> Any:
        return key(self) == key(other) if type(other) is type(self) else NotImplemented

    return __eq__


def _hash(key: Callable[[Any], Any]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:
        return hash(key(self))

    return __hash__


def _get_state(self: Any) -> list[Any]:
    """For ``pickle`` and ``copy``, which would set the fields of a frozen object."""
    return [getattr(self, name) for name in self.__slots__]


def _set_state(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__slots__, state, strict=True):
        object.__setattr__(self, name, value)


def _refuse_to_set(self: Any, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
