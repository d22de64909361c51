-- How many entries of each source became what, in the config's order.
-- Tables: claimed (query, key, score, count, fate, place, source).
SELECT source, count(*) AS found,
    count(*) FILTER (fate = 'below_threshold') AS below_threshold,
    count(*) FILTER (fate = 'unusable') AS unusable,
    count(*) FILTER (fate = 'overlap') AS overlap,
    count(*) FILTER (fate = 'over_cap') AS over_cap,
    count(*) FILTER (fate = 'added') AS added
FROM claimed GROUP BY place, source ORDER BY place
