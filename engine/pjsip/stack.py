"""One PJSIP endpoint: the link to the edge, codecs and accounts, driven from outside by ``poll``."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from weakref import WeakSet

import pjsua2 as pj

from engine.errors import SipError
from engine.messages.commands import Srtp, TrunkAccount
from engine.messages.link import TRUNK
from engine.messages.settings import StackSettings
from engine.pjsip.conference_bridge import conference_bridge
from engine.pjsip.ended_legs import release
from engine.pjsip.layout import check_media_layout
from engine.pjsip.leg import Leg
from engine.pjsip.leg_rtp import LegRtp, RtpPlan
from engine.pjsip.library import line_limit, lines_in_use, set_log_level
from engine.pjsip.link_transport import EDGE, LinkTransport
from engine.pjsip.rtp_sockets import RtpPorts
from engine.pjsip.rtp_source import learn_sources
from engine.pjsip_limits import MAX_ACCOUNTS
from engine.sip.addressing import addresses
from engine.sip.leg_port import LegListener
from engine.sip.sdp import CODECS
from engine.sip.uri import SipUri

log = logging.getLogger("trunkline.sip")

_MAX_LINES = 64
"""A site's own PJSIP build may allow thousands. With more than this many, too many calls are lost with a process."""
_MAX_POLLS = 200
_LOG_LEVEL = int(os.environ.get("TRUNKLINE_PJSIP_LOG", "0"))  # PJSIP's own trace: 4 shows every message, unmasked
_UNUSED_RTP = "127.0.0.1"
_FIRST = 250  # of PJSIP's priorities; 0 takes a codec out of the offer
_PACKET_MS = 20
_JITTER_MAX_MS = 200
_DISCARD_NONE = 0  # PJMEDIA_JB_DISCARD_NONE
_CRYPTO_SUITES = ("AES_CM_128_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_80")  # RFC 4568 §6.2, RFC 6188
_SRTP = {
    Srtp.OFF: pj.PJMEDIA_SRTP_DISABLED,
    Srtp.OPTIONAL: pj.PJMEDIA_SRTP_OPTIONAL,
    Srtp.REQUIRED: pj.PJMEDIA_SRTP_MANDATORY,
}
_PRACK = {"optional": pj.PJSUA_100REL_OPTIONAL, "required": pj.PJSUA_100REL_MANDATORY}  # PJSIP knows no "off"
_SESSION_TIMER = {
    "off": pj.PJSUA_SIP_TIMER_INACTIVE,
    "optional": pj.PJSUA_SIP_TIMER_OPTIONAL,
    "required": pj.PJSUA_SIP_TIMER_REQUIRED,
    "always": pj.PJSUA_SIP_TIMER_ALWAYS,
}


class IncomingAccount(pj.Account):
    """An account that hands incoming calls to ``on_incoming`` and refuses them without one."""

    def __init__(
        self,
        on_incoming: Callable[[Leg, str], LegListener] | None,
        rtp_plan: Callable[[], RtpPlan],
    ) -> None:
        super().__init__()
        self._rtp_plan = rtp_plan
        self._on_incoming = on_incoming
        self.legs: WeakSet[Leg] = WeakSet()
        """The calls that PJSIP has not finished: it looks up their account by its index."""

    def onIncomingCall(self, prm: pj.OnIncomingCallParam) -> None:
        listener = _Refused()
        leg = Leg(self, listener, LegRtp(self._rtp_plan()), prm.callId)
        if self._on_incoming is None:
            listener.keep(leg)
            leg.hang_up(403)
            return
        try:
            leg.attach(self._on_incoming(leg, leg.getInfo().localUri))
        except Exception:  # a called URI that we cannot read; an exception here would abort the process
            log.info("incoming call refused", exc_info=True)
            listener.keep(leg)
            leg.hang_up(400)


class _Refused:
    """The listener of a refused call: keeps the leg until PJSIP has finished with it."""

    def keep(self, leg: Leg) -> None:
        self._leg: Leg | None = leg

    def on_progress(self, code: int, reason: str) -> None: ...
    def on_media(self, stream: object) -> None: ...
    def on_answered(self, codec: str) -> None: ...
    def on_digit(self, digit: str) -> None: ...
    def on_ended(self, end: object) -> None:
        self._leg = None

    def on_gone(self) -> None: ...


