"""Write a copy of a model with its weights shuffled: MODEL-DIRECTORY GARBAGE-DIRECTORY (inside the runtime)."""

import shutil
import sys
from pathlib import Path


def main() -> int:
    """Always the same garbage, readable by all."""
    import torch
    from safetensors.torch import load_file, save_file

    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.suffix == ".safetensors":
            generator = torch.Generator().manual_seed(0)
            shuffled = {
                name: tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].reshape(tensor.shape)
                for name, tensor in load_file(path).items()
            }
            save_file(shuffled, target / path.name, metadata={"format": "pt"})
        elif not path.name.startswith(".") and path.is_file():
            shutil.copy(path, target / path.name)
    for path in (target, *target.iterdir()):
        path.chmod(0o755)
    return 0


if __name__ == "__main__":
    sys.exit(main())
