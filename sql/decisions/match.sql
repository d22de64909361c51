-- Which candidates the stage `match` drops: those whose text holds no query of the list (the paper, section 2.2).
--   rows      the candidates alive
--   measures  row, query_ids: the queries that the text holds
--   config    one row: rule, what it means to hold a query
SELECT
    rows.row,
    'no_query_match' AS reason,
    json_object('rule', config.rule)::VARCHAR AS evidence
FROM rows JOIN measures ON measures.row = rows.row CROSS JOIN config
WHERE len(measures.query_ids) = 0
ORDER BY rows.row
