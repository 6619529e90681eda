"""`python -m crosstune` is the command `crosstune`."""

from crosstune.cli import main

if __name__ == "__main__":
    main()
