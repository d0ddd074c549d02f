"""FastAPI with LangChain: a chain of a prompt and a model that only plays back what it was given."""

from fastapi import FastAPI
from langchain.chains import LLMChain
from langchain.prompts import PromptTemplate
from langchain_community.llms.fake import FakeListLLM

TEMPLATE = """Question: {question}
Answer: Let's think step by step."""
QUESTION = "Which team won the final in the year in which the telephone was invented?"

app = FastAPI()
llm = FakeListLLM(responses=["I'll callback later.", "You 'console' them!"])
prompt = PromptTemplate(template=TEMPLATE, input_variables=["question"])
chain = LLMChain(prompt=prompt, llm=llm)


@app.get("/")
def answer():
    return {"data": chain.run(QUESTION)}
