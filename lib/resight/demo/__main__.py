"""``python -m resight.demo FOLDER [--seed N]``: write the demo collection."""

import argparse
import sys
from pathlib import Path

from resight.config import SettingError
from resight.demo.write import write_collection


def main(arguments: list[str] | None = None) -> int:
    """Write the collection; the exit status is 2 where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m resight.demo", description=__doc__)
    parser.add_argument("folder", type=Path, help="a new folder, or one with a demo collection")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other views")
    options = parser.parse_args(arguments)
    try:
        counts = write_collection(options.folder, seed=options.seed)
    except SettingError as error:
        parser.error(str(error))
    words = f"{counts['images']} images, {counts['duplicates']} pairs of copies"
    sys.stdout.write(f"{words}, {counts['truth']} true pairs: {options.folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
