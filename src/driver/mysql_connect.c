#include "driver/mysql.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "driver/secret.h"
#include "wire/frame.h"

#include <limits.h>
#include <mariadb/errmsg.h>
#include <mariadb/mysqld_error.h>

/* Plugins that never show the password to whoever asks for it. */
#define AUTH_PLUGINS "mysql_native_password,client_ed25519,caching_sha2_password"

/* The longest row; what would not fit into a message by far. */
#define PACKET_MAX ((size_t)16 << 20)

/* Longer than an idle connection takes to turn out to be dead. */
#define AT_ONCE_MSEC 1000

/* --- settings --------------------------------------------------------------------- */

static bool get_msec(const struct settings *source, const char *name,
		     const char *otherwise, uint64_t *ret, struct buf *ret_why)
{
	if (frame_number(text_of(setting_get(source, name, otherwise)), ret) &&
	    *ret <= INT_MAX)
		return true;
	buf_printf(ret_why, "%s is not a number of milliseconds", name);
	return false;
}

bool session_init(struct session *s, const struct settings *source, struct buf *ret_why)
{
	const struct { const char *name, *otherwise; uint64_t *field; } times[] = {
		{ "connect_timeout", "2000", &s->connect_timeout },
		{ "timeout", "5000", &s->timeout },
		{ "scan_timeout", "600000", &s->scan_timeout },
		{ "scan_idle", "30000", &s->scan_idle },
		{ "retry_interval", "60000", &s->retry_interval },
		{ "idle_interval", "60000", &s->idle_interval },
	};
	const char *hosts = setting_get(source, "hosts", "");
	bool is_good;

	*s = (struct session){ .source = source };
	is_good = hosts_parse(text_of(hosts), &s->hosts, ret_why);
	for (size_t i = 0; i < sizeof times / sizeof *times && is_good; i++)
		is_good = get_msec(source, times[i].name, times[i].otherwise,
				   times[i].field, ret_why);
	return is_good;
}

void session_done(struct session *s)
{
	session_close(s);
	hosts_done(&s->hosts);
	buf_done(&s->why);
	buf_done(&s->scratch);
}

static bool is_set(const struct session *s, const char *name)
{
	return setting_get(s->source, name, NULL) != NULL;
}

/* tls_verify_cert = false alone does not ask for TLS. */
static bool wants_tls(const struct session *s)
{
	static const char *const names[] = {
		"tls_cert_file", "tls_key_file", "tls_CAfile",
		"tls_CApath",	 "tls_ciphers",	 "tls_min_version",
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (is_set(s, names[i]))
			return true;
	return strcmp(setting_get(s->source, "tls_verify_cert", "false"), "true") == 0;
}

/*
 * Of one statement. With several hosts half of the time is left for the next one; a tenth
 * for the server to say so itself before it is taken for dead.
 */
static uint64_t statement_msec(const struct session *s, enum purpose purpose)
{
	uint64_t whole = purpose == FOR_SCANS ? s->scan_timeout :
			 s->hosts.n > 1 ? s->timeout / 2 : s->timeout;

	return whole - whole / 10;
}

/* --- hosts ------------------------------------------------------------------------ */

/* The host is to blame, or on its way out; as are the library's errors below 2030. */
static const unsigned lost[] = {
	ER_CON_COUNT_ERROR, ER_UNKNOWN_COM_ERROR /* Galera: not ready */,
	ER_SERVER_SHUTDOWN, ER_NORMAL_SHUTDOWN, ER_SHUTDOWN_COMPLETE, ER_FORCING_CLOSE,
	ER_HOST_IS_BLOCKED, ER_HOST_NOT_PRIVILEGED, ER_ABORTING_CONNECTION,
	ER_NEW_ABORTING_CONNECTION, ER_CONNECTION_KILLED, ER_TOO_MANY_USER_CONNECTIONS,
	ER_USER_LIMIT_REACHED, ER_NET_READ_ERROR_FROM_PIPE, ER_NET_FCNTL_ERROR,
	ER_NET_PACKETS_OUT_OF_ORDER, ER_NET_UNCOMPRESS_ERROR, ER_NET_READ_ERROR,
	ER_NET_READ_INTERRUPTED, ER_NET_ERROR_ON_WRITE, ER_NET_WRITE_INTERRUPTED,
	CR_SERVER_LOST_EXTENDED, CR_ERR_NET_READ, CR_ERR_NET_WRITE,
	CR_ERR_NET_UNCOMPRESS, 3168 /* MySQL: not available */,
	4031 /* MySQL: idle for too long */,
};

/* It does not want us. Asking again soon may lock the account. */
static const unsigned refused[] = {
	ER_DBACCESS_DENIED_ERROR, ER_ACCESS_DENIED_ERROR, ER_HOST_IS_BLOCKED,
	ER_HOST_NOT_PRIVILEGED, ER_ACCESS_DENIED_NO_PASSWORD_ERROR,
	ER_MUST_CHANGE_PASSWORD_LOGIN, 3118 /* MySQL: account locked */,
	ER_ACCOUNT_HAS_BEEN_LOCKED,
};

/* Of the connection, but nobody's fault: the row is too long, we are out of step. */
static const unsigned broken[] = {
	ER_NET_PACKET_TOO_LARGE, CR_OUT_OF_MEMORY, CR_COMMANDS_OUT_OF_SYNC,
	CR_NET_PACKET_TOO_LARGE,
};

static bool is_in(unsigned code, const unsigned *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == code)
			return true;
	return false;
}

