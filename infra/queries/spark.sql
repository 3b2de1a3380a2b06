-- The archive as views of Spark SQL, and questions to begin with.
--
-- Replace data/archive by what RECEIVER_ARCHIVE names; Spark calls a bucket s3a://my-bucket/prefix.
--
-- In each engine `callbacks` are the lines and `entries` is the index, a small part of the bytes, so
-- ask it first.  `newest` is the newest callback of each provider's key, a valid
-- one if there is any.

SET TIME ZONE 'UTC';

-- A string is limited to 20 million characters by default; results can be larger.
CREATE TEMPORARY VIEW callbacks (
    delivery_id STRING,
    provider STRING,
    kind STRING,
    origin STRING,
    task_id STRING,
    tag STRING,
    key STRING,
    status STRING,
    received_at TIMESTAMP,
    method STRING,
    target STRING,
    headers ARRAY<ARRAY<STRING>>,
    peer STRING,
    content_type STRING,
    body STRING,
    body_base64 STRING,
    body_bytes BIGINT,
    wire_bytes BIGINT,
    wire_sha256 STRING,
    invalid STRING,
    instance STRING,
    date DATE,
    hour INT
)
USING json
OPTIONS (path 'data/archive/callbacks', mode 'FAILFAST', maxStringLen '1000000000');

CREATE TEMPORARY VIEW entries (
    delivery_id STRING,
    provider STRING,
    kind STRING,
    origin STRING,
    task_id STRING,
    tag STRING,
    key STRING,
    status STRING,
    received_at TIMESTAMP,
    body_bytes BIGINT,
    invalid STRING,
    segment STRING,
    position BIGINT,
    of BIGINT,
    object STRING,
    member_offset BIGINT,
    member_bytes BIGINT,
    line_offset BIGINT,
    line_bytes BIGINT,
    date DATE,
    hour INT
)
USING json
OPTIONS (path 'data/archive/index', mode 'FAILFAST');

-- One without a key stands for itself; a valid one goes before any that is not.
CREATE TEMPORARY VIEW newest AS
SELECT *
FROM callbacks
WHERE delivery_id IN (
    SELECT delivery_id
    FROM entries
    QUALIFY key IS NULL OR row_number() OVER (
        PARTITION BY provider, key
        ORDER BY invalid IS NOT NULL, received_at DESC, delivery_id DESC
    ) = 1
);

-- Callbacks per day, provider and status, from the index alone.
SELECT to_date(received_at) AS day, provider, status, count(*) AS callbacks
FROM entries
GROUP BY ALL
ORDER BY ALL;

-- Values out of the newest results.  Conditions on date, provider and kind limit what is read;
-- `invalid IS NULL` leaves out bodies that strict parsers refuse.
SELECT
    task_id,
    get_json_object(body, '$.tasks[0].status_code') AS code,
    get_json_object(body, '$.tasks[0].data.tag') AS tag
FROM newest
WHERE date = '2026-11-21' AND kind = 'postback' AND invalid IS NULL
ORDER BY task_id
LIMIT 3;

-- Lines that have an entry in the index: all of them, or the archive is damaged.
SELECT count(*) AS lines, count(entries.delivery_id) AS lines_in_index
FROM callbacks
LEFT JOIN entries USING (delivery_id);
