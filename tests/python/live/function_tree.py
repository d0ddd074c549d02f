"""A server whose handler calls a function that calls a model: function_tree.py

Prints `ready`. For each line on standard input it is asked once, by itself, and prints the answer.
"""

import http.client
import http.server
import sys
import threading

import clients


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        question = self.rfile.read(int(self.headers["Content-Length"])).decode()
        said = answer(question)
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass


def answer(question):
    body = {"model": "in-function", "messages": [{"role": "user", "content": question}]}
    path = clients.BASE.path + "/chat/completions"
    client = clients.Stdlib()
    return repr(
        client.send("POST", path, clients.headers({}), clients.encoded(body), None)
    ).encode()


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
        connection.request("POST", "/ask", line.strip())
        print(len(connection.getresponse().read()), flush=True)
        connection.close()


if __name__ == "__main__":
    main()
