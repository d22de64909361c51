-- Languages of the texts as they were measured: candidates, how sure the model was, and pairs of the dataset.
-- column language: The language.
-- column candidates: How many candidates.
-- column median_probability: How sure the model was: the median.
-- column pairs: How many pairs of the dataset.
WITH measured AS (
    SELECT c.pair_id, coalesce(t.language, '(none)') AS language, t.language_probability AS probability
    FROM _texts t JOIN _candidates c ON c.partition = t.partition AND c.row = t.row
), kept AS (SELECT DISTINCT pair_id FROM _samples)
SELECT language, count(*) AS candidates, round(median(probability), 4) AS median_probability,
       count(DISTINCT pair_id) FILTER (WHERE pair_id IN (SELECT pair_id FROM kept)) AS pairs
FROM measured GROUP BY language ORDER BY candidates DESC, language
