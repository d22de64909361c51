-- What fetching the images came to: outcomes by where they were fetched from, with images and megabytes.
-- column origin: Where the bytes are from: http, archive, or adopted from img2dataset.
-- column outcome: What became of it: kept, or the stage and reason that dropped it.
-- column images: How many images, by their addresses.
-- column megabytes: Bytes of the bodies as fetched, in millions.
-- column meaning: What the reason means.
SELECT origin, outcome, count(*) AS images, round(sum(fetched_bytes) / 1e6, 1) AS megabytes,
       coalesce(any_value(r.meaning), 'the image was accepted') AS meaning
FROM images LEFT JOIN reasons r ON r.reason = images.outcome
GROUP BY origin, outcome
ORDER BY images DESC, origin, outcome
