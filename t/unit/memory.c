/*
 * Memory runs out, at every allocation in turn: what reads bytes never takes that for
 * something else, a configuration is refused, a mirror is not built; nothing else happens.
 */
#include "unit/conf_dir.h"

#include "base/cf.h"
#include "base/clock.h"
#include "base/domain_list.h"
#include "base/hash.h"
#include "base/hosts.h"
#include "base/ldap_filter.h"
#include "base/log.h"
#include "base/must.h"
#include "base/search.h"
#include "base/sql.h"
#include "engine/scan.h"
#include "engine/source.h"
#include "wire/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#else
/* What a must_guard() loses is lost on purpose. */
static void __lsan_disable(void) {}
static void __lsan_enable(void) {}
#endif

/* --- allocations that fail: the Makefile lets the linker send them here ------------- */

static long left = -1;		/* until the one that fails; -1: none does */
static bool is_for_good;	/* all that follow fail, too */
static size_t n_failed;

static bool fails(void)
{
	if (left < 0)
		return false;
	if (left > 0) {
		left--;
		return false;
	}
	n_failed++;
	left = is_for_good ? 0 : -1;
	errno = ENOMEM;
	return true;
}

static void fail_from(long n, bool for_good)
{
	left = n;
	is_for_good = for_good;
	n_failed = 0;
}

static bool has_failed(void)
{
	left = -1;
	return n_failed > 0;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t n);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void *__real_mmap(void *p, size_t n, int prot, int flags, int fd, off_t offset);
void *__real_mremap(void *p, size_t old, size_t n, int flags);

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return fails() ? NULL : __real_reallocarray(p, n, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t n)
{
	return fails() ? NULL : __real_aligned_alloc(alignment, n);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
	return fails() ? NULL : __real_strndup(s, n);
}

void *__wrap_mmap(void *p, size_t n, int prot, int flags, int fd, off_t offset)
{
	return fails() ? MAP_FAILED : __real_mmap(p, n, prot, flags, fd, offset);
}

void *__wrap_mremap(void *p, size_t old, size_t n, int flags)
{
	return n > old && fails() ? MAP_FAILED : __real_mremap(p, old, n, flags);
}

/* --- what reads bytes --------------------------------------------------------------- */

/* Each does all that its module can and says what came of it. */

static void add_text(struct buf *out, struct text t)
{
	buf_text(out, t);
	buf_byte(out, '|');
}

static void do_socketmap(struct buf *out)
{
	struct buf scratch = { 0 };
	struct request r;
	size_t used;

	assert_int_equal(
		socketmap.parse(TEXT("15:virtual a@b.tes,"), 1000, &scratch, &r, &used),
		PARSED);
	add_text(out, r.map);
	add_text(out, r.key);
	socketmap.reply(answer_found(TEXT("value")), out);
	buf_done(&scratch);
}

static void do_tcp_table(struct buf *out)
{
	struct buf scratch = { 0 };
	struct request r;
	size_t used;

	assert_int_equal(tcp_table.parse(TEXT("get a%20b%25@x\n"), 1000, &scratch, &r, &used),
			 PARSED);
	add_text(out, r.key);
	tcp_table.reply(answer_found(TEXT("a value\n")), out);
	buf_done(&scratch);
}

static void do_frame(struct buf *out)
{
	struct frame f;
	size_t used;

	assert_int_equal(frame_parse(TEXT("12:lookup 7 a b,"), &f, &used), PARSED);
	assert_true(frame_add(out, f.verb, f.args[0], f.args[1], TEXT("")));
}

static void do_cf(struct buf *out)
{
	struct text file =
		TEXT("# x\nquery = SELECT a\n  FROM b\ndbpath = /x\nhosts = a, b\n");
	struct cf cf;
	struct buf why = { 0 };

	buf_printf(out, "%d ", cf_parse(file, &cf, &why));
	add_text(out, text_of(cf_get(&cf, "query")));
	cf_set(&cf, "new", "x");
	cf_drop(&cf, "dbpath");
	for (size_t i = 0; i < cf.n; i++)
		add_text(out, text_of(cf.entries[i].value));
	cf_done(&cf);
	buf_printf(out, "%d ", cf_parse(TEXT(" x = y"), &cf, &why));
	add_text(out, buf_view(&why));
	buf_done(&why);
}

