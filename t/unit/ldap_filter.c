#include "unit/test.h"

#include "base/ldap_filter.h"
#include "base/ldap_syntax.h"

#include <ldap.h>
#include <stdio.h>

/* libldap's own parser: exported, declared nowhere. */
int ldap_pvt_put_filter(BerElement *ber, const char *filter);
ber_slen_t ldap_pvt_filter_value_unescape(char *value);

static uint64_t random_state = 1;

static unsigned random_below(unsigned n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(random_state >> 33) % n;
}

/* --- quoting ---------------------------------------------------------------------- */

/* Undo \XX. */
static void unquote(struct text t, struct buf *out)
{
	for (size_t i = 0; i < t.n; i++) {
		unsigned c = (unsigned char)t.p[i];

		if (c == '\\') {
			assert_true(i + 2 < t.n);
			assert_int_equal(sscanf(t.p + i + 1, "%2X", &c), 1);
			i += 2;
		}
		buf_byte(out, (char)c);
	}
}

static void check_quoted(struct text t)
{
	struct buf filter = { 0 }, dn = { 0 }, back = { 0 }, rdn = { 0 };
	LDAPDN parsed;

	ldap_quote_filter(NULL, t, &filter);
	unquote(buf_view(&filter), &back);
	assert_true(text_eq(buf_view(&back), t));
	buf_clear(&back);
	buf_text(&back, buf_view(&filter));
	buf_cstr(&back);
	assert_int_equal(ldap_pvt_filter_value_unescape(back.p), t.n);
	assert_memory_equal(back.p, t.p, t.n);

	ldap_quote_dn(NULL, t, &dn);
	buf_clear(&back);
	unquote(buf_view(&dn), &back);
	assert_true(text_eq(buf_view(&back), t));
	buf_printf(&rdn, "cn=%s,dc=x", buf_cstr(&dn));
	assert_int_equal(ldap_str2dn(buf_cstr(&rdn), &parsed, LDAP_DN_FORMAT_LDAPV3), 0);
	assert_non_null(parsed[0]);
	assert_non_null(parsed[1]);
	assert_null(parsed[2]);
	assert_null(parsed[0][1]);
	assert_int_equal(parsed[0][0]->la_value.bv_len, t.n);
	assert_memory_equal(parsed[0][0]->la_value.bv_val, t.p, t.n);
	ldap_dnfree(parsed);
	buf_done(&filter);
	buf_done(&dn);
	buf_done(&back);
	buf_done(&rdn);
}

static void whatever_is_quoted_comes_back(void **state)
{
	char bytes[256];
	(void)state;

	for (unsigned i = 0; i < sizeof bytes; i++) {
		bytes[i] = (char)i;
		check_quoted((struct text){ bytes + i, 1 });
	}
	check_quoted((struct text){ bytes, sizeof bytes });
	check_quoted(TEXT(" #\"+,;<>\\= "));
	for (int round = 0; round < 2000; round++) {
		unsigned n = 1 + random_below(20);

		for (unsigned i = 0; i < n; i++)
			bytes[i] = random_below(2) ? (char)random_below(256) :
						     "*()\\,=+\" #"[random_below(10)];
		check_quoted((struct text){ bytes, n });
	}
}

static void quoting_spares_what_is_harmless(void **state)
{
	struct buf out = { 0 };
	(void)state;

	ldap_quote_filter(NULL, TEXT("Joe Doe+x@a-b.c (*)\\\xc3\xa9\t="), &out);
	assert_text(buf_view(&out), "Joe Doe+x@a-b.c \\28\\2A\\29\\5C\\C3\\A9\\09=");
	buf_clear(&out);
	ldap_quote_dn(NULL, TEXT("Joe_Doe@a-b.c ,=\xc3\xa9"), &out);
	assert_text(buf_view(&out), "Joe_Doe@a-b.c\\20\\2C\\3D\\C3\\A9");
	buf_done(&out);
}

/* --- syntax ----------------------------------------------------------------------- */

