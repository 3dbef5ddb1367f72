"""`simharness` and `python -m simharness`: the command line, in a child process that imports it."""

from simharness.cli.supervised import supervised


def main() -> None:
    """Run the command line."""
    supervised(_run)


def _run() -> None:
    from simharness.cli.main import run

    run()


if __name__ == "__main__":
    main()
