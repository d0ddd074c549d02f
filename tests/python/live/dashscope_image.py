"""Makes a picture with the `dashscope` package, which asks after it until it is there.

    dashscope_image.py URL

Prints what it got as a line of JSON.
"""

import json
import sys

import dashscope


def main():
    dashscope.base_http_api_url = sys.argv[1]
    dashscope.api_key = "stand-in"
    answer = dashscope.ImageSynthesis.call(model="wanx-t", prompt="A red door", n=1)
    output = answer.output
    print(json.dumps({"status": output.task_status, "url": output.results[0].url}), flush=True)


if __name__ == "__main__":
    main()
