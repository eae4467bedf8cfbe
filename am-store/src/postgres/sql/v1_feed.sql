-- Numbers for the feed. A transaction draws the next k at once and leaves a mark until it ends, whichever way: a lock that shows in
-- pg_locks and that nobody waits for. The gate is held for the moment between reading the last number and leaving the mark.
CREATE FUNCTION {schema}.draw(k bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  gate CONSTANT int := ('{schema}.feed_number'::regclass::oid::bigint % 2147483647)::int;
  mark CONSTANT int := ('{schema}.feed'::regclass::oid::bigint % 2147483647)::int;
  before bigint;
  low bigint;
BEGIN
  PERFORM pg_advisory_lock(gate, 0);
  before := (SELECT last_value FROM {schema}.feed_number);
  low := before & 4294967295;
  PERFORM pg_advisory_xact_lock_shared(mark, (CASE WHEN low > 2147483647 THEN low - 4294967296 ELSE low END)::int);
  PERFORM setval('{schema}.feed_number', before + k);
  PERFORM pg_advisory_unlock(gate, 0);
  RETURN before;
EXCEPTION WHEN QUERY_CANCELED OR OTHERS THEN
  -- Whatever broke in, the gate does not stay shut; it belongs to the session, not to the transaction.
  IF EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND classid = gate::bigint::oid AND objsubid = 2) THEN
    PERFORM pg_advisory_unlock(gate, 0);
  END IF;
  RAISE;
END $$;

-- Everything up to this number is decided: stored and visible to the next statement, or never to come.
CREATE FUNCTION {schema}.horizon() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  mark CONSTANT oid := ('{schema}.feed'::regclass::oid::bigint % 2147483647)::oid;
  drawn bigint;
  open bigint;
BEGIN
  -- In this order: whoever drew before this has left its mark already.
  drawn := (SELECT last_value FROM {schema}.feed_number);
  open := (SELECT min(drawn + CASE WHEN d >= 2147483648 THEN d - 4294967296 ELSE d END)
           FROM (SELECT (objid::bigint - drawn) & 4294967295 AS d FROM pg_locks
                 WHERE locktype = 'advisory' AND classid = mark AND objsubid = 2
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS marks);
  RETURN least(drawn, coalesce(open, drawn));
END $$;

-- The newest place of the feed that can be read.
CREATE FUNCTION {schema}.head() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  upto CONSTANT bigint := {schema}.horizon();
BEGIN
  -- A statement of its own: it sees what was decided before it began.
  RETURN coalesce((SELECT hi FROM {schema}.feed WHERE lo <= upto ORDER BY lo DESC LIMIT 1), 0);
END $$;
