"""MLflow's web application behind a login; started by ``mlflow server --app-name fl-platform``.

MLflow finds it by the entry point ``mlflow.app`` of this package, its documented way to protect
a server.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mlflow.server.fastapi_app import app as _mlflow

from fl_platform.tracking.mlflow.ui_login import VARIABLE, Login

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
OPEN_TO_ALL = ("/health", "/version")  # whether a server is there; nothing of the store


class BehindLogin:
    """An ASGI application that answers only requests that ``login`` admits."""

    def __init__(self, application: Any, login: Login) -> None:
        self._application, self._login = application, login

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request, or the start and the end of the server."""
        if scope["type"] != "lifespan" and scope["path"] not in OPEN_TO_ALL:
            headers = {
                k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]
            }
            answer = self._login.answer(scope["path"], headers)
            if answer is not None and scope["type"] != "http":
                await send({"type": "websocket.close", "code": 1008})
                return
            if answer is not None:
                told = [(k.encode(), v.encode()) for k, v in answer.headers]
                start = {"type": "http.response.start", "status": answer.status, "headers": told}
                await send(start)
                await send({"type": "http.response.body", "body": answer.body})
                return
        await self._application(scope, receive, send)


app = BehindLogin(_mlflow, Login(os.environ.get(VARIABLE, "")))