#define IS_IN(code, list) is_in(code, list, sizeof list / sizeof *list)

static void rest(struct session *s, unsigned code, const char *message)
{
	const char *source = setting_get(s->source, "name", "");
	struct host *h = s->host;

	h->rests_until = clock_msec() + s->retry_interval;
	h->is_refused = IS_IN(code, refused);
	buf_clear(&s->why);
	buf_printf(&s->why, "%s: %s", h->label, message);
	log_warn("host_failed", h->label, F_STR("source", source),
		 F_STR("host", h->label), F_STR("why", message), F_NUM("code", code),
		 F_MSEC("rests", s->retry_interval));
}

enum ended session_failed(struct session *s, unsigned code, const char *message,
			  struct buf *ret_why)
{
	bool is_broken = IS_IN(code, broken);

	buf_printf(ret_why, "%s: %s (%u)", s->host->label, message, code);
	if (!is_broken && !(code >= CR_MIN_ERROR && code < CR_NO_PREPARE_STMT) &&
	    !IS_IN(code, lost))
		return ENDED_TEMP;
	/* An old connection may have been closed long ago by a server that is well. */
	if (!is_broken && (s->is_new || clock_msec() - s->began >= AT_ONCE_MSEC))
		rest(s, code, message);
	session_close(s);
	return is_broken ? ENDED_TEMP : ENDED_DOWN;
}

/* --- connecting ------------------------------------------------------------------- */

static unsigned seconds(uint64_t msec)
{
	return msec < 1000 ? 1 : (unsigned)((msec + 999) / 1000);
}

/* The library counts whole ones. A lookup shall live to see the last host. */
static unsigned connect_seconds(const struct session *s)
{
	unsigned share = (unsigned)(s->timeout / (s->hosts.n + 1) / 1000);
	unsigned wanted = seconds(s->connect_timeout);

	return share >= wanted ? wanted : share ? share : 1;
}

/* A server may ask for any file of ours; no option file makes us give one. */
static int refuse_infile(void **handle, const char *name, void *user)
{
	(void)name;
	(void)user;
	*handle = NULL;
	return 1;
}

static int read_infile(void *handle, char *to, unsigned n)
{
	(void)handle;
	(void)to;
	(void)n;
	return -1;
}

static void end_infile(void *handle)
{
	(void)handle;
}

static int fail_infile(void *handle, char *message, unsigned n)
{
	(void)handle;
	if (n)
		*message = '\0';
	return CR_UNKNOWN_ERROR;
}

