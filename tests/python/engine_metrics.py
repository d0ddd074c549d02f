"""Holds the spans of a real inference server against what it counts itself:

    engine_metrics.py vllm|vllm-v0|sglang AGENT LAB

Starts it by LAB/serve.sh (vLLM's V0 engine by itself, once in a process of its own and once in the
server's), then `genspan agent`, which finds the running server by itself; asks 200 times, eight requests
at a time, streamed and not, and compares the spans with what `/metrics` has more than
before: requests (by finish reason, where that is counted), tokens read and made. Of its processes the
agent must say that they are one service of the type `model`, with the model's name, its port and its
version. Ends with 1 when something differs.
"""

import collections
import concurrent.futures
import http.client
import json
import os
import re
import signal
import socket as sockets
import subprocess
import sys
import tempfile
import threading
import time

# Its name, its port, what more it is to be told (once for each run), and the parts that it has besides its API.
ENGINES = {
    "vllm": ("vLLM", 8000, [[]], {"engine"}),
    "vllm-v0": ("vLLM", 8000, [[], ["--disable-frontend-multiprocessing"]], set()),
    "sglang": ("SGLang", 30000, [["--enable-metrics"]], {"scheduler", "detokenizer"}),
}
KIND = sys.argv[1]
NAME, PORT, RUNS, PARTS = ENGINES[KIND]
V0 = KIND == "vllm-v0"
ENGINE = "vllm" if V0 else KIND
HOME = os.environ.get("LAB_HOME") or os.path.expanduser("~/.cache/genspan-lab")
ADDRESS = ("127.0.0.1", PORT)
REQUESTS = 200
REFUSED = 8
# Seconds that spans and the engine say, each as the sum over all requests.
TIMES = {
    "vllm": {
        "time_to_first_token_seconds_sum": "genspan.engine.time_to_first_token",
        "request_queue_time_seconds_sum": "genspan.engine.queue_time",
        "request_prefill_time_seconds_sum": "genspan.engine.prefill_time",
        "request_decode_time_seconds_sum": "genspan.engine.decode_time",
    },
    "sglang": {
        "queue_time_seconds_sum": "genspan.engine.queue_time",
        "prefill_forward seconds": "genspan.engine.prefill_time",
    },
}[ENGINE]
# Tokens that were in the engine's cache.
CACHED = {"vllm": "prompt_tokens_cached_total", "vllm-v0": "", "sglang": "cached_tokens_total"}[KIND]
COUNTS = ("prompt_tokens_total", "generation_tokens_total", "num_requests_total", CACHED)
# Both add up what is measured in nanoseconds; of so many microseconds the sums may differ.
CLOSE = 5
# V0 takes these of the time when it counts a request, and not of that when its token was there, or the last of them:
# by so much of them they may differ.
LOOSE = {"time_to_first_token_seconds_sum": 0.25, "request_decode_time_seconds_sum": 0.1} if V0 else {}
# What a vLLM on the processor is started with.
OFFLINE = {
    "HOME": os.path.join(HOME, "home"),
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "all" if V0 else "nobind",
    **({"VLLM_USE_V1": "0"} if V0 else {}),
}
AT_ONE_TIME = 8
# Seconds that it may take to start, and the agent to attach.
START = 900
WORDS = "the sky is blue because air scatters short waves of light far more than long ones".split()


def ask(method, path, body=None):
    connection = http.client.HTTPConnection(*ADDRESS, timeout=60)
    try:
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def metrics():
    """Its counters by name, and by finish reason."""
    found = collections.Counter()
    for line in ask("GET", "/metrics")[1].splitlines():
        match = re.match(ENGINE + r":(\w+)\{(.*)\} ([0-9.e+-]+)$", line)
        if match:
            name, labels, value = match.groups()
            stage = re.search(r'stage="(\w+)"', labels)
            if stage and name == "per_stage_req_latency_seconds_sum":
                name = stage.group(1) + " seconds"
            reason = re.search(r'finished_reason="(\w+)"', labels)
            if reason and name == "request_success_total":
                found["finished: " + reason.group(1)] += float(value)
            elif name in (*COUNTS, *TIMES):
                found[name] += float(value)
    return found


