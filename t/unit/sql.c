#include "unit/test.h"

#include "base/sql.h"

/* A key with everything that quoting has to survive. */
#define KEY "o'n\\e\"@a.b"

struct bound {
	const char *query, *statement;
	const char *values[3];		/* of the parameters for KEY */
};

struct unbindable {
	const char *query, *why;
};

static struct sql *parsed(const char *query, enum sql_dialect dialect)
{
	struct text copy = exact_copy(text_of(query));
	struct buf why = { 0 };
	struct sql *s = sql_new(copy, dialect, &why);

	assert_non_null(s);
	assert_int_equal(why.n, 0);
	free((char *)copy.p);
	return s;
}

static void check_bound(const struct bound *c, enum sql_dialect dialect)
{
	struct sql *s = parsed(c->query, dialect);
	size_t n = 0;

	if (!sql_statement(s))
		fail_msg("%s: %s", c->query, sql_unbound(s));
	assert_null(sql_unbound(s));
	assert_string_equal(sql_statement(s), c->statement);
	while (n < 3 && c->values[n])
		n++;
	assert_int_equal(sql_parameters(s), n);
	for (size_t i = 0; i < n; i++) {
		struct buf value = { 0 };

		sql_parameter(s, i, TEXT(KEY), &value);
		assert_text(buf_view(&value), c->values[i]);
		buf_done(&value);
	}
	sql_free(s);
}

static void check_unbindable(const struct unbindable *c, enum sql_dialect dialect)
{
	struct sql *s = parsed(c->query, dialect);

	if (sql_statement(s))
		fail_msg("%s: bound as %s", c->query, sql_statement(s));
	assert_string_equal(sql_unbound(s), c->why);
	assert_int_equal(sql_parameters(s), 0);
	sql_free(s);
}

