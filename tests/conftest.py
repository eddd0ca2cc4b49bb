from hypothesis import settings

# The machine is shared and slow at times: no test may fail by the wall clock.
settings.register_profile("wice", deadline=None)
settings.load_profile("wice")
