"""A record on its way to the database, or into a file beside it."""

from __future__ import annotations

import logging
from dataclasses import replace

from arbstr.ledger.row_mapping import RowValues, facet_key, row_of, storable
from arbstr.types import RequestRecord, value_object

logger = logging.getLogger(__name__)

INTERRUPTED_STATUS = 500  # arbstr's own fault, not the provider's
INTERRUPTED = "interrupted: arbstr stopped before the answer had ended"


@value_object
class PendingRow:
    """A record on its way to the database; not `final` is an open row."""

    record: RequestRecord
    final: bool


def row_beside(pending: PendingRow) -> RowValues | None:
    """A row as it is put aside, one that has not ended as interrupted; None if it can't be stored at all."""
    record = pending.record
    if not pending.final:
        record = replace(record, success=False, error_status=INTERRUPTED_STATUS, error_message=INTERRUPTED)
    try:
        record = storable(record)
        return row_of(record, facet_key(record), 0, None, 0)
    except (TypeError, ValueError, AttributeError):
        logger.exception("could not store the row of request %s; it is lost", record.request_id)
        return None
