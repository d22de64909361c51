-- Bigrams by pointwise mutual information: how much oftener two words stand together than by chance, in bits.
-- Tables: bigrams (query, score), unigrams (query, score), both with counts as scores; config (of_words, of_bigrams).
WITH words AS (SELECT query AS word, sum(score) AS count FROM unigrams GROUP BY query)
SELECT query, score AS count,
       log2((score / of_bigrams) / ((first.count / of_words) * (second.count / of_words))) AS score
FROM bigrams
CROSS JOIN config
LEFT JOIN words AS first ON first.word = split_part(query, ' ', 1)
LEFT JOIN words AS second ON second.word = split_part(query, ' ', 2)
ORDER BY query, count, score
