-- What the shell completes, by kind: a dataset's columns and views (0), keywords (1), functions (2).
SELECT upper(keyword_name) AS word, 1 AS kind FROM duckdb_keywords()
WHERE keyword_category IN ('reserved', 'unreserved')
UNION ALL SELECT column_name, 0 FROM duckdb_columns() WHERE NOT internal
UNION ALL SELECT view_name, 0 FROM duckdb_views() WHERE NOT internal AND view_name NOT LIKE '\_%' ESCAPE '\'
UNION ALL SELECT function_name, 2 FROM duckdb_functions() WHERE function_name ~ '^[a-z]\w*$'
ORDER BY kind, word