/* Of an assertion without attribute, libldap reads the byte before its copy: it may crash. */
static bool is_dangerous(const char *filter)
{
	for (const char *p = filter; (p = strchr(p, '=')); p++)
		if (p == filter || strchr("( \t\n&|!", p[-1]))
			return true;
	return false;
}

static void compare_with_libldap(const char *filter)
{
	if (is_dangerous(filter))
		return;

	BerElement *ber = ber_alloc_t(LBER_USE_DER);
	/* Of nothing but a blank it makes no filter, and does not mind. */
	bool theirs = ldap_pvt_put_filter(ber, filter) == 0 && strcmp(filter, " ") != 0;
	struct text copy = exact_copy(text_of(filter));
	struct span units, content;
	struct buf why = { 0 };
	bool ours = span_new(copy, &units, &why) && filter_parse(units, &content, &why);

	if (ours != theirs)
		fail_msg("\"%s\": libldap says %s", filter, theirs ? "yes" : "no");
	assert_int_equal(ours, why.n == 0);
	free((void *)units.p);
	free((char *)copy.p);
	buf_done(&why);
	ber_free(ber, 1);
}

static const char *const odd_filters[] = {
	" (a=b)", "(a=b) ", "a=b", " a=b", "a=b ", "&(a=b)(c=d)", "( a=b )", "(a =b)",
	"(& (a=b) (c=d) )", "( & (a=b))", "(&\t(a=b)\n(c=d))", "(&)", "(|)", "(!)",
	"(!(a=b) )", "(! (a=b))", "(!(a=b)(c=d))", "((a=b))", "()", "(a)", "a", "(a=**)",
	"(a=*b*)", "(a=b\\2)", "(a=\\2a\\*\\(\\)\\\\)", "(a=b(c))", "(a:=x)", "(a:dn:=x)",
	"(:dn:2.4:=x)", "(:dn:=x)", "(a:dn:caseExactMatch:=x)", "(a:DN:c:=x)",
	"(a:dn:x:y:=x)", "(a:d:c:=x)", "(a>=*)", "(a=)", "(a>=)", "(a;x-y;z=b)", "(a;=b)",
	"(a;;b=c)", "(1.2.3=b)", "(1..3=b)", "(1.=b)", "(.1=b)", "(1.2;x=b)", "(1a=b)",
	"(a=b=c)", "(a=*b*c*)", "(a=\\)", "(a=\\", "(a=\xc3\xa4)", "(a_b=c)", "(a-b=c)",
	"(-b=c)", "(a=b)(c=d)", "a=b)", "(a=b", "(&(a=b)x)", "(&x(a=b))", "(a<=b*)",
	"(a~=b)", "(:=b)", "(:caseExactMatch:=b)", "(::=b)", "(a::=b)", "(a:=*)", "(1:=x)",
	"(a=\\zz)", "(a=\\\\\\28)", "(&(a=\\))(b=c))", "(&(a=b\\)(b=c))", "(a=* )",
	"(a= *)", "(a=*)", "(a<b=c)", "(a<>=c)", "(&(a=b)", "(&(a=b)))", ")", "(", "(&",
	"(a=\\2A*)", "(a=x\\", "(|(&)(!(a=b)))",
};

static void libldap_and_we_agree_on_syntax(void **state)
{
	static const char alphabet[] = "((()))&|!ab==*\\2a<>:;-. d";
	char filter[25];
	(void)state;

	for (size_t i = 0; i < sizeof odd_filters / sizeof *odd_filters; i++)
		compare_with_libldap(odd_filters[i]);
	for (int round = 0; round < 50000; round++) {
		unsigned n = 1 + random_below(sizeof filter - 1);

		for (unsigned i = 0; i < n; i++)
			filter[i] = alphabet[random_below(sizeof alphabet - 1)];
		filter[n] = '\0';
		compare_with_libldap(filter);
	}
	for (int round = 0; round < 50000; round++) {
		unsigned any = random_below(sizeof odd_filters / sizeof *odd_filters);
		unsigned n = (unsigned)snprintf(filter, sizeof filter, "(&(c=d)%s)",
						odd_filters[any]);

		n = n < sizeof filter ? n : sizeof filter - 1;
		filter[random_below(n)] = alphabet[random_below(sizeof alphabet - 1)];
		compare_with_libldap(filter);
	}
}

