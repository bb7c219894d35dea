"""Runs Swift's ring builder within this process."""

import contextlib
import io
import os

from swift.cli import ringbuilder


def in_process(main, folder, argv, answer=""):
    out, code = io.StringIO(), None
    before = os.getcwd()
    os.chdir(folder)
    stdin = io.StringIO(answer)

    def ask(question):
        out.write(question)
        line = stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")

    ringbuilder.input = ask
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            code = main(argv)
    except SystemExit as ended:
        code = ended.code
    except Exception:  # Swift's executable prints a traceback and ends with 2
        code = 2
    finally:
        os.chdir(before)
    return code or 0, out.getvalue()
