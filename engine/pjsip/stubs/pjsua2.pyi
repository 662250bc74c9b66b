"""The part of PJSIP 2.15's pjsua2 binding that Trunkline uses."""

from collections.abc import Iterator
from types import ModuleType
from typing import Generic, TypeVar

_T = TypeVar("_T")

_pjsua2: ModuleType

PJMEDIA_SRTP_DISABLED: int
PJMEDIA_SRTP_OPTIONAL: int
PJMEDIA_SRTP_MANDATORY: int
PJMEDIA_SRTP_KEYING_SDES: int
PJSIP_INV_STATE_EARLY: int
PJSIP_INV_STATE_CONNECTING: int
PJSIP_INV_STATE_CONFIRMED: int
PJSIP_INV_STATE_DISCONNECTED: int
PJSIP_EVENT_TSX_STATE: int
PJSIP_EVENT_RX_MSG: int
PJSIP_EVENT_TIMER: int
PJMEDIA_TYPE_AUDIO: int
PJMEDIA_DIR_ENCODING: int
PJSUA_CALL_MEDIA_NONE: int
PJSUA_INVALID_ID: int
PJSUA_DTMF_METHOD_RFC2833: int
PJSUA_DTMF_METHOD_SIP_INFO: int
PJSUA_CALL_MEDIA_ACTIVE: int
PJSUA_CALL_MEDIA_ERROR: int
PJSUA_100REL_OPTIONAL: int
PJSUA_100REL_MANDATORY: int
PJSUA_SIP_TIMER_INACTIVE: int
PJSUA_SIP_TIMER_OPTIONAL: int
PJSUA_SIP_TIMER_REQUIRED: int
PJSUA_SIP_TIMER_ALWAYS: int
PJSIP_REDIRECT_REJECT: int

class Error(Exception):
    status: int
    title: str
    reason: str

class _Vector(Generic[_T]):
    def append(self, item: _T) -> None: ...
    def __iter__(self) -> Iterator[_T]: ...
    def __len__(self) -> int: ...

class LogConfig:
    level: int
    consoleLevel: int

class UaConfig:
    maxCalls: int
    threadCnt: int
    mainThreadOnly: bool
    userAgent: str
    natTypeInSdp: int

class _Pointer:
    def __int__(self) -> int: ...
    def disown(self) -> None: ...

class MediaConfig:
    clockRate: int
    sndClockRate: int
    hasIoqueue: bool
    threadCnt: int
    noVad: bool
    ecTailLen: int
    jbInit: int
    jbMinPre: int
    jbMaxPre: int
    jbMax: int
    jbDiscardAlgo: _Pointer | int

class EpConfig:
    logConfig: LogConfig
    uaConfig: UaConfig
    medConfig: MediaConfig

class TransportConfig:
    boundAddress: str

class CodecInfo:
    codecId: str

class AudDevManager:
    def setNoDev(self) -> object: ...

class Endpoint:
    def libCreate(self) -> None: ...
    def libInit(self, config: EpConfig) -> None: ...
    def libStart(self) -> None: ...
    def libHandleEvents(self, timeout_ms: int) -> int: ...
    def audDevManager(self) -> AudDevManager: ...
    def codecEnum2(self) -> _Vector[CodecInfo]: ...
    def codecSetPriority(self, codec_id: str, priority: int) -> None: ...

class AccountRegConfig:
    registrarUri: str
    headers: _Vector[SipHeader]
    timeoutSec: int
    retryIntervalSec: int
    firstRetryIntervalSec: int
    registerOnAdd: bool

class AccountSipConfig:
    transportId: int
    proxies: _Vector[str]

class SrtpCrypto:
    name: str

class SrtpOpt:
    cryptos: _Vector[SrtpCrypto]
    keyings: _Vector[int]

class AccountMediaConfig:
    srtpUse: int
    srtpSecureSignaling: int
    srtpOpt: SrtpOpt
    transportConfig: TransportConfig
    lockCodecEnabled: bool
    useLoopMedTp: bool

class AccountCallConfig:
    prackUse: int
    timerUse: int
    timerSessExpiresSec: int

class AccountNatConfig:
    sipOutboundUse: int

class AccountConfig:
    idUri: str
    regConfig: AccountRegConfig
    sipConfig: AccountSipConfig
    natConfig: AccountNatConfig
    callConfig: AccountCallConfig
    mediaConfig: AccountMediaConfig

class OnIncomingCallParam:
    callId: int

class OnRegStateParam:
    code: int
    reason: str
    expiration: int
    rdata: SipRxData

class SendRequestParam:
    method: str
    txOption: SipTxOption

class OnSendRequestParam:
    e: SipEvent

