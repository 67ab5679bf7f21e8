"""The servers that tests start themselves do what their names say."""

import pytest

from tests import postgres

TIMELINE = "SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"


@pytest.mark.long
def test_a_server_is_killed_copied_put_back_followed_and_promoted() -> None:
    with postgres.servers() as make:
        primary = make.new()
        primary.execute("CREATE TABLE kept AS SELECT 1 AS n")
        backup = primary.backup()
        primary.execute("UPDATE kept SET n = 2")
        primary.kill()
        primary.start()
        assert primary.fetch("SELECT n FROM kept") == 2
        primary.put_back(backup)
        assert (primary.fetch("SELECT n FROM kept"), primary.fetch(TIMELINE)) == (1, "00000001")
        primary.put_back(backup, new_timeline=True)
        assert (primary.fetch("SELECT n FROM kept"), primary.fetch(TIMELINE)) == (1, "00000002")
        standby = make.standby(primary)
        primary.execute("UPDATE kept SET n = 3")
        postgres.wait(lambda: standby.fetch("SELECT n FROM kept") == 3, "the standby has it")
        primary.kill()
        standby.promote()
        standby.execute("UPDATE kept SET n = n + 1")
        assert (standby.fetch("SELECT n FROM kept"), standby.fetch(TIMELINE)) == (4, "00000003")
