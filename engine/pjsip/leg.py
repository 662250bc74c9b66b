"""One call leg: pj.Call's callbacks turned into a listener's, commands into pj calls."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import pjsua2 as pj

from engine.errors import SipError
from engine.messages.commands import Dtmf
from engine.messages.link import FAILURE, UNUSABLE
from engine.outcome import NOT_ENCRYPTED, Outcome, unreached
from engine.pjsip.codec_switch import Negotiated
from engine.pjsip.conference_bridge import conference_bridge
from engine.pjsip.ended_legs import keep
from engine.pjsip.leg_rtp import LegRtp
from engine.pjsip.library import accept_in_dialog, dialog_of, parsed
from engine.pjsip.rtp_counters import RtpCounters, received
from engine.pjsip.rtp_stream import RtpStream
from engine.sip.causes import unusable_answer
from engine.sip.dtmf import DIGITS, ReceivedKeys, info_digit
from engine.sip.fields import q850_cause, retry_after_s
from engine.sip.leg_port import LegEnd, LegListener
from engine.sip.message import Message, Response
from engine.sip.other_codec import Arrivals, OtherCodec
from engine.sip.sdp import CODECS, has_codec, has_plain_audio, offer_events_as_101, with_codecs

log = logging.getLogger("trunkline.sip")
T = TypeVar("T")

_EVENT_IS_UPDATE, _EVENT_IS_END = 1, 2  # pjmedia_stream_dtmf_event_flags (pjmedia/stream.h)
_NO_MEDIA = (pj.PJSUA_CALL_MEDIA_NONE, pj.PJSUA_CALL_MEDIA_ERROR)


def _shielded(callback: Callable[[Leg, T], None]) -> Callable[[Leg, T], None]:
    """An exception that left a director callback would abort the process: log it and end this leg instead."""

    def shielded(self: Leg, prm: T) -> None:
        try:
            callback(self, prm)
        except Exception:
            log.exception("a SIP callback failed; the call is ended")
            self.hang_up(500)

    return shielded


class Leg(pj.Call):
    """A ``SipLeg`` (``engine.sip.leg_port``) on PJSIP. Whoever holds it must hold it until ``on_ended``."""

    def __init__(
        self,
        account: pj.Account,
        listener: LegListener,
        rtp: LegRtp,
        call_id: int = pj.PJSUA_INVALID_ID,
        srtp_required: bool = False,
        codecs: Sequence[str] = CODECS,
    ) -> None:
        super().__init__(account, call_id)
        self._srtp_required = srtp_required
        self._unencrypted = False
        self._codecs = codecs
        self._listener = listener
        self._sockets = rtp
        self._stream: RtpStream | None = None
        self._confirmed = False
        self._hung_up = False
        self._hanging_up = False
        self._over = False
        self._rtp = RtpCounters()
        self._arrivals = Arrivals()
        self._negotiated: Negotiated | None = None
        self._other_codec: OtherCodec | None = None
        self._switching = False
        self._dtmf: Dtmf = "auto"
        self._takes_events = False
        self._audio_index = self._heard = 0
        self._keys = ReceivedKeys()
        self._unusable = ""

    def attach(self, listener: LegListener) -> None:
        """Tell ``listener`` from now on."""
        self._listener = listener

    def dial(
        self,
        to: str,
        *,
        sip_call_id: str,
        from_: str,
        request_uri: str,
        headers: Iterable[tuple[str, str]],
        dtmf: Dtmf = "auto",
    ) -> None:
        """Send the INVITE. Raises ``SipError`` when PJSIP refuses; then the listener hears nothing."""
        self._dtmf = dtmf
        options = pj.CallOpParam(True)
        options.opt.customCallId = sip_call_id
        options.opt.videoCount = 0
        options.txOption.localUri = from_
        options.txOption.targetUri = request_uri
        for header in sip_headers(headers):
            options.txOption.headers.append(header)
        try:
            self._sockets.reserve()
            self.makeCall(to, options)
        except pj.Error as error:
            self._not_dialled()
            raise SipError(error.reason) from None
        except SipError:
            self._not_dialled()
            raise

    def _not_dialled(self) -> None:
        self._over = True
        self._sockets.close()

    def respond(self, code: int) -> None:
        """Answer an incoming call with a provisional or final status; harmless when the caller has given up."""
        options = pj.CallOpParam(True)
        options.statusCode = code
        try:
            self.answer(options)
        except pj.Error as error:
            log.info("answer %d refused by PJSIP: %s", code, error.reason)

    def hang_up(self, code: int = 0) -> None:
        """CANCEL, BYE, or refuse an incoming call with ``code``; harmless when the leg is over."""
        if self._over or (self._hung_up and not self._confirmed):
            return
        self._hung_up = True
        options = pj.CallOpParam()
        options.statusCode = code
        self._hanging_up = True
        try:
            self.hangup(options)
        except pj.Error as error:
            log.info("hang-up refused by PJSIP: %s", error.reason)
        finally:
            self._hanging_up = False

    def offer_again(self) -> None:
        """Send a re-INVITE (RFC 3261 §14.1). Raises ``SipError``."""
        try:
            self.reinvite(pj.CallOpParam(True))
        except pj.Error as error:
            raise SipError(error.reason) from None

    def tell_gone(self) -> None:
        """The far end has confirmed, or will not any more."""
        self._listener.on_gone()

    def press(self, digit: str, duration_ms: int) -> None:
        """Send a key for ``duration_ms``; raises ``SipError``. RTP events take the place of audio frames (RFC 4733)."""
        if self._stream is None:
            raise SipError("the far end has put the call on hold")
        by_info = self._dtmf == "info" or (self._dtmf == "auto" and not self._takes_events)
        if not by_info and not self._stream.sends:
            raise SipError("the far end has put the call on hold")
        options = pj.CallSendDtmfParam()
        options.method = pj.PJSUA_DTMF_METHOD_SIP_INFO if by_info else pj.PJSUA_DTMF_METHOD_RFC2833
        options.digits, options.duration = digit, duration_ms
        try:
            self.sendDtmf(options)
        except pj.Error as error:
            raise SipError(error.reason) from None
        if not by_info:
            self._stream.carry_event(duration_ms)

    @_shielded
    def onCreateMediaTransport(self, prm: pj.OnCreateMediaTransportParam) -> None:
        self._sockets.carry(prm)

    @_shielded
    def onCallSdpCreated(self, prm: pj.OnCallSdpCreatedParam) -> None:
        sdp = with_codecs(prm.sdp.wholeSdp, self._codecs)
        prm.sdp.wholeSdp = sdp if prm.remSdp.wholeSdp else offer_events_as_101(sdp)

    @_shielded
    def onDtmfEvent(self, prm: pj.OnDtmfEventParam) -> None:
        if prm.method != pj.PJSUA_DTMF_METHOD_RFC2833:
            return
        # PJMEDIA divides by the codec's rate, and RTP's clock is 8,000 Hz with G.722 too (RFC 3551 §4.5.2).
        scale = self._stream.rate_hz // 8_000 if self._stream is not None else 1
        begins = self._keys.event(
            prm.digit,
            at_ms=prm.timestamp * scale,
            duration_ms=prm.duration * scale,
            longer=bool(prm.flags & _EVENT_IS_UPDATE),
            end=bool(prm.flags & _EVENT_IS_END),
            now_s=time.monotonic(),
        )
        if begins and prm.digit in DIGITS:  # not a flash (event 16)
            self._listener.on_digit(prm.digit)

    @_shielded
    def onCallTsxState(self, prm: pj.OnCallTsxStateParam) -> None:
        request = received_message(prm.e)
        self._note_answer(request)
        if request:
            self._sockets.heard(request)
        if request.startswith("SIP/2.0 100 "):
            # It is no call state of PJSIP's, but it says that somebody is there.
            self._listener.on_progress(100, "Trying")
        # PJSIP reads application/dtmf-relay alone, and only the first character of its signal.
        digit = info_digit(request)
        if digit is None:
            return
        if "dtmf-relay" not in request.lower():  # that one PJSIP answers
            accept_in_dialog(int(prm.e.body.tsxState.src.rdata.pjRxData))
        if self._keys.info(digit, now_s=time.monotonic()):
            self._listener.on_digit(digit)

    @_shielded
    def onCallState(self, prm: pj.OnCallStateParam) -> None:
        info = self.getInfo()
        self._note_dialog(prm.e)
        text = received_message(prm.e)
        self._note_answer(text)
        if self._srtp_required and info.state in (pj.PJSIP_INV_STATE_EARLY, pj.PJSIP_INV_STATE_CONNECTING):
            answer = parsed(text)
            if isinstance(answer, Response) and has_plain_audio(answer.body):
                self._unencrypted = True  # PJSIP has opened no stream, and ends the call
        if info.state == pj.PJSIP_INV_STATE_EARLY:
            self._listener.on_progress(info.lastStatusCode, info.lastReason)
        elif info.state == pj.PJSIP_INV_STATE_CONFIRMED:
            if all(media.status in _NO_MEDIA for media in info.media):
                return  # the answer has no codec of ours, and PJSIP has sent BYE
            self._confirmed = True
            if self._hung_up:
                # RFC 3261 §15.1.1: the 200 crossed our CANCEL. It is ACKed; BYE follows.
                self.hang_up()
                return
            if self._unencrypted:
                self.hang_up()
                return
            self._sockets.answered()
            self._listener.on_answered(self._codec(info))
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self._finish(info, prm.e)

    @_shielded
    def onCallRxOffer(self, prm: pj.OnCallRxOfferParam) -> None:
        if not has_codec(prm.offer.wholeSdp, self._codecs):
            prm.statusCode = 488  # PJSIP would say 500

    def onCallRedirected(self, prm: pj.OnCallRedirectedParam) -> int:
        return pj.PJSIP_REDIRECT_REJECT  # the edge follows redirects

    @_shielded
    def onStreamCreated(self, prm: pj.OnStreamCreatedParam) -> None:
        info = self.getStreamInfo(prm.streamIdx)
        codec = info.audCodecParam
        rate_hz = codec.info.clockRate
        frames = codec.setting.frmPerPkt
        samples = rate_hz * codec.info.frameLen * frames // 1000
        sends = bool(info.dir & pj.PJMEDIA_DIR_ENCODING)
        self._stream = RtpStream(
            int(prm.stream),
            rate_hz=rate_hz,
            samples=samples,
            codec_frames=frames,
            sends=sends,
            on_starved=self._follow_codec,
        )
        self._audio_index = prm.streamIdx
        self._heard = 0
        if not self._switching:
            self._other_codec = None
        self._takes_events = info.audTxEventPt > 0
        self._sockets.negotiated(prm.streamIdx, info.remoteRtpAddress)
        self._listener.on_media(self._stream)

    @_shielded
    def onStreamDestroyed(self, prm: pj.OnStreamDestroyedParam) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        conference_bridge().stream_ended()
        self._sockets.stream_ended(prm.streamIdx)
        self._listener.on_media(None)
        self._rtp.add(self.getStreamStat(prm.streamIdx))

    @property
    def received(self) -> int | None:
        if self._over:
            return None
        info = self.getInfo()  # by name: what is inside it goes with it
        for media in info.media:
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                stat = self.getStreamStat(media.index)
                heard = self._stream.heard if self._stream is not None else 0
                return self._arrivals.update(received(stat), heard=heard, reports=stat.rtcp.txStat.updateCount)
        return None

    def _note_dialog(self, event: pj.SipEvent) -> None:
        if self._negotiated is None and received_message(event):
            dialog = dialog_of(int(event.body.tsxState.src.rdata.pjRxData))
            self._negotiated = Negotiated(dialog) if dialog else None

    def _refused(self, message: Message | None) -> Outcome | None:
        if self._unusable and not self._confirmed and not self._hung_up:
            return unusable_answer(self._unusable)
        return NOT_ENCRYPTED if self._unencrypted else unreached_by(message)

    def _note_answer(self, text: str) -> None:
        if UNUSABLE in text and (answer := parsed(text)) is not None:
            self._unusable = answer.first(UNUSABLE) or ""

    def _follow_codec(self) -> None:
        """Nothing is heard: decode another codec of the answer if that is what the far end sends."""
        stream = self._stream
        if self._negotiated is None or stream is None or self._over or self._hung_up:
            return
        if self._other_codec is None:
            codecs = self._negotiated.codecs(self._codecs)
            decoded = str(self.getStreamInfo(self._audio_index).codecName)
            if decoded not in codecs:
                return  # something else is just being negotiated
            self._other_codec = OtherCodec([decoded, *(one for one in codecs if one != decoded)])
        heard, self._heard = stream.heard > self._heard, stream.heard
        codec = self._other_codec.unheard(received(self.getStreamStat(self._audio_index)), heard=heard)
        if codec is None:
            return
        self._switching = True
        try:
            done = self._negotiated.switch(self.getId(), codec)
        finally:
            self._switching = False
        if not done:
            self._other_codec = None  # it is looked at again
            return
        log.info("the far end may be sending another codec of its answer codec=%s", codec)

    def _codec(self, info: pj.CallInfo) -> str:
        for media in info.media:
            if media.type == pj.PJMEDIA_TYPE_AUDIO and self._stream is not None:
                return str(self.getStreamInfo(media.index).codecName)
        return ""

    def _finish(self, info: pj.CallInfo, event: pj.SipEvent) -> None:
        self._over = True
        self._sockets.close()
        text = received_message(event)
        message = parsed(text)
        # What ends a call from here is the response to our BYE, PJSIP's own included.
        by_remote = bool(text) and not (text.startswith("SIP/2.0") and event.body.tsxState.tsx.method == "BYE")
        # PJSIP tells the end of a leg from inside `hangup`, though CANCEL or BYE still wait for their answers; before
        # any response CANCEL itself waits (RFC 3261 §9.1), for up to 32 s.
        keep(self, lingering=self._hanging_up)
        self._listener.on_ended(
            LegEnd(
                sip_code=info.lastStatusCode,
                sip_reason=info.lastReason,
                q850=q850_cause(message.all("Reason") if message else ()),
                retry_after_s=retry_after_s((message and message.first("Retry-After")) or ""),
                by_remote=by_remote,
                confirmed=self._confirmed,
                lingering=self._hanging_up,
                rtp=self._rtp.total,
                refused=self._refused(message),
            )
        )


def sip_headers(fields: Iterable[tuple[str, str]]) -> list[pj.SipHeader]:
    """Header fields as PJSUA takes them."""
    headers = []
    for name, value in fields:
        header = pj.SipHeader()
        header.hName, header.hValue = name, value
        headers.append(header)
    return headers


def received_message(event: pj.SipEvent) -> str:
    """The SIP message that caused a transaction event, or an empty text when none did (time-out, transport error)."""
    if event.type != pj.PJSIP_EVENT_TSX_STATE or event.body.tsxState.type != pj.PJSIP_EVENT_RX_MSG:
        return ""
    return str(event.body.tsxState.src.rdata.wholeMsg)


def unreached_by(message: Message | None) -> Outcome | None:
    """Why the edge could not send the request that ``message`` answers; None for a far end's message."""
    failure = message.first(FAILURE) if message is not None else None
    return unreached(**json.loads(failure)) if failure else None
