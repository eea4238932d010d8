"""`python -m keyturn.cli`, the same as `keyturn`."""

from . import main

if __name__ == "__main__":
    main()
