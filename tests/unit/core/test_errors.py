from __future__ import annotations

import re

import pytest

from ftorch.core import errors
from ftorch.core.errors import Fault, FtorchError, InputError


def _all(root: type[FtorchError]) -> list[type[FtorchError]]:
    return [root, *[found for child in root.__subclasses__() for found in _all(child)]]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn = dict(re.findall(r"^ +(\w+Error) +(\d+)", errors.__doc__ or "", re.MULTILINE))

    assert drawn == {cls.__name__: str(cls.exit_code) for cls in _all(FtorchError) if cls.__module__ == errors.__name__}


@pytest.mark.parametrize("cls", _all(FtorchError))
def test_every_class_says_what_it_is(cls: type[FtorchError]) -> None:
    assert cls.__doc__
    assert cls.code


def test_a_fault_names_file_line_and_key() -> None:
    fault = Fault("not a known key (did you mean 'learning_rate'?)", "support.yaml", 8, "method.learnign_rate")

    words = str(fault)

    assert words == "support.yaml:8: method.learnign_rate: not a known key (did you mean 'learning_rate'?)"


def test_an_input_error_keeps_every_fault_and_the_first_hint() -> None:
    error = InputError([Fault("one"), Fault("two", hint="do this")])

    assert error.message == "one\ntwo"
    assert error.hint == "do this"