static void set_tls(struct session *s, MYSQL *db)
{
	const char *verify = setting_get(s->source, "tls_verify_cert",
					 s->host->is_unix ? "false" : "true");
	const char *least = setting_get(s->source, "tls_min_version", "TLSv1.2");
	my_bool is_wanted = wants_tls(s);
	my_bool is_verified = is_wanted && strcmp(verify, "true") == 0;

	if (is_wanted) {
		mysql_ssl_set(db, setting_get(s->source, "tls_key_file", NULL),
			      setting_get(s->source, "tls_cert_file", NULL),
			      setting_get(s->source, "tls_CAfile", NULL),
			      setting_get(s->source, "tls_CApath", NULL),
			      setting_get(s->source, "tls_ciphers", NULL));
		mysql_optionsv(db, MARIADB_OPT_TLS_VERSION,
			       strcmp(least, "TLSv1.3") == 0 ? least : "TLSv1.2,TLSv1.3");
	}
	/* Defaults differ between versions of the library. */
	mysql_optionsv(db, MYSQL_OPT_SSL_ENFORCE, &is_wanted);
	mysql_optionsv(db, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &is_verified);
}

/* As Postfix, but without one of these settings no option file is read. */
static void set_option_file(struct session *s, MYSQL *db)
{
	const char *file = setting_get(s->source, "option_file", NULL);
	const char *group = setting_get(s->source, "option_group", file ? "client" : "");

	if (file)
		mysql_optionsv(db, MYSQL_READ_DEFAULT_FILE, file);
	if (*group)
		mysql_optionsv(db, MYSQL_READ_DEFAULT_GROUP, group);
}

/* What performance_schema.session_connect_attrs shows of us. */
static void set_attribute(MYSQL *db, const char *name, const char *value)
{
	mysql_optionsv(db, MYSQL_OPT_CONNECT_ATTR_ADD, name, value);
}

static void set_options(struct session *s, MYSQL *db, enum purpose purpose)
{
	uint64_t silence = purpose == FOR_SCANS ? s->scan_idle :
			   s->hosts.n > 1 ? s->timeout / 2 : s->timeout;
	unsigned connect = connect_seconds(s), io = seconds(silence), no_infile = 0;
	my_bool no = 0;
	size_t packet_max = PACKET_MAX;

	set_option_file(s, db);
	set_tls(s, db);
	mysql_optionsv(db, MYSQL_OPT_CONNECT_TIMEOUT, &connect);
	mysql_optionsv(db, MYSQL_OPT_READ_TIMEOUT, &io);
	mysql_optionsv(db, MYSQL_OPT_WRITE_TIMEOUT, &io);
	mysql_optionsv(db, MYSQL_OPT_RECONNECT, &no);
	mysql_optionsv(db, MYSQL_OPT_MAX_ALLOWED_PACKET, &packet_max);
	mysql_optionsv(db, MARIADB_OPT_RESTRICTED_AUTH, AUTH_PLUGINS);
	mysql_optionsv(db, MYSQL_OPT_LOCAL_INFILE, &no_infile);
	mysql_set_local_infile_handler(db, refuse_infile, read_infile, end_infile,
				       fail_infile, NULL);
	set_attribute(db, "program_name", "socketmapd-mysql");
	set_attribute(db, "program_version", VERSION);
	set_attribute(db, "socketmapd_source", setting_get(s->source, "name", ""));
}

/*
 * What every connection starts with. The greatest sql_select_limit is written out:
 * DEFAULT would be the server's own, which cuts results short without a word. Snapshots
 * want REPEATABLE READ, and lookups autocommit, lest they see one for ever.
 */
static bool set_session(struct session *s, enum purpose purpose)
{
	uint64_t limit = statement_msec(s, purpose);
	struct buf sql = { 0 };
	bool is_good;

	s->is_mariadb = mariadb_connection(s->db);
	is_good = mysql_set_character_set(s->db, setting_get(s->source, "charset",
							     "utf8mb4")) == 0 &&
		  mysql_query(s->db, "SET SESSION TRANSACTION ISOLATION LEVEL "
				     "REPEATABLE READ, READ ONLY") == 0;
	buf_printf(&sql, "SET SESSION autocommit = 1, "
		   "sql_select_limit = 18446744073709551615, lock_wait_timeout = %u",
		   seconds(purpose == FOR_SCANS ? s->scan_idle : limit));
	is_good = is_good && mysql_query(s->db, buf_cstr(&sql)) == 0;

	buf_clear(&sql);
	if (s->is_mariadb)
		buf_printf(&sql, "SET SESSION max_statement_time = %u.%03u",
			   (unsigned)(limit / 1000), (unsigned)(limit % 1000));
	else
		buf_printf(&sql, "SET SESSION max_execution_time = %u", (unsigned)limit);
	/* Not every server has it; the deadline is kept without it. */
	if (is_good && mysql_query(s->db, buf_cstr(&sql)) != 0)
		is_good = mysql_errno(s->db) == ER_UNKNOWN_SYSTEM_VARIABLE;
	buf_done(&sql);
	return is_good;
}

