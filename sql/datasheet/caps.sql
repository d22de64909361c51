-- How many pairs a query of each language may keep: one row a language.
SELECT language, cap FROM caps ORDER BY language