def request(number):
    """What is asked, each in another way."""
    text = " ".join(WORDS[: 1 + number % len(WORDS)])
    body = {"model": "tiny", "max_tokens": 1 + number % 40}
    if number % 4 >= 2:
        body.update(stream=True, stream_options={"include_usage": True})
        if number % 16 >= 14:
            body["stream_options"]["continuous_usage_stats"] = True
        elif number % 16 >= 10:
            del body["stream_options"]
    if number % 3:
        body["messages"] = [{"role": "user", "content": text}]
        path = "/v1/chat/completions"
    elif ENGINE == "sglang":
        # Its own way: each event of a stream has all of the text so far.
        sampling = {"max_new_tokens": body["max_tokens"]}
        body = {"text": text, "sampling_params": sampling, "stream": "stream" in body}
        path = "/generate"
    else:
        body["prompt"] = text
        path = "/v1/completions"
    wanted = (200,)
    if number >= REQUESTS:
        # SGLang serves its one model by any name.
        body, path = {"model": "absent", "messages": text}, "/v1/chat/completions"
        wanted = (400, 404, 422)
    status, answer = ask("POST", path, body)
    assert status in wanted, (status, answer)


def several():
    """Requests that are several to the engine: how many, and what is asked."""
    chat = {"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "why"}]}
    prompts = {"model": "tiny", "max_tokens": 7, "prompt": ["a b", "c", "d e f"]}
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    for extra in ({}, stream):
        yield 2, "/v1/chat/completions", {**chat, "n": 2, **extra}
        yield 3, "/v1/completions", {**prompts, **extra}


def wait_for(what, check, seconds):
    end = time.time() + seconds
    while time.time() < end:
        try:
            if check():
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise SystemExit("waited in vain: " + what)


def tree_of(root):
    """The processes below this one, with it."""
    children = collections.defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    children[int(stat.read().rsplit(")", 1)[1].split()[1])].append(int(name))
            except OSError:
                pass
    found, next_ones = set(), [root]
    while next_ones:
        one = next_ones.pop()
        found.add(one)
        next_ones += children[one]
    return found


def is_tracker(pid):
    """Whether this is the resource tracker of `multiprocessing`."""
    with open(f"/proc/{pid}/cmdline", "rb") as line:
        return b"multiprocessing.resource_tracker" in line.read()


def misjudged(agent, socket, server):
    """What the agent says of the server's processes and is not so, a line each, and the name of their service. A
    table of them is printed."""
    command = [agent, "ps", "--json", "--socket", socket]
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    tree = tree_of(server.pid)
    ours = {one["pid"]: one for one in report["processes"] if one["pid"] in tree}
    wrong = []
    if server.pid not in ours:
        return ["the server itself was not seen"], None
    service = ours[server.pid]["service"]["name"]

    def check(what, seen, wanted):
        if seen != wanted:
            wrong.append(f"{what}: {seen!r}, wanted {wanted!r}")

    print("| process | type | service | part | by | the agent |\n| --- | --- | --- | --- | --- | --- |")
    for pid, one in sorted(ours.items()):
        told, said = one["model_server"] or {}, one["agent"] or {}
        by = one["evidence"][0]["what"] if one["evidence"] else ""
        # Numbers of processes are other ones each time.
        whose = "its own" if one["service"]["pid"] == pid else "the API's"
        row = (one["type"], f"{one['service']['name']}, {whose}", told.get("part", ""), by, said.get("state", "not seen"))
        print("| %s | %s | %s | %s | %s | %s |" % ("API" if pid == server.pid else "part", *row))
        check(f"process {pid}, service", one["service"], {"name": service, "pid": server.pid})
        # It runs nothing of the program, and is nobody's model.
        check(f"process {pid}, type", one["type"], None if is_tracker(pid) else "model")
        if told.get("part") in PARTS:
            # What a scheduler of SGLang does with requests nobody else knows.
            state = "attached" if told.get("part") == "scheduler" else "not_traced"
            check(f"process {pid}, state", said.get("state"), state)
    api = ours[server.pid]
    told = api["model_server"] or {}
    check("the server", told.get("name"), ENGINE)
    check("its part", told.get("part"), "api")
    check("its model", os.path.basename(told.get("model") or ""), "tiny-qwen2")
    check("its names", told.get("served_as"), ["tiny"])
    check("its port", told.get("port"), PORT)
    check("that it has a version", bool(told.get("version")), True)
    check("its state", (api["agent"] or {}).get("state"), "attached")
    parts = {(one["model_server"] or {}).get("part") for one in ours.values()}
    check("its other parts", PARTS - parts, set())
    return wrong, service


class Scraped:
    """What the agent tells of the server's own metrics, which it asks each second, on its own page."""

    GAUGES = ("requests_running", "requests_waiting", "kv_cache_usage")
    SUMS = ("usage_input_tokens_total", "usage_output_tokens_total")

    def __init__(self, pid):
        with sockets.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = free.getsockname()
        self.pid = f'process_pid="{pid}"'
        self.most = {}
        self.now = {}
        self.services = set()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def look(self):
        connection = http.client.HTTPConnection(*self.address, timeout=5)
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
        connection.close()
        self.now = {}
        for line in page.splitlines():
            name, _, rest = line.partition("{")
            name = name.removeprefix("genspan_engine_")
            if name in (*self.GAUGES, *self.SUMS) and self.pid in rest:
                self.now[name] = self.now.get(name, 0.0) + float(rest.rsplit(" ", 1)[1])
                self.services.add(re.search(r'service_name="([^"]*)"', rest).group(1))
        for name, value in self.now.items():
            self.most[name] = max(value, self.most.get(name, 0.0))
        return self.now

    def watch(self):
        while not self.over.wait(0.25):
            self.look()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def wrong(self, counted, service):
        """What is not as the server says it, a line each."""
        wrong = [] if self.services == {service} else [f"its own metrics are of the services {self.services}"]
        for name, theirs in zip(self.SUMS, ("prompt_tokens_total", "generation_tokens_total")):
            print(f"| its own `{theirs}`, told of {service} | {counted[theirs]:.0f} | {self.now.get(name, -1):.0f} |")
            if self.now.get(name) != counted[theirs]:
                wrong.append("scraped " + theirs)
        said = ", ".join(f"{name} {self.most.get(name, -1):g}" for name in self.GAUGES)
        print(f"its own gauges, the most of what was told each second: {said}")
        running, waiting, usage = (self.most.get(name, -1) for name in self.GAUGES)
        if not (0 < running <= AT_ONE_TIME and 0 <= waiting <= AT_ONE_TIME and 0 <= usage <= 1):
            wrong.append("its own gauges")
        return wrong


def spans_of(server, agent, place, watched):
    """The spans of one load, what the server counted, what was lost, and what is wrong with what is said."""
    output, log = os.path.join(place, "spans.jsonl"), os.path.join(place, "agent.log")
    socket = os.path.join(place, "agent.sock")
    scraped = Scraped(server.pid)
    config = os.path.join(place, "agent.yaml")
    with open(config, "w") as file:
        json.dump({"scrape": {"engines": True, "interval": "1s"}}, file)
    command = [agent, "agent", "--format", "json", "--output", output, "--socket", socket]
    command += ["--config", config, "--listen", "%s:%d" % scraped.address]
    # Nothing else that may run on this machine.
    command += ["--include", "type=model"]
    with open(log, "w") as errors:
        tracing = subprocess.Popen(command, stderr=errors)
    try:
        wait_for("the agent", lambda: f"(pid {server.pid}" in open(log).read(), 60)
        # Its functions are found a moment later.
        wait_for("its functions", lambda: open(log).read().count("watching " + NAME) >= watched, 60)
        # Sums are told from what was said first on.
        wait_for("the server's own metrics", lambda: Scraped.SUMS[0] in scraped.look(), 60)
        before = metrics()
        with scraped, concurrent.futures.ThreadPoolExecutor(AT_ONE_TIME) as pool:
            list(pool.map(request, range(REQUESTS + REFUSED)))
            # It counts a request when it is over, and that is a moment after the answer's last byte.
            time.sleep(4)
        after = metrics()
        counted = after.copy()
        counted.subtract(before)
        for _, path, body in several() if ENGINE == "vllm" else ():
            status, answer = ask("POST", path, body)
            assert status == 200, answer
        wrong, service = misjudged(agent, socket, server)
        wrong += scraped.wrong(counted, service)
    finally:
        tracing.send_signal(signal.SIGTERM)
        tracing.wait(30)
    # Sockets between its own processes were open before: whether what they say is the rest of an
    # exchange cannot be told.
    lost = [l for l in open(log) if "lost:" in l and "under way when first seen" not in l]
    if lost:
        print("".join(lost))
    with open(output) as lines:
        spans = [json.loads(line) for line in lines]
    # Those of the server alone: there may be others on this machine.
    tree = tree_of(server.pid)
    spans = [span for span in spans if span["resource"].get("process.pid") in tree]
    services = {span["resource"].get("service.name") for span in spans}
    if services != {service}:
        wrong.append(f"spans of the services {services}")
    return spans, counted, lost, wrong


def compare(spans, counted):
    """Rows of what both say."""
    served = [s["attributes"] for s in spans if s["kind"] == "SERVER" and "gen_ai.operation.name" in s["attributes"]]
    parts = collections.Counter(a.get("genspan.engine.requests") for a in served)
    parts.pop(None, None)
    served = [a for a in served if "genspan.engine.requests" not in a]
    failed = [a for a in served if "error.type" in a]
    answered = [a for a in served if "error.type" not in a]
    told = collections.Counter()
    for attributes in answered:
        told["prompt_tokens_total"] += attributes.get("gen_ai.usage.input_tokens", 0)
        told["generation_tokens_total"] += attributes.get("gen_ai.usage.output_tokens", 0)
        if CACHED:
            told[CACHED] += attributes.get("gen_ai.usage.cache_read.input_tokens", 0)
        for reason in attributes.get("gen_ai.response.finish_reasons", []):
            told["finished: " + reason] += 1
    total = sum(n for name, n in counted.items() if name.startswith("finished: "))
    if ENGINE == "sglang":
        # It does not count how they ended.
        total = counted.pop("num_requests_total")
        told = {name: n for name, n in told.items() if not name.startswith("finished: ")}
    rows = []
    for name, attribute in TIMES.items():
        theirs, ours = counted.pop(name), sum(a.get(attribute, 0) for a in answered)
        close = abs(theirs - ours) * 1e6 <= CLOSE
        if name in LOOSE:
            print("| %s, µs | %d | %d |" % (name, theirs * 1e6, ours * 1e6))
            close = abs(theirs - ours) <= LOOSE[name] * theirs
        rows.append((name + ", µs", theirs * 1e6, theirs * 1e6 if close else ours * 1e6))
        rows.append(("requests with " + attribute, len(answered), sum(attribute in a for a in answered)))
    if ENGINE == "sglang":
        # Counted by nobody else: when the last token was made its scheduler alone knows. A single one takes no time.
        decode = "genspan.engine.decode_time"
        longer = [a for a in answered if a.get("gen_ai.usage.output_tokens", 0) > 1]
        timed = sum(a.get(decode, 0) > 0 for a in answered)
        rows.append(("requests of several tokens, with " + decode, len(longer), timed))
    rows += [(name, counted[name], told.get(name, 0)) for name in sorted(set(told) | set(counted))]
    if ENGINE == "vllm":
        for number, times in collections.Counter(n for n, _, _ in several()).items():
            rows.append((f"calls of {number} requests to the engine", times, parts[number]))
    else:
        why = sum("gen_ai.response.finish_reasons" in a for a in answered)
        rows.append(("requests that say why they ended", len(answered), why))
    rows.append(("requests", total, len(answered)))
    rows.append(("requests sent", REQUESTS, len(answered)))
    rows.append(("refused requests sent", REFUSED, len(failed)))
    timed = [a for a in answered if a.get("gen_ai.request.stream")]
    first = [a for a in timed if "gen_ai.response.time_to_first_chunk" in a]
    rows.append(("streamed, with the time to the first chunk", len(timed), len(first)))
    return rows


# Asks vLLM in its own process, and says what it made: id, tokens read and made, reasons.
PROGRAM = """
import json, sys
from vllm import LLM, SamplingParams

def main():
    llm = LLM(sys.argv[1], load_format="dummy", max_model_len=1024, enforce_eager=True, dtype="bfloat16",
              disable_log_stats=sys.argv[2] == "quiet")
    print("ready", flush=True)
    sys.stdin.readline()
    def generate(prompts, n):
        for made in llm.generate(prompts, SamplingParams(max_tokens=11, n=n), use_tqdm=False):
            tokens = sum(len(answer.token_ids) for answer in made.outputs)
            reasons = sorted(answer.finish_reason for answer in made.outputs)
            told.append([made.request_id, len(made.prompt_token_ids), tokens, reasons])
    told = []
    generate(["the sky is blue", "why", "a b c d"], 1)
    generate(["the sea"], 3)
    print(json.dumps(told), flush=True)
    sys.stdin.readline()

if __name__ == "__main__":
    main()
"""


def in_process(agent, lab):
    """Rows of a program that uses vLLM without a server, with its statistics and without."""
    environment = {**os.environ, **OFFLINE}
    rows = []
    for statistics in ("quiet", "counting"):
        with tempfile.TemporaryDirectory() as place:
            source = os.path.join(place, "program.py")
            with open(source, "w") as file:
                file.write(PROGRAM)
            log = open(os.path.join(place, "program.log"), "w")
            command = [sys.executable, source, os.path.join(HOME, "tiny-qwen2"), statistics]
            pipe = subprocess.PIPE
            program = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=environment)
            while (line := program.stdout.readline()) and line != "ready\n":
                pass
            if not line:
                raise SystemExit(open(log.name).read()[-4000:])
            output, errors = os.path.join(place, "spans.jsonl"), os.path.join(place, "agent.log")
            command = [agent, "trace", "--pid", str(program.pid), "--format", "json", "--output", output]
            with open(errors, "w") as to:
                tracing = subprocess.Popen(command, stderr=to)
            try:
                wait_for("vLLM's functions", lambda: "watching vLLM" in open(errors).read(), 30)
                program.stdin.write("\n")
                program.stdin.flush()
                while (line := program.stdout.readline()) and not line.startswith("["):
                    pass
                time.sleep(1)
            finally:
                tracing.send_signal(signal.SIGINT)
                tracing.wait(30)
                program.stdin.close()
                program.wait(60)
            made = json.loads(line)
            with open(output) as lines:
                spans = [json.loads(line) for line in lines]
            told = []
            timed = 0
            for span in spans:
                attributes = span["attributes"]
                if attributes.get("gen_ai.framework") == "vllm" and span["kind"] == "INTERNAL":
                    reasons = sorted(attributes.get("gen_ai.response.finish_reasons", []))
                    tokens = [attributes.get(f"gen_ai.usage.{way}_tokens") for way in ("input", "output")]
                    told.append([attributes["gen_ai.request.id"], *tokens, reasons])
                    timed += "genspan.engine.decode_time" in attributes
            if sorted(told) != sorted(made):
                print("made", made, "told", told)
            right = sum(one in made for one in told)
            rows.append((f"in its process ({statistics}): requests", len(made), len(told)))
            rows.append((f"in its process ({statistics}): tokens and reasons equal", len(made), right))
            # V0 always has them.
            wanted = len(made) if V0 or statistics == "counting" else 0
            rows.append((f"in its process ({statistics}): with times", wanted, timed))
    return rows


