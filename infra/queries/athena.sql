-- The archive as tables of Amazon Athena (engine version 3), and questions to begin with.
--
-- Replace s3://my-bucket/callbacks by what RECEIVER_ARCHIVE names, and 2026-01-01 by the day of
-- the first callback, then run the statements one by one.  No crawler is needed and partitions are
-- never added: projection computes them from the layout, so a callback can be queried as soon as
-- it is archived.
--
-- In each engine `callbacks` are the lines and `entries` is the index, a small part of the bytes, so
-- ask it first.  `newest` is the newest callback of each provider's key, a valid
-- one if there is any.
--
-- Compression: Athena reads gzip and zstd text files, also side by side in one table
-- (https://docs.aws.amazon.com/athena/latest/ug/compression-support-hive.html).
--
-- SerDe: Hive's.  With that of OpenX, says the manual, results can have more or fewer rows than
-- the files (https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html), and its extras
-- (names with dots, ignoring malformed lines) are not wanted here: columns never vary, and a line
-- that cannot be read is damage that should be seen.
--
-- Limits: a row may hold 32 MB, and a line of a text file 200 MB
-- (https://docs.aws.amazon.com/athena/latest/ug/other-notable-limitations.html).  A query that
-- does not select `body` still reads the whole line.  Where larger results are expected, find them
-- by `body_bytes` in `entries`, and read them with `receiver show` or Spark.

CREATE DATABASE IF NOT EXISTS receiver;

-- `provider` and `kind` are columns of the lines as well; Hive wants each name once.
CREATE EXTERNAL TABLE receiver.callbacks (
    `delivery_id` string,
    `origin` string,
    `task_id` string,
    `tag` string,
    `key` string,
    `status` string,
    `received_at` string,
    `method` string,
    `target` string,
    `headers` array<array<string>>,
    `peer` string,
    `content_type` string,
    `body` string,
    `body_base64` string,
    `body_bytes` bigint,
    `wire_bytes` bigint,
    `wire_sha256` string,
    `invalid` string,
    `instance` string
)
PARTITIONED BY (`date` string, `hour` string, `provider` string, `kind` string)
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat'
OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 's3://my-bucket/callbacks/callbacks/'
TBLPROPERTIES (
    'projection.enabled' = 'true',
    'projection.date.type' = 'date',
    'projection.date.format' = 'yyyy-MM-dd',
    'projection.date.range' = '2026-01-01,NOW',
    'projection.hour.type' = 'integer',
    'projection.hour.range' = '0,23',
    'projection.hour.digits' = '2',
    'projection.provider.type' = 'enum',
    'projection.provider.values' = 'dataforseo,dataforapps,diffbot,outscraper',
    'projection.kind.type' = 'enum',
    'projection.kind.values' = 'postback,pingback,notification,webhook,result'
);

-- A segment's index is filed under the hour of its first callback, so `date` and `hour` here are
-- not always those of the callback itself.
CREATE EXTERNAL TABLE receiver.entries (
    `delivery_id` string,
    `provider` string,
    `kind` string,
    `origin` string,
    `task_id` string,
    `tag` string,
    `key` string,
    `status` string,
    `received_at` string,
    `body_bytes` bigint,
    `invalid` string,
    `segment` string,
    `position` bigint,
    `of` bigint,
    `object` string,
    `member_offset` bigint,
    `member_bytes` bigint,
    `line_offset` bigint,
    `line_bytes` bigint
)
PARTITIONED BY (`date` string, `hour` string)
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat'
OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 's3://my-bucket/callbacks/index/'
TBLPROPERTIES (
    'projection.enabled' = 'true',
    'projection.date.type' = 'date',
    'projection.date.format' = 'yyyy-MM-dd',
    'projection.date.range' = '2026-01-01,NOW',
    'projection.hour.type' = 'integer',
    'projection.hour.range' = '0,23',
    'projection.hour.digits' = '2'
);

-- One without a key stands for itself; a valid one goes before any that is not.  The index decides
-- which callback is the newest; conditions on date, hour, provider or kind only limit which bodies
-- are read.
CREATE OR REPLACE VIEW receiver.newest AS
SELECT *
FROM receiver.callbacks
WHERE delivery_id IN (
    SELECT delivery_id
    FROM (
        SELECT
            delivery_id,
            "key",
            row_number() OVER (
                PARTITION BY provider, "key"
                ORDER BY invalid IS NOT NULL, received_at DESC, delivery_id DESC
            ) AS age
        FROM receiver.entries
    )
    WHERE age = 1 OR "key" IS NULL
);

-- Callbacks per day, provider and status, from the index alone.
SELECT substr(received_at, 1, 10) AS day, provider, status, count(*) AS callbacks
FROM receiver.entries
WHERE "date" >= '2026-11-20'
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3;

-- Where a task's callbacks are, from the index alone.
SELECT received_at, provider, kind, status, "object", member_offset, member_bytes
FROM receiver.entries
WHERE task_id = '08141207-1535-0066-0000-5b1f0c9a7e21'
ORDER BY received_at;

-- Values out of the newest results.  A condition on each of the four partition columns reads least.
SELECT
    task_id,
    json_extract_scalar(body, '$.tasks[0].id') AS id_in_body,
    json_extract_scalar(body, '$.tasks[0].status_code') AS status_in_body
FROM receiver.newest
WHERE "date" = '2026-11-21' AND provider = 'dataforseo' AND kind = 'postback' AND invalid IS NULL;

-- Lines that have an entry in the index: all of them, or the archive is damaged.
SELECT count(*) AS lines, count(entries.delivery_id) AS lines_in_index
FROM receiver.callbacks AS callbacks
LEFT JOIN receiver.entries AS entries ON entries.delivery_id = callbacks.delivery_id
WHERE callbacks."date" = '2026-11-21';
