"""`python -m trapmid` is `trapmid`."""

import sys

from trapmid.cli import main

if __name__ == "__main__":
    sys.exit(main())
