"""The HTTP application: every route and the layers around them, on one screen."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from api.auth import Authenticator
from api.boundary import Boundary
from api.health import Health
from api.keys import KeyResource
from api.openapi import openapi
from api.ports import Engine
from api.problems import HANDLERS
from api.trunks import TrunkResource
from api.voice import VoiceCalls
from api.webhooks import WebhookResource
from engine.keys.keys import KEYS_MANAGE, VOICE_CALL, VOICE_READ, WEBHOOKS_MANAGE


def create_app(engine: Engine, *, authenticator: Authenticator | None = None) -> Starlette:
    """The API in front of ``engine``, which the caller has started and will stop."""
    authenticator = authenticator or Authenticator(engine)
    voice, webhooks = VoiceCalls(engine, authenticator.still_good), WebhookResource(engine.webhooks)
    keys, health = KeyResource(engine.keys), Health(engine)
    app = Starlette(
        routes=[
            Route("/api/voice", authenticator(VOICE_CALL, voice.place), methods=["POST"]),
            Route("/api/voice", authenticator(VOICE_READ, voice.list_all), methods=["GET"]),
            Route("/api/voice/{id}", authenticator(VOICE_READ, voice.get), methods=["GET"]),
            Route("/api/voice/{id}", authenticator(VOICE_CALL, voice.hang_up), methods=["DELETE"]),
            Route("/api/voice/{id}/events", authenticator(VOICE_READ, voice.events), methods=["GET"]),
            Route("/api/voice/{id}/transcript", authenticator(VOICE_CALL, voice.erase_transcript), methods=["DELETE"]),
            Route("/api/webhooks", authenticator(WEBHOOKS_MANAGE, webhooks.create), methods=["POST"]),
            Route("/api/webhooks", authenticator(WEBHOOKS_MANAGE, webhooks.list_all), methods=["GET"]),
            Route("/api/webhooks/{id}", authenticator(WEBHOOKS_MANAGE, webhooks.delete), methods=["DELETE"]),
            Route("/api/webhooks/{id}/logs", authenticator(WEBHOOKS_MANAGE, webhooks.logs), methods=["GET"]),
            Route("/api/trunks", authenticator(VOICE_READ, TrunkResource(engine).list_all), methods=["GET"]),
            Route("/api/keys", authenticator(KEYS_MANAGE, keys.create), methods=["POST"]),
            Route("/api/keys", authenticator(KEYS_MANAGE, keys.list_all), methods=["GET"]),
            Route("/api/keys/{id}", authenticator(KEYS_MANAGE, keys.revoke), methods=["DELETE"]),
            Route("/metrics", authenticator(VOICE_READ, health.metrics), methods=["GET"]),
            Route("/healthz", health.live),
            Route("/readyz", health.ready),
            Route("/openapi.json", openapi),
        ],
        middleware=[Middleware(Boundary)],
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = False  # a redirect would send a key to whatever the Host header names
    return app
