"""Ours beside the standard library's, which is the specification."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, fields
from typing import Any, cast

import pytest

from ovpn6.model.records import dataclass, prepare, replace

MAKERS = [dataclass, dataclasses.dataclass]


def described() -> type:
    """A new class each time: a decorator may change it."""

    class Thing:
        """A thing."""

        name: str
        size: int = 3
        parts: list[int] = field(default_factory=list)
        secret: str = field(default="x", repr=False)
        seen: int = field(default=0, compare=False)

        @property
        def double(self) -> int:
            return self.size * 2

    return Thing


def frozen(maker: Any) -> Callable[..., Any]:
    return cast(Callable[..., Any], maker(frozen=True, slots=True)(described()))


@pytest.mark.parametrize("maker", MAKERS)
def test_a_record_is_made_from_values_names_and_defaults(maker: Any) -> None:
    thing = frozen(maker)("a", parts=[1])
    assert (thing.name, thing.size, thing.parts, thing.secret) == ("a", 3, [1], "x")
    assert thing.double == 6
    assert frozen(maker)("a").parts is not frozen(maker)("a").parts
    for wrong in ([], ["a", 1, [], "", 0, 5]):
        with pytest.raises(TypeError):
            frozen(maker)(*wrong)
    with pytest.raises(TypeError):
        frozen(maker)("a", colour="red")


@pytest.mark.parametrize("maker", MAKERS)
def test_records_are_equal_by_their_fields_and_class(maker: Any) -> None:
    thing, other = frozen(maker), frozen(maker)
    assert thing("a", seen=1) == thing("a", seen=2)
    assert thing("a") != thing("b")
    assert thing("a") != other("a")
    assert thing("a") != ("a", 3, [], "x", 0)
    key = thing("a", parts=())
    assert {key: 1}[thing("a", parts=(), seen=4)] == 1


@pytest.mark.parametrize("maker", MAKERS)
def test_a_record_shows_its_fields_but_secrets(maker: Any) -> None:
    shown = repr(frozen(maker)("a"))
    assert shown.endswith("Thing(name='a', size=3, parts=[], seen=0)")


@pytest.mark.parametrize("maker", MAKERS)
def test_a_frozen_record_does_not_change(maker: Any) -> None:
    thing = frozen(maker)("a")
    with pytest.raises(FrozenInstanceError):
        thing.size = 4
    with pytest.raises(FrozenInstanceError):
        del thing.size
    assert thing.size == 3


@pytest.mark.parametrize("maker", MAKERS)
def test_a_frozen_record_can_be_copied(maker: Any) -> None:
    """By what ``pickle`` uses, too."""
    thing = frozen(maker)("a", parts=[1], secret="y", seen=7)
    for other in (copy.copy(thing), copy.deepcopy(thing)):
        assert other is not thing
        assert other == thing
        assert (other.secret, other.seen) == ("y", 7)


@pytest.mark.parametrize("maker", MAKERS)
def test_other_records_change_and_have_no_hash(maker: Any) -> None:
    made: Any = maker(slots=True)(described())
    thing = made("a")
    thing.size = 4
    assert thing.double == 8
    with pytest.raises(TypeError):
        hash(thing)
    with pytest.raises(AttributeError):
        thing.colour = "red"
    by_identity: Any = maker(slots=True, eq=False)(described())
    assert by_identity("a") != by_identity("a")
    assert hash(by_identity("a"))


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("replace", [replace, dataclasses.replace])
def test_a_copy_has_other_values(maker: Any, replace: Callable[..., Any]) -> None:
    thing = frozen(maker)("a", 5)
    changed = replace(thing, size=6)
    assert (changed.size, changed.name, thing.size) == (6, "a", 5)
    assert type(changed) is type(thing)
    with pytest.raises(TypeError):
        replace(thing, colour="red")


@pytest.mark.parametrize("maker", MAKERS)
def test_the_standard_librarys_functions_work(maker: Any) -> None:
    thing = frozen(maker)("a", 5)
    names = [found.name for found in fields(thing)]
    assert names == ["name", "size", "parts", "secret", "seen"]
    assert fields(thing)[1].default == 3
    assert dataclasses.is_dataclass(thing)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_record_may_check_and_define_things_itself(maker: Any) -> None:
    @maker(frozen=True, slots=True)
    class Even:
        number: int

        def __post_init__(self) -> None:
            if self.number % 2:
                raise ValueError("odd")

        def __repr__(self) -> str:
            return "even"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, int) and self.number == other

    even: Any = Even
    assert repr(even(2)) == "even"
    assert even(2) == 2
    assert hash(even(2)) == hash(even(2))
    with pytest.raises(ValueError, match="odd"):
        even(3)


@pytest.mark.parametrize("maker", MAKERS)
def test_records_are_told_apart_by_patterns(maker: Any) -> None:
    made: Any = frozen(maker)
    match made("a", 5):
        case made(name, 5):
            assert name == "a"
        case _:
            pytest.fail("no match")


@pytest.mark.parametrize("maker", MAKERS)
def test_an_empty_record(maker: Any) -> None:
    @maker(frozen=True, slots=True)
    class Nothing:
        """Nothing."""

    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())
    assert repr(Nothing()).endswith("Nothing()")
    assert not hasattr(Nothing(), "__dict__")


def test_the_class_is_the_one_that_was_written() -> None:
    made: Any = frozen(dataclass)
    assert made.__doc__ == "A thing."
    assert made.__qualname__ == "described.<locals>.Thing"
    assert made.__module__ == __name__
    made("a")
    assert list(inspect.signature(made).parameters) == ["name", "size", "parts", "secret", "seen"]


def test_a_record_without_slots_is_refused() -> None:
    with pytest.raises(TypeError):
        dataclass(frozen=True)(described())


def test_a_prepared_record_is_ready_before_its_first_object() -> None:
    made: Any = frozen(dataclass)
    lazily = made.__init__
    prepare(__name__)
    assert made.__init__ is not lazily
    assert list(inspect.signature(made.__init__).parameters)[:2] == ["self", "name"]
    assert made("a").name == "a"
