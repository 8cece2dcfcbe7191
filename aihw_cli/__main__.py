"""`python -m aihw_cli` is `aihw`."""

import sys

from aihw_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
