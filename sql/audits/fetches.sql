-- What fetching the images came to: outcomes by where they were fetched from, with images and megabytes.
SELECT origin, outcome, count(*) AS images, round(sum(fetched_bytes) / 1e6, 1) AS megabytes,
       coalesce(any_value(r.meaning), 'the image was accepted') AS meaning
FROM images LEFT JOIN reasons r ON r.reason = images.outcome
GROUP BY origin, outcome
ORDER BY images DESC, origin, outcome
