from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import sqlite

from engine.store import schema

DELHI = timezone(timedelta(hours=5, minutes=30))


def test_time_is_kept_in_utc_to_the_microsecond() -> None:
    kept = schema.UtcTime().process_bind_param(datetime(2026, 3, 9, 17, 30, 0, 1, tzinfo=DELHI), sqlite.dialect())
    assert kept is not None
    assert kept.isoformat() == "2026-03-09T12:00:00.000001+00:00"


def test_time_comes_back_aware_from_a_database_without_zones_and_from_one_with() -> None:
    noon = datetime(2026, 3, 9, 12, tzinfo=UTC)
    for value in (noon.replace(tzinfo=None), noon.astimezone(DELHI)):
        result = schema.UtcTime().process_result_value(value, sqlite.dialect())
        assert result is not None
        assert result.isoformat() == noon.isoformat()


def test_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        schema.UtcTime().process_bind_param(datetime(2026, 3, 9), sqlite.dialect())
