"""FastAPI with Dify's workflow engine (graphon): a workflow of six nodes for each request.

    start -> if-else -(a short question)-> template-transform -> llm -> answer
                     -(a long one)-------> answer

The model is an OpenAI-compatible one, which the engine is given as its own interface for models asks.
"""

import time
import uuid

import jinja2
import openai
from fastapi import FastAPI
from graphon.engine import Engine
from graphon.engine_events.graph import GraphRunSucceededEvent
from graphon.graph import Graph
from graphon.model_runtime.entities.common_entities import I18nObject
from graphon.model_runtime.entities.llm_entities import (
    LLMResultChunk,
    LLMResultChunkDelta,
    LLMUsage,
)
from graphon.model_runtime.entities.message_entities import AssistantPromptMessage
from graphon.model_runtime.entities.model_entities import (
    AIModelEntity,
    FetchFrom,
    ModelPropertyKey,
    ModelType,
)
from graphon.nodes.answer.answer_node import AnswerNode
from graphon.nodes.if_else.if_else_node import IfElseNode
from graphon.nodes.llm.node import LLMNode
from graphon.nodes.llm.runtime_protocols import PromptMessageSerializerProtocol
from graphon.nodes.start.start_node import StartNode
from graphon.nodes.template_transform.template_transform_node import TemplateTransformNode
from graphon.runtime.init_params import InitParams
from graphon.runtime.runtime_state import RuntimeState
from graphon.runtime.variable_pool import VariablePool
from graphon.template_rendering import Jinja2TemplateRenderer

client = openai.OpenAI()


class Model:
    """A model of an OpenAI-compatible provider."""

    provider = "openai"
    model_name = "qwen-plus"
    stop = None

    def __init__(self):
        self.parameters = {}

    def get_model_schema(self):
        return AIModelEntity(
            model=self.model_name,
            label=I18nObject(en_US=self.model_name),
            model_type=ModelType.LLM,
            fetch_from=FetchFrom.CUSTOMIZABLE_MODEL,
            model_properties={ModelPropertyKey.CONTEXT_SIZE: 8000, ModelPropertyKey.MODE: "chat"},
        )

    def get_llm_num_tokens(self, prompt_messages):
        return sum(len(str(message.content).split()) for message in prompt_messages)

    def invoke_llm(self, *, prompt_messages, model_parameters, tools, stop, stream):
        messages = [{"role": m.role.value, "content": m.content} for m in prompt_messages]
        answer = client.chat.completions.create(
            model=self.model_name,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
            **model_parameters,
        )
        for number, chunk in enumerate(answer):
            choice = chunk.choices[0] if chunk.choices else None
            usage = None
            if chunk.usage:
                usage = LLMUsage.from_metadata(
                    {
                        "prompt_tokens": chunk.usage.prompt_tokens,
                        "completion_tokens": chunk.usage.completion_tokens,
                    }
                )
            yield LLMResultChunk(
                model=self.model_name,
                delta=LLMResultChunkDelta(
                    index=number,
                    message=AssistantPromptMessage(content=choice.delta.content or "" if choice else ""),
                    finish_reason=choice.finish_reason if choice else None,
                    usage=usage,
                ),
            )

    def invoke_llm_with_structured_output(self, **options):
        raise NotImplementedError

    def is_structured_output_parse_error(self, error):
        return False


class Renderer(Jinja2TemplateRenderer):
    def render_template(self, template, variables):
        return jinja2.Template(template).render(**variables)


class Serializer(PromptMessageSerializerProtocol):
    def serialize(self, *, model_mode, prompt_messages):
        return [{"role": m.role.value, "text": str(m.content)} for m in prompt_messages]


QUESTION = {"variable": "question", "label": "question", "type": "text-input", "required": True}
START = {"title": "Start", "variables": [QUESTION]}
LENGTH = {
    "title": "Is it short",
    "cases": [
        {
            "case_id": "short",
            "logical_operator": "and",
            "conditions": [
                {
                    "variable_selector": ["start", "question"],
                    "comparison_operator": "contains",
                    "value": "?",
                }
            ],
        }
    ],
}
TEMPLATE = {
    "title": "Make the prompt",
    "variables": [{"variable": "question", "value_selector": ["start", "question"]}],
    "template": "Answer in one sentence: {{ question }}",
}
LLM = {
    "title": "Ask the model",
    "model": {"provider": "openai", "name": "qwen-plus", "mode": "chat", "completion_params": {}},
    "prompt_template": [
        {"role": "system", "text": "You are a teacher."},
        {"role": "user", "text": "{{#template.output#}}"},
    ],
    "context": {"enabled": False},
}
ANSWER = {"title": "Answer", "answer": "{{#llm.text#}}"}
REFUSAL = {"title": "Refuse", "answer": "That is no question."}


def engine(question):
    pool = VariablePool.empty()
    pool.add(["start", "question"], question)
    workflow = "weather-questions"
    state = RuntimeState(variable_pool=pool, start_at=time.time(), workflow_id=workflow)
    params = InitParams(
        workflow_id=workflow,
        graph_config={"nodes": [], "edges": []},
        run_context={"app_id": "app-1", "user_id": "user-" + uuid.uuid4().hex[:8]},
        call_depth=0,
    )

    def node(kind, name, data, **options):
        values = kind.node_data_from_mapping(data)
        return kind(name, values, init_params=params, runtime_state=state, **options)

    graph = (
        Graph.new()
        .add_root(node(StartNode, "start", START))
        .add_node(node(IfElseNode, "length", LENGTH))
        .add_node(
            node(TemplateTransformNode, "template", TEMPLATE, jinja2_template_renderer=Renderer()),
            source_handle="short",
        )
        .add_node(
            node(
                LLMNode,
                "llm",
                LLM,
                model_instance=Model(),
                llm_file_saver=None,
                prompt_message_serializer=Serializer(),
            )
        )
        .add_node(node(AnswerNode, "answer", ANSWER))
        .add_node(node(AnswerNode, "refusal", REFUSAL), from_node_id="length", source_handle="false")
        .build()
    )
    return Engine(graph, state)


app = FastAPI()


@app.get("/run")
def run(question: str):
    for event in engine(question).run():
        if isinstance(event, GraphRunSucceededEvent):
            return {"data": event.outputs["answer"]}
    return {"failed": True}
