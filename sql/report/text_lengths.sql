-- Pairs by the characters of their text.
SELECT length(text) AS characters, count(*) AS pairs FROM pairs WHERE text IS NOT NULL GROUP BY characters ORDER BY characters