static void do_template(struct buf *out)
{
	struct buf why = { 0 };
	struct template *t = template_new(TEXT("<%s %u at %d, %2>%%"), TEMPLATE_QUERY, &why);

	buf_printf(out, "%d ",
		   template_expand(t, TEXT("joe@example.com"), TEXT(""), NULL, NULL, out));
	buf_printf(out, "%d ", template_expand(t, TEXT("joe"), TEXT(""), NULL, NULL, out));
	template_free(t);
	buf_printf(out, "%d ", template_new(TEXT("%x"), TEMPLATE_QUERY, &why) != NULL);
	add_text(out, buf_view(&why));
	buf_done(&why);
}

static void quote(void *ctx, struct text part, struct buf *out)
{
	(void)ctx;
	buf_escaped(out, part);
}

static void do_sql(struct buf *out)
{
	static const char *const queries[] = {
		"SELECT a FROM b WHERE c = '%u@%d' AND d LIKE '%%x%s' -- %s",
		"SELECT a FROM b WHERE c = %s", "SELECT '%s", "SELECT %x",
	};

	for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
		for (int dialect = SQL_SQLITE; dialect <= SQL_MYSQL; dialect++) {
			struct buf why = { 0 };
			struct sql *s = sql_new(text_of(queries[i]), dialect, &why);

			add_text(out, buf_view(&why));
			if (s) {
				add_text(out, text_of(sql_statement(s)));
				add_text(out, text_of(sql_unbound(s)));
				for (size_t k = 0; k < sql_parameters(s); k++)
					sql_parameter(s, k, TEXT("joe@x.test"), out);
				sql_escaped(s, TEXT("joe@x.test"), quote, NULL, out);
			}
			sql_free(s);
			buf_done(&why);
		}
}

static void do_search(struct buf *out)
{
	static const char *const asked[] = {
		"\"j o\"+Ext@Host.Example.com", "stra\303\237e@x.test", "1.2.3.4", "", "\377",
	};
	const struct text local = TEXT("host.example.com");
	struct search s = { 0 };

	for (enum search_kind kind = 0; kind < SEARCH_KINDS; kind++)
		for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
			const struct search_rules rules = {
				.kind = kind,
				.parents = PARENTS_DOTTED,
				.recipient_delimiter = TEXT("+"),
				.local_domains = &local,
				.n_local_domains = 1,
				.propagate = true,
			};
			struct text key;

			if (!search_start(&s, &rules, text_of(asked[i]))) {
				buf_str(out, "not UTF-8 ");
				continue;
			}
			while (search_next(&s, &key)) {
				add_text(out, key);
				search_result(&s, TEXT("a@b, \"c d\"@e, @other.test"), out);
			}
		}
	search_done(&s);
}

static void do_domain_list(struct buf *out)
{
	struct buf why = { 0 }, list = { 0 };

	buf_printf(&list, "a.test !b.test %s/x.cf !%s/y.cf .c.test", dir, dir);
	struct domain_list *d = domain_list_new(buf_view(&list), &why);
	static const char *const asked[] = { "u@a.test", "u@b.test", "u@listed.test",
					     "u@x.c.test" };
	for (size_t i = 0; d && i < sizeof asked / sizeof *asked; i++)
		buf_printf(out, "%d ", domain_list_admits(d, text_of(asked[i])));
	add_text(out, buf_view(&why));
	domain_list_free(d);
	buf_clear(&why);
	d = domain_list_new(TEXT("/nowhere/x"), &why);
	add_text(out, buf_view(&why));
	buf_done(&why);
	buf_done(&list);
}

