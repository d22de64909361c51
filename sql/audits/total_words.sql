-- How many words and bytes of text each split has, beside WebText's 40 GB, with which the paper compares WIT.
-- (Radford et al. 2021, section 2.2: "a similar total word count as the WebText dataset"; its 40 GB: Radford et al. 2019, 2.1.)
-- column split: train, or heldout: never trained on.
-- column pairs: How many pairs of the dataset.
-- column words: Words of all of them.
-- column words_per_pair: Words of a text, on average.
-- column text_bytes: Bytes of the texts in UTF-8.
-- column share_of_webtext: These bytes as a share of WebText's 40 GB.
SELECT split, count(*) AS pairs, sum(len(regexp_extract_all(text, '\S+')))::BIGINT AS words,
       round(sum(len(regexp_extract_all(text, '\S+'))) / count(*), 2) AS words_per_pair,
       sum(strlen(text))::BIGINT AS text_bytes, round(sum(strlen(text)) / 40e9, 6) AS share_of_webtext
FROM pairs GROUP BY split ORDER BY split DESC
