"""An engine behind uvicorn, as a replica has it: CONCURRENCY NAME=DIRECTORY...

transformers_engine.py, or with ENGINE=llama llama_engine.py. Runs in the locked runtime. Prints one JSON line
{NAME: port} when all serve. /test/load and /test/answer are the engine's own methods, for the tests.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any


async def serve(name: str, directory: str, concurrency: int) -> tuple[int, Any]:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Mount, Route

    engine: Any
    if os.environ.get("ENGINE") == "llama":
        from deploys.vllm.programs.llama_engine import LlamaEngine

        engine = LlamaEngine(directory, name, "chat", "auto", concurrency)
    else:
        from deploys.vllm.programs.transformers_engine import TransformersEngine

        engine = TransformersEngine(directory, name, "auto", "float32", concurrency)
    await engine.start()

    async def load(_request: Any) -> Any:
        return JSONResponse({**engine.load(), "idle": time.monotonic() - engine.last_step, "task": engine.task})

    async def answer(request: Any) -> Any:
        began = time.monotonic()
        said = await engine.answer(await request.json())
        return JSONResponse({"answer": said, "seconds": time.monotonic() - began})

    own = [Route("/test/load", load), Route("/test/answer", answer, methods=["POST"])]
    app = Starlette(routes=[*own, Mount("/", engine.app())])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    return server.servers[0].sockets[0].getsockname()[1], serving


async def main() -> None:
    ports, tasks = {}, []
    for entry in sys.argv[2:]:
        name, _, directory = entry.partition("=")
        ports[name], task = await serve(name, directory, int(sys.argv[1]))
        tasks.append(task)
    print(json.dumps(ports), flush=True)
    await asyncio.gather(*tasks)


asyncio.run(main())