static void do_hosts(struct buf *out)
{
	struct buf why = { 0 };
	struct hosts h;

	if (hosts_parse(TEXT("unix:/x inet:a:99 b"), &h, &why)) {
		add_text(out, text_of(hosts_first(&h, 0)->name));
		hosts_done(&h);
	}
	if (hosts_parse_urls(TEXT("ldap://a:7 ldaps://b ldapi://%2Fx"), 389, &h, &why)) {
		add_text(out, text_of(hosts_first(&h, 0)->name));
		hosts_done(&h);
	}
	assert_false(hosts_parse(TEXT("inet:a:x"), &h, &why));
	add_text(out, buf_view(&why));
	buf_done(&why);
}

static void do_ldap_filter(struct buf *out)
{
	static const char *const filters[] = {
		"(&(objectClass=x)(|(mail=%s)(alias=smtp:%s)))", "(!(mail=%s))", "(mail=%s",
	};

	for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
		struct ldap_plan plan = { 0 };
		struct buf why = { 0 };

		if (ldap_plan_derive(text_of(filters[i]), &plan, &why))
			for (size_t k = 0; k < plan.n; k++)
				add_text(out, text_of(plan.branches[k].filter));
		add_text(out, buf_view(&why));
		ldap_plan_done(&plan);
		buf_done(&why);
	}
}

static const struct subject { const char *name; void (*run)(struct buf *out); } subjects[] = {
	{ "socketmap", do_socketmap }, { "tcp_table", do_tcp_table }, { "frame", do_frame },
	{ "cf", do_cf }, { "template", do_template }, { "sql", do_sql }, { "search", do_search },
	{ "domain_list", do_domain_list }, { "hosts", do_hosts }, { "ldap_filter", do_ldap_filter },
};

/* One run, and what it said. */
struct attempt {
	const struct subject *subject;
	struct buf out;
};

static void run_attempt(void *ctx)
{
	struct attempt *a = ctx;

	a->subject->run(&a->out);
}

/* True until no allocation is left to fail. */
static bool starve(const struct subject *s, const struct buf *want, long n, bool for_good)
{
	struct attempt a = { .subject = s };

	__lsan_disable();
	fail_from(n, for_good);
	bool is_done = must_guard(run_attempt, &a), was_hit = has_failed();
	__lsan_enable();
	if (is_done && !text_eq(buf_view(&a.out), buf_view(want)))
		fail_msg("%s says something else when allocation %ld fails", s->name, n);
	assert_true(is_done || was_hit);
	buf_done(&a.out);
	return was_hit;
}

static void a_lack_of_memory_is_never_taken_for_another_answer(void **state)
{
	(void)state;
	write_file("x.cf", TEXT("listed.test\n"));
	write_file("y.cf", TEXT("not.test\n"));
	for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
		for (int for_good = 0; for_good < 2; for_good++) {
			struct attempt a = { .subject = &subjects[i] };
			long n = 0;

			assert_true(must_guard(run_attempt, &a));
			while (starve(&subjects[i], &a.out, n, for_good))
				n++;
			assert_true(n > 0);
			buf_done(&a.out);
		}
}

/* --- the configuration -------------------------------------------------------------- */

static const char whole_conf[] =
	"driver_directory = \"bin\"; threads = 2; log = \"syslog:mail\"; log_keys = "
	"\"none\";\n"
	"recipient_delimiter = \"+\"; local_domains = \"home.test\"; user = \"root\";\n"
	"stop_timeout = \"7s\"; owner_request_special = false;\n"
	"listeners = ( { protocol = \"socketmap\"; address = \"unix:/tmp/x\"; mode = "
	"\"0600\"; "
	"group = \"root\"; }, { protocol = \"tcp_table\"; address = \"inet:127.0.0.1:8998\"; "
	"map = \"virtual_alias_maps\"; } );\n"
	"sources = ( { name = \"db\"; driver = \"sqlite\"; dbpath = \"db.sqlite\"; },\n"
	"{ name = \"ldap\"; driver = \"ldap\"; server_host = \"ldaps://a ldap://b\"; "
	"bind = \"simple\"; bind_dn = \"cn=x\"; bind_pw = \"y\"; },\n"
	"{ name = \"other\"; driver = \"/bin/cat\"; x = true; y = 4; } );\n";
