"""``python -m pysig``."""

import sys

from pysig.command_line import main

if __name__ == "__main__":
    sys.exit(main())
