# A database in a file: 100 000 inserts, selects, an index, an update, a check.
set -e
sqlite3 test.db <<'END'
create table t(a integer primary key, b text, c real);
begin;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000)
    insert into t select i, printf('row %d', i * 7919 % 100003), i / 7.0 from n;
commit;
select count(*), sum(a), min(b), max(b), round(sum(c), 3) from t;
create index by_b on t(b);
select a, b from t where b between 'row 500' and 'row 5002' order by b limit 5;
update t set c = c * 2 where a % 3 = 0;
delete from t where a % 10 = 7;
select a % 10 as d, count(*), round(avg(c), 4) from t group by d order by d;
pragma integrity_check;
END
sqlite3 test.db 'select count(*) from t where b like "row 1%"'