static const char whole_map[] =
	"search = \"virtual\"; local_domains = [ \"a.test\", \"b.test\" ];\n"
	"tables = ( { source = \"db\"; query = \"SELECT '%u' FROM t WHERE k = '%s'\"; "
	"mode = \"mirror\"; scan_query = \"SELECT k, v, e FROM t\"; expiry_column = \"e\"; "
	"expect = [ \"Stra\303\237e@x.test\" ]; domain = \"!a.test, b.test, @/y.cf\"; "
	"distinct_values = true; max_bytes = \"1M\"; on_miss = \"domain\"; domains = "
	"\"relay_domains\"; shrink_confirm = \"6h\"; result_format = \"%s@%d\"; },\n"
	"{ source = \"ldap\"; search_base = \"dc=x\"; query_filter = \"(mail=%s)\"; "
	"result_attribute = \"maildrop\"; mode = \"mirror\"; },\n"
	"{ postfix_table = \"proxy:sqlite:@/x.cf\"; ttl = \"1m\"; },\n"
	"{ source = \"other\"; z = \"1\"; } );\n";

/* Everything that was read, as one text. */
static void print_settings(const struct settings *s, struct buf *out)
{
	for (size_t i = 0; i < s->n_listeners; i++)
		add_text(out, text_of(s->listeners[i]->fingerprint));
	for (size_t i = 0; i < s->n_sources; i++)
		add_text(out, text_of(s->sources[i]->fingerprint));
	for (size_t i = 0; i < s->n_maps; i++)
		add_text(out, text_of(s->maps[i]->fingerprint));
	for (size_t i = 0; i < s->n_maps; i++)
		for (size_t k = 0; k < s->maps[i]->n_tables; k++)
			add_text(out, text_of(s->maps[i]->tables[k]->identity));
	add_text(out, text_of(s->daemon.user));
}

/* True until no allocation is left to fail. */
static bool starve_conf(struct buf *want, long n, bool for_good)
{
	struct buf why = { 0 }, notes = { 0 }, got = { 0 };

	__lsan_disable();
	fail_from(n, for_good);
	char path[PATH_MAX + 64];
	snprintf(path, sizeof path, "%s/s.conf", dir);
	struct settings *s = conf_load(path, &why, &notes);
	bool was_hit = has_failed();
	__lsan_enable();

	if (!s && !was_hit)
		fail_msg("%s", buf_cstr(&why));
	if (s) {
		assert_int_equal(s->n_maps, 2);
		assert_int_equal(s->maps[1]->n_tables, 4);
		assert_int_equal(s->n_sources, 4);
		print_settings(s, &got);
		if (want->n == 0)
			buf_text(want, buf_view(&got));
		assert_true(text_eq(buf_view(&got), buf_view(want)));
	} else if (why.n || !for_good || n > 0) {
		assert_string_equal(buf_cstr(&why),
				    "out of memory while reading the configuration\n");
	}
	settings_free(s);
	buf_done(&why);
	buf_done(&notes);
	buf_done(&got);
	return was_hit;
}

