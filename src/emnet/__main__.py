"""`python -m emnet` is `emnet`."""

from emnet.cli import main

if __name__ == "__main__":
    main()
