"""One call of boto3's that is answered after some attempts: prints what was answered.

    boto_retries.py URL
"""

import json
import os
import sys

os.environ.update(
    AWS_ACCESS_KEY_ID="AKIAEXAMPLE",
    AWS_SECRET_ACCESS_KEY="secret",
    AWS_EC2_METADATA_DISABLED="true",
)

import boto3
from botocore.config import Config

client = boto3.client(
    "bedrock-runtime",
    region_name="us-east-1",
    endpoint_url=sys.argv[1],
    config=Config(retries={"mode": "standard", "total_max_attempts": 3}, proxies={}),
)
messages = [{"role": "user", "content": [{"text": "Say red"}]}]
answer = client.converse(modelId="amazon.nova-lite-v1:0", messages=messages)
attempts = answer["ResponseMetadata"]["RetryAttempts"]
print(json.dumps({"text": answer["output"]["message"]["content"][0]["text"], "retries": attempts}))
