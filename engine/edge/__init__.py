"""What runs in the edge process, the only one with SIP sockets: asyncio, without PJSIP, calls or the store."""
