-- What was seen in all source files, and what was lost: one row.
SELECT count(*) AS files, coalesce(sum(images_seen), 0) AS images, coalesce(sum(no_text), 0) AS no_text,
       coalesce(sum(no_url), 0) AS no_url, coalesce(sum(data_uri), 0) AS data_uri,
       coalesce(sum(damaged_records), 0) AS damaged, coalesce(sum(lost_bytes), 0) AS lost
FROM sources
