"""The SIP user agent on PJSIP: the only package that imports pjsua2. No PJSIP object leaves it."""
