"""The Ultravox client: its REST calls, and the WebSocket session of one call."""
