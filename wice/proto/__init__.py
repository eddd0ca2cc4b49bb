"""Wire formats as protobuf, and the code generated from them by ``make proto``."""
