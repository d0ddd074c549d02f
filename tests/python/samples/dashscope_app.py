"""FastAPI with the dashscope package: the model is asked about the weather."""

from http import HTTPStatus

from dashscope import Generation
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def weather():
    response = Generation.call(model="qwen-turbo", prompt="今天天氣好嗎?")
    if response.status_code == HTTPStatus.OK:
        return {"data": response.output.text}
    return {"failed": response.code, "message": response.message}
