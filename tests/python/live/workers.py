"""Starts worker processes, each of which makes one call soon: workers.py HOW COUNT

HOW is `os` (os.fork), or a start method of multiprocessing: `fork`, `spawn`, `forkserver`. Prints
`ready`, waits for a line, and then each worker prints what it saw. A second line ends it.
"""

import json
import multiprocessing
import os
import sys
import time

# Seconds between two forks. Of what is forked together after a quiet time, the later ones may be
# missed for a hundredth of a second (README, "What it sees").
APART = 0.2


def work(number):
    # TLS is loaded by the parent where the worker inherits its memory.
    from one_call import call

    answer = call(f"worker-{number}")
    answer["pid"] = os.getpid()
    os.write(1, (json.dumps(answer) + "\n").encode())


def main():
    how, count = sys.argv[1], int(sys.argv[2])
    if how in ("os", "fork"):
        import ssl  # noqa: F401

        import one_call  # noqa: F401
    print("ready", flush=True)
    sys.stdin.readline()
    if how == "os":
        children = []
        for number in range(count):
            pid = os.fork()
            if pid == 0:
                work(number)
                os._exit(0)
            children.append(pid)
            time.sleep(APART)
        for pid in children:
            os.waitpid(pid, 0)
    else:
        context = multiprocessing.get_context(how)
        children = [context.Process(target=work, args=(number,)) for number in range(count)]
        for child in children:
            child.start()
            time.sleep(APART)
        for child in children:
            child.join()
    sys.stdin.readline()


if __name__ == "__main__":
    main()
