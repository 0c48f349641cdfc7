"""`python -m trapmid` is `trapmid`."""

from trapmid.cli import main

if __name__ == "__main__":
    main()
