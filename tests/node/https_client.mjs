// A program in Node that asks a model over TLS: its own OpenSSL is in its executable.
//
// The first line says `ready`; each line of standard input is the body of a chat, answered by a line
// with the status.

import { readFileSync } from "node:fs";
import { request } from "node:https";
import { createInterface } from "node:readline";

const base = new URL(process.env.OPENAI_BASE_URL);
const ca = readFileSync(process.env.SSL_CERT_FILE);

function post(body) {
  return new Promise((resolve, reject) => {
    const options = { method: "POST", ca, headers: { "content-type": "application/json" } };
    const asked = request(`${base.href}/chat/completions`, options, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode));
    });
    asked.on("error", reject);
    asked.end(body);
  });
}

console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify({ status: await post(line) }));
}
