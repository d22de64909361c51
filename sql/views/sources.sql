-- One row per source file: what was in it, what became candidates, and what did not and why.
SELECT archive AS file, max(type) AS type, sum(records)::BIGINT AS records,
       sum(not_sampled)::BIGINT AS not_sampled, sum(pages)::BIGINT AS pages,
       sum(simplified_pages)::BIGINT AS simplified_pages, arg_min(simplified_page, "start") AS simplified_page,
       sum(images_seen)::BIGINT AS images_seen, sum(candidates)::BIGINT AS candidates, sum(no_text)::BIGINT AS no_text,
       sum(no_url)::BIGINT AS no_url, sum(data_uri)::BIGINT AS data_uri,
       sum(untyped)::BIGINT AS untyped, sum(damaged_records)::BIGINT AS damaged_records,
       sum(lost_bytes)::BIGINT AS lost_bytes, string_agg(error, '; ') FILTER (WHERE error IS NOT NULL) AS error
FROM _sources
GROUP BY archive
ORDER BY archive
