"""`python -m corpuscle`: the command line, for shells that do not find `corpuscle`."""

from corpuscle.interfaces.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
