"""The first process of a virtual machine: looks at what genspan can do on its kernel, tells it on the
console, and turns the machine off.

What was found is told by lines as console.py writes them. The last line's check is `end`.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import time
import traceback

import cost
from calls import PACKAGES, function, langchain, pieces, stacks, traced
from children import GENSPAN, STEP, Failed, python
from console import tell

HERE = os.path.dirname(os.path.abspath(__file__))
CERTS = "/certs"

MOUNTS = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tracefs", "/sys/kernel/tracing"),
    ("securityfs", "/sys/kernel/security"),
    ("bpf", "/sys/fs/bpf"),
    ("tmpfs", "/tmp"),
]

# What a word of the kernel's command line begins with that chooses checks.
ONLY = "genspan.only="

# From include/uapi/linux/sockios.h and if.h.
SIOCSIFFLAGS = 0x8914
IFF_UP = 1
# From include/uapi/linux/reboot.h.
POWER_OFF = 0x4321FEDC


def prepare():
    libc = ctypes.CDLL(None, use_errno=True)
    for kind, where in MOUNTS:
        os.makedirs(where, exist_ok=True)
        if libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None) != 0:
            print("no", kind, os.strerror(ctypes.get_errno()), flush=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    os.environ.update(PATH="/usr/bin:/bin", HOME="/", SSL_CERT_FILE=CERTS + "/ca.pem")


def genspan(*arguments):
    """Runs it to its end: the result and all of both outputs."""
    return subprocess.run([GENSPAN, *arguments], capture_output=True, text=True, timeout=3 * STEP)


def doctor():
    done = genspan("doctor", "--json")
    report = json.loads(done.stdout or '{"ready": false, "checks": []}')
    said = []
    for check in report["checks"]:
        if check["verdict"] != "ok":
            said.append("%s: %s: %s" % (check["name"], check["found"], check["remedy"]))
    for name in ("plain sockets",):
        said += ["%s: %s" % (name, c["found"]) for c in report["checks"] if c["name"] == name]
    tell("doctor", "ok" if report["ready"] else "failed", done.stderr[-600:], said)


def programs():
    done = genspan("doctor", "--json", "--programs")
    if not done.stdout:
        return tell("programs", "failed", done.stderr[-600:])
    all = json.loads(done.stdout)["programs"]
    for program in all:
        found = (program["refusal"] or "%s verified" % program["verified_instructions"])[-600:]
        name = "%s %s" % (program["kind"], program["name"])
        tell("program " + name, "ok" if program["loads"] else "poor", found)
    tell("programs", "ok", "%d of %d load" % (sum(p["loads"] for p in all), len(all)))


def server(*options):
    child = python(os.path.dirname(HERE) + "/provider.py", "--certs", CERTS, *options)
    return "127.0.0.1:%d/v1" % int(child.out.until(""))


def costs():
    """What each way of reading plain sockets costs; a check for each, and one for all."""
    try:
        for way, found in cost.measure():
            tell("cost " + way, "ok", found)
        tell("cost", "ok")
    except (Failed, OSError, ValueError) as error:
        tell("cost", "failed", str(error))


def wanted():
    """What is to be looked at, by the kernel's command line: `genspan.only=NAME,NAME`."""
    with open("/proc/cmdline") as line:
        words = [word.split("=", 1)[1] for word in line.read().split() if word.startswith(ONLY)]
    return words[0].split(",") if words else None


def look():
    tell("boots", "ok", os.uname().release)
    only = wanted()
    tls, plain = "https://" + server(), "http://" + server("--plain")
    port = int(plain.split(":")[2].split("/")[0])
    watch = ["--function", "__main__:answer(question)"]
    watching = "watching __main__:answer (pid %d"
    checks = {
        "doctor": lambda _: doctor(),
        "programs": lambda _: programs(),
        "tls": lambda name: traced(name, tls, []),
        "tls-perf": lambda name: traced(name, tls, ["--perf-probes"]),
        "stacks": lambda name: traced(name, tls, ["--stacks"], look=stacks),
        "function": lambda name: traced(name, tls, watch, watching, function),
        "langchain": langchain,
        "sockets-libc": lambda name: traced(name, plain, ["--sockets", "libc"]),
        "sockets-fentry": lambda name: traced(name, plain, ["--sockets", "fentry"]),
        "pieces-fentry": lambda name: pieces(name, port, ["--sockets", "fentry"]),
        "sockets-tracepoints": lambda name: traced(name, plain, ["--sockets", "tracepoints"]),
        "sockets-syscalls": lambda name: traced(name, plain, ["--sockets", "syscalls"]),
    }
    if not os.path.isdir(PACKAGES):
        checks.pop("langchain")
    for name, check in checks.items():
        if only is None or name in only:
            check(name)
    # In a machine of its own, which counts instructions.
    if only and "cost" in only:
        costs()


def main():
    try:
        prepare()
        look()
    except BaseException:
        tell("guest", "failed", traceback.format_exc()[-900:])
    tell("end", "ok")
    os.sync()
    ctypes.CDLL(None).reboot(POWER_OFF)


if __name__ == "__main__":
    main()