def command_of(lab, options):
    """How the server is started, and in which environment."""
    if not V0:
        return ["bash", os.path.join(lab, "serve.sh"), ENGINE, *options], os.environ
    command = [sys.executable, os.path.join(os.path.dirname(sys.executable), "vllm"), "serve"]
    command += [os.path.join(HOME, "tiny-qwen2"), "--load-format", "dummy", "--served-model-name", "tiny"]
    command += ["--host", ADDRESS[0], "--port", str(PORT), "--max-model-len", "1024", "--enforce-eager"]
    return [*command, "--dtype", "bfloat16", *options], {**os.environ, **OFFLINE}


def one_run(agent, lab, options):
    """Starts the server and compares: what differs."""
    command, environment = command_of(lab, options)
    with tempfile.TemporaryDirectory() as place:
        with open(os.path.join(place, "server.log"), "w") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
        try:
            wait_for(NAME, lambda: server.poll() is not None or ask("GET", "/health")[0] == 200, START)
            if server.poll() is not None:
                raise SystemExit(open(os.path.join(place, "server.log")).read()[-4000:])
            # Its first requests of each kind take longer.
            for number in range(8):
                request(number)
            # In a process of its own the engine is watched as well.
            watched = 2 if V0 and not options else 1
            spans, counted, lost, wrong = spans_of(server, agent, place, watched)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
                try:
                    server.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(server.pid, signal.SIGKILL)
                    server.wait(30)
    rows = compare(spans, counted)
    # Nothing is compared where nothing was counted.
    if not counted["prompt_tokens_total"]:
        wrong.append("nothing was counted")
    if lost:
        wrong.append("something was lost")
    return wrong + show(rows)


def show(rows):
    """Prints them, and gives those that differ."""
    print(f"| | {NAME} | spans |\n| --- | ---: | ---: |")
    for name, theirs, ours in rows:
        print("| %s | %d | %d |" % (name, theirs, ours))
    return [name for name, theirs, ours in rows if theirs != ours]


def main():
    agent, lab = sys.argv[2:4]
    wrong = []
    for options in RUNS:
        wrong += one_run(agent, lab, options)
    if ENGINE == "vllm":
        wrong += show(in_process(agent, lab))
    if wrong:
        raise SystemExit("not equal: " + ", ".join(wrong))


if __name__ == "__main__":
    main()