static void literals_with_expansions_become_parameters(void **state)
{
	static const struct bound cases[] = {
		{ "SELECT v FROM t WHERE k='%s'", "SELECT v FROM t WHERE k= ? ", { KEY } },
		{ "SELECT'%u'", "SELECT ? ", { "o'n\\e\"" } },
		{ "x='%u@%d' OR '@%d'=y", "x= ?  OR  ? =y", { KEY, "@a.b" } },
		{ "'100%%' LIKE '%%%s%%'", "'100%' LIKE  ? ", { "%" KEY "%" } },
		{ "'it''s' = 'it''s %1'''", "'it''s' =  ? ", { "it's b'" } },
		{ "'''%1'", " ? ", { "'b" } },
		{ "'' '%1'''''", "''  ? ", { "b''" } },
		{ "'\\' || '%1\\'", "'\\' ||  ? ", { "b\\" } },
		{ "'\"%1[' || '`%2`--'", " ?  ||  ? ", { "\"b[", "`a`--" } },
		{ "a - -1 /2 -- it's\n+'%1'", "a - -1 /2 -- it's\n+ ? ", { "b" } },
		{ "/* it's '*/'%1'/*", "/* it's '*/ ? /*", { "b" } },
		{ "\"it's\" [it's] `it's` \"\"\"'\" '%1'", "\"it's\" [it's] `it's` \"\"\"'\"  ? ", { "b" } },
		{ "5%%2='%1'", "5%2= ? ", { "b" } },
		{ "x'00' y'%1' xx'%1'", "x'00' y ?  xx ? ", { "b", "b" } },
		{ "SELECT 1", "SELECT 1", { NULL } },
		{ "SELECT '?:@$' WHERE '%1'", "SELECT '?:@$' WHERE  ? ", { "b" } },
		{ "a'%s'; b", "a ? ; b", { KEY } },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		check_bound(&cases[i], SQL_SQLITE);
}

static void what_is_no_literal_of_its_own_is_not_bound(void **state)
{
	static const struct unbindable cases[] = {
		{ "k=%s", "%s outside a quoted string at column 3" },
		{ "'%s' AND k=%u AND %d", "%u outside a quoted string at column 12" },
		{ "k=\"%s\"", "%s in a quoted name at column 4" },
		{ "k=`%s`", "%s in a quoted name at column 4" },
		{ "k=[a]]+[%1]", "%1 in a quoted name at column 9" },
		{ "1 -- %s", "%s in a comment at column 6" },
		{ "1 /* %s */", "%s in a comment at column 6" },
		{ "1 /* %s", "%s in a comment at column 6" },
		{ "X'%s'", "' with a prefix, around an expansion, at column 2" },
		{ "a=x'%s'", "' with a prefix, around an expansion, at column 4" },
		{ "k='%s", "' never closed at column 3" },
		{ "k='it''s %s''", "' never closed at column 3" },
		{ "'a'%s'b'", "%s outside a quoted string at column 4" },
		{ "k='%s' OR k=?", "? outside a quoted string at column 13" },
		{ "k='%s' OR k=:a", ": outside a quoted string at column 13" },
		{ "\"a", "\\x22 never closed at column 1" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		check_unbindable(&cases[i], SQL_SQLITE);
}

static void mysql_literals_know_backslashes_and_double_quotes(void **state)
{
	static const struct bound cases[] = {
		{ "k='%s'", "k= ? ", { KEY } },
		{ "k=\"it's %s\"\"\"", "k= ? ", { "it's " KEY "\"" } },
		{ "'a\\'%1\\\\' + 'b'", " ?  + 'b'", { "a'b\\" } },
		{ "'\\'' + '%1'", "'\\'' +  ? ", { "b" } },
		{ "'\\n\\t\\r\\b\\Z\\q\\\"%1'", " ? ", { "\n\t\r\b\032q\"b" } },
		{ "LIKE '\\%%\\_%1%%'", "LIKE  ? ", { "\\%\\_b%" } },
		{ "`it's` # it's\n '%1' -- it's\n", "`it's` # it's\n  ?  -- it's\n", { "b" } },
		{ "1--1 '%1'", "1--1  ? ", { "b" } },
		{ "@a := '%1'", "@a :=  ? ", { "b" } },
		{ "'a' 'b' '' , '%1'", "'a' 'b' '' ,  ? ", { "b" } },
		{ "CALL p('%s', '%1')", "CALL p( ? ,  ? )", { KEY, "b" } },
	};
	static const struct unbindable not[] = {
		{ "'\\%1'", "%1 after a backslash at column 3" },
		{ "'%1\\'", "' never closed at column 1" },
		{ "N'%1'", "' with a prefix, around an expansion, at column 2" },
		{ "b'%1'", "' with a prefix, around an expansion, at column 2" },
		{ "_utf8mb4'%1'", "' with a prefix, around an expansion, at column 9" },
		{ "'a' /* c */ '%1'", "' next to another string, with an expansion, at column 13" },
		{ "'%1' \"a\"", "\\x22 next to another string, with an expansion, at column 6" },
		{ "/*! '%1' */", "/ beginning a comment with code at column 1" },
		{ "`%1`", "%1 in a quoted name at column 2" },
		{ "# %1", "%1 in a comment at column 3" },
		{ "? '%1'", "? outside a quoted string at column 1" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		check_bound(&cases[i], SQL_MYSQL);
	for (size_t i = 0; i < sizeof not / sizeof *not; i++)
		check_unbindable(&not[i], SQL_MYSQL);
}

static void double_quotes(void *ctx, struct text part, struct buf *out)
{
	(void)ctx;
	for (size_t i = 0; i < part.n; i++) {
		if (part.p[i] == '\'')
			buf_byte(out, '\'');
		buf_byte(out, part.p[i]);
	}
}

static void escaping_treats_each_part_as_postfix_does(void **state)
{
	struct sql *s = parsed("k=%s AND '%u'='%%' -- %1", SQL_SQLITE);
	struct buf out = { 0 };
	(void)state;

	sql_escaped(s, TEXT(KEY), double_quotes, NULL, &out);
	assert_text(buf_view(&out), "k=o''n\\e\"@a.b AND 'o''n\\e\"'='%' -- b");
	buf_done(&out);
	sql_free(s);
}

static void expansions_count_as_needs_wherever_they_stand(void **state)
{
	static const char *const queries[] = { "'%u'='%2'", "%u %2", "'' -- %u /* %2", "\"%u\" [%2]" };
	(void)state;

	for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
		struct sql *s = parsed(queries[i], SQL_SQLITE);
		struct needs needs = sql_needs(s);

		assert_true(needs.local && needs.domain);
		assert_int_equal(needs.labels, 2);
		sql_free(s);
	}
}

static void no_template_no_query(void **state)
{
	static const char *const bad[] = { "k='%'", "k='%x'", "100%" };
	(void)state;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct buf why = { 0 };

		assert_null(sql_new(text_of(bad[i]), SQL_MYSQL, &why));
		assert_true(why.n > 0);
		buf_done(&why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(literals_with_expansions_become_parameters),
		cmocka_unit_test(what_is_no_literal_of_its_own_is_not_bound),
		cmocka_unit_test(mysql_literals_know_backslashes_and_double_quotes),
		cmocka_unit_test(escaping_treats_each_part_as_postfix_does),
		cmocka_unit_test(expansions_count_as_needs_wherever_they_stand),
		cmocka_unit_test(no_template_no_query),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
