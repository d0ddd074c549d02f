// Calls that Node's own HTTP/2 client makes, all at the same time on one connection.
//
// Each line of standard input is a step `{"at_once": N, "body": {...}}`: N calls with this body, in
// turns plain and streamed, `{}` in its texts replaced by the number. Each is answered by a line
// with what was seen of the calls, in the form of `python/live/summary.py`. The first line says
// `ready`.

import { readFileSync } from "node:fs";
import { connect } from "node:http2";
import { createInterface } from "node:readline";

const base = new URL(process.env.OPENAI_BASE_URL);
const tls = base.protocol === "https:" ? { ca: readFileSync(process.env.SSL_CERT_FILE) } : {};
const session = connect(base.origin, tls);

function post(body) {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ":method": "POST",
      ":path": `${base.pathname}/chat/completions`,
      "content-type": "application/json",
      authorization: `Bearer ${process.env.OPENAI_API_KEY}`,
    });
    const pieces = [];
    stream.on("data", (piece) => pieces.push(piece));
    stream.on("error", reject);
    stream.on("end", () => resolve(Buffer.concat(pieces).toString()));
    stream.end(JSON.stringify(body));
  });
}

function documents(text, streamed) {
  if (!streamed) return [JSON.parse(text)];
  const lines = text.split("\n").filter((line) => line.startsWith("data:"));
  const data = lines.map((line) => line.slice(5).trim());
  return data.filter((piece) => piece && piece !== "[DONE]").map((piece) => JSON.parse(piece));
}

async function call(template, number) {
  const body = JSON.parse(JSON.stringify(template).replaceAll("{}", String(number)));
  if (number % 2 === 1) {
    body.stream = true;
    body.stream_options = { include_usage: true };
  }
  const streamed = body.stream === true;
  const seen = {
    operation: "chat", request_model: body.model, stream: streamed, tools: [], finish: [],
    texts: [], input: null, output: null, id: null, model: null,
  };
  let text = "";
  for (const document of documents(await post(body), streamed)) {
    seen.id ??= document.id;
    seen.model ??= document.model;
    for (const choice of document.choices ?? []) {
      text += (choice.delta ?? choice.message)?.content ?? "";
      if (choice.finish_reason) seen.finish.push(choice.finish_reason);
    }
    if (document.usage) {
      seen.input = document.usage.prompt_tokens;
      seen.output = document.usage.completion_tokens;
    }
  }
  seen.texts.push(text);
  return seen;
}

session.on("connect", () => console.log("ready"));
for await (const line of createInterface({ input: process.stdin })) {
  const { at_once: count, body } = JSON.parse(line);
  const calls = Array.from({ length: count }, (_, number) => call(body, number));
  console.log(JSON.stringify(await Promise.all(calls)));
}
session.close();