static void expansions_stand_in_values_only(void **state)
{
	static const char *const bad[] = {
		"%s", "(%s)", "(%s=a)", "(m%sl=a)", "(mail;%s=a)", "(&%s(a=b))",
		"(&(a=b)%s)", "(mail%s=%s)", "(a:%s:=b)", "(a%s:=b)", "%u(a=%s)",
		"(a=%s)%s", "(a=\\%s)", "(a=\\2%s)",
	};
	(void)state;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct span units, content;
		struct buf why = { 0 };

		assert_true(span_new(text_of(bad[i]), &units, &why));
		if (filter_parse(units, &content, &why))
			fail_msg("%s is taken", bad[i]);
		assert_true(why.n > 0);
		free((void *)units.p);
		buf_done(&why);
	}
}

/* --- plans ------------------------------------------------------------------------ */

/* "FILTER <- attribute BEFORE|AFTER open address cased, ...; ..." */
static void describe(const struct ldap_plan *plan, struct buf *out)
{
	for (size_t i = 0; i < plan->n; i++) {
		const struct ldap_branch *b = &plan->branches[i];

		buf_printf(out, "%s%s <-", i ? "; " : "", b->filter);
		for (size_t j = 0; j < b->n_keys; j++) {
			const struct ldap_key *k = &b->keys[j];

			buf_printf(out, "%s %s %s|%s", j ? "," : "", k->attribute, k->before,
				   k->after);
			buf_str(out, k->is_open ? " open" : "");
			buf_str(out, k->wants_address ? " address" : "");
			buf_str(out, k->is_cased ? " cased" : "");
		}
	}
}

static void derive(const char *filter, struct buf *out)
{
	struct text copy = exact_copy(text_of(filter));
	struct ldap_plan plan;

	if (ldap_plan_derive(copy, &plan, out)) {
		assert_int_equal(out->n, 0);
		describe(&plan, out);
	} else {
		assert_true(out->n > 0);
		assert_int_equal(plan.n, 0);
	}
	ldap_plan_done(&plan);
	assert_null(plan.branches);
	free((char *)copy.p);
}

struct plan_case {
	const char *filter, *want;
};

static void check_derived(const struct plan_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct buf got = { 0 };

		derive(cases[i].filter, &got);
		assert_text(buf_view(&got), cases[i].want);
		buf_done(&got);
	}
}

#define CHECK_DERIVED(cases) check_derived(cases, sizeof cases / sizeof *cases)

static void an_assertion_becomes_a_presence_and_a_pattern(void **state)
{
	static const struct plan_case cases[] = {
		{ "(mail=%s)", "(mail=*) <- mail |" },
		{ "mail=%s", "(mail=*) <- mail |" },
		{ "( mail=%S)", "(mail=*) <- mail |" },
		{ "(proxyAddresses=smtp:%s)", "(proxyAddresses=*) <- proxyAddresses smtp:|" },
		{ "(proxyAddresses=SMTP:%s)",
		  "(proxyAddresses=*) <- proxyAddresses smtp:| cased" },
		{ "mailacceptinggeneralid=*@%s", "(mailacceptinggeneralid=*) <- "
		  "mailacceptinggeneralid @| open" },
		{ "(a=*@%s.local)", "(a=*) <- a @|.local open" },
		{ "(a=<%s>)", "(a=*) <- a <|>" },
		{ "(mail=%u@%d)", "(mail=*) <- mail | address" },
		{ "(mail=x:%U@%D;y)", "(mail=*) <- mail x:|;y address" },
		{ "(mail=*:%u@%d)", "(mail=*) <- mail :| open address" },
		{ "(a=\\2a%s\\5C\\28\\)\\\\)", "(a=*) <- a *|\\()\\" },
		{ "(a=\\40%s100%%)", "(a=*) <- a @|100%" },
		{ "(0.9.2342.19200300.100.1.3=%s)", "(0.9.2342.19200300.100.1.3=*) <- "
		  "0.9.2342.19200300.100.1.3 |" },
	};
	(void)state;
	CHECK_DERIVED(cases);
}

