"""`python -m iadr1`: the same as the command `iadr1`, for example under `torchrun -m`."""

from iadr1.cli import main

if __name__ == "__main__":
    main()
