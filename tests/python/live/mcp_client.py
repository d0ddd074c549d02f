"""A client of the Model Context Protocol, with the `mcp` package.

    mcp_client.py URL

Prints `ready`, waits for a line, opens a session, uses what the server of mcp_server.py has, and prints
what it saw as a line of JSON.
"""

import asyncio
import json
import sys

from mcp import ClientSession, MCPError
from mcp.client.streamable_http import streamable_http_client


async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    async with streamable_http_client(sys.argv[1]) as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            await session.initialize()
            tools = (await session.list_tools()).tools
            noon = await session.call_tool("clock", {"zone": "UTC"})
            broken = await session.call_tool("broken", {})
            prompt = await session.get_prompt("greet", {"name": "you"})
            zones = await session.read_resource("clock://zones")
            try:
                await session.read_resource("clock://none")
                refused = None
            except MCPError as error:
                refused = error.error.code
    seen = {
        "tools": [tool.name for tool in tools],
        "noon": noon.content[0].text,
        "broken": broken.is_error,
        "zones": zones.contents[0].text,
        "refused": refused,
        "prompt": prompt.messages[0].content.text,
    }
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
