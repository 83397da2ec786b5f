"""One thread for the tests and the commands they start: small tensors gain nothing from more."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
