-- Which candidates the stage `match` drops: those whose text holds no query of the list (the paper, section 2.2).
--   rows      the candidates alive
--   measures  row, query_ids: the queries that the text holds
--   texts     row, language: as measured, if there is a list for each language; else without rows
--   config    one row: rule, what it means to hold a query
SELECT
    rows.row,
    'no_query_match' AS reason,
    CASE
        WHEN texts.language IS NULL THEN json_object('rule', config.rule)
        ELSE json_object('rule', config.rule, 'language', texts.language)
    END::VARCHAR AS evidence
FROM rows JOIN measures ON measures.row = rows.row LEFT JOIN texts ON texts.row = rows.row CROSS JOIN config
WHERE len(measures.query_ids) = 0
ORDER BY rows.row
