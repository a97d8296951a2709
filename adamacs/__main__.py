"""`python -m adamacs` is the command `adamacs`."""

from adamacs.cli import main

if __name__ == "__main__":
    main()