static size_t open_files(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 1000; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void a_configuration_is_read_whole_or_refused(void **state)
{
	struct buf map = { 0 }, want = { 0 };
	size_t before = open_files();
	long n = 0;
	(void)state;

	write_file("s.conf", text_of(whole_conf));
	write_file("x.cf",
		   TEXT("dbpath = /nowhere/db\nquery = SELECT a FROM b WHERE c = '%s'\n"));
	for (const char *p = whole_map; *p; p++)	/* @/ is the directory */
		if (p[0] == '@' && p[1] == '/')
			buf_str(&map, dir);
		else
			buf_byte(&map, *p);
	write_file(ALIAS_FILE, buf_view(&map));
	write_file("maps.d/relay_domains.conf", TEXT(MIRROR));
	assert_false(starve_conf(&want, -1, false));
	for (int for_good = 0; for_good < 2; for_good++)
		for (n = 0; starve_conf(&want, n, for_good);)
			n++;
	assert_true(n > 500);
	assert_int_equal(open_files(), before);
	remove_file(ALIAS_FILE);
	remove_file("maps.d/relay_domains.conf");
	buf_done(&map);
	buf_done(&want);
}

/* --- mirrors ------------------------------------------------------------------------ */

static struct table_settings settings = {
	.source = (char *)"fake",
	.max_entries = 100000,
	.max_bytes = (size_t)1 << 30,
	.min_entries = 1,
};

struct build {
	struct table *table;
	struct scan scan;
	struct loops *loops;
	const char *why;		/* NULL: published */
};

/* Three keys whose rows are not neighbours; they outgrow the first mapping. */
static void build(void *ctx)
{
	static const char *const names[] = { "a", "b", "c" };
	static char value[3000];
	struct build *b = ctx;

	b->why = "out of memory";
	if (!scan_begin(&b->scan))
		return;
	memset(value, 'v', sizeof value);
	for (unsigned i = 0; i < 240; i++) {
		struct row row = {
			.key = text_of(names[i % 3]), .value = { value, sizeof value },
			.until = i % 7 ? 0 : 4000000000,
		};

		value[0] = (char)('!' + i / 6);
		b->why = scan_row(&b->scan, &row);
		if (b->why) {
			scan_abandon(&b->scan);
			return;
		}
	}
	if (scan_finish(&b->scan, b->loops, &b->why) == SCAN_REJECTED)
		b->why = "rejected";
}

static void run_inbox(struct loop *loop)
{
	while (loop->first) {
		struct message *m = loop->first;

		loop->first = m->next;
		if (!loop->first)
			loop->last = &loop->first;
		m->run(m);
	}
}

/* What was retired is freed. */
static void run_messages(struct loops *loops)
{
	while (loops->answers[0].first || loops->control.first || loops->refresh.first) {
		run_inbox(&loops->answers[0]);
		run_inbox(&loops->control);
		run_inbox(&loops->refresh);
	}
}

/* How many allocations a build can fail at; each leaves the mirror that was there. */
static long starve_builds(struct build *b, bool for_good)
{
	long n = 0;

	for (;; n++) {
		struct mirror *before = atomic_load(&b->table->mirror);

		fail_from(n, for_good);
		bool is_done = must_guard(build, b), was_hit = has_failed();
		run_messages(b->loops);
		if (atomic_load(&b->table->mirror) != before) {
			assert_true(!was_hit || !is_done);	/* or behind the publication */
			return n;
		}
		if (!is_done || !was_hit)
			fail_msg("allocation %ld: done %d, hit %d, %s", n, is_done, was_hit,
				 b->why);
		assert_string_equal(b->why, "out of memory");
	}
}

static void a_mirror_that_cannot_be_built_leaves_the_old_one(void **state)
{
	struct table table = { .settings = &settings, .map = (char *)"m" };
	struct loops loops;
	struct buf why = { 0 };
	(void)state;

	loops_init(&loops, 1);
	pthread_mutex_init(&table.lock, NULL);
	settings.result_format = template_new(TEXT("%s"), TEMPLATE_RESULT, &why);
	for (int variant = 0; variant < 8; variant++) {
		struct build b = { .table = &table, .scan.table = &table, .loops = &loops };

		settings.distinct_values = variant & 1;
		settings.expansion_limit = variant & 2 ? 1000 : 0;
		build(&b);		/* its buffers have their size from here on */
		run_messages(&loops);
		assert_null(b.why);
		__lsan_disable();	/* what is retired may be lost, but no build is */
		assert_true(starve_builds(&b, variant & 4) > 8);
		__lsan_enable();
		scan_done(&b.scan);
	}
	mirror_free(table.mirror);
	template_free(settings.result_format);
	pthread_mutex_destroy(&table.lock);
	loop_stop(&loops.control);
	loops_done(&loops);
}

int main(void)
{
	const struct log_settings quiet = { (enum log_level)-1, LOG_KEYS_NONE, -1 };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lack_of_memory_is_never_taken_for_another_answer),
		cmocka_unit_test(a_configuration_is_read_whole_or_refused),
		cmocka_unit_test(a_mirror_that_cannot_be_built_leaves_the_old_one),
	};

	hash_init();
	log_setup(&quiet);
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
