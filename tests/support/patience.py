"""How long tests wait for what must come: as long as the busiest machine may need. What comes at once costs nothing."""

PATIENCE_S = 40.0
SHORT_S = 0.3  # a timeout of arbstr's that is to run out: on a busy machine not before the request is sent
