"""Programs of the boot server: which node boots which image, and whether the image is whole."""
