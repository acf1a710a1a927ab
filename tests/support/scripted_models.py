"""A model service on this machine that uses tools by a script, in the forms of OpenAI's and Anthropic's interfaces."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from tests.support.ports import LOOPBACK

Calls = Sequence[tuple[str, dict[str, Any]]]
"""The tools that the model uses in one turn, with their arguments."""
Body = dict[str, Any]
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "input_tokens": 1, "output_tokens": 1, "total_tokens": 2}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Sequence[Calls]

    def do_GET(self) -> None:
        self._send("application/json", b"{}")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body: Body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0]
        if body.get("stream"):
            events = (
                _streamed(_message(body, self.script)) if path.endswith("/messages") else _events(body, self.script)
            )
            text = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
            self._send("text/event-stream", text.encode())
            return
        [reply] = [reply for end, reply in _REPLIES.items() if path.endswith(end)]
        self._send("application/json", json.dumps(reply(body, self.script)).encode())

    def _send(self, content_type: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def scripted_model(*turns: Calls) -> Iterator[str]:
    """The service's address while the block runs. After the last turn it repeats what the tools returned."""

    class Handler(_Handler):
        script = turns

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def next_turn(turns: Sequence[Calls], results: Sequence[Any]) -> Calls | str:
    """The turn after these results of tools: further tools, or all results once the script is over."""
    past = 0
    for turn in turns:
        if past == len(results):
            return turn
        past += len(turn)
    return "; ".join(one if isinstance(one, str) else json.dumps(one) for one in results) or "nothing was done"


def _chat(body: Body, turns: Sequence[Calls]) -> Body:
    turn = next_turn(turns, [one["content"] for one in body["messages"] if one["role"] == "tool"])
    message: Body = {"role": "assistant", "content": turn if isinstance(turn, str) else None}
    if not isinstance(turn, str):
        message["tool_calls"] = [
            {
                "id": f"call_{uuid4().hex}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(given)},
            }
            for name, given in turn
        ]
    reason = "stop" if isinstance(turn, str) else "tool_calls"
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {**_made("chat.completion", body), "created": 0, "choices": [choice], "usage": USAGE}


def _response(body: Body, turns: Sequence[Calls]) -> Body:
    given: list[Body] = body["input"] if isinstance(body["input"], list) else []
    turn = next_turn(turns, [one["output"] for one in given if one.get("type") == "function_call_output"])
    if isinstance(turn, str):
        content = [{"type": "output_text", "text": turn, "annotations": []}]
        output: list[Body] = [{"type": "message", "role": "assistant", "content": content}]
    else:
        output = [
            {"type": "function_call", "call_id": f"call_{uuid4().hex}", "name": name, "arguments": json.dumps(given)}
            for name, given in turn
        ]
    items = [{"id": f"item_{uuid4().hex}", "status": "completed", **one} for one in output]
    usage = {**USAGE, "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    more = {"created_at": 0, "tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "usage": usage}
    return {**_made("response", body), **more, "status": "completed", "output": items}


def _events(body: Body, turns: Sequence[Calls]) -> Iterator[Body]:
    """The events of a response that is streamed, without those of its parts."""
    done = _response(body, turns)
    yield {"type": "response.created", "response": {**done, "status": "in_progress", "output": []}}
    for index, item in enumerate(done["output"]):
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": done}


def _message(body: Body, turns: Sequence[Calls]) -> Body:
    blocks = [block for one in body["messages"] if isinstance(one["content"], list) for block in one["content"]]
    turn = next_turn(turns, [block["content"] for block in blocks if block.get("type") == "tool_result"])
    # A coding agent also asks without tools, for a title of the session.
    turn = turn if isinstance(turn, str) or body.get("tools") else "nothing was done"
    content: list[Body] = (
        [{"type": "text", "text": turn}]
        if isinstance(turn, str)
        else [{"type": "tool_use", "id": f"toolu_{uuid4().hex}", "name": name, "input": given} for name, given in turn]
    )
    stop = {"stop_reason": "end_turn" if isinstance(turn, str) else "tool_use", "stop_sequence": None}
    return {
        **_made("message", body),
        "type": "message",
        "role": "assistant",
        "content": content,
        **stop,
        "usage": USAGE,
    }


_REPLIES: dict[str, Callable[[Body, Sequence[Calls]], Body]] = {
    "/chat/completions": _chat,
    "/responses": _response,
    "/messages": _message,
    "/count_tokens": lambda body, script: {"input_tokens": 1},
}


def _streamed(message: Body) -> Iterator[Body]:
    yield {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    for index, block in enumerate(message["content"]):
        text = block["type"] == "text"
        delta = (
            {"type": "text_delta", "text": block["text"]}
            if text
            else {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        )
        empty = {**block, "text": ""} if text else {**block, "input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}}
    yield {"type": "message_stop"}


def _made(kind: str, body: Body) -> Body:
    return {"id": f"{kind}_{uuid4().hex}", "object": kind, "model": body.get("model", "scripted")}
