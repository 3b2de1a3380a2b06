-- The archive as views of DuckDB, and questions to begin with.
--
-- Replace data/archive by what RECEIVER_ARCHIVE names.  Before s3://my-bucket/prefix is read, run
-- CREATE SECRET (TYPE s3, PROVIDER credential_chain);
--
-- In each engine `callbacks` are the lines and `entries` is the index, a small part of the bytes, so
-- ask it first.  `newest` is the newest callback of each provider's key, a valid
-- one if there is any.

-- The columns are typed because guessed types depend on what the files happen to hold.  A line of
-- JSON is limited to 16 MiB by default; results can be larger.
CREATE VIEW callbacks AS
FROM read_json(
    'data/archive/callbacks/**/*.jsonl.*',
    hive_types = {date: DATE, hour: INT},
    maximum_object_size = 1000000000,
    columns = {
        delivery_id: 'VARCHAR',
        provider: 'VARCHAR',
        kind: 'VARCHAR',
        origin: 'VARCHAR',
        task_id: 'VARCHAR',
        tag: 'VARCHAR',
        key: 'VARCHAR',
        status: 'VARCHAR',
        received_at: 'TIMESTAMP',
        method: 'VARCHAR',
        target: 'VARCHAR',
        headers: 'VARCHAR[][]',
        peer: 'VARCHAR',
        content_type: 'VARCHAR',
        body: 'VARCHAR',
        body_base64: 'VARCHAR',
        body_bytes: 'BIGINT',
        wire_bytes: 'BIGINT',
        wire_sha256: 'VARCHAR',
        invalid: 'VARCHAR',
        instance: 'VARCHAR'
    }
);

CREATE VIEW entries AS
FROM read_json(
    'data/archive/index/**/*.jsonl.gz',
    hive_types = {date: DATE, hour: INT},
    columns = {
        delivery_id: 'VARCHAR',
        provider: 'VARCHAR',
        kind: 'VARCHAR',
        origin: 'VARCHAR',
        task_id: 'VARCHAR',
        tag: 'VARCHAR',
        key: 'VARCHAR',
        status: 'VARCHAR',
        received_at: 'TIMESTAMP',
        body_bytes: 'BIGINT',
        invalid: 'VARCHAR',
        segment: 'VARCHAR',
        position: 'BIGINT',
        "of": 'BIGINT',
        object: 'VARCHAR',
        member_offset: 'BIGINT',
        member_bytes: 'BIGINT',
        line_offset: 'BIGINT',
        line_bytes: 'BIGINT'
    }
);

-- One without a key stands for itself; a valid one goes before any that is not.
CREATE VIEW newest AS
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
SELECT received_at::DATE AS day, provider, status, count(*) AS callbacks
FROM entries
GROUP BY ALL
ORDER BY ALL;

-- Values out of the newest results.  Conditions on date, provider and kind limit what is read;
-- `invalid IS NULL` leaves out bodies that strict parsers refuse.
SELECT
    task_id,
    body->>'$.tasks[0].status_code' AS code,
    body->>'$.tasks[0].data.tag' AS tag
FROM newest
WHERE date = '2026-11-21' AND kind = 'postback' AND invalid IS NULL
ORDER BY task_id
LIMIT 3;

-- Lines that have an entry in the index: all of them, or the archive is damaged.
SELECT count(*) AS lines, count(entries.delivery_id) AS lines_in_index
FROM callbacks
LEFT JOIN entries USING (delivery_id);
