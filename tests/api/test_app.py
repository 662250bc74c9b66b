from __future__ import annotations

import httpx
import pytest


@pytest.mark.parametrize("path", ["/", "/api", "/api/voice/", "/api/voice/a/b/c", "/docs", "/healthz/"])
async def test_path_that_is_not_served_answers_404_as_a_problem_and_never_redirects(
    client: httpx.AsyncClient, path: str
) -> None:
    response = await client.get(path)
    assert response.status_code == 404
    assert response.json()["type"].endswith("/not-found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/voice", "GET, HEAD, POST"),
        ("PATCH", "/api/voice/x", "DELETE, GET, HEAD"),
        ("POST", "/api/voice/x/events", "GET, HEAD"),
        ("DELETE", "/healthz", "GET, HEAD"),
    ],
)
async def test_wrong_method_answers_405_and_names_every_method_of_the_path(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    response = await client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allow
    assert response.json()["type"].endswith("/method-not-allowed")
