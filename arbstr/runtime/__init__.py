"""The composition root (`compose`), start and end (`lifecycle`), state kept over restarts, limits of the process."""
