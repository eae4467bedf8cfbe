-- What every envelope may say beside its payload.
CREATE OR REPLACE FUNCTION {views}.metadata(body bytea) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
  coalesce({views}.json_envelope(substr(body, 2)) -> 'metadata', '{}');

CREATE OR REPLACE FUNCTION {views}.quality(body bytea) RETURNS real LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
  coalesce(({views}.json_envelope(substr(body, 2)) ->> 'quality')::real, 1);

CREATE OR REPLACE FUNCTION {views}.ended_at(body bytea) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  RETURN {views}.instant({views}.bytes_at(body, 1, 6))::timestamptz;
END $$;

-- The trace-id of a traceparent, version 00.
CREATE OR REPLACE FUNCTION {views}.trace_id(body bytea, batch text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
  nullif(split_part(coalesce({views}.utf8({views}.bytes_at(body, 1, 16)), batch, ''), '-', 2), '');
