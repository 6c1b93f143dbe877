"""`python -m arbstr`."""

from arbstr.cli import main

if __name__ == "__main__":
    main()
