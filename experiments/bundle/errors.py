"""What is wrong with a bundle, or with the place where one is to be written."""

from __future__ import annotations

from experiments.errors import ExperimentError


class BundleError(ExperimentError):
    """A bundle that cannot be written or read; one line with the file, the reason and the fix."""


def unwritten(path: object, error: OSError) -> BundleError:
    """The refusal of a file system, with what to do: what was written before it stays readable."""
    said = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return BundleError(
        f"{path}: {said}; what was collected so far stays readable there, make room or choose another place with --to, "
        "then go on with --resume"
    )
