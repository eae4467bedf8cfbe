-- The second wall (P08). A session sees one person's rows: those of am.tenant and am.user_id; the program itself, which serves everybody
-- and asks with a scope in every question, says am.everyone for its own work and lays it down for each question of a person.
ALTER TABLE {schema}.scope ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.scope FORCE ROW LEVEL SECURITY;
CREATE POLICY wall ON {schema}.scope USING (
  (SELECT current_setting('am.everyone', true)) = 'on'
  OR (tenant_id = (SELECT current_setting('am.tenant', true)) AND user_id = (SELECT current_setting('am.user_id', true))));

DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['stream', 'ingest', 'tally', 'posting', 'dead_letter', 'key_value', 'device'] LOOP
    EXECUTE format('ALTER TABLE {schema}.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE {schema}.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY wall ON {schema}.%I USING ((SELECT current_setting(''am.everyone'', true)) = ''on'' '
      'OR scope IN (SELECT id FROM {schema}.scope))', t);
  END LOOP;
  FOREACH t IN ARRAY ARRAY['event', 'derived', 'lineage', 'reading_count'{wall_on_readings}] LOOP
    EXECUTE format('ALTER TABLE {schema}.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE {schema}.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY wall ON {schema}.%I USING ((SELECT current_setting(''am.everyone'', true)) = ''on'' '
      'OR stream IN (SELECT id FROM {schema}.stream))', t);
  END LOOP;
END $$;

ALTER TABLE {schema}.api_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.api_key FORCE ROW LEVEL SECURITY;
CREATE POLICY wall ON {schema}.api_key USING (
  (SELECT current_setting('am.everyone', true)) = 'on'
  OR (tenant_id = (SELECT current_setting('am.tenant', true)) AND user_id = (SELECT current_setting('am.user_id', true))));
ALTER TABLE {schema}.flow_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.flow_state FORCE ROW LEVEL SECURITY;
CREATE POLICY wall ON {schema}.flow_state USING ((SELECT current_setting('am.everyone', true)) = 'on');
