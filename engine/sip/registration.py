"""Registrations on PJSIP: REGISTER with digest, refreshed before expiry, retried after failure, removed at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import pjsua2 as pj

from engine.commands import TrunkAccount
from engine.events import Registration
from engine.sip.stack import IncomingAccount, SipStack
from engine.sip_uri import SipUri

_EXPIRES_S = 300
_RETRY_S = 30
_FIRST_RETRY_S = 2
_SPREAD_S = 5


class _Registered(IncomingAccount):
    """One trunk's account; tells ``on_change`` the outcome of every REGISTER."""

    def __init__(self, trunk: str, on_change: Callable[[Registration], None], explain: Callable[[str], str]) -> None:
        super().__init__(None)
        self.trunk = trunk
        self.held = False
        self._leaving = False
        self._on_change = on_change
        self._explain = explain

    def give_up(self) -> None:
        """Un-register, once; PJSIP refuses while another REGISTER is under way: then a later call does it."""
        if self.held and not self._leaving:
            with contextlib.suppress(pj.Error):
                self.setRegistration(False)
                self._leaving = True

    def onRegState(self, prm: pj.OnRegStateParam) -> None:
        self.held = prm.code // 100 == 2 and prm.expiration > 0
        self._on_change(
            Registration(
                trunk=self.trunk,
                registered=self.held,
                code=prm.code,
                reason=self._explain(str(prm.reason)),
                expires_s=prm.expiration if self.held else 0,
            )
        )


class Registrations:
    """The trunks that are kept registered by this process."""

    def __init__(self, stack: SipStack, on_change: Callable[[Registration], None]) -> None:
        self._stack = stack
        self._on_change = on_change
        self._accounts: list[_Registered] = []

    def keep(self, trunks: Sequence[TrunkAccount]) -> None:
        """Register each trunk and keep it registered."""
        for trunk in trunks:
            config = self._stack.account_config(trunk, trunk.registrar)
            registration = config.regConfig
            registration.registrarUri = str(self._stack.reachable(SipUri.parse(trunk.registrar)))
            registration.timeoutSec = _EXPIRES_S
            registration.retryIntervalSec = _RETRY_S
            registration.firstRetryIntervalSec = _FIRST_RETRY_S
            registration.randomRetryIntervalSec = _SPREAD_S  # many engines must not return to a trunk in step
            account = _Registered(trunk.name, self._on_change, self._explain)
            account.create(config)
            self._accounts.append(account)

    def _explain(self, reason: str) -> str:
        refused = self._stack.refusal(reason)
        return refused.detail if refused else reason

    @property
    def held(self) -> bool:
        """True while a registrar still holds a binding of ours."""
        return any(account.held for account in self._accounts)

    def give_up(self) -> None:
        """Un-register every trunk that is registered; to be called until none is ``held``."""
        for account in self._accounts:
            account.give_up()
