-- Views over readings of many kinds. {views} is the schema of the views, {schema} that of the tables; am.tenant and am.user_id say whose
-- rows are seen, and who does not say it sees none.

CREATE OR REPLACE VIEW {views}.sensor_readings WITH (security_barrier) AS
SELECT st.device AS device_id, r.at AS recorded_at, k.reading_type,
  {views}.payload_json(k.field, {views}.payload(r.body, k.field)) AS data, {views}.metadata(r.body) AS metadata,
  {views}.trace_id(r.body, (SELECT b.traceparent FROM {schema}.ingest AS b WHERE b.batch = r.batch)) AS trace_id
FROM {schema}.reading AS r
JOIN {schema}.stream AS st ON st.id = r.stream
JOIN {views}.kinds AS k ON k.topic = st.topic
WHERE st.scope = {mine} AND r.flags & 4 = 0;

-- Every number that rollups count, in the unit of its kind; vital signs by their code, in the unit in which they were sent.
CREATE OR REPLACE VIEW {views}.readings WITH (security_barrier) AS
SELECT r.at AS time, current_setting('am.tenant', true) AS tenant_id, current_setting('am.user_id', true) AS user_id,
  st.device AS device_id, k.reading_type, r.value, k.unit, {views}.quality(r.body) AS quality, {views}.metadata(r.body) AS metadata
FROM {schema}.reading AS r
JOIN {schema}.stream AS st ON st.id = r.stream
JOIN {views}.kinds AS k ON k.topic = st.topic
WHERE st.scope = {mine} AND r.flags & 4 = 0 AND r.value IS NOT NULL
UNION ALL
SELECT r.at, current_setting('am.tenant', true), current_setting('am.user_id', true), st.device, p.j ->> 'code',
  coalesce((p.j ->> 'value')::double precision, 0), coalesce(nullif(p.j ->> 'unit', ''), {views}.vital_unit(p.j ->> 'code')),
  {views}.quality(r.body), {views}.metadata(r.body)
FROM {schema}.reading AS r
JOIN {schema}.stream AS st ON st.id = r.stream
CROSS JOIN LATERAL (SELECT {views}.json_quantity({views}.payload(r.body, 21)) AS j OFFSET 0) AS p
WHERE st.topic = 'device.health.vitals.raw' AND st.scope = {mine} AND r.flags & 4 = 0;

-- What was noticed: alerts, predictions, unusual use, significant motion.
CREATE OR REPLACE VIEW {views}.events WITH (security_barrier) AS
SELECT r.at AS time, current_setting('am.tenant', true) AS tenant_id, current_setting('am.user_id', true) AS user_id,
  k.reading_type AS event_type, lower(regexp_replace(p.j ->> 'severity', '^SEVERITY_', '')) AS severity,
  coalesce((p.j ->> 'confidence')::real, (p.j ->> 'score')::real) AS confidence, p.j AS data, NULL::timestamptz AS acknowledged_at
FROM {schema}.reading AS r
JOIN {schema}.stream AS st ON st.id = r.stream
JOIN {views}.kinds AS k ON k.topic = st.topic AND k.is_event
CROSS JOIN LATERAL (SELECT {views}.payload_json(k.field, {views}.payload(r.body, k.field)) AS j OFFSET 0) AS p
WHERE st.scope = {mine} AND r.flags & 4 = 0;

-- Five minutes of heart rate: what was summed up, and the readings since.
CREATE OR REPLACE VIEW {views}.heart_rate_stats WITH (security_barrier) AS
SELECT device_id, bucket, sum(total) / sum(n) AS avg_bpm, min(least)::int AS min_bpm, max(most)::int AS max_bpm, sum(n)::bigint AS reading_count
FROM (
  SELECT st.device AS device_id, to_timestamp(ro.bucket * 300) AS bucket, ro.sum AS total, ro.min AS least, ro.max AS most, ro.count AS n
  FROM {schema}.rollup AS ro JOIN {schema}.stream AS st ON st.id = ro.stream
  WHERE ro.width = 1 AND st.topic = 'device.health.heartrate.raw' AND st.scope = {mine}
  UNION ALL
  SELECT st.device, date_bin('5 minutes', r.at, 'epoch'), r.value, r.value, r.value, 1
  FROM {schema}.reading AS r JOIN {schema}.stream AS st ON st.id = r.stream
  WHERE r.seq > (SELECT upto FROM {schema}.projection WHERE name = 'rollup') AND r.value IS NOT NULL AND r.flags & 4 = 0
    AND st.topic = 'device.health.heartrate.raw' AND st.scope = {mine}
) AS parts
GROUP BY device_id, bucket;

-- An hour of every number, over all devices. The spread joins that of the parts (Chan, Golub and LeVeque, 1979).
CREATE OR REPLACE VIEW {views}.readings_hourly WITH (security_barrier) AS
SELECT bucket, current_setting('am.tenant', true) AS tenant_id, current_setting('am.user_id', true) AS user_id, reading_type,
  sum(total) / sum(n) AS avg_value, min(least) AS min_value, max(most) AS max_value,
  CASE WHEN sum(n) < 2 THEN 0
       ELSE sqrt(greatest(sum(m2) + sum(total * total / n) - sum(total) * sum(total) / sum(n)::double precision, 0) / (sum(n) - 1)::double precision)
  END AS stddev_value,
  sum(n)::bigint AS count
FROM (
  SELECT to_timestamp(ro.bucket * 3600) AS bucket, k.reading_type, ro.sum AS total, ro.min AS least, ro.max AS most, ro.m2, ro.count AS n
  FROM {schema}.rollup AS ro JOIN {schema}.stream AS st ON st.id = ro.stream JOIN {views}.kinds AS k ON k.topic = st.topic
  WHERE ro.width = 2 AND st.scope = {mine}
  UNION ALL
  SELECT date_bin('1 hour', r.at, 'epoch'), k.reading_type, r.value, r.value, r.value, 0, 1
  FROM {schema}.reading AS r JOIN {schema}.stream AS st ON st.id = r.stream JOIN {views}.kinds AS k ON k.topic = st.topic
  WHERE r.seq > (SELECT upto FROM {schema}.projection WHERE name = 'rollup') AND r.value IS NOT NULL AND r.flags & 4 = 0
    AND st.scope = {mine}
) AS parts
GROUP BY bucket, reading_type;
