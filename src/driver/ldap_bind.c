#include "driver/ldap_bind.h"

#include "base/clock.h"
#include "driver/ldap_tls.h"
#include "driver/ldap_watchdog.h"

#include <sasl/sasl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

/* Where neither option names a CA. The library alone would know none. */
#define SYSTEM_CA "/etc/ssl/certs/ca-certificates.crt"

#define CONTEXT_MSEC 3600000

/* Bytes of a server's own words that are worth repeating. */
#define SAID_MAX 200

/* The server's word on a bind that says nothing of us. */
static const int passing[] = {
	LDAP_OPERATIONS_ERROR, LDAP_TIMELIMIT_EXCEEDED, LDAP_ADMINLIMIT_EXCEEDED, LDAP_BUSY,
	LDAP_UNAVAILABLE, LDAP_OTHER,
};

static const char *get(const struct session *s, const char *name)
{
	return setting_get(s->source, name, "");
}

static bool is_true(const struct session *s, const char *name, const char *otherwise)
{
	return strcmp(setting_get(s->source, name, otherwise), "true") == 0;
}

void connection_describe(struct session *s, int code, struct buf *out)
{
	char *said = NULL;

	if (watchdog_has_bitten(s->watchdog)) {
		buf_printf(out, "no answer within %u ms", (unsigned)s->watched);
		return;
	}
	buf_printf(out, "%s (%d)", ldap_err2string(code), code);
	ldap_get_option(s->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &said);
	if (said && *said)
		buf_printf(out, ": %.*s", SAID_MAX, said);
	ldap_memfree(said);
}

/* --- options ---------------------------------------------------------------------- */

