from __future__ import annotations

import pytest

# The suites are modules of their own; without this their bare asserts would not say what differed.
pytest.register_assert_rewrite(
    "contract.provider_contract",
    "contract.keys_contract",
    "contract.wire_contract",
    "contract.bills_contract",
    "contract.stages_contract",
)
