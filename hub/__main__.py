"""`python -m hub` is `hub`."""

import sys

from hub import cli

if __name__ == "__main__":
    sys.exit(cli.main())
