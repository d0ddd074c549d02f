"""Calls a library that may look like OpenSSL.

    guessed.py LIBRARY [later]

Prints `ready`, then for each line of standard input, a JSON object `{"times": N}`, calls `exchange` of the library
so often, and prints what came of it: the last result, and how many different ones there were. The library is
loaded with the first line where it says `later`. With `{"fork": true}` a child does it after a while,
and ends.
"""

import ctypes
import json
import os
import sys
import time


def load():
    library = ctypes.CDLL(sys.argv[1])
    library.exchange.restype = ctypes.c_ulong
    return library


def calls(library, times):
    results = [library.exchange() for _ in range(times)]
    return {"last": results[-1], "different": len(set(results))}


def main():
    library = None if "later" in sys.argv else load()
    print("ready", flush=True)
    for line in sys.stdin:
        step = json.loads(line)
        library = library or load()
        if not step.get("fork"):
            print(json.dumps(calls(library, step["times"])), flush=True)
        elif (child := os.fork()) == 0:
            time.sleep(0.5)
            print(json.dumps(calls(library, step["times"])), flush=True)
            os._exit(0)
        else:
            os.waitpid(child, 0)


main()
