"""FastAPI with the openai package: a haiku for each request."""

import openai
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def haiku():
    client = openai.OpenAI()
    response = client.chat.completions.create(
        model="gpt-4",
        messages=[{"role": "user", "content": "Write a haiku."}],
        max_tokens=20,
    )
    return {"data": response.choices[0].message.content}