static void surroundings_are_kept_and_alternatives_dropped(void **state)
{
	static const struct plan_case cases[] = {
		{ "(&(objectClass=x)(mail=%s))", "(&(objectClass=x)(mail=*)) <- mail |" },
		{ "(&(mail=%s)(objectClass=x)(!(off=1)))",
		  "(&(objectClass=x)(!(off=1))(mail=*)) <- mail |" },
		{ "(|(mail=%s)(mailAlias=%s))",
		  "(|(mail=*)(mailAlias=*)) <- mail |, mailAlias |" },
		{ "(&(c=x)(|(a=%s)(b=p%s)))", "(&(c=x)(|(a=*)(b=*))) <- a |, b p|" },
		{ "(|(a=%s)(|(b=%s)(&(c=%s))))", "(|(a=*)(b=*)(c=*)) <- a |, b |, c |" },
		{ "(|(a=x:%s)(A=y:%s))", "(a=*) <- a x:|, A y:|" },
		{ "(|(a=%s)(&(on=1)(b=%s)))", "(a=*) <- a |; (&(on=1)(b=*)) <- b |" },
		{ "(&(c=x)(|(a=%s)(&(on=1)(|(b=%s)(d=%s)))(e=%s))(z=*))",
		  "(&(c=x)(z=*)(|(a=*)(e=*))) <- a |, e |; "
		  "(&(c=x)(z=*)(on=1)(|(b=*)(d=*))) <- b |, d |" },
		{ "(|(&(on=1)(a=%s))(&(on=1)(b=%s)))", "(&(on=1)(|(a=*)(b=*))) <- a |, b |" },
		{ "(& (c=50%%) \t( | (a=%s)\n(b=%s) ) )",
		  "(&(c=50%)(|(a=*)(b=*))) <- a |, b |" },
		{ "(&(&(a=%s)))", "(a=*) <- a |" },
		{ "(&(c=\\28\\))(a=%s))", "(&(c=\\28\\))(a=*)) <- a |" },
		{ "(&(&)(!(|(x=1)(y>=2)))(c:1.2.3:=4)(a=%s))",
		  "(&(&)(!(|(x=1)(y>=2)))(c:1.2.3:=4)(a=*)) <- a |" },
	};
	(void)state;
	CHECK_DERIVED(cases);
}

#define ENDLESS ": one value would have keys without end"
#define ALL " has no expansion: every key finds the same"
#define ODD " has a blank or something else than ASCII beside the key"
#define SEVERAL " is an AND of several filters with an expansion"
#define NO_EQUALITY " is no comparison for equality"
#define HINT " (write %% for a percent sign)"

