"""The composition root (`compose`), state kept over restarts (`persistence`), the process's limits (`process`)."""