class Account:
    def create(self, config: AccountConfig, make_default: bool = ...) -> None: ...
    def shutdown(self) -> None: ...
    def setRegistration(self, renew: bool) -> None: ...
    def sendRequest(self, prm: SendRequestParam) -> None: ...
    def onIncomingCall(self, prm: OnIncomingCallParam) -> None: ...
    def onRegState(self, prm: OnRegStateParam) -> None: ...
    def onSendRequest(self, prm: OnSendRequestParam) -> None: ...

class SipHeader:
    hName: str
    hValue: str

class SipTxOption:
    targetUri: str
    localUri: str
    headers: _Vector[SipHeader]

class CallSetting:
    customCallId: str
    videoCount: int

class CallOpParam:
    statusCode: int
    opt: CallSetting
    txOption: SipTxOption
    def __init__(self, use_default_setting: bool = ...) -> None: ...

class CallMediaInfo:
    index: int
    type: int
    status: int

class CallInfo:
    state: int
    lastStatusCode: int
    lastReason: str
    localUri: str
    media: _Vector[CallMediaInfo]

class CodecParamInfo:
    clockRate: int
    frameLen: int

class CodecParamSetting:
    frmPerPkt: int

class CodecParam:
    info: CodecParamInfo
    setting: CodecParamSetting

class StreamInfo:
    codecName: str
    audCodecParam: CodecParam
    audTxEventPt: int
    dir: int
    remoteRtpAddress: str

class MathStat:
    max: int
    mean: int

class RtcpStreamStat:
    pkt: int
    updateCount: int
    loss: int
    discard: int
    bytes: int
    reorder: int
    dup: int
    jitterUsec: MathStat

class RtcpStat:
    txStat: RtcpStreamStat
    rxStat: RtcpStreamStat

class JbufState:
    empty: int

class StreamStat:
    rtcp: RtcpStat
    jbuf: JbufState

class SipRxData:
    wholeMsg: str
    pjRxData: int

class TsxStateEventSrc:
    rdata: SipRxData

class SipTransaction:
    method: str
    statusCode: int
    statusText: str

class TsxStateEvent:
    type: int
    src: TsxStateEventSrc
    tsx: SipTransaction

class SipEventBody:
    tsxState: TsxStateEvent

class SipEvent:
    type: int
    body: SipEventBody

class OnCallStateParam:
    e: SipEvent

class OnCallTsxStateParam:
    e: SipEvent

class OnCallRedirectedParam: ...

class OnStreamCreatedParam:
    stream: int
    streamIdx: int

class OnStreamDestroyedParam:
    streamIdx: int

class SdpSession:
    wholeSdp: str

class OnCallRxOfferParam:
    offer: SdpSession
    statusCode: int

class OnCallSdpCreatedParam:
    sdp: SdpSession
    remSdp: SdpSession

class OnDtmfEventParam:
    method: int
    timestamp: int
    digit: str
    duration: int
    flags: int

class CallSendDtmfParam:
    method: int
    duration: int
    digits: str

class OnCreateMediaTransportParam:
    this: _Pointer
    mediaIdx: int
    mediaTp: _Pointer
    flags: int

class Call:
    def __init__(self, account: Account, call_id: int = ...) -> None: ...
    def makeCall(self, destination: str, prm: CallOpParam) -> None: ...
    def answer(self, prm: CallOpParam) -> None: ...
    def hangup(self, prm: CallOpParam) -> None: ...
    def reinvite(self, prm: CallOpParam) -> None: ...
    def sendDtmf(self, prm: CallSendDtmfParam) -> None: ...
    def isActive(self) -> bool: ...
    def getId(self) -> int: ...
    def getInfo(self) -> CallInfo: ...
    def getStreamInfo(self, index: int) -> StreamInfo: ...
    def getStreamStat(self, index: int) -> StreamStat: ...
    def onCallState(self, prm: OnCallStateParam) -> None: ...
    def onCallTsxState(self, prm: OnCallTsxStateParam) -> None: ...
    def onCallSdpCreated(self, prm: OnCallSdpCreatedParam) -> None: ...
    def onDtmfEvent(self, prm: OnDtmfEventParam) -> None: ...
    def onCallRxOffer(self, prm: OnCallRxOfferParam) -> None: ...
    def onCreateMediaTransport(self, prm: OnCreateMediaTransportParam) -> None: ...
    def onCallRedirected(self, prm: OnCallRedirectedParam) -> int: ...
    def onStreamCreated(self, prm: OnStreamCreatedParam) -> None: ...
    def onStreamDestroyed(self, prm: OnStreamDestroyedParam) -> None: ...
