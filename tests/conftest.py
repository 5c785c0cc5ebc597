from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

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
    "crash.any_request",
)

# A busy machine is no fault of the code: how long an example takes is measured by the benches.
settings.register_profile("ftorch", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ftorch")
