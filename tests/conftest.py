import signal

from hypothesis import settings

# Who starts a job in the background has it ignore Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The machine is shared and slow at times: no test may fail by the wall clock.
settings.register_profile("wice", deadline=None)
settings.load_profile("wice")