static void what_is_not_the_same_is_refused(void **state)
{
	static const struct plan_case cases[] = {
		{ "", "\"\" is no attribute=value" },
		{ "(mail=joe)", "\"(mail=joe)\"" ALL },
		{ "(mail=%%s)", "\"(mail=%s)\"" ALL },
		{ "(!(mail=%s))",
		  "\"!(mail=%s)\" is a NOT around an expansion: it finds the rest" },
		{ "(&(a=b)(!(&(c=d)(mail=%s))))",
		  "\"!(&(c=d)(mail=%s))\" is a NOT around an expansion: it finds the rest" },
		{ "(|(mail=%s)(uid=joe))",
		  "\"uid=joe\" is in an OR without an expansion: every key finds the same" },
		{ "(&(a=%s)(b=%s))", "\"&(a=%s)(b=%s)\"" SEVERAL },
		{ "(&(mail=%u*)(mail=*@%d))",
		  "\"&(mail=%u*)(mail=*@%d)\"" SEVERAL },
		{ "(mail>=%s)", "\"mail>=%s\"" NO_EQUALITY },
		{ "(mail<=%s)", "\"mail<=%s\"" NO_EQUALITY },
		{ "(mail~=%s)", "\"mail~=%s\"" NO_EQUALITY },
		{ "(mail:caseExactMatch:=%s)", "\"mail:caseExactMatch:=%s\"" NO_EQUALITY },
		{ "(mail;lang-en=%s)", "\"mail;lang-en=%s\" has an attribute with options" },
		{ "(mail=%s*)", "\"%s*\" has a * not at its front" ENDLESS },
		{ "(mail=a*%s)", "\"a*%s\" has a * not at its front" ENDLESS },
		{ "(mail=*a*%s)", "\"*a*%s\" has a * not at its front" ENDLESS },
		{ "(mail=*@%s*)", "\"*@%s*\" has a * not at its front" ENDLESS },
		{ "(mail=*%s)", "\"*%s\" has nothing between * and the key" },
		{ "(mail=%u)", "\"%u\" is a part of the key only" ENDLESS },
		{ "(dc=%d)", "\"%d\" is a part of the key only" ENDLESS },
		{ "(dc=%1)", "\"%1\" is a part of the key only" ENDLESS },
		{ "(mail=%d@%u)", "\"%d@%u\" mixes parts of the key" },
		{ "(mail=%u%d)", "\"%u%d\" mixes parts of the key" },
		{ "(mail=%s@%s)", "\"%s@%s\" mixes parts of the key" },
		{ "(mail=%s%s%s)", "\"%s%s%s\" mixes parts of the key" },
		{ "(mail=%u@%s)", "\"%u@%s\" mixes parts of the key" },
		{ "(mail=%s )", "\"%s \"" ODD },
		{ "(mail=x\\09%s)", "\"x\\x5c09%s\"" ODD },
		{ "(mail=\xc3\xa4%s)", "\"\\xc3\\xa4%s\"" ODD },
		{ "(%s=mail)", "\"%s=mail\" has an expansion in the attribute's name" },
		{ "(&(mail=%s)(x))", "\"x\" is no attribute=value" },
		{ "(mail =%s)", "\"mail =%s\" does not begin with an attribute" },
		{ "(mail=%s", "\"(mail=%s\" lacks a )" },
		{ "(mail=%s)x", "\"x\" stands behind the filter" },
		{ "(mail=%s))", "\")\" stands behind the filter" },
		{ "&(a=b)(mail=%s)", "\"&(a=b)(mail=%s)\" does not begin with an attribute" },
		{ "(&(mail=%s)x)", "\"x\" is no (filter), or lacks a )" },
		{ "(mail=(%s))", "\"mail=(%s)\" has a *, ( ) or \\ where none may be" },
		{ "(mail=%x)", "unknown expansion %x at character 7" HINT },
		{ "(mail=%s)%", "a lone % at the end" HINT },
		{ "(&(a=123456789012345678901234567890123456789012345678901234567890%s)(b=%s))",
		  "\"&(a=12345678901234567890123456789012345678901234567890123456..."
		  "\"" SEVERAL },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf got = { 0 };

		derive(cases[i].filter, &got);
		if (strncmp(buf_cstr(&got), cases[i].want, strlen(cases[i].want)) != 0)
			assert_string_equal(buf_cstr(&got), cases[i].want);
		buf_done(&got);
	}
}

