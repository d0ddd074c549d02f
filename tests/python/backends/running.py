"""Programs that a run starts, and ends; HTTP to them on loopback."""

import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import time

# Of <linux/sockios.h> and <linux/if.h>.
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
# Of <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


def alone():
    """A network of this process's own and of what it starts: nothing but loopback. Nobody can reach
    it from outside, every port is free, and there is no way out."""
    os.unshare(os.CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = b"lo"
        flags = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sh14x", name, 0))
        flags = struct.unpack("16sh14x", flags)[1] | IFF_UP
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", name, flags))


def ends_orderly():
    """SIGTERM ends this process as an exception does: what it started is ended too."""

    def end(number, frame):
        raise SystemExit("ended by signal %d" % number)

    signal.signal(signal.SIGTERM, end)


@contextlib.contextmanager
def started(command, log, variables=None, **options):
    """A program in a process group of its own, which ends with the block: by SIGTERM, or else by
    SIGKILL; and by SIGKILL when this process is killed. Its standard error, and output unless that is piped,
    go to the file `log`. To be called by the main thread: with the one that calls it the program ends."""
    own = os.getpid()

    def dies_with_us():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # We may have ended before that.
        if os.getppid() != own:
            os._exit(1)

    with open(log, "w") as file:
        options.setdefault("stdout", file)
        environment = {**os.environ, **(variables or {})}
        process = subprocess.Popen(
            command,
            stderr=file,
            start_new_session=True,
            env=environment,
            preexec_fn=dies_with_us,
            **options,
        )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()


def get(port, path):
    """The status and text that a server of loopback answers with."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def document(port, path, absent):
    """The document that a server of loopback answers with, or `absent` when it knows of none."""
    status, text = get(port, path)
    if status == 404:
        return absent
    if status != 200:
        raise SystemExit("%s of port %d answers %d: %s" % (path, port, status, text[:500]))
    return json.loads(text)


def wait_for(what, check, seconds, process=None, log=None):
    """Waits until `check` gives something true, and returns that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            found = check()
            if found:
                return found
        if process and process.poll() is not None:
            raise SystemExit("%s ended with %d:\n%s" % (what, process.returncode, tail(log)))
        time.sleep(0.2)
    raise SystemExit("waited %d s in vain for %s\n%s" % (seconds, what, tail(log)))


def tail(log):
    if not log:
        return ""
    with open(log, errors="replace") as file:
        return file.read()[-4000:]
