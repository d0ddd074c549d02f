"""The first process of a virtual machine: looks at what genspan can do on its kernel, tells it on the
console, and turns the machine off.

Each line that it tells begins with MARK and goes on with a JSON document: `check` is what was looked
at, `verdict` is `ok`, `poor` or `failed`, `found` says more, `said` is what genspan warned of. The
last line's check is `end`. Nothing else is for `cargo xtask vm`, which reads them.
"""

import ctypes
import fcntl
import json
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

MARK = "@genspan-vm "
HERE = os.path.dirname(os.path.abspath(__file__))
GENSPAN = "/usr/bin/genspan"
CERTS = "/certs"

# Seconds: all runs in emulation, a step that takes one on a host may take ten.
STEP = 120

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


def tell(check, verdict, found="", said=()):
    line = {"check": check, "verdict": verdict, "found": found, "said": list(said)}
    line["seconds"] = round(time.monotonic())
    print(MARK + json.dumps(line), flush=True)


def prepare():
    libc = ctypes.CDLL(None, use_errno=True)
    for kind, where in MOUNTS:
        os.makedirs(where, exist_ok=True)
        if libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None) != 0:
            print("no", kind, os.strerror(ctypes.get_errno()), flush=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    os.environ.update(PATH="/usr/bin:/bin", HOME="/", SSL_CERT_FILE=CERTS + "/ca.pem")


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


def spans(file):
    with open(file) as lines:
        return [json.loads(line) for line in lines]


def traced(check, base, options, ready="(pid %d", look=None):
    """A program that runs already makes a call, which must come out as it was."""
    file = "/tmp/spans.jsonl"
    app = agent = None
    try:
        app = python(HERE + "/app.py", OPENAI_BASE_URL=base)
        app.out.until("ready")
        pid = app.process.pid
        command = [GENSPAN, "trace", "--pid", str(pid), "--format", "json", "--output", file]
        agent = Child([*command, *options])
        agent.err.until(ready % pid)
        seen = []
        for question in ("Why is the sky blue?", "And the sunset red?"):
            app.process.stdin.write(question + "\n")
            app.process.stdin.flush()
            seen.append(json.loads(app.out.until("{")))
        # What is under way between the kernel and the agent.
        time.sleep(1)
        code = agent.end()
        all = spans(file)
        wrong = compare(seen, all) or (look(all) if look else "")
        if code != 0:
            wrong = wrong or "exit code %d" % code
        said = [line for line in agent.err.all if "WARN" in line or "ERROR" in line]
        tell(check, "failed" if wrong else "ok", wrong, said)
    except (Failed, OSError, ValueError) as error:
        said = agent.err.all[-6:] if agent else []
        tell(check, "failed", str(error), [line[-600:] for line in said])
    finally:
        for child in (agent, app):
            if child and child.process.poll() is None:
                child.process.kill()
                child.process.wait()
        if os.path.exists(file):
            os.unlink(file)


def compare(seen, all):
    """What is wrong with the spans of model calls, if anything is."""
    calls = [s["attributes"] for s in all if "gen_ai.response.id" in s.get("attributes", {})]
    told = [
        {
            "id": a["gen_ai.response.id"],
            "port": a.get("network.peer.port"),
            "input": a.get("gen_ai.usage.input_tokens"),
            "output": a.get("gen_ai.usage.output_tokens"),
        }
        for a in calls
    ]
    return "" if told == seen else "made %s, told %s" % (json.dumps(seen), json.dumps(told))


def function(all):
    """The function's spans, each with its argument."""
    questions = [
        s["attributes"].get("genspan.function.argument.question")
        for s in all
        if s["attributes"].get("code.function.name") == "__main__.answer"
        and s["attributes"].get("gen_ai.response.id") is None
    ]
    fine = questions == ["Why is the sky blue?", "And the sunset red?"]
    return "" if fine else "told %s" % json.dumps(questions)


def stacks(all):
    """The call path of each call: where the program itself wrote it."""
    for span in all:
        attributes = span["attributes"]
        if "gen_ai.response.id" in attributes and not (
            attributes.get("code.function.name") == "answer"
            and attributes.get("code.file.path", "").endswith("app.py")
            and "in main" in attributes.get("code.stacktrace", "")
        ):
            return "told %s" % json.dumps({k: v for k, v in attributes.items() if "code." in k})
    return ""


def server(*options):
    child = python(os.path.dirname(HERE) + "/provider.py", "--certs", CERTS, *options)
    return "127.0.0.1:%d/v1" % int(child.out.until(""))


def wanted():
    """What is to be looked at, by the kernel's command line: `genspan.only=NAME,NAME`."""
    with open("/proc/cmdline") as line:
        words = [word.split("=", 1)[1] for word in line.read().split() if word.startswith(ONLY)]
    return words[0].split(",") if words else None


def look():
    tell("boots", "ok", os.uname().release)
    only = wanted()
    tls, plain = "https://" + server(), "http://" + server("--plain")
    watch = ["--function", "__main__:answer(question)"]
    watching = "watching __main__:answer (pid %d"
    checks = {
        "doctor": lambda _: doctor(),
        "programs": lambda _: programs(),
        "tls": lambda name: traced(name, tls, []),
        "tls-perf": lambda name: traced(name, tls, ["--perf-probes"]),
        "stacks": lambda name: traced(name, tls, ["--stacks"], look=stacks),
        "function": lambda name: traced(name, tls, watch, watching, function),
        "sockets-libc": lambda name: traced(name, plain, ["--sockets", "libc"]),
        "sockets-fentry": lambda name: traced(name, plain, ["--sockets", "fentry"]),
        "sockets-tracepoints": lambda name: traced(name, plain, ["--sockets", "tracepoints"]),
        "sockets-syscalls": lambda name: traced(name, plain, ["--sockets", "syscalls"]),
    }
    for name, check in checks.items():
        if only is None or name in only:
            check(name)


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
