"""FastAPI with LlamaIndex, Chroma and DashScope: questions are answered from a few documents.

Something is asked of another service first, as an application does that has one.
"""

import os

import aiohttp
import chromadb
from fastapi import FastAPI
from llama_index.core import (
    SimpleDirectoryReader,
    StorageContext,
    VectorStoreIndex,
    get_response_synthesizer,
)
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import VectorIndexRetriever
from llama_index.embeddings.dashscope import DashScopeEmbedding
from llama_index.llms.dashscope import DashScope, DashScopeGenerationModels
from llama_index.vector_stores.chroma import ChromaVectorStore

KEY = os.environ["DASHSCOPE_API_KEY"]
HERE = os.path.dirname(os.path.abspath(__file__))

llm = DashScope(model_name=DashScopeGenerationModels.QWEN_MAX, api_key=KEY)
embed_model = DashScopeEmbedding(model_name="text-embedding-v1", api_key=KEY)

collection = chromadb.EphemeralClient().create_collection("chapters")
documents = SimpleDirectoryReader(
    os.path.join(HERE, "data"), file_metadata=lambda name: {"file_name": os.path.basename(name)}
).load_data()
index = VectorStoreIndex.from_documents(
    documents,
    storage_context=StorageContext.from_defaults(
        vector_store=ChromaVectorStore(chroma_collection=collection)
    ),
    embed_model=embed_model,
)
query_engine = RetrieverQueryEngine(
    retriever=VectorIndexRetriever(index=index, similarity_top_k=2, verbose=True),
    response_synthesizer=get_response_synthesizer(llm=llm, response_mode="refine"),
)

app = FastAPI()


async def fetch(question):
    async with aiohttp.ClientSession() as session:
        async with session.get(os.environ["LLM_INFRA_URL"], params={"question": question}) as answer:
            return await answer.text()


@app.get("/query")
async def query(question: str):
    await fetch(question)
    response = query_engine.query(f"user:{question}")
    return {"data": str(response)}
