"""SIP as text and as numbers: URIs, SDP, causes, keys and timers, without PJSIP."""
