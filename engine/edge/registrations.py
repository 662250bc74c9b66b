"""What registrars said: how long a binding holds, and the route that they want requests to take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from engine.edge.dialogs import Dialog
from engine.sip.fields import NameAddr, expires
from engine.sip.message import Header, Response
from engine.sip.syntax import Malformed

_MOST_ROUTES: Final = 8


class Registrations:
    """By trunk."""

    def __init__(self) -> None:
        self._service_routes: dict[str, tuple[str, ...]] = {}

    def service_routes(self, trunk: str) -> tuple[str, ...]:
        """The route set for requests through the trunk (RFC 3608 §5)."""
        return self._service_routes.get(trunk, ())

    def note(self, dialog: Dialog, response: Response) -> None:
        """Take in what a registrar says."""
        if 200 <= response.status < 300:
            routes = []
            for value in response.all("Service-Route")[:_MOST_ROUTES]:
                try:
                    routes.append(f"<{NameAddr.parse(value).uri}>")
                except (Malformed, ValueError):
                    routes = []
                    break
            dialog.service_routes = tuple(routes)
            self.restore(dialog)

    def restore(self, dialog: Dialog) -> None:
        """Take in what the registrar of a registration said."""
        self._service_routes[dialog.trunk.name] = dialog.service_routes

    def shown(self, dialog: Dialog, response: Response) -> Iterable[Header]:
        """The fields of a REGISTER's response that PJSIP is given."""
        if 200 <= response.status < 300:
            seconds = granted_s(response, ours=dialog.contact_user, asked=dialog.asked_expires_s)
            return (
                Header("Contact", f"<{dialog.pjsip_contact}>;expires={seconds}"),
                Header("Expires", str(seconds)),
            )
        least = expires(response.first("Min-Expires") or "")
        return (Header("Min-Expires", str(least)),) if response.status == 423 and least is not None else ()


def granted_s(response: Response, *, ours: str, asked: int) -> int:
    """How long the binding holds (RFC 3261 §10.2.4).

    Of several bindings of our user part the shortest that is not zero counts: a registrar behind NAT rewrites our
    Contact and may list a stale one beside it. Without any, Expires does, or what we asked for.
    """
    common = expires(response.first("Expires") or "")
    default = common if common is not None else asked
    found: list[int] = []
    for value in response.all("Contact"):
        try:
            contact = NameAddr.parse(value)
        except (Malformed, ValueError):
            continue
        own = expires(contact.params.get("expires") or "")
        user = contact.uri.partition(":")[2].rpartition("@")[0]
        if user == ours:
            found.append(own if own is not None else default)
    lasting = [seconds for seconds in found if seconds > 0]
    if lasting:
        return min(lasting)
    return 0 if found else default
