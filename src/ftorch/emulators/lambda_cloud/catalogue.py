"""Machine types, prices and regions: those of the public price list of September 2026."""

from __future__ import annotations

from collections.abc import Mapping

from ftorch.emulators.lambda_cloud.schemas import InstanceType, Region, Specs

REGIONS: Mapping[str, Region] = {
    name: Region(name=name, description=words)
    for name, words in {
        "us-west-1": "California, USA",
        "us-east-1": "Virginia, USA",
        "us-south-2": "North Texas, USA",
        "europe-central-1": "Germany",
    }.items()
}
_ROWS = (
    ("cpu_4x_general", "4x CPU", "N/A", 20, 0),
    ("gpu_1x_rtx6000", "1x Quadro RTX 6000 (24 GB)", "Quadro RTX 6000 (24 GB)", 69, 1),
    ("gpu_1x_a10", "1x A10 (24 GB PCIe)", "A10 (24 GB PCIe)", 129, 1),
    ("gpu_1x_a100_sxm4", "1x A100 (40 GB SXM4)", "A100 (40 GB SXM4)", 199, 1),
    ("gpu_1x_gh200", "1x GH200 (96 GB)", "GH200 (96 GB)", 229, 1),
    ("gpu_1x_h100_pcie", "1x H100 (80 GB PCIe)", "H100 (80 GB PCIe)", 329, 1),
    ("gpu_8x_a100_80gb_sxm4", "8x A100 (80 GB SXM4)", "A100 (80 GB SXM4)", 2232, 8),
)
TYPES: Mapping[str, InstanceType] = {
    name: InstanceType(
        name=name,
        description=words,
        gpu_description=gpu,
        price_cents_per_hour=cents,
        specs=Specs(vcpus=30, memory_gib=200, storage_gib=1400, gpus=gpus),
    )
    for name, words, gpu, cents, gpus in _ROWS
}
ROOM: Mapping[str, tuple[str, ...]] = {
    "cpu_4x_general": ("us-east-1",),
    "gpu_1x_a10": ("us-east-1", "us-west-1"),
    "gpu_1x_a100_sxm4": ("us-east-1",),
    "gpu_1x_h100_pcie": ("us-west-1",),
    "gpu_8x_a100_80gb_sxm4": ("us-east-1",),
}
"""Type -> the regions where one can be had."""
