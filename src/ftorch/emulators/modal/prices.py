"""What the emulated workspace pays, in USD per hour: `Workspace.billing.rates()` as public snapshots show it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

RATES: Mapping[str, str] = {
    "cpu_hour_cost": "0.04730",
    "cpu_hour_cost_sandbox": "0.141900",
    "gpu_hour_cost_a100_40gb": "2.10000",
    "gpu_hour_cost_a100_80gb": "2.50000",
    "gpu_hour_cost_a10g": "1.10000",
    "gpu_hour_cost_b200": "6.25000",
    "gpu_hour_cost_b300": "7.10000",
    "gpu_hour_cost_h100": "3.95000",
    "gpu_hour_cost_h200": "4.54000",
    "gpu_hour_cost_l4": "0.80000",
    "gpu_hour_cost_l40s": "1.95000",
    "gpu_hour_cost_rtx6000": "3.03000",
    "gpu_hour_cost_t4": "0.59000",
    "mem_gib_hour_cost": "0.00800",
    "mem_gib_hour_cost_sandbox": "0.024000",
    "volume_storage_gib_month_cost": "0.09000",
}

_GPU_KEYS: Mapping[str, str] = {
    "T4": "t4",
    "L4": "l4",
    "A10": "a10g",
    "A10G": "a10g",
    "L40S": "l40s",
    "A100": "a100_40gb",
    "A100-40GB": "a100_40gb",
    "A100-80GB": "a100_80gb",
    "RTX-PRO-6000": "rtx6000",
    "H100": "h100",
    "H100!": "h100",
    "H200": "h200",
    "B200": "b200",
    "B300": "b300",
}


def is_gpu(name: str) -> bool:
    return name in _GPU_KEYS


def per_hour(gpu: str, count: int, cores: Decimal, memory_gib: Decimal) -> dict[str, Decimal]:
    """By billed resource, as statistics name them."""
    rates = {"CPU": Decimal(RATES["cpu_hour_cost_sandbox"]) * cores}
    rates["Memory"] = Decimal(RATES["mem_gib_hour_cost_sandbox"]) * memory_gib
    if gpu:
        rates[gpu] = Decimal(RATES[f"gpu_hour_cost_{_GPU_KEYS[gpu]}"]) * count
    return rates
