"""Web archives as records: WARC, ARC and WACZ, however they are compressed or broken."""
