#!/usr/bin/env python3
"""Real Postfix is the oracle: for its mysql: tables we answer every key as postmap does."""
import random
import sys

sys.path.insert(0, "t/lib")
from harness import *
from oracle import Oracle

RANDOM_TABLES = int(sys.argv[1]) if len(sys.argv) > 1 else 80
# What tables made up at random consist of: a query, with something for each {}, and the rest.
PIECES = ["%s"] * 6 + ["%u"] * 2 + r"""%S %d %U %D %1 %2 %% '' x @ . - %u@%d @%d / %%s " \\ \' \%% -- # /* ? :a
""".split() + [" "]
QUERIES = ["SELECT v FROM kv WHERE k='{}' ORDER BY id"] * 4 + ["SELECT '{}'"] * 3 + r"""
SELECT v FROM kv WHERE k='{}' OR k='{}' ORDER BY id
SELECT v FROM kv WHERE k LIKE '{}' ORDER BY id
SELECT v FROM kv WHERE k LIKE CONCAT('{}', '%%') ORDER BY id LIMIT 3
SELECT v FROM kv WHERE k REGEXP '^{}$' ORDER BY id
SELECT v FROM kv_bin WHERE k='{}' ORDER BY id
SELECT v FROM kv_uni WHERE k='{}' ORDER BY id
SELECT v FROM kv_nopad WHERE k="{}" ORDER BY id
SELECT v FROM kv_char WHERE k='{}' ORDER BY id
SELECT v FROM kv_latin1 WHERE k='{}' ORDER BY id
SELECT v FROM kv_latin1 WHERE k IN ('{}', 'plain') ORDER BY id
SELECT v FROM kv_latin1 WHERE k = CONCAT('{}', '') ORDER BY id
SELECT v FROM kv_latin1 WHERE k LIKE '{}' ORDER BY id
SELECT CONCAT(k, '{}') FROM kv_latin1 WHERE k='{}' ORDER BY id
SELECT v FROM kv WHERE k = '{}' COLLATE utf8mb4_bin ORDER BY id
SELECT v FROM kv WHERE BINARY k = '{}' ORDER BY id
SELECT v FROM kv WHERE LOWER(k) = UPPER('{}') ORDER BY id
SELECT a.v FROM kv a JOIN kv_latin1 b ON a.k = b.k WHERE b.k='{}' ORDER BY a.id
SELECT v FROM kv_blob WHERE k='{}' ORDER BY id
SELECT 'a' UNION ALL SELECT '{}' UNION ALL SELECT v FROM kv WHERE k='{}'
SELECT v FROM kv WHERE k='{}' -- {}
SELECT v /* {} */ FROM kv WHERE k='%s' ORDER BY id
SELECT /*! '{}', */ v FROM kv WHERE k='%s' ORDER BY id
SELECT v AS '{}' FROM kv WHERE k='{}' ORDER BY id
SELECT v FROM kv WHERE k='{}' HAVING v <> '{}' ORDER BY v
SELECT name FROM num WHERE id='{}'
SELECT name, id FROM num WHERE id IN ('{}', '7') ORDER BY id
SELECT name FROM num WHERE id='{}' + 0 ORDER BY id
SELECT name FROM num WHERE id BETWEEN '{}' AND '9' ORDER BY id
SELECT name FROM num WHERE name='{}' AND '{}' >= 0 ORDER BY id
SELECT '{}' + 1, '{}' * 1.5, -'{}', NOT '{}', '{}' DIV 2
SELECT CAST('{}' AS UNSIGNED), CAST('{}' AS DECIMAL(10,2)), CAST('{}' AS CHAR)
SELECT DATE('{}'), CAST('{}' AS DATETIME), TIME('{}')
SELECT d, f, dt, da, b, e, bo, j FROM types WHERE k='{}'
SELECT d, e, bo, j FROM types WHERE k='{}'
SELECT k FROM types WHERE d='{}' OR f='{}' ORDER BY k
SELECT k FROM types WHERE dt='{}' ORDER BY k
SELECT k FROM types WHERE da>'{}' ORDER BY k
SELECT k FROM types WHERE e='{}' OR bo='{}' ORDER BY k
SELECT k FROM types WHERE b='{}' ORDER BY k
SELECT a, b, c FROM multi WHERE k='{}' ORDER BY id
SELECT v FROM rowset WHERE k='{}' ORDER BY seq
SELECT CONCAT('{}', '-', '{}'), LENGTH('{}'), CHAR_LENGTH('{}'), HEX('{}')
SELECT CHARSET('{}'), COLLATION('{}'), COERCIBILITY('{}')
SELECT IF('{}' = 'x', 'yes', 'no'), CASE '{}' WHEN 'user' THEN 1 ELSE 'two' END
SELECT IFNULL(NULLIF('{}', ''), 'empty'), COALESCE(NULL, '{}'), '{}' IS NULL
SELECT GROUP_CONCAT(v ORDER BY id SEPARATOR '{}') FROM kv WHERE k='%s'
SELECT COUNT(*), MAX('{}'), MIN(v) FROM kv WHERE k='{}'
SELECT k, SUM(id), AVG(id) FROM kv WHERE k='{}' GROUP BY k WITH ROLLUP
SELECT SUBSTRING_INDEX('{}', '@', 1), REPLACE('{}', '.', '_'), TRIM('{}')
SELECT JSON_OBJECT('k', '{}'), JSON_VALUE('["a"]', '$[0]')
SELECT lookup('{}')
CALL get_one('{}')
CALL get_maybe('{}')
CALL get_error('{}')
CALL get_two_sets('{}')
SELECT X'{}'
SELECT N'{}', _utf8mb4'{}'
SELECT 'a' '{}'
SELECT DATE '{}'
SELECT DATE_ADD('2024-01-01', INTERVAL '{}' DAY)
SELECT v FROM kv WHERE id = '{}' ORDER BY '{}'
WITH x AS (SELECT '{}' AS a) SELECT a, 'tail' FROM x
VALUES ('{}'), ('tail')
(SELECT v FROM kv WHERE k='{}' ORDER BY id LIMIT 1) UNION (SELECT "{}" LIMIT 1)
SELECT v FROM kv WHERE k='{}'; SELECT '{}'
SELECT '{}' = k, k <=> '{}', k < '{}' FROM kv WHERE k='%s' ORDER BY id
SELECT v FROM kv WHERE (k, v) = ('{}', v) ORDER BY id
SELECT v FROM kv a WHERE EXISTS (SELECT 1 FROM kv b WHERE b.k='{}' AND b.id=a.id) ORDER BY id
""".strip().splitlines()
FORMATS = ["%s", "%u", "%d", "%S", "%U", "%D", "%1", "%%", "x", ",", "@", ""] + ["%s"] * 9
DOMAINS = ["d1.example", "!d1.example, d1.example", "D1.Example bulk.example", "!!d1.example"]


