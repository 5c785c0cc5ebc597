"""Modal in the suites that it keeps to, against its emulator."""

from __future__ import annotations

from contract.bills_contract import BillsContract
from contract.keys_contract import NamedRunsContract
from contract.provider_contract import DeadlineContract, ProviderContract
from contract.stages_contract import StagesContract
from contract.wire_contract import CapacityContract, WireContract


class TestModalAsProvider(ProviderContract):
    """Everything that is asked of a provider."""


class TestModalDeadline(DeadlineContract):
    """The trainer in the sandbox ends in time."""


class TestModalKeys(NamedRunsContract):
    """The key is the sandbox's name while it lives, and in the name of its mark after that."""


class TestModalOnTheWire(WireContract):
    """Everything that can happen to a request."""


class TestModalCapacity(CapacityContract):
    """Modal says when no machine is free."""


class TestModalStages(StagesContract):
    """Bundles stay on the Volume until they are deleted."""


class TestModalBills(BillsContract):
    """The workspace's bill, row by row."""
