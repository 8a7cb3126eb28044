"""`ibsync` and `python -m ibsync`: the command line, which is imported here so that an interrupt ends in one line."""

import sys


def main() -> int:
    """Run the command line, and return its exit code."""
    try:
        from .commands.cli import main as command_line

        return command_line()
    except KeyboardInterrupt:
        sys.stderr.write("ibsync: interrupted; no result was written\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
