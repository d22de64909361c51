-- Which candidates the stage `match` drops: those whose text holds no query of the list (the paper, section 2.2).
--   rows      the candidates alive
--   measures  row, query_ids: the queries that the text holds
--   texts     row, language: as measured, if there is a list for each language; else without rows
--   config    one row: rule, what it means to hold a query; ignored_query_ids, those that alone are not enough (stop words)
SELECT
    rows.row,
    'no_query_match' AS reason,
    json_merge_patch(
        CASE
            WHEN texts.language IS NULL THEN json_object('rule', config.rule)
            ELSE json_object('rule', config.rule, 'language', texts.language)
        END,
        CASE WHEN len(measures.query_ids) > 0 THEN json_object('stopwords', len(measures.query_ids)) ELSE json_object() END
    )::VARCHAR AS evidence
FROM rows JOIN measures ON measures.row = rows.row LEFT JOIN texts ON texts.row = rows.row CROSS JOIN config
WHERE len(list_filter(measures.query_ids, lambda x: NOT list_contains(config.ignored_query_ids::INTEGER[], x))) = 0
ORDER BY rows.row
