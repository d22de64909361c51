-- Pairs by the characters of their text.
SELECT length(text) AS characters, count(*) AS pairs FROM pairs GROUP BY characters ORDER BY characters
