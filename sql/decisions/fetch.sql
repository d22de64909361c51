-- fetch: pairs whose image could not be had.
-- rows: row, url. images: url, origin, outcome ('ok' or a reason of this stage), status, final_url,
--   fetched_bytes, and what the owner asks: wish_signal, wish_value, wish_place.
SELECT
    rows.row,
    -- A URL without an outcome crashed or exhausted the worker that tried it.
    coalesce(images.outcome, 'quarantined') AS reason,
    CASE
        WHEN images.wish_signal IS NULL THEN json_object(
            'origin', images.origin,
            'status', images.status,
            'final_url', images.final_url,
            'fetched_bytes', images.fetched_bytes
        )
        ELSE json_object(
            'origin', images.origin,
            'status', images.status,
            'final_url', images.final_url,
            'fetched_bytes', images.fetched_bytes,
            'signal', images.wish_signal,
            'value', images.wish_value,
            'place', images.wish_place
        )
    END::VARCHAR AS evidence
FROM rows
LEFT JOIN images ON images.url = rows.url
WHERE images.outcome IS DISTINCT FROM 'ok'
ORDER BY rows.row