static void depth_and_number_are_bounded(void **state)
{
	struct buf filter = { 0 }, got = { 0 };
	(void)state;

	for (int i = 0; i < 200000; i++)
		buf_str(&filter, "(&");
	buf_str(&filter, "(a=%s)");
	for (int i = 0; i < 200000; i++)
		buf_str(&filter, ")");
	derive(buf_cstr(&filter), &got);
	assert_non_null(strstr(buf_cstr(&got), "nested too deeply"));
	buf_clear(&filter);
	buf_clear(&got);
	buf_str(&filter, "(|");
	for (int i = 0; i < 101; i++)
		buf_str(&filter, "(a=%s)");
	buf_str(&filter, ")");
	derive(buf_cstr(&filter), &got);
	assert_non_null(strstr(buf_cstr(&got), "one expansion too many"));
	buf_done(&filter);
	buf_done(&got);
}

static void a_nul_is_refused(void **state)
{
	struct buf why = { 0 };
	struct ldap_plan plan;
	(void)state;

	assert_false(ldap_plan_derive(TEXT("(a=%s)\0"), &plan, &why));
	assert_text(buf_view(&why), "it holds a NUL");
	ldap_plan_done(&plan);
	buf_done(&why);
}

/* The filters of ../shared/oracle/public/tables/ldap_*.cf.in; several tables share one. */
static void filters_of_the_oracle(void **state)
{
	static const struct plan_case cases[] = {
		{ "(&(objectClass=adUser)(proxyAddresses=smtp:%s)"
		  "(!(userAccountControl:1.2.840.113556.1.4.803:=2)))",
		  "(&(objectClass=adUser)(!(userAccountControl:1.2.840.113556.1.4.803:=2))"
		  "(proxyAddresses=*)) <- proxyAddresses smtp:|" },
		{ "(&(objectClass=inetOrgPerson)(targetAddress=*)(proxyAddresses=smtp:%s))",
		  "(&(objectClass=inetOrgPerson)(targetAddress=*)(proxyAddresses=*)) <- "
		  "proxyAddresses smtp:|" },
		{ "(mailacceptinggeneralid=%s)",
		  "(mailacceptinggeneralid=*) <- mailacceptinggeneralid |" },
		{ "(|(mail=%s)(mailAlias=%s)(uid=%s))",
		  "(|(mail=*)(mailAlias=*)(uid=*)) <- mail |, mailAlias |, uid |" },
		{ "(&(objectClass=dNSDomain)(dc=%d))",
		  "\"%d\" is a part of the key only" ENDLESS },
		{ "(&(|(objectClass=mailUser)(&(objectClass=mailList)(enabledService=mlmmj)))"
		  "(|(mail=%s)(shadowAddress=%s))(accountStatus=active)"
		  "(!(domainStatus=disabled))"
		  "(enabledService=mail))",
		  "(&(|(objectClass=mailUser)(&(objectClass=mailList)(enabledService=mlmmj)))"
		  "(accountStatus=active)(!(domainStatus=disabled))(enabledService=mail)"
		  "(|(mail=*)(shadowAddress=*))) <- "
		  "mail |, shadowAddress |" },
		{ "(oraKey=single)", "\"(oraKey=single)\"" ALL },
		{ "oraKey=%s", "(oraKey=*) <- oraKey |" },
		{ "(&(mail=%u*)(mail=*@%d))",
		  "\"&(mail=%u*)(mail=*@%d)\"" SEVERAL },
		{ "(&(objectClass=adGroup)(proxyAddresses=smtp:%s))",
		  "(&(objectClass=adGroup)(proxyAddresses=*)) <- proxyAddresses smtp:|" },
		{ "(&(objectClass=inetOrgPerson)   (|(mail=%s)   (mailAlias=%s)))",
		  "(&(objectClass=inetOrgPerson)(|(mail=*)(mailAlias=*))) <- "
		  "mail |, mailAlias |" },
		{ "(&(|(mail=%s)(shadowAddress=%s))(accountStatus=active)"
		  "(!(domainStatus=disabled))"
		  "(enabledService=mail)(enabledService=deliver)(|(objectClass=mailList)"
		  "(&(objectClass=mailUser)(enabledService=forward))))",
		  "(&(accountStatus=active)(!(domainStatus=disabled))(enabledService=mail)"
		  "(enabledService=deliver)(|(objectClass=mailList)(&(objectClass=mailUser)"
		  "(enabledService=forward)))(|(mail=*)(shadowAddress=*))) <- "
		  "mail |, shadowAddress |" },
		{ "(&(objectClass=mailDomain)(|(domainName=%s)(&(enabledService=domainalias)"
		  "(domainAliasName=%s)))(!(domainBackupMX=yes))(accountStatus=active)"
		  "(enabledService=mail))",
		  "(&(objectClass=mailDomain)(!(domainBackupMX=yes))(accountStatus=active)"
		  "(enabledService=mail)(domainName=*)) <- domainName |; "
		  "(&(objectClass=mailDomain)(!(domainBackupMX=yes))(accountStatus=active)"
		  "(enabledService=mail)(enabledService=domainalias)(domainAliasName=*)) <- "
		  "domainAliasName |" },
		{ "mailacceptinggeneralid=*@%s",
		  "(mailacceptinggeneralid=*) <- mailacceptinggeneralid @| open" },
		{ "(|(uid=%s)(mailacceptinggeneralid=%s))",
		  "(|(uid=*)(mailacceptinggeneralid=*)) <- uid |, mailacceptinggeneralid |" },
		{ "(uidNumber=%s)", "(uidNumber=*) <- uidNumber |" },
		{ "(&(objectClass=inetOrgPerson)(mail=%u@%d))",
		  "(&(objectClass=inetOrgPerson)(mail=*)) <- mail | address" },
	};
	(void)state;
	CHECK_DERIVED(cases);
}

