"""`python -m headcount` is the console script `headcount`."""

from headcount.cli import main

if __name__ == "__main__":
    main()
