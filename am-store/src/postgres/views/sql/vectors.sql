-- The vectors of all models in one view; made anew whenever a model comes or goes.
CREATE OR REPLACE FUNCTION {schema}.renew_embeddings() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = {schema}, public, pg_temp AS $renew$
DECLARE
  parts text;
BEGIN
  SELECT string_agg(format(
    $part$SELECT md5(concat_ws('/', %1$L, v.stream, v.at, v.ns, v.id, v.part))::uuid AS id, v.id::text AS source_id,
      k.reading_type AS source_type, v.v::real[]::vector AS embedding, jsonb_build_object('model', %1$L, 'part', v.part,
      'device_id', st.device, 'recorded_at', v.at) AS metadata, v.created_at
    FROM {schema}.%2$I AS v JOIN {schema}.stream AS st ON st.id = v.stream JOIN {views}.kinds AS k ON k.topic = st.topic
    JOIN {schema}.reading AS r ON r.stream = v.stream AND r.at = v.at AND r.ns = v.ns AND r.id = v.id AND r.flags & 4 = 0
    WHERE v.scope = {mine}$part$, m.name, 'vector_' || m.id), ' UNION ALL ' ORDER BY m.id)
  INTO parts FROM vector_model AS m;
  EXECUTE 'CREATE OR REPLACE VIEW {views}.embeddings WITH (security_barrier) AS ' || coalesce(parts,
    'SELECT NULL::uuid AS id, NULL::text AS source_id, NULL::text AS source_type, NULL::real[]::vector AS embedding, '
    'NULL::jsonb AS metadata, NULL::timestamptz AS created_at WHERE false');
  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{reader}') THEN
    GRANT SELECT ON {views}.embeddings TO {reader};
  END IF;
END $renew$;
SELECT {schema}.renew_embeddings();

-- The readings most alike to a vector, in the model that is named: the one in meta under default_model, else the first.
CREATE OR REPLACE FUNCTION {views}.search_similar(query vector, limit_count int DEFAULT 10, model text DEFAULT NULL)
RETURNS TABLE (id uuid, source_id text, similarity double precision) LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = {schema}, public, pg_temp SET hnsw.iterative_scan = 'strict_order' SET hnsw.ef_search = 100 AS $$
DECLARE
  m vector_model;
  mine CONSTANT int := {mine};
  few boolean;
  distance text;
BEGIN
  SELECT v.* INTO m FROM vector_model AS v
  WHERE v.name = coalesce(model, (SELECT value FROM meta WHERE key = 'default_model'), v.name) ORDER BY v.id LIMIT 1;
  IF m.id IS NULL THEN
    RAISE EXCEPTION 'there is no model %', coalesce(model, '') USING ERRCODE = 'no_data_found';
  END IF;
  IF mine IS NULL THEN
    RETURN;
  END IF;
  EXECUTE format('SELECT count(*) < 5000 FROM (SELECT 1 FROM %I WHERE scope = $1 LIMIT 5000) AS n', 'vector_' || m.id) INTO few USING mine;
  distance := format(CASE WHEN m.dimensions <= 2000 THEN 'v.v %s $1' ELSE 'v.v::halfvec(%2$s) %1$s $1::halfvec(%2$s)' END,
    (ARRAY['<=>', '<#>', '<->'])[m.metric + 1], m.dimensions);
  -- Of a few, each is compared; an index would have to pass over those of everybody else.
  IF few THEN
    distance := '(' || distance || ') + 0';
  END IF;
  RETURN QUERY EXECUTE format(
    'SELECT md5(concat_ws(''/'', %L, v.stream, v.at, v.ns, v.id, v.part))::uuid, v.id::text, %s - (%s)::double precision '
    'FROM %I AS v WHERE v.scope = $2 AND EXISTS (SELECT 1 FROM reading AS r WHERE r.stream = v.stream AND r.at = v.at AND r.ns = v.ns '
    'AND r.id = v.id AND r.flags & 4 = 0) ORDER BY %s LIMIT $3',
    m.name, CASE WHEN m.metric = 0 THEN 1 ELSE 0 END, distance, 'vector_' || m.id, distance)
  USING query, mine, least(greatest(limit_count, 1), 1000);
END $$;