static void the_administrator_may_say_it(void **state)
{
	static const struct { const char *filter, *attributes, *pattern, *want; } cases[] = {
		{ "(a=b)", "mail", "", "(a=b) <- mail |" },
		{ "a=b", " mail,\tmailAlias\n", "smtp:%s",
		  "(a=b) <- mail smtp:|, mailAlias smtp:|" },
		{ "(&(a=50%%)(!(b=*)))", "1.2.3", "*@%s",
		  "(&(a=50%)(!(b=*))) <- 1.2.3 @| open" },
		{ "(a=b)", "mail", "%u@%d", "(a=b) <- mail | address" },
		{ "(a=b)", "", "%s", "no attribute is named" },
		{ "(a=b)", "mail;x", "%s", "\"mail;x\" is no attribute without options" },
		{ "(a=b)", "mail \"\x01", "%s",
		  "\"\\x22\\x01\" is no attribute without options" },
		{ "(a=%s)", "mail", "%s",
		  "\"(a=%s)\" has an expansion, but a scan asks for no key" },
		{ "(a=b", "mail", "%s", "\"(a=b\" lacks a )" },
		{ "", "mail", "%s", "\"\" is no attribute=value" },
		{ "(a=50%)", "mail", "%s", "unknown expansion %) at character 6" HINT },
		{ "(a=b)", "mail", "x", "\"x\" has no expansion" },
		{ "(a=b)", "mail", "%s*", "\"%s*\" has a * not at its front" ENDLESS },
		{ "(a=b)", "mail", "(%s)", "\"(%s)\" is no value of a filter" },
		{ "(a=b)", "mail", "%", "a lone % at the end" HINT },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf got = { 0 };
		struct ldap_plan plan;

		if (ldap_plan_explicit(text_of(cases[i].filter), text_of(cases[i].attributes),
				       text_of(cases[i].pattern), &plan, &got))
			describe(&plan, &got);
		else
			assert_int_equal(plan.n, 0);
		assert_text(buf_view(&got), cases[i].want);
		ldap_plan_done(&plan);
		buf_done(&got);
	}
}

/* --- keys ------------------------------------------------------------------------- */

