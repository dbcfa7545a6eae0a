-- What crash.pgbench works on: a table with an index of every kind.
CREATE TABLE torn (id bigserial PRIMARY KEY, k int, words int[], p point, t text);
CREATE INDEX torn_k ON torn (k);
CREATE INDEX torn_hash ON torn USING hash (t);
CREATE INDEX torn_gin ON torn USING gin (words);
CREATE INDEX torn_gist ON torn USING gist (p);
CREATE INDEX torn_spgist ON torn USING spgist (t);
CREATE INDEX torn_brin ON torn USING brin (k) WITH (pages_per_range = 1, autosummarize = on);
INSERT INTO torn (k, words, p, t) SELECT i, ARRAY[i % 10, i % 100], point(i % 70, i % 90), md5(i::text)
  FROM generate_series(1, 5000) i;
VACUUM torn;
