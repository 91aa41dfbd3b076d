"""A network that is a function: what an HTTP client sends goes in, what it shall receive comes out."""

from collections.abc import Callable

import httpx


class ScriptedTransport(httpx.BaseTransport):
    """Answers by a function and remembers every request; bodies arrive as a stream, as from a real network."""

    def __init__(self, handler: Callable[[httpx.Request], httpx.Response]) -> None:
        self._handler = handler
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._handler(request)
        if not answer.is_stream_consumed:
            return answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=iter((answer.content,)))


def answering(*answers: httpx.Response) -> ScriptedTransport:
    """Answer with each in turn, and with the last one from then on."""
    queue = list(answers)
    return ScriptedTransport(lambda _: queue.pop(0) if len(queue) > 1 else queue[0])
