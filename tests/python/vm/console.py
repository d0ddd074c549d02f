"""What the guest tells on its console, for `cargo xtask vm`, which reads nothing else there."""

import json
import time

# What its lines begin with. A JSON document follows: `check` is what was looked at, `verdict` is `ok`,
# `poor` or `failed`, `found` says more, `said` is what genspan warned of.
MARK = "@genspan-vm "


def tell(check, verdict, found="", said=()):
    line = {"check": check, "verdict": verdict, "found": found, "said": list(said)}
    line["seconds"] = round(time.monotonic())
    print(MARK + json.dumps(line), flush=True)
