"""``/api/webhooks``: who is told of calls, and what became of telling them."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from api import body
from api.ports import Webhooks
from api.problems import VALIDATION_ERROR, FieldError
from api.schemas import refused
from api.views import answer
from api.webhook_schemas import read_limit, read_webhook
from api.webhook_views import DeliveryList, WebhookCreated, WebhookDeleted, WebhookList
from engine.errors import TargetRefused, UnknownWebhook
from engine.keys.key import ApiKey

_ID = re.compile(r"whk_[0-9a-f]{32}")


class WebhookResource:
    """The resource's four operations. Each takes a request that a key was found good for."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def create(self, request: Request, key: ApiKey) -> Response:
        wanted = read_webhook(await body.read(request))
        try:
            webhook = await self._webhooks.add(wanted.url, wanted.events, key.environment)
        except TargetRefused as error:
            mistake = FieldError(field="url", message=str(error))
            raise refused("No webhook was made", VALIDATION_ERROR, [mistake]) from None
        return answer(WebhookCreated.of(webhook))

    async def list_all(self, request: Request, key: ApiKey) -> Response:
        return answer(WebhookList.of(await self._webhooks.all_of(key.environment)))

    async def delete(self, request: Request, key: ApiKey) -> Response:
        await self._webhooks.delete(_webhook_id(request), key.environment)
        return answer(WebhookDeleted(deleted=True))

    async def logs(self, request: Request, key: ApiKey) -> Response:
        limit = read_limit(request.query_params)
        return answer(DeliveryList.of(await self._webhooks.deliveries(_webhook_id(request), key.environment, limit)))


def _webhook_id(request: Request) -> str:
    webhook_id: str = request.path_params["id"]
    if not _ID.fullmatch(webhook_id):  # spares the store what no client can have got from us
        raise UnknownWebhook(webhook_id[:64])
    return webhook_id
