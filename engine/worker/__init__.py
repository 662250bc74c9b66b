"""The code of workers and of the registrar process. All of it may use PJSIP; none of it may use the store."""
