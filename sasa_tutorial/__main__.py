"""`python -m sasa_tutorial`: the command `sasa-tutorial`, for torchrun."""

from sasa_tutorial.cli import main

if __name__ == "__main__":
    main()
