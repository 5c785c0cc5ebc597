from __future__ import annotations

import pytest

# The suites are modules of their own, and unit tests import their benches; without this, and before anything imports
# them, their bare asserts would not say what differed.
pytest.register_assert_rewrite(
    "contract.provider_contract",
    "contract.keys_contract",
    "contract.wire_contract",
    "contract.bills_contract",
    "contract.stages_contract",
    "contract.ray_bench",
    "contract.together_bench",
    "cluster.behaviour",
)
