"""What programs rely on: a change of these shapes is a change for everybody who reads them."""

from __future__ import annotations

import pytest
from syrupy.assertion import SnapshotAssertion

from ftorch.cli.shapes import output_schema

BOOKS = ("spend", "spend-compare", "ledger", "bill", "bill-pull", "bill-import", "bill-explain", "bill-close")


@pytest.mark.parametrize("name", BOOKS)
def test_the_shape_of_an_answer_about_money_stays(name: str, snapshot: SnapshotAssertion) -> None:
    assert output_schema(name) == snapshot
