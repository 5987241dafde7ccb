"""`python -m corpuscle`: the command line, for shells that do not find `corpuscle`."""

from corpuscle.interfaces.cli import main

if __name__ == "__main__":
    main()
