"""Work, or memory, taken from a real GPU until a deadline: DEVICE PART SECONDS

Runs inside the locked runtime, with torch for NVIDIA's and AMD's cards. PART 0: matrices are multiplied without a
pause; otherwise that part of the memory that is free now is held. Nothing of the card's settings is changed.
"""

import time

_SIDE = 4096
_BLOCK_BYTES = 256 << 20


def main(words: list[str]) -> int:
    """Hold or work until the deadline; exit 1 without such a card."""
    import torch

    device, part, seconds = int(words[0]), float(words[1]), float(words[2])
    deadline = time.monotonic() + seconds
    if device >= torch.cuda.device_count():
        print(f"no GPU {device} here; torch sees {torch.cuda.device_count()}")
        return 1
    place = torch.device("cuda", device)
    if part:
        free, _ = torch.cuda.mem_get_info(place)
        held = []
        for _ in range(int(free * part) // _BLOCK_BYTES):
            held.append(torch.zeros(_BLOCK_BYTES, dtype=torch.uint8, device=place))
        torch.cuda.synchronize(place)
        while time.monotonic() < deadline:
            time.sleep(0.1)
        return 0
    left = torch.randn(_SIDE, _SIDE, dtype=torch.float16, device=place)
    right = torch.randn(_SIDE, _SIDE, dtype=torch.float16, device=place)
    while time.monotonic() < deadline:
        for _ in range(20):
            torch.matmul(left, right)
        torch.cuda.synchronize(place)
    return 0