static bool log_in(struct session *s, const char *password)
{
	const struct host *h = s->host;
	MYSQL *db = mysql_real_connect(s->db, h->is_unix ? NULL : h->name,
				       setting_get(s->source, "user", ""), password,
				       setting_get(s->source, "dbname", ""), h->port,
				       h->is_unix ? h->name : NULL, CLIENT_MULTI_RESULTS);

	if (s->db->passwd)	/* for reconnecting, which we do ourselves */
		explicit_bzero(s->db->passwd, strlen(s->db->passwd));
	return db != NULL;
}

/* The library has words for whatever is wrong with a certificate but its name. */
static void rest_after_connecting(struct session *s)
{
	const char *message = mysql_error(s->db);

	if (strstr(message, "Validation of SSL server certificate"))
		message = "TLS/SSL error: the certificate is for another name";
	rest(s, mysql_errno(s->db), message);
}

/* False: the host, which rests now, or else the password, cannot be used. */
static bool connect_host(struct session *s, enum purpose purpose, const char *password)
{
	bool is_good;

	s->db = must(mysql_init(NULL));
	set_options(s, s->db, purpose);
	is_good = log_in(s, password);
	/* When an option file has asked for it, the library does not insist on it. */
	if (is_good && s->db->options.use_ssl && !mysql_get_ssl_cipher(s->db)) {
		rest(s, 0, "the server has no TLS");
		goto fail;
	}
	if (!is_good || !set_session(s, purpose)) {
		rest_after_connecting(s);
		goto fail;
	}
	s->purpose = purpose;
	s->is_new = true;
	s->opened++;
	return true;

fail:
	session_close(s);
	return false;
}

static void log_connected(const struct session *s, const struct host *before)
{
	const char *cipher = mysql_get_ssl_cipher(s->db);

	/* Rounds of scans come and go; with one host nobody has to ask which. */
	if (s->purpose == FOR_SCANS && s->hosts.n == 1 && s->why.n == 0)
		return;
	if (s->host != before || s->why.n)
		log_info("host_connected", s->host->label,
			 F_STR("source", setting_get(s->source, "name", "")),
			 F_STR("host", s->host->label),
			 F_STR("server", mysql_get_server_info(s->db)),
			 F_STR("tls", cipher ? cipher : "none"));
}

enum ended session_open(struct session *s, enum purpose purpose, struct buf *ret_why)
{
	const struct host *before = s->host;
	struct buf password = { 0 };
	struct host *h;

	/* What is patient enough for scans serves their samples, in their snapshot. */
	if (s->db && purpose == FOR_SCANS && s->purpose != FOR_SCANS)
		session_close(s);
	if (s->db)
		return ENDED_DONE;
	if (!secret_read(s->source, "password", &password, ret_why))
		goto down;
	while ((h = hosts_pick(&s->hosts, clock_msec()))) {
		s->host = h;
		if (connect_host(s, purpose == FOR_SCANS ? FOR_SCANS : FOR_LOOKUPS,
				 buf_cstr(&password))) {
			buf_wipe(&password);
			log_connected(s, before);
			buf_clear(&s->why);
			return ENDED_DONE;
		}
	}
	buf_text(ret_why, buf_view(&s->why));
down:
	buf_wipe(&password);
	return ENDED_DOWN;
}

void session_close(struct session *s)
{
	if (s->db)
		mysql_close(s->db);
	s->db = NULL;
	s->round = 0;
}