static void values_have_keys(void **state)
{
	static const struct { const char *assertion, *value, *keys; } cases[] = {
		{ "a=%s", "joe@x", "joe@x " },
		{ "a=%s", "", "" },
		{ "a=smtp:%s", "smtp:joe@x", "joe@x " },
		{ "a=smtp:%s", "smtp:", "" },
		{ "a=smtp:%s", "sip:joe@x", "" },
		{ "a=smtp:%s", "xsmtp:joe@x", "" },
		{ "a=smtp:%s", "smtp:smtp:x", "smtp:x " },
		{ "a=*@%s", "a@b@c", "b@c c " },
		{ "a=*@%s", "@c", "c " },
		{ "a=*@%s", "c@", "" },
		{ "a=*@%s", "abc", "" },
		{ "a=*@@%s", "a@@@b", "@b b " },
		{ "a=*@%s.local", "a@b.local", "b " },
		{ "a=*@%s.local", "a@.local", "" },
		{ "a=*@%s.local", "a@b.global", "" },
		{ "a=<%s>", "<x>", "x " },
		{ "a=<%s>", "<>", "" },
		{ "a=<%s>", "<", "" },
		{ "a=aa%sab", "aab", "" },
		{ "a=%u@%d", "joe@x", "joe@x " },
		{ "a=%u@%d", "a@b@c", "a@b@c " },
		{ "a=%u@%d", "joe", "" },
		{ "a=%u@%d", "@x", "" },
		{ "a=%u@%d", "joe@", "" },
		{ "a=*:%u@%d", "x:y:a@b:z", "y:a@b:z a@b:z " },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct text value = exact_copy(text_of(cases[i].value)), key;
		struct buf got = { 0 }, why = { 0 };
		struct ldap_plan plan;
		size_t at = 0;

		assert_true(ldap_plan_derive(text_of(cases[i].assertion), &plan, &why));
		while (ldap_key_next(plan.branches[0].keys, value, &at, &key)) {
			buf_text(&got, key);
			buf_byte(&got, ' ');
		}
		assert_text(buf_view(&got), cases[i].keys);
		ldap_plan_done(&plan);
		free((char *)value.p);
		buf_done(&got);
	}
}

static void plain_is_printable_ascii_without_blanks(void **state)
{
	char longest[LDAP_KEY_MAX + 1];
	(void)state;

	memset(longest, 'x', sizeof longest);
	assert_true(ldap_key_is_plain((struct text){ longest, LDAP_KEY_MAX }));
	assert_false(ldap_key_is_plain((struct text){ longest, LDAP_KEY_MAX + 1 }));
	assert_true(ldap_key_is_plain(TEXT("joe.user+x'!#$%&*/=?^_`{|}~@x-y.z")));
	assert_false(ldap_key_is_plain(TEXT("")));
	assert_false(ldap_key_is_plain(TEXT("joe x")));
	assert_false(ldap_key_is_plain(TEXT(" x")));
	assert_false(ldap_key_is_plain(TEXT("x\t")));
	assert_false(ldap_key_is_plain(TEXT("x\0")));
	assert_false(ldap_key_is_plain(TEXT("x\x7f")));
	assert_false(ldap_key_is_plain(TEXT("jos\xc3\xa9")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_is_quoted_comes_back),
		cmocka_unit_test(quoting_spares_what_is_harmless),
		cmocka_unit_test(libldap_and_we_agree_on_syntax),
		cmocka_unit_test(expansions_stand_in_values_only),
		cmocka_unit_test(an_assertion_becomes_a_presence_and_a_pattern),
		cmocka_unit_test(surroundings_are_kept_and_alternatives_dropped),
		cmocka_unit_test(what_is_not_the_same_is_refused),
		cmocka_unit_test(depth_and_number_are_bounded),
		cmocka_unit_test(a_nul_is_refused),
		cmocka_unit_test(filters_of_the_oracle),
		cmocka_unit_test(the_administrator_may_say_it),
		cmocka_unit_test(values_have_keys),
		cmocka_unit_test(plain_is_printable_ascii_without_blanks),
	};

	return cmocka_run_group_tests_name("ldap_filter", tests, NULL, NULL);
}
