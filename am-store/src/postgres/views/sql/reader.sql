-- Reads protobuf's wire format. A stored body is a format byte and then fields; what breaks off ends the reading of it.
-- {views} is the schema of the views.

-- A varint from byte p on, and where it ends.
CREATE OR REPLACE FUNCTION {views}.varint(b bytea, p int, OUT v bigint, OUT q int) LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  x int;
  s int := 0;
BEGIN
  v := 0;
  q := p;
  WHILE q < length(b) AND s < 64 LOOP
    x := get_byte(b, q);
    q := q + 1;
    v := v | ((x & 127)::bigint << s);
    IF x < 128 THEN
      RETURN;
    END IF;
    s := s + 7;
  END LOOP;
  q := length(b) + 1;
END $$;

-- The bytes of a length-delimited field within b from byte p on; of several, the last. NULL when there is none.
CREATE OR REPLACE FUNCTION {views}.bytes_at(b bytea, p int, number int) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  n CONSTANT int := length(b);
  want CONSTANT bigint := (number::bigint << 3) | 2;
  found bytea;
  t bigint;
  v bigint;
BEGIN
  WHILE p < n LOOP
    t := get_byte(b, p);
    p := p + 1;
    IF t > 127 THEN
      SELECT f.v, f.q INTO t, p FROM {views}.varint(b, p - 1) AS f;
    END IF;
    CASE t & 7
      WHEN 0 THEN
        WHILE p < n AND get_byte(b, p) > 127 LOOP
          p := p + 1;
        END LOOP;
        p := p + 1;
      WHEN 1 THEN p := p + 8;
      WHEN 5 THEN p := p + 4;
      WHEN 2 THEN
        SELECT f.v, f.q INTO v, p FROM {views}.varint(b, p) AS f;
        IF v < 0 OR v > n - p THEN
          RETURN found;
        END IF;
        IF t = want THEN
          found := substr(b, p + 1, v::int);
        END IF;
        p := p + v::int;
      ELSE RETURN found;
    END CASE;
  END LOOP;
  RETURN found;
END $$;

-- The payload of a stored body, whose envelope has it in this field. NULL for a body of a format that SQL cannot read.
CREATE OR REPLACE FUNCTION {views}.payload(body bytea, number int) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF get_byte(body, 0) <> 0 THEN
    RETURN NULL;
  END IF;
  RETURN coalesce({views}.bytes_at(body, 1, number), '');
END $$;

-- Little-endian bytes as an integer.
CREATE OR REPLACE FUNCTION {views}.i32(b bytea) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
  (get_byte(b, 0)::bigint | (get_byte(b, 1)::bigint << 8) | (get_byte(b, 2)::bigint << 16) | (get_byte(b, 3)::bigint << 24));

CREATE OR REPLACE FUNCTION {views}.i64(b bytea) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
  ({views}.i32(b) | ({views}.i32(substr(b, 5)) << 32));

-- The low 32 bits, with their sign.
CREATE OR REPLACE FUNCTION {views}.signed32(v bigint) RETURNS int LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
  (CASE WHEN v & 4294967295 > 2147483647 THEN (v & 4294967295) - 4294967296 ELSE v & 4294967295 END)::int;

-- The number that 64 bits without a sign are.
CREATE OR REPLACE FUNCTION {views}.unsigned64(v bigint) RETURNS numeric LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
  CASE WHEN v < 0 THEN v::numeric + 18446744073709551616 ELSE v::numeric END;

