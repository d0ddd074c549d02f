"""Runs a program in an interpreter of its own beside the main one: subinterpreter.py PROGRAM [ARGUMENTS]

The main interpreter only waits for it, in `wait`.
"""

import os
import sys


def wait(source):
    if sys.version_info >= (3, 14):
        import concurrent.interpreters

        concurrent.interpreters.create().exec(source)
    elif sys.version_info >= (3, 13):
        import _interpreters

        failed = _interpreters.exec(_interpreters.create(), source)
        if failed is not None:
            sys.exit(failed.formatted)
    else:
        import _xxsubinterpreters

        _xxsubinterpreters.run_string(_xxsubinterpreters.create(), source)


def main():
    program = os.path.abspath(sys.argv[1])
    wait(f"""if True:
        import runpy, sys
        sys.argv = {[program] + sys.argv[2:]!r}
        sys.path.insert(0, {os.path.dirname(program)!r})
        runpy.run_path({program!r}, run_name="__main__")
    """)


main()
