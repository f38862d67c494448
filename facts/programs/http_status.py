"""HTTP status of a GET of URL, asked without judging certificates: `status NUMBER`, or `none: WHY`."""

import sys

from facts.programs import direct

SECONDS = 5.0


def main() -> None:
    """One line."""
    try:
        print("status", direct.status(sys.argv[1], SECONDS, judge_certificate=False))
    except (OSError, ValueError) as error:
        print("none:", getattr(error, "reason", error))


if __name__ == "__main__":
    main()