def random_table(number):
    """A table file for the oracle, with the lines that tell which keys to ask."""
    pick = random.Random(number)

    def some(n):
        return "".join(pick.choices(PIECES, k=pick.randint(1, n)))

    query = QUERIES[number % len(QUERIES)]
    if number < len(QUERIES):
        query = query.replace("{}", "%s")
    while "{}" in query:
        query = query.replace("{}", some(3), 1)
    lines = ["#@ type: mysql", "#@ class: unsafe", "#@ desc: made up",
             "#@ pools: odd.key, odd.numkey, odd.typekey, odd.multikey, vmail.alias",
             "#@ keys: " + pick.choice(("address", "bare", "domain")),
             "#@ extra: 2024-02-29 | 2024-01-02 03:04:05 | 1 | 0 | -1 | 1.5 | 0x10 | red | 12.30",
             "hosts = @@MYSQL_HOSTS@@", "user = postfix", "password = pf-pass", "dbname = odd",
             "option_file = @@MYSQL_OPTFILE@@", "query = " + query]
    if pick.random() < 0.5:
        lines.append("result_format = " + ("".join(pick.choices(FORMATS, k=3)) or "%s"))
    if pick.random() < 0.1:
        lines.append("domain = " + pick.choice(DOMAINS))
    if pick.random() < 0.2:
        lines.append("expansion_limit = %d" % pick.randint(1, 3))
    if pick.random() < 0.1:
        lines.append("option_group = " + pick.choice(["oracle_mode", "oracle_utf8"]))
    if pick.random() < 0.1:
        lines.append("require_result_set = " + pick.choice(["yes", "no"]))
    return "\n".join(lines) + "\n"


made = {"my_random_%03d" % i: random_table(i) for i in range(RANDOM_TABLES)}
oracle = Oracle("my", made, "--no-ldap")
maps = {t: {"postfix_table": "mysql:" + f, "search": "exact"} for t, f in oracle.tables.items()}
with Server(maps=maps) as server:
    oracle.compare(server, "asked", "{table}", oracle.tables)
    oracle.compare(server, "cached", "{table}", oracle.tables)

done()
