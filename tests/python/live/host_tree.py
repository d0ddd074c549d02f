"""Programs as a node has them, in namespaces of their own: the first process of these.

    host_tree.py < CONFIGURATION-AND-STEPS

Run it as the first process of a PID namespace (`unshare --pid --fork --mount --net`). The first line of
standard input is a JSON document:

    {"cgroup": "DIR/ID",                 a cgroup that is made for it; its name is taken for a container's
     "programs": {NAME: {"command": [...], "environment": {...},
                         "root": {...}}, …}}

`root` makes another root for one of them: `{"at": DIR, "bind": {INSIDE: OUTSIDE, …}}`, of bind mounts in a
file system in memory, all gone with the namespace. It prints `ready`; then each line is a step, answered by
a line:

    {"start": NAME}                      starts a program; the first line that it prints
    {"to": NAME, "say": {...}}           a line for its standard input; the line that it prints then
    {"ask": URL, "body": {...}}          an HTTP request; what was answered
    {"lines": NAME, "count": 3}          so many lines that it prints by itself

All of them end with it.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import urllib.request

# Of <linux/sockios.h> and <linux/if.h>.
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def mount(*options):
    subprocess.run(["mount", *options], check=True)


def make_root(at, bind):
    os.makedirs(at, exist_ok=True)
    mount("-t", "tmpfs", "tmpfs", at)
    for inside, outside in bind.items():
        place = at + inside
        if os.path.isdir(outside):
            os.makedirs(place, exist_ok=True)
            mount("--rbind", outside, place)
        else:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if not os.path.exists(place):
                open(place, "w").close()
            mount("--bind", outside, place)
    # As Debian has them.
    for name in ("bin", "lib", "lib64"):
        os.symlink("usr/" + name, os.path.join(at, name))
    os.makedirs(at + "/tmp")


def start(program):
    command = program["command"]
    root = program.get("root")
    if root:
        make_root(root["at"], root["bind"])
        command = ["chroot", root["at"], *command]
    environment = {**os.environ, **program.get("environment", {})}
    # Its own group: a terminal's signals are not its business.
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True
    )


def ask(url, body):
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as answer:
        return answer.read().decode()


def main():
    configuration = json.loads(sys.stdin.readline())
    os.makedirs(configuration["cgroup"], exist_ok=True)
    with open(os.path.join(configuration["cgroup"], "cgroup.procs"), "w") as procs:
        procs.write("0")
    loopback()
    mount("--make-rprivate", "/")
    running = {}
    print("ready", flush=True)
    for line in sys.stdin:
        step = json.loads(line)
        if "start" in step:
            name = step["start"]
            running[name] = start(configuration["programs"][name])
            said = running[name].stdout.readline()
            said = {"pid": running[name].pid, "line": said.strip()}
        elif "to" in step:
            program = running[step["to"]]
            program.stdin.write(json.dumps(step["say"]) + "\n")
            program.stdin.flush()
            said = json.loads(program.stdout.readline())
        elif "lines" in step:
            said = [running[step["lines"]].stdout.readline().strip() for _ in range(step["count"])]
        else:
            said = json.loads(ask(step["ask"], step.get("body")) or "null")
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