static void set_options(struct session *s)
{
	const int version = strcmp(setting_get(s->source, "version", "3"), "2") == 0 ? 2 : 3;
	const int deref = atoi(setting_get(s->source, "dereference", "0"));
	const bool has_referrals = is_true(s, "chase_referrals", "false");
	const struct timeval connect = { (time_t)(s->connect_timeout / 1000),
					 (suseconds_t)(s->connect_timeout % 1000 * 1000) };

	ldap_set_option(s->ld, LDAP_OPT_PROTOCOL_VERSION, &version);
	ldap_set_option(s->ld, LDAP_OPT_DEREF, &deref);
	ldap_set_option(s->ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
	/* Its own connections are out of reach for the watchdog; it has this at least. */
	if (has_referrals)
		ldap_set_option(s->ld, LDAP_OPT_NETWORK_TIMEOUT, &connect);
}

void connection_set_referrals(struct session *s)
{
	bool follows = s->purpose == FOR_LOOKUPS && is_true(s, "chase_referrals", "false");

	ldap_set_option(s->ld, LDAP_OPT_REFERRALS, follows ? LDAP_OPT_ON : LDAP_OPT_OFF);
}

/* --- TLS -------------------------------------------------------------------------- */

static bool is_verified(const struct session *s)
{
	return is_true(s, "tls_require_cert", "true");
}

static const char *ca_file(const struct session *s)
{
	const char *file = get(s, "tls_ca_cert_file");

	return *file || *get(s, "tls_ca_cert_dir") || !is_verified(s) ? file : SYSTEM_CA;
}

/* All of them, as what is not set comes from elsewhere. A code of the library. */
static int make_context(const struct session *s)
{
	const struct { int option; const char *value; } texts[] = {
		{ LDAP_OPT_X_TLS_CACERTFILE, ca_file(s) },
		{ LDAP_OPT_X_TLS_CACERTDIR, get(s, "tls_ca_cert_dir") },
		{ LDAP_OPT_X_TLS_CERTFILE, get(s, "tls_cert") },
		{ LDAP_OPT_X_TLS_KEYFILE, get(s, "tls_key") },
		{ LDAP_OPT_X_TLS_CIPHER_SUITE, get(s, "tls_cipher_suite") },
	};
	const int verify = is_verified(s) ? LDAP_OPT_X_TLS_DEMAND : LDAP_OPT_X_TLS_NEVER;
	const int least = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2, is_server = 0;
	int code = LDAP_OPT_SUCCESS;

	for (size_t i = 0; i < sizeof texts / sizeof *texts && code == LDAP_OPT_SUCCESS; i++)
		if (*texts[i].value)
			code = ldap_set_option(NULL, texts[i].option, texts[i].value);
	if (code == LDAP_OPT_SUCCESS)
		code = ldap_set_option(NULL, LDAP_OPT_X_TLS_REQUIRE_CERT, &verify);
	if (code == LDAP_OPT_SUCCESS)
		code = ldap_set_option(NULL, LDAP_OPT_X_TLS_PROTOCOL_MIN, &least);
	if (code == LDAP_OPT_SUCCESS)
		code = ldap_set_option(NULL, LDAP_OPT_X_TLS_NEWCTX, &is_server);
	return code;
}

/*
 * One context for all connections, as libldap 2.5 never frees all of one. Its files are read
 * again after a failure, and once an hour: certificates are renewed.
 */
static int set_tls(struct session *s)
{
	const int verify = is_verified(s) ? LDAP_OPT_X_TLS_DEMAND : LDAP_OPT_X_TLS_NEVER;
	uint64_t now = clock_msec();
	int code = LDAP_OPT_SUCCESS;

	if (!s->tls_made || now - s->tls_made > CONTEXT_MSEC) {
		code = make_context(s);
		s->tls_made = now;
	}
	if (code == LDAP_OPT_SUCCESS)
		code = ldap_set_option(s->ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &verify);
	return code;
}

/* A list of ciphers of ours may have brought old protocols back. */
static bool is_modern(struct session *s)
{
	char *version = NULL;
	bool is_old;

	ldap_get_option(s->ld, LDAP_OPT_X_TLS_VERSION, &version);
	is_old = !version || strstr(version, "SSL") || strstr(version, "1.0") ||
		 strstr(version, "1.1");
	ldap_memfree(version);
	return !is_old;
}

static struct tls_attempt attempt_of(const struct session *s, const struct addresses *a)
{
	return (struct tls_attempt){
		.host = s->host, .addresses = a, .is_verified = is_verified(s),
		.ca_file = ca_file(s), .ca_dir = get(s, "tls_ca_cert_dir"),
		.cert = get(s, "tls_cert"), .key = get(s, "tls_key"),
	};
}

/* The library has not even tried. */
static void explain_settings(struct session *s, const struct tls_attempt *attempt, int code,
			     struct buf *out)
{
	char *package = NULL;

	if (tls_explain_files(attempt, out))
		return;
	ldap_get_option(NULL, LDAP_OPT_X_TLS_PACKAGE, &package);
	if (*get(s, "tls_cipher_suite"))
		buf_printf(out, "tls_cipher_suite is nothing that %s knows",
			   package ? package : "the TLS library");
	else
		connection_describe(s, code, out);
	ldap_memfree(package);
}

static bool secure(struct session *s, const struct addresses *addresses, uint64_t deadline,
		   struct buf *ret_why)
{
	const struct tls_attempt attempt = attempt_of(s, addresses);
	const bool starts = is_true(s, "start_tls", "false");
	int code;

	if (!starts && !s->host->is_tls)
		return true;
	if (starts && s->host->is_tls) {
		buf_str(ret_why, "start_tls does not go with ldaps");
		return false;
	}
	code = set_tls(s);
	if (code != LDAP_OPT_SUCCESS) {
		explain_settings(s, &attempt, code, ret_why);
		return false;
	}
	code = starts ? ldap_start_tls_s(s->ld, NULL, NULL) : ldap_install_tls(s->ld);
	if (code == LDAP_SUCCESS && is_modern(s))
		return true;
	if (code == LDAP_SUCCESS)
		buf_str(ret_why, "the server has no TLS 1.2 or newer");
	if (code > 0)
		buf_str(ret_why, "the server refuses StartTLS: ");
	if (code > 0 || (code < 0 && (watchdog_has_bitten(s->watchdog) ||
				      !tls_explain(&attempt, deadline, ret_why))))
		connection_describe(s, code, ret_why);
	return false;
}

uint64_t connection_not_after(struct session *s)
{
	struct berval der = { 0 };
	uint64_t seconds = 0;

	if (ldap_get_option(s->ld, LDAP_OPT_X_TLS_PEERCERT, &der) != LDAP_OPT_SUCCESS)
		return 0;
	if (!tls_not_after(der.bv_val, der.bv_len, &seconds))
		seconds = 0;
	ber_memfree(der.bv_val);
	return seconds;
}

void connection_cipher(struct session *s, struct buf *out)
{
	char *version = NULL, *cipher = NULL;

	if (!ldap_tls_inplace(s->ld)) {
		buf_str(out, "none");
		return;
	}
	ldap_get_option(s->ld, LDAP_OPT_X_TLS_VERSION, &version);
	ldap_get_option(s->ld, LDAP_OPT_X_TLS_CIPHER, &cipher);
	buf_printf(out, "%s %s", version ? version : "", cipher ? cipher : "");
	ldap_memfree(version);
	ldap_memfree(cipher);
}

/* --- binding ---------------------------------------------------------------------- */

enum bind_kind connection_bind_kind(const struct session *s)
{
	const char *kind = get(s, "bind");

	return strcmp(kind, "none") == 0 ? BIND_NONE :
	       strcmp(kind, "sasl") == 0 ? BIND_SASL : BIND_SIMPLE;
}

static int bind_simple(struct session *s, const char *password)
{
	struct berval secret = { strlen(password), (char *)(uintptr_t)password };

	return ldap_sasl_bind_s(s->ld, get(s, "bind_dn"), LDAP_SASL_SIMPLE, &secret, NULL,
				NULL, NULL);
}

/* What a mechanism may ask for. */
struct answers {
	const char *authcid, *password, *realm, *authzid;
};

static int answer(LDAP *ld, unsigned flags, void *ctx, void *questions)
{
	const struct answers *a = ctx;
	(void)ld;
	(void)flags;

	for (sasl_interact_t *q = questions; q->id != SASL_CB_LIST_END; q++) {
		const char *text = q->id == SASL_CB_AUTHNAME ? a->authcid :
				   q->id == SASL_CB_PASS ? a->password :
				   q->id == SASL_CB_GETREALM ? a->realm :
				   q->id == SASL_CB_USER ? a->authzid : "";

		if (!*text && q->defresult)
			text = q->defresult;
		q->result = text;
		q->len = (unsigned)strlen(text);
	}
	return LDAP_SUCCESS;
}

static int bind_sasl(struct session *s, const char *password)
{
	struct answers answers = { get(s, "bind_dn"), password, get(s, "sasl_realm"),
				   get(s, "sasl_authz_id") };
	const char *mechanisms = get(s, "sasl_mechs");
	ber_len_t least = strtoul(get(s, "sasl_minssf"), NULL, 10);

	/* A name server asked for the server's real name cannot be called off. */
	ldap_set_option(s->ld, LDAP_OPT_X_SASL_NOCANON, LDAP_OPT_ON);
	ldap_set_option(s->ld, LDAP_OPT_X_SASL_SSF_MIN, &least);
	return ldap_sasl_interactive_bind_s(s->ld, NULL, *mechanisms ? mechanisms : NULL, NULL,
					    NULL, LDAP_SASL_QUIET, answer, &answers);
}

static bool is_passing(int code)
{
	for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
		if (passing[i] == code)
			return true;
	return code < 0;
}

enum bound connection_bind(struct session *s, const struct addresses *addresses,
			   const char *password, uint64_t deadline, const char **ret_phase,
			   struct buf *ret_why)
{
	enum bind_kind kind = connection_bind_kind(s);
	int code = LDAP_SUCCESS;

	set_options(s);
	*ret_phase = "tls";
	if (!secure(s, addresses, deadline, ret_why)) {
		s->tls_made = 0;
		return BOUND_NOT;
	}
	*ret_phase = "bind";
	if (kind == BIND_SASL)
		code = bind_sasl(s, password);
	else if (kind == BIND_SIMPLE)
		code = bind_simple(s, password);
	if (code == LDAP_SUCCESS && !watchdog_has_bitten(s->watchdog))
		return BOUND;
	s->tls_made = 0;	/* it may be our certificate */
	connection_describe(s, code, ret_why);
	return is_passing(code) ? BOUND_NOT : BOUND_REFUSED;
}
