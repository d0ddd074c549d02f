"""Makes one call and says what it saw: one_call.py MODEL [--stream]"""

import json
import sys

import clients
from summary import events, summary


def call(model, stream=False):
    body = {"model": model, "messages": [{"role": "user", "content": "one two"}], "stream": stream}
    client = clients.Stdlib()
    path = clients.BASE.path + "/chat/completions"
    status, data = client.send("POST", path, clients.headers({}), clients.encoded(body), None)
    if status != 200:
        return {"error": "status", "status": status}
    text = data.decode()
    return summary("chat", body, events(text) if stream else [json.loads(text)])


if __name__ == "__main__":
    print(json.dumps(call(sys.argv[1], "--stream" in sys.argv)), flush=True)
