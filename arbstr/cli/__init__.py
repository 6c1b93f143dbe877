"""The command line: the only package that prints and sets exit statuses.

`program` holds the commands together, each of which is a module of its own.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import TracebackType

from arbstr.errors import AddressInUse, ArbstrError, ConfigError

INVALID, USAGE = 1, 2  # exit statuses: what is not as it must be, and a wrong command line
_ADVICE = {
    errno.EACCES: "; check the permissions of it and of its directory, or name another place",
    errno.EROFS: "; its file system can't be written to, so name another place",
    errno.ENOSPC: "; free some space there, or name another place",
}


def main() -> None:
    """Run the console script."""
    _open_missing_streams()
    sys.excepthook = _internal_error
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal of few characters
    sys.exit(run(sys.argv[1:]))


def _open_missing_streams() -> None:
    """Open /dev/null where stdin, stdout or stderr is closed: else a socket or the ledger would get its number.

    Terminal output would then go there, and the interpreter aborts at its end.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, so this one
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def run(arguments: list[str]) -> int:
    """Run a command and return its exit status; print expected errors to stderr, a line for each problem."""
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        _silence_stdout()
        return INVALID
    except OSError as error:
        _silence_stdout()
        return _report(error)
    except ArbstrError as error:
        return _report(error)
    return status


def _run(arguments: list[str]) -> int:
    """Run a command, by typer where that must be: it takes longer to load than a prompt may wait for its line."""
    match arguments:
        case ["--version"]:
            from arbstr.cli.version import version_text

            print(version_text())
            return 0
        case ["statusline", *options] if (plain := _of_statusline(options)) is not None:
            from arbstr.cli.spending import print_line

            print_line(*plain)
            return 0
    from arbstr.cli import program

    return program.run(arguments)


def _of_statusline(options: list[str]) -> tuple[Path | None, bool] | None:
    """Return the values of its --config and --json, if they are written plainly."""
    config, as_json = None, False
    while options:
        match options:
            case ["--json", *options]:
                as_json = True
            case ["-c" | "--config", path, *options] if not path.startswith("-"):
                config = Path(path)
            case _:
                return None
    return config, as_json


def _silence_stdout() -> None:
    """Discard unwritable output: the interpreter would retry it at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: Exception) -> int:
    from arbstr.redaction import mask_lookalikes

    for line in _messages(error):
        print(f"arbstr: {mask_lookalikes(line)}", file=sys.stderr)
    return USAGE if isinstance(error, AddressInUse) else INVALID


def _messages(error: Exception) -> list[str]:
    if isinstance(error, ConfigError):
        return error.problems
    if isinstance(error, OSError):
        place = f": {error.filename}{_ADVICE.get(error.errno or 0, '')}" if error.filename else ""
        return [f"{error.strerror or 'input or output failed'}{place}"]
    return [" ".join(str(error).split())]


def _internal_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report an unexpected exception: where it was raised, not its message, which may hold secrets."""
    if "debug" in os.environ.get("ARBSTR_LOG", ""):
        import traceback

        from arbstr.redaction import mask_lookalikes

        print(mask_lookalikes("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)
        return
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "an unknown location"
    print(
        f"arbstr: internal error ({kind.__name__} in {where}); please report it (ARBSTR_LOG=debug shows more)",
        file=sys.stderr,
    )
