"""boto3's client for Bedrock, over urllib3."""

from urllib.parse import unquote

import boto3
from botocore.config import Config
from drive import Unsupported


class Sender:
    name = "boto3"
    version = boto3.__version__
    via = None

    def __init__(self, options):
        options.use("urllib3")
        self.clients = {}

    def client(self, x):
        if x.host not in self.clients:
            region = x.host.split(".")[1]
            config = Config(retries={"max_attempts": 0}, read_timeout=30)
            self.clients[x.host] = boto3.client("bedrock-runtime", region_name=region, config=config)
        return self.clients[x.host]

    def send(self, x):
        parts = x.path.split("/")
        if not x.host.startswith("bedrock-runtime.") or len(parts) < 4 or parts[1] != "model":
            raise Unsupported
        # Another client wrote this path: boto3 escapes colons.
        if ":" in x.path:
            raise Unsupported
        model, action = unquote("/".join(parts[2:-1])), parts[-1]
        client = self.client(x)
        method = {
            "converse": "converse",
            "converse-stream": "converse_stream",
            "invoke": "invoke_model",
            "invoke-with-response-stream": "invoke_model_with_response_stream",
        }.get(action)
        if method is None:
            raise Unsupported
        self.via = "boto3 bedrock-runtime." + method
        if action.startswith("converse"):
            answer = getattr(client, method)(modelId=model, **x.body)
            events = answer.get("stream", ())
        else:
            given = {"modelId": model, "body": x.raw}
            for name, header in (
                ("guardrailIdentifier", "x-amzn-bedrock-guardrailidentifier"),
                ("guardrailVersion", "x-amzn-bedrock-guardrailversion"),
                ("trace", "x-amzn-bedrock-trace"),
            ):
                if header in x.headers:
                    given[name] = x.headers[header]
            answer = getattr(client, method)(**given)
            body = answer["body"]
            events = body if "stream" in method else [body.read()]
        for _ in events:
            pass
        return self.via