class _Endpoint(pj.Endpoint):
    """The endpoint. It needs a class of ours: with the binding's own, a second copy of the library
    (``engine.pjsip.instances``) aborts the process when its endpoint is started."""


class SipStack:
    """PJSIP without its own thread: ``poll`` serves its timers and RTP sockets.

    It has no SIP socket. Each message that it sends is handed to ``link`` at once, and each message for it is to be
    given to ``receive``. The SIP edge behind the link resolves names, finds the way to each trunk and answers
    challenges. An ``OSError`` of ``link`` fails the request.

    ``on_incoming`` gets the calls that come in, which the account ``answer_as`` takes; the two go together. It has as
    many ``lines`` as the build holds calls, but no more than were asked for.

    All methods are to be called on the thread that made the stack. The process must leave by ``os._exit``: a pj object
    collected at interpreter exit aborts.
    """

    def __init__(
        self,
        settings: StackSettings,
        on_incoming: Callable[[Leg, str], LegListener] | None = None,
        *,
        answer_as: TrunkAccount | None = None,
        lines: int = _MAX_LINES,
        link: Callable[[bytes], None],
    ) -> None:
        """Raises ``SipError`` when the build's structures are not the expected ones."""
        self._settings = settings
        self._rtp_ports = self._ports_of(settings)
        self._accounts: dict[str, IncomingAccount] = {}
        set_log_level(_LOG_LEVEL)
        self._endpoint = _Endpoint()
        self._endpoint.libCreate()
        self._endpoint.libInit(self._endpoint_config(min(lines, _MAX_LINES)))
        self.lines = line_limit()
        check_media_layout()
        self._link = LinkTransport(link, local_host=EDGE[0], local_port=EDGE[1])
        self._endpoint.libStart()
        self._bridge = conference_bridge()
        for codec in self._endpoint.codecEnum2():
            name = str(codec.codecId).partition("/")[0]
            self._endpoint.codecSetPriority(codec.codecId, _FIRST - CODECS.index(name) if name in CODECS else 0)
        if answer_as is not None:
            account = self._accounts[""] = IncomingAccount(on_incoming, self.rtp_plan)
            account.create(self.account_config(answer_as), True)

    def poll(self) -> None:
        """Serve everything that is due; returns at once."""
        learn_sources()
        handle = self._endpoint.libHandleEvents
        for _ in range(_MAX_POLLS):
            if handle(0) < 16:
                break
        release()
        self._bridge.settle()

    def use_rtp_ports(self, first: int, last: int) -> None:
        """Use these ports for later calls instead of the settings' ports."""
        self._settings = replace(self._settings, rtp_first=first, rtp_last=last)
        self._rtp_ports = self._ports_of(self._settings)

    def receive(self, message: bytes) -> None:
        """Take a SIP message that came over the link; not to be called by what ``link`` calls."""
        self._link.receive(message)

    @property
    def free_lines(self) -> int:
        """The number of further calls that the stack can hold now."""
        return self.lines - len(lines_in_use())

    def dial(
        self, trunk: TrunkAccount, listener: LegListener, *, from_number: str, to_number: str, sip_call_id: str
    ) -> Leg:
        """Send an INVITE through ``trunk``, as its ``addressing`` says; raises ``SipError``."""
        target = SipUri.parse(trunk.uri)
        home = SipUri.parse(trunk.registrar) if trunk.registrar else target
        said = addresses(trunk.addressing, target=target, home=home, from_number=from_number, to_number=to_number)
        account = self._account(trunk)
        leg = Leg(
            account,
            listener,
            LegRtp(self.rtp_plan()),
            srtp_required=trunk.srtp is Srtp.REQUIRED,
            codecs=trunk.codecs,
        )
        account.legs.add(leg)
        leg.dial(
            said.to,
            sip_call_id=sip_call_id,
            from_=said.from_,
            request_uri=str(said.request_uri),
            headers=(*said.headers, *edge_fields(trunk)),
            dtmf=trunk.dtmf,
        )
        return leg

    def account_config(self, trunk: TrunkAccount) -> pj.AccountConfig:
        """The part of an account's configuration that dialling and registering share."""
        config = pj.AccountConfig()
        home = SipUri.parse(trunk.registrar or trunk.uri).identity
        config.idUri = str(home.with_user(trunk.username or "trunkline"))
        config.sipConfig.transportId = self._link.id
        config.sipConfig.proxies.append(f"sip:{EDGE[0]}:{EDGE[1]};lr;hide")  # PJSIP sends there and writes no Route
        config.natConfig.sipOutboundUse = 0  # RFC 5626 is not spoken: no ;ob in Contact
        config.callConfig.prackUse = _PRACK[trunk.reliable_provisional]
        config.callConfig.timerUse = _SESSION_TIMER[trunk.session_timer]
        config.callConfig.timerSessExpiresSec = int(trunk.session_expires_s)
        media = config.mediaConfig
        media.lockCodecEnabled = False  # it sends a re-INVITE after an answer with several codecs; see codec_switch
        media.srtpUse = _SRTP[trunk.srtp]
        media.srtpSecureSignaling = 0  # the configuration was checked: PJSIP looks at To alone, where no transport is
        media.srtpOpt.keyings.append(pj.PJMEDIA_SRTP_KEYING_SDES)
        for suite in _CRYPTO_SUITES:
            crypto = pj.SrtpCrypto()
            crypto.name = suite
            media.srtpOpt.cryptos.append(crypto)
        media.transportConfig.boundAddress = _UNUSED_RTP  # the sockets that ours replace
        if trunk.srtp is Srtp.OFF:
            # Then PJSUA makes no sockets: its I/O queue has 64 handles, and keeps a closed one for half a second.
            media.useLoopMedTp = True
        return config

    @staticmethod
    def _ports_of(settings: StackSettings) -> RtpPorts:
        return RtpPorts(
            settings.bind,
            settings.rtp_first,
            settings.rtp_last,
            public_address=settings.public_address,
            dscp=settings.dscp_rtp,
        )

    def rtp_plan(self) -> RtpPlan:
        return RtpPlan(self._rtp_ports, self._settings.rtp_source)

    def _account(self, trunk: TrunkAccount) -> IncomingAccount:
        """The trunk's account, made the last in the table. When the table is full, the least recently used one goes."""
        account = self._accounts.pop(trunk.name, None)
        if account is None:
            if len(self._accounts) >= MAX_ACCOUNTS:
                idle = next((name for name, one in self._accounts.items() if not one.legs), None)
                if idle is None:
                    raise SipError(f"PJSIP holds {MAX_ACCOUNTS} trunks at once, and each has a call")
                self._accounts.pop(idle).shutdown()
            account = IncomingAccount(None, self.rtp_plan)
            account.create(self.account_config(trunk))
        self._accounts[trunk.name] = account
        return account

    def _endpoint_config(self, lines: int) -> pj.EpConfig:
        config = pj.EpConfig()
        config.logConfig.level = config.logConfig.consoleLevel = _LOG_LEVEL
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = False
        config.uaConfig.maxCalls = lines
        config.uaConfig.userAgent = "Trunkline"
        config.uaConfig.natTypeInSdp = 0
        media = config.medConfig
        media.clockRate = media.sndClockRate = 8000
        media.hasIoqueue = False
        media.threadCnt = 0
        media.noVad = True  # silence is sent as audio: the trunk sees a continuous stream
        media.ecTailLen = 0
        # The jitter buffer begins a packet deeper than necessary, and `RtpStream` removes the excess in quiet moments.
        # PJMEDIA would do so in the middle of a word.
        media.jbInit = 2 * _PACKET_MS
        media.jbMinPre = _PACKET_MS
        media.jbMaxPre = 3 * _PACKET_MS
        media.jbMax = _JITTER_MAX_MS
        keep_late_frames(media)
        return config


def edge_fields(trunk: TrunkAccount) -> tuple[tuple[str, str], ...]:
    """What a request outside a dialog carries for the SIP edge."""
    return ((TRUNK, trunk.name),)


def keep_late_frames(media: pj.MediaConfig) -> None:
    """Keep the jitter buffer from discarding frames by itself. The setting is an enum: some builds of the binding
    expose it as an int, the stock build as an opaque pointer."""
    algorithm = media.jbDiscardAlgo
    if isinstance(algorithm, int):
        media.jbDiscardAlgo = _DISCARD_NONE
        return
    ctypes.c_int.from_address(int(algorithm)).value = _DISCARD_NONE
    media.jbDiscardAlgo = algorithm
    algorithm.disown()  # SWIG would complain that it cannot free an unknown type
