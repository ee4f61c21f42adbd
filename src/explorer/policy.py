# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Whom the page's server answers, and what the browser may do with the page: ASGI middleware, without Gradio."""

import re

# Whatever a library's template refers to, the browser asks nobody but this server, and no other page frames this one.
CONTENT = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")
REFUSAL = b"This page answers at 127.0.0.1 or localhost only, and no other website's pages.\n"


class Policy:
    """ASGI middleware that refuses what other websites ask, and adds the header Content-Security-Policy to all else.

    A website that the browser shows may send a form here, which the header Origin tells, or let a name of its own mean
    127.0.0.1, which the header Host tells.
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", CONTENT.encode())]
            await send(message)

        if scope["type"] in ("http", "websocket") and not _is_own(scope["headers"]):
            await _refuse(scope, send)
        else:
            await self.app(scope, receive, send_with_policy)


def _is_own(headers):
    """Tell whether a request is to this server by an address of its own, and of no other website's page.

    Args:
        headers: pairs of bytes, the names in lower case.
    """
    headers = {name: value.decode("latin-1").lower() for name, value in headers}
    host, origin = headers.get(b"host", ""), headers.get(b"origin")
    # The origin is "null" where the browser hides it.
    return OWN_HOST.fullmatch(host) is not None and (origin is None or origin.partition("://")[2] == host)


async def _refuse(scope, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(REFUSAL)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": REFUSAL})
