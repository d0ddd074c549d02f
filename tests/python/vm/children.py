"""Programs that the guest runs, and what they write."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time

GENSPAN = "/usr/bin/genspan"

# Seconds: all runs in emulation, a step that takes one on a host may take ten.
STEP = 120


class Lines:
    """The lines of a pipe, read by a thread so that one can wait for them."""

    def __init__(self, pipe):
        self.all = []
        self.queue = queue.Queue()
        threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe):
        for line in pipe:
            self.all.append(line.rstrip("\n"))
            self.queue.put(line.rstrip("\n"))
        self.queue.put(None)

    def until(self, wanted):
        """The first line that has `wanted` in it."""
        end = time.monotonic() + STEP
        while True:
            try:
                line = self.queue.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                raise Failed("waited %d s for %r" % (STEP, wanted)) from None
            if line is None:
                raise Failed("ended before it said %r" % wanted)
            if wanted in line:
                return line


class Failed(Exception):
    """What a step waits for did not come."""


class Child:
    """A program, with the lines that it writes."""

    def __init__(self, command, **environment):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **environment}
        )
        self.out = Lines(self.process.stdout)
        self.err = Lines(self.process.stderr)

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        try:
            return self.process.wait(STEP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed("did not end when asked to") from None


def python(*arguments, **environment):
    return Child([sys.executable, *arguments], **environment)
