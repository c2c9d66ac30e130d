"""Who has which part in a comparison."""

from __future__ import annotations

from bench.goals import Role
from bench.peers.ours import PYTHON, Ovpn6Path, short_name
from bench.run import Field
from ovpn6.lab.runners import Ovpn6


def candidate(path: str) -> Ovpn6Path:
    return Ovpn6Path(f"ovpn6 {short_name(path)}", Ovpn6, lambda: ("ovpn6",), path=path)


def test_the_first_path_in_user_space_is_ours_and_python_the_fallback() -> None:
    paths = map(candidate, ("user space (native)", "user space (Python)"))
    cast = Field(tuple(paths)).cast()
    assert cast[Role.OURS] == "ovpn6 native"
    assert cast[Role.FALLBACK] == PYTHON


def test_the_kernel_is_measured_but_not_what_is_asked_of_user_space() -> None:
    field = Field(tuple(map(candidate, ("kernel (ovpn)", "user space (Python)"))))
    assert field.cast()[Role.OURS] == field.cast()[Role.FALLBACK] == PYTHON
    assert [program.name for program in field.everyone][:2] == ["ovpn6 kernel", PYTHON]


def test_without_the_path_in_python_nobody_is_the_fallback() -> None:
    assert Role.FALLBACK not in Field((candidate("user space (native)"),)).cast()


def test_every_candidate_has_a_name_of_its_own() -> None:
    names = [program.name for program in Field((candidate("user space (Python)"),)).everyone]
    assert len(set(names)) == len(names) == 5