CREATE OR REPLACE FUNCTION {views}.unzigzag(v bigint) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
  (((v >> 1) & 9223372036854775807) # -(v & 1));

-- IEEE 754, exact: a product with a power of two rounds nothing.
CREATE OR REPLACE FUNCTION {views}.f64(b bytea) RETURNS double precision LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  v CONSTANT bigint := {views}.i64(b);
  e CONSTANT int := ((v >> 52) & 2047)::int;
  f CONSTANT bigint := v & 4503599627370495;
  x double precision;
BEGIN
  IF e = 2047 THEN
    RETURN CASE WHEN f <> 0 THEN 'NaN' WHEN v < 0 THEN '-Infinity' ELSE 'Infinity' END::double precision;
  END IF;
  -- In two steps where one power alone would be below the least number.
  x := CASE WHEN e > 75 THEN (f | 4503599627370496) * power(2::double precision, e - 1075)
            WHEN e > 0 THEN (f | 4503599627370496) * power(2::double precision, -1000) * power(2::double precision, e - 75)
            ELSE f * power(2::double precision, -1000) * power(2::double precision, -74) END;
  RETURN CASE WHEN v < 0 THEN -x ELSE x END;
END $$;

CREATE OR REPLACE FUNCTION {views}.f32(b bytea) RETURNS real LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  v CONSTANT bigint := {views}.i32(b);
  e CONSTANT int := ((v >> 23) & 255)::int;
  f CONSTANT bigint := v & 8388607;
  x double precision;
BEGIN
  IF e = 255 THEN
    RETURN CASE WHEN f <> 0 THEN 'NaN' WHEN v > 2147483647 THEN '-Infinity' ELSE 'Infinity' END::real;
  END IF;
  x := CASE WHEN e = 0 THEN f * power(2::double precision, -149) ELSE (f | 8388608) * power(2::double precision, e - 150) END;
  RETURN CASE WHEN v > 2147483647 THEN -x ELSE x END::real;
END $$;

-- A text; NUL, which PostgreSQL cannot hold, becomes U+FFFD.
CREATE OR REPLACE FUNCTION {views}.utf8(b bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  i int := position('\x00'::bytea IN b);
BEGIN
  WHILE i > 0 LOOP
    b := overlay(b PLACING '\xefbfbd'::bytea FROM i FOR 1);
    i := position('\x00'::bytea IN b);
  END LOOP;
  RETURN convert_from(b, 'UTF8');
END $$;

CREATE OR REPLACE FUNCTION {views}.base64(b bytea) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
  replace(encode(b, 'base64'), chr(10), '');

-- A google.protobuf.Timestamp as RFC 3339 with 0, 3, 6 or 9 decimals, as in the canonical JSON.
CREATE OR REPLACE FUNCTION {views}.instant(b bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  p int := 0;
  seconds bigint := 0;
  nanos bigint := 0;
  t int;
  v bigint;
  decimals text := '';
BEGIN
  WHILE p < length(b) LOOP
    t := get_byte(b, p);
    SELECT f.v, f.q INTO v, p FROM {views}.varint(b, p + 1) AS f;
    CASE t WHEN 8 THEN seconds := v; WHEN 16 THEN nanos := v; ELSE EXIT; END CASE;
  END LOOP;
  IF nanos % 1000000 = 0 AND nanos > 0 THEN
    decimals := '.' || lpad((nanos / 1000000)::text, 3, '0');
  ELSIF nanos % 1000 = 0 AND nanos > 0 THEN
    decimals := '.' || lpad((nanos / 1000)::text, 6, '0');
  ELSIF nanos > 0 THEN
    decimals := '.' || lpad(nanos::text, 9, '0');
  END IF;
  RETURN to_char(to_timestamp(seconds) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || decimals || 'Z';
END $$;

-- One entry of a map of texts, as an object.
CREATE OR REPLACE FUNCTION {views}.entry(b bytea) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
  jsonb_build_object(coalesce({views}.utf8({views}.bytes_at(b, 0, 1)), ''), coalesce({views}.utf8({views}.bytes_at(b, 0, 2)), ''));

-- The numbers of a packed field.
CREATE OR REPLACE FUNCTION {views}.packed_varints(b bytea) RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  p int := 0;
  v bigint;
  found bigint[] := '{}';
BEGIN
  WHILE p < length(b) LOOP
    SELECT f.v, f.q INTO v, p FROM {views}.varint(b, p) AS f;
    EXIT WHEN p > length(b);
    found := array_append(found, v);
  END LOOP;
  RETURN found;
END $$;

CREATE OR REPLACE FUNCTION {views}.packed_fixed(b bytea, width int) RETURNS bytea[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
  coalesce((SELECT array_agg(substr(b, n * width + 1, width) ORDER BY n) FROM generate_series(0, length(b) / width - 1) AS n), '{}');
