-- Pairs by their image's width over its height, in steps of a fifth.
SELECT round(width / height * 5) / 5 AS aspect, count(*) AS pairs FROM pairs
WHERE height > 0 GROUP BY aspect ORDER BY aspect
