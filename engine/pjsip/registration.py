"""Registrations and probes on PJSIP: REGISTER with digest, renewed and retried; OPTIONS at intervals."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence

import pjsua2 as pj

from engine.messages.commands import TrunkAccount
from engine.messages.events import Probed, Registration
from engine.pjsip.leg import received_message, sip_headers, unreached_by
from engine.pjsip.library import parsed
from engine.pjsip.stack import IncomingAccount, SipStack, edge_fields
from engine.sip.fields import retry_after_s
from engine.sip.registration_timer import RegistrationTimer

log = logging.getLogger("trunkline.sip")

_PROBE_TIMEOUT_S = 4.0
_NO_ANSWER = 408
_UNSENT = 0
_NO_BINDING = "Check register_expires of the trunk in the configuration, and ask the carrier."

Tell = Callable[[Registration | Probed], None]


class _Watched(IncomingAccount):
    """One trunk's account: told the time by ``tick``, it sends what is due and tells every outcome."""

    def __init__(self, stack: SipStack, trunk: TrunkAccount, tell: Tell) -> None:
        super().__init__(None, stack.rtp_plan)
        self._trunk = trunk
        self._headers = sip_headers(edge_fields(trunk))
        self._tell = tell
        self._now_s = 0.0
        # the registration
        self._timer = RegistrationTimer(random.random)
        self._register_at_s: float | None = 0.0 if trunk.registrar else None
        self._registering = False
        self._expires_at_s: float | None = None
        self._leaving = False
        # the probe
        self._probe_at_s = 0.0
        self._probe_fails_at_s: float | None = None

    def tick(self, now_s: float) -> None:
        """Send what is due."""
        self._now_s = now_s
        if self._expires_at_s is not None and now_s >= self._expires_at_s:
            self._expires_at_s = None
            self._tell_registration(_NO_ANSWER, "expired, and the registrar does not answer")
        if self._register_at_s is not None and now_s >= self._register_at_s and not self._registering:
            self._send_register(renew=True)
        if self._probe_fails_at_s is not None and now_s >= self._probe_fails_at_s:
            self._probed(_NO_ANSWER, "no answer")
        if self._trunk.probe_interval_s and now_s >= self._probe_at_s:
            self._probe(self._trunk.probe_interval_s)

    # -- REGISTER ------------------------------------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """A registrar holds a binding of ours, or may have one soon: a REGISTER is on its way."""
        return self._registering or self._expires_at_s is not None

    def leave(self) -> None:
        """Un-register; to be called until nothing is ``held``, for PJSIP refuses while a REGISTER is on its way."""
        self._register_at_s = None
        if not self._registering and self._expires_at_s is not None:
            self._leaving = True
            self._send_register(renew=False)

    def _send_register(self, *, renew: bool) -> None:
        self._registering = True
        try:
            self.setRegistration(renew)
        except pj.Error as error:
            self._registering = False
            self._registered(_UNSENT, str(error.reason), 0, None)

    def onRegState(self, prm: pj.OnRegStateParam) -> None:
        try:
            self._registering = False
            response = parsed(str(prm.rdata.wholeMsg))
            if (why := unreached_by(response)) is not None:
                self._registered(_UNSENT, why.detail, 0, None, hint=why.hint)
                return
            retry_after = (response and response.first("Retry-After")) or ""
            self._registered(prm.code, str(prm.reason), prm.expiration, retry_after_s(retry_after))
        except Exception:  # an exception that left a director callback would abort the process
            log.exception("the outcome of a REGISTER could not be handled")

    def _registered(self, code: int, reason: str, expires_s: int, retry_after: int | None, *, hint: str = "") -> None:
        held = code // 100 == 2 and expires_s > 0
        if self._leaving:
            self._expires_at_s = None
        elif held:
            self._expires_at_s = self._now_s + expires_s
            self._tell_registration(code, reason, expires_s)
            if self._register_at_s is not None:
                self._register_at_s = self._now_s + self._timer.after_success(expires_s)
        else:
            if code != _NO_ANSWER:
                self._expires_at_s = None
            if code // 100 == 2:
                reason, hint = f"{reason}, but the registrar keeps no binding of ours", _NO_BINDING
            if self._expires_at_s is None:
                self._tell_registration(code, reason, hint=hint)
            if self._register_at_s is not None:
                self._register_at_s = self._now_s + self._timer.after_failure(code, retry_after)

    def _tell_registration(self, code: int, reason: str, expires_s: int = 0, *, hint: str = "") -> None:
        self._tell(
            Registration(
                trunk=self._trunk.name,
                registered=expires_s > 0,
                code=code,
                reason=reason,
                expires_s=expires_s,
                hint=hint,
            )
        )

    # -- OPTIONS -------------------------------------------------------------------------------------------------------

    def _probe(self, interval_s: float) -> None:
        self._probe_at_s = self._now_s + interval_s
        self._probe_fails_at_s = self._now_s + min(interval_s, _PROBE_TIMEOUT_S)
        request = pj.SendRequestParam()
        request.method = "OPTIONS"
        request.txOption.targetUri = self._trunk.uri
        for header in self._headers:
            request.txOption.headers.append(header)
        try:
            self.sendRequest(request)
        except pj.Error as error:
            self._probed(_UNSENT, str(error.reason))

    def onSendRequest(self, prm: pj.OnSendRequestParam) -> None:
        try:
            change = prm.e.body.tsxState
            # PJSIP's own time-out comes half a minute later than ours.
            if self._probe_fails_at_s is None or change.type == pj.PJSIP_EVENT_TIMER:
                return
            if (why := unreached_by(parsed(received_message(prm.e)))) is not None:
                self._probed(_UNSENT, why.detail)
            else:
                self._probed(change.tsx.statusCode, str(change.tsx.statusText))
        except Exception:
            log.exception("the outcome of an OPTIONS could not be handled")

    def _probed(self, code: int, reason: str) -> None:
        self._probe_fails_at_s = None
        self._tell(Probed(trunk=self._trunk.name, code=code, reason=reason))


class Registrations:
    """The trunks that are registered and probed by this process."""

    def __init__(self, stack: SipStack, tell: Tell) -> None:
        self._stack = stack
        self._tell = tell
        self._accounts: list[_Watched] = []

    def keep(self, trunks: Sequence[TrunkAccount]) -> None:
        """Register and probe each trunk, from the next ``tick`` on."""
        for trunk in trunks:
            config = self._stack.account_config(trunk)
            registration = config.regConfig
            registration.registrarUri = trunk.registrar
            registration.timeoutSec = trunk.register_expires_s
            registration.registerOnAdd = False
            registration.retryIntervalSec = registration.firstRetryIntervalSec = 0  # it would be no back-off
            for header in sip_headers(edge_fields(trunk)):
                registration.headers.append(header)
            account = _Watched(self._stack, trunk, self._tell)
            account.create(config)
            self._accounts.append(account)

    def tick(self, now_s: float) -> None:
        """Send what is due; to be called often."""
        for account in self._accounts:
            account.tick(now_s)

    @property
    def held(self) -> bool:
        """True while a registrar may hold a binding of ours."""
        return any(account.held for account in self._accounts)

    def leave(self) -> None:
        """Un-register every trunk; to be called until none is ``held``."""
        for account in self._accounts:
            account.leave()
