"""A program that writes a request and reads its answer in every way that a socket has, and an HTTP
server of its own on a Unix socket.

    pieces.py MODE PORT

It prints `ready`, waits for a line, makes its calls, prints `done` and waits for another.

    vector      the request as one `sendmsg` of many parts, the answer by `recvmsg_into` of many
    file        `os.writev`, `os.readv`, and a body from a file by `os.sendfile`
    peek        looks at the answer before it reads it
    many        `sendmsg` of more parts than are looked at
    unix        a client and a server in one process, over a Unix socket
    again       the same descriptor, another connection, the first one left in mid-answer
"""

import json
import os
import socket
import sys
import tempfile
import threading


def body(model):
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "one two"}]}).encode()


def request(model, length=None):
    content = body(model)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(content) if length is None else length}\r\n\r\n"
    ).encode()
    return head, content


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.setblocking(True)
    return connection


def whole(data):
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(rest) >= int(line.split(b":")[1])
    return False


def read(connection):
    data = b""
    while not whole(data):
        more = connection.recv(4096)
        if not more:
            break
        data += more
    return data


def vector(port, parts=7):
    with connect(port) as connection:
        head, content = request("vector")
        size = len(content) // parts + 1
        pieces = [content[i : i + size] for i in range(0, len(content), size)]
        connection.sendmsg([head[:9], head[9:], b"", *pieces])
        data = b""
        while not whole(data):
            buffers = [bytearray(10), bytearray(100), bytearray(4000)]
            count, *_ = connection.recvmsg_into(buffers)
            if not count:
                break
            data += b"".join(buffers)[:count]


def file(port):
    with connect(port) as connection:
        head, content = request("writev")
        os.writev(connection.fileno(), [head, b"", content])
        data = b""
        while not whole(data):
            buffers = [bytearray(33), bytearray(5000)]
            count = os.readv(connection.fileno(), buffers)
            if not count:
                break
            data += b"".join(buffers)[:count]
        head, content = request("sendfile")
        with tempfile.TemporaryFile() as source:
            source.write(content)
            source.flush()
            connection.sendall(head)
            os.sendfile(connection.fileno(), source.fileno(), 0, len(content))
        read(connection)
        head, content = request("after")
        connection.sendall(head + content)
        read(connection)


def peek(port):
    with connect(port) as connection:
        head, content = request("peek")
        connection.sendall(head + content)
        for _ in range(3):
            connection.recv(64, socket.MSG_PEEK)
        connection.recvmsg(64, 0, socket.MSG_PEEK)
        read(connection)
        connection.setblocking(False)
        try:
            connection.recv(100)
        except BlockingIOError:
            pass


def unix(_):
    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            with connection:
                read(connection)
                answer = json.dumps(
                    {
                        "id": "u-1",
                        "object": "chat.completion",
                        "model": "unix-2026",
                        "choices": [
                            {
                                "index": 0,
                                "finish_reason": "stop",
                                "message": {"role": "assistant", "content": "over a Unix socket"},
                            }
                        ],
                        "usage": {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6},
                    }
                ).encode()
                head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n\r\n"
                connection.sendall(head.encode() + answer)

        server = threading.Thread(target=serve)
        server.start()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            head, content = request("unix")
            connection.sendall(head + content)
            read(connection)
        server.join()
    # A pair without a name is nobody's business, whatever goes over it.
    one, other = socket.socketpair()
    head, content = request("pair")
    one.sendall(head + content)
    other.recv(4096)


def again(port):
    first = connect(port)
    head, content = request("left")
    first.sendall(head + content)
    first.recv(40)
    number = first.fileno()
    first.close()
    second = connect(port)
    assert second.fileno() == number
    head, content = request("second")
    second.sendall(head + content)
    read(second)
    second.close()


MODES = {
    "vector": vector,
    "file": file,
    "peek": peek,
    "many": lambda port: vector(port, 60),
    "unix": unix,
    "again": again,
}


def main():
    print("ready", flush=True)
    sys.stdin.readline()
    MODES[sys.argv[1]](int(sys.argv[2]))
    print("done", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
