"""The accelerators of hardware/catalog/ by name, for `--what-if accelerator=NAME`. Pure."""

from __future__ import annotations

from hardware.catalog.geforce_rtx_5070 import GEFORCE_RTX_5070
from hardware.catalog.h200 import H200
from hardware.catalog.radeon_rx_7600_xt import RADEON_RX_7600_XT
from hardware.catalog.ryzen_ai_max_395 import RADEON_8060S
from hardware.model import Accelerator

ACCELERATORS: dict[str, Accelerator] = {
    part.name: part for part in (GEFORCE_RTX_5070, H200, RADEON_8060S, RADEON_RX_7600_XT)
}
