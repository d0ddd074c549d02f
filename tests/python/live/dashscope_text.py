"""Calls with the `dashscope` package: dashscope_text.py URL

Prints `ready`; for each line, `{"model": …, "text": …}`, it prints what it was answered.
"""

import json
import sys

import dashscope


def main():
    dashscope.base_http_api_url = sys.argv[1]
    dashscope.api_key = "sk-test-0123456789abcdef"
    print("ready", flush=True)
    for line in sys.stdin:
        step = json.loads(line)
        messages = [{"role": "user", "content": step["text"]}]
        answer = dashscope.Generation.call(model=step["model"], messages=messages, result_format="message")
        if answer.status_code != 200:
            print(json.dumps({"error": answer.message, "status": answer.status_code}), flush=True)
            continue
        text = answer.output.choices[0].message.content
        print(json.dumps({"text": text, "input": answer.usage.input_tokens}), flush=True)


if __name__ == "__main__":
    main()
