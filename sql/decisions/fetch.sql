-- fetch: pairs whose image could not be had, or whose page names a license that does not permit.
-- rows: row, url, page_url. licensed (one a pair): url, page_url, reason, signal, value, place. images: url, origin, outcome ('ok' or a reason of this stage), status, final_url,
--   fetched_bytes, and what the owner asks: wish_signal, wish_value, wish_place.
SELECT
    rows.row,
    -- A URL without an outcome crashed or exhausted the worker that tried it.
    coalesce(licensed.reason, images.outcome, 'quarantined') AS reason,
    CASE
        WHEN licensed.reason IS NOT NULL THEN json_object(
            'page_url', rows.page_url,
            'signal', licensed.signal,
            'value', licensed.value,
            'place', licensed.place
        )
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
LEFT JOIN licensed ON licensed.url = rows.url AND licensed.page_url = rows.page_url AND licensed.reason IS NOT NULL
WHERE licensed.reason IS NOT NULL OR images.outcome IS DISTINCT FROM 'ok'
ORDER BY rows.row
