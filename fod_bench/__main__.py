"""`python -m fod_bench` is `fod-bench`."""

from fod_bench.cli.app import main

if __name__ == "__main__":
    main()
