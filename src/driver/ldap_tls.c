#include "driver/ldap_tls.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define NAMES_MAX 5
#define NAME_MAX_BYTES 100

/* Add one finding. */
static void found(struct buf *out, const char *words)
{
	if (out->n)
		buf_str(out, "; ");
	buf_str(out, words);
}

/* --- certificates ----------------------------------------------------------------- */

static bool seconds_of(const ASN1_TIME *t, uint64_t *ret)
{
	struct tm tm;
	time_t at = ASN1_TIME_to_tm(t, &tm) ? timegm(&tm) : -1;

	if (at < 0)
		return false;
	*ret = (uint64_t)at;
	return true;
}

bool tls_not_after(const void *der, size_t n, uint64_t *ret_seconds)
{
	const unsigned char *at = der;
	X509 *certificate = d2i_X509(NULL, &at, (long)n);
	bool is_good = certificate && seconds_of(X509_get0_notAfter(certificate), ret_seconds);

	X509_free(certificate);
	ERR_clear_error();
	return is_good;
}

static void add_date(struct buf *out, const ASN1_TIME *t)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(t, &tm))
		buf_printf(out, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1,
			   tm.tm_mday);
}

/* A distinguished name on one line, cut. */
static void add_name(struct buf *out, const X509_NAME *name)
{
	char text[NAME_MAX_BYTES + 1];

	buf_str(out, X509_NAME_oneline(name, text, sizeof text));
}

/* --- what a verification found ---------------------------------------------------- */

static bool is_about_issuer(int error)
{
	return error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
	       error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
	       error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
	       error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
	       error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
}

static void explain(int error, int depth, const X509 *certificate, struct buf *out)
{
	struct buf words = { 0 };

	buf_str(&words, depth ? "a certificate in its chain " : "its certificate ");
	if (error == X509_V_ERR_CERT_HAS_EXPIRED) {
		buf_str(&words, "expired on ");
		add_date(&words, X509_get0_notAfter(certificate));
	} else if (error == X509_V_ERR_CERT_NOT_YET_VALID) {
		buf_str(&words, "is not valid before ");
		add_date(&words, X509_get0_notBefore(certificate));
	} else if (is_about_issuer(error)) {
		buf_str(&words, "has an unknown issuer: ");
		add_name(&words, X509_get_issuer_name(certificate));
	} else {
		buf_printf(&words, "is refused: %s", X509_verify_cert_error_string(error));
	}
	found(out, buf_cstr(&words));
	buf_done(&words);
}

/* What the callback has found, and whether it was about the issuer, which comes twice. */
struct findings {
	struct buf words;
	bool has_issuer;
};

/* Notes what is wrong and lets the handshake go on: there may be more. */
static int on_verified(int is_good, X509_STORE_CTX *ctx)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct findings *f = SSL_get_app_data(ssl);
	int error = X509_STORE_CTX_get_error(ctx);

	if (is_good || (is_about_issuer(error) && f->has_issuer))
		return 1;
	f->has_issuer = f->has_issuer || is_about_issuer(error);
	if (f->words.n < 4 * NAME_MAX_BYTES)
		explain(error, X509_STORE_CTX_get_error_depth(ctx),
			X509_STORE_CTX_get_current_cert(ctx), &f->words);
	return 1;
}

/* --- names ------------------------------------------------------------------------ */

static void add_ip(struct buf *out, const ASN1_OCTET_STRING *ip)
{
	const unsigned char *p = ASN1_STRING_get0_data(ip);
	int n = ASN1_STRING_length(ip);

	for (int i = 0; n == 4 && i < n; i++)
		buf_printf(out, "%s%u", i ? "." : "", p[i]);
	for (int i = 0; n == 16 && i < n; i += 2)
		buf_printf(out, "%s%x", i ? ":" : "", p[i] * 256U + p[i + 1]);
}

/* The names in a certificate, the first few of them. */
static void add_names(struct buf *out, X509 *certificate)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && i < NAMES_MAX; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		buf_str(out, i ? ", " : "");
		if (name->type == GEN_IPADD)
			add_ip(out, name->d.iPAddress);
		else if (name->type == GEN_DNS)
			buf_printf(out, "%.*s", NAME_MAX_BYTES,
				   (const char *)ASN1_STRING_get0_data(name->d.dNSName));
		else
			buf_str(out, "another kind of name");
	}
	if (!names)
		add_name(out, X509_get_subject_name(certificate));
	GENERAL_NAMES_free(names);
}

/* Without alternative names the common one counts for addresses, too: libldap's tls_g.c. */
static bool is_common_name(X509 *certificate, const char *name)
{
	char common[NAME_MAX_BYTES];
	X509_NAME *subject = X509_get_subject_name(certificate);

	return X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1) < 0 &&
	       X509_NAME_get_text_by_NID(subject, NID_commonName, common, sizeof common) > 0 &&
	       strcasecmp(common, name) == 0;
}

static void check_name(SSL *ssl, const struct tls_attempt *attempt, struct buf *out)
{
	X509 *certificate = SSL_get1_peer_certificate(ssl);
	const char *name = attempt->host->name;
	struct buf words = { 0 };
	char own[256] = "";
	bool is_local = strcasecmp(name, "localhost") == 0;

	if (is_local && gethostname(own, sizeof own - 1) == 0)
		name = own;
	if (certificate && X509_check_host(certificate, name, 0, 0, NULL) != 1 &&
	    X509_check_ip_asc(certificate, name, 0) != 1 &&
	    !is_common_name(certificate, name)) {
		buf_str(&words, "its certificate is for another name: ");
		add_names(&words, certificate);
		buf_printf(&words, ", not %s", name);
		if (is_local)
			buf_str(&words, ", which libldap puts in the place of localhost");
		found(out, buf_cstr(&words));
	}
	buf_done(&words);
	X509_free(certificate);
}

/* --- our files -------------------------------------------------------------------- */

static bool is_set(const char *path)
{
	return path && *path;
}

/* All files of a directory: GnuTLS does not ask for names that are hashes. */
static void trust_directory(SSL_CTX *ctx, const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *e;
	struct buf file = { 0 };

	while (dir && (e = readdir(dir))) {
		buf_clear(&file);
		buf_printf(&file, "%s/%s", path, e->d_name);
		if (e->d_name[0] != '.')
			SSL_CTX_load_verify_file(ctx, buf_cstr(&file));
	}
	if (dir)
		closedir(dir);
	buf_done(&file);
}

/* Load one of them, if it is set. True: it is at fault. */
static bool is_bad(bool is_loaded, const char *path, int mode, const char *what,
		   struct buf *out)
{
	if (!is_set(path) || (is_loaded && access(path, mode) == 0))
		return false;
	buf_printf(out, "%s %s: %s", what, path,
		   access(path, mode) < 0 ? strerror(errno) : "not what it should be");
	return true;
}

/* True: some file of ours is at fault. */
static bool check_files(SSL_CTX *ctx, const struct tls_attempt *a, struct buf *out)
{
	bool has_ca = is_set(a->ca_file) && SSL_CTX_load_verify_file(ctx, a->ca_file) == 1;
	bool has_cert = is_set(a->cert) &&
			SSL_CTX_use_certificate_chain_file(ctx, a->cert) == 1;
	bool has_key = is_set(a->key) &&
		       SSL_CTX_use_PrivateKey_file(ctx, a->key, SSL_FILETYPE_PEM) == 1;

	if (is_set(a->ca_dir))
		trust_directory(ctx, a->ca_dir);
	return is_bad(has_ca, a->ca_file, R_OK, "the CA file", out) ||
	       is_bad(true, a->ca_dir, R_OK | X_OK, "the CA directory", out) ||
	       is_bad(has_cert, a->cert, R_OK, "our certificate", out) ||
	       is_bad(has_key, a->key, R_OK, "our key", out);
}

/* --- the connection --------------------------------------------------------------- */

/* An ExtendedRequest, message 1, of the name of StartTLS, and its answer's first bytes. */
static const unsigned char start_tls[] = "\x30\x1d\x02\x01\x01\x77\x18\x80\x16"
					 "1.3.6.1.4.1.1466.20037";

/* Read exactly `n` bytes. */
static bool read_all(int fd, unsigned char *to, size_t n, uint64_t deadline)
{
	for (size_t at = 0; at < n;) {
		ssize_t got = -1;

		if (network_wait(fd, POLLIN, deadline))
			got = read(fd, to + at, n - at);
		if (got <= 0)
			return false;
		at += (size_t)got;
	}
	return true;
}

/*
 * Ask for TLS. Only the answer's length is read: a refusal is libldap's to report, and shows
 * here in that there is no handshake.
 */
static bool ask_for_tls(int fd, uint64_t deadline)
{
	unsigned char head[6], rest[4096];
	size_t n;

	if (write(fd, start_tls, sizeof start_tls - 1) != sizeof start_tls - 1 ||
	    !read_all(fd, head, 2, deadline) || head[0] != 0x30)
		return false;
	n = head[1];
	if (n > 0x80 && n <= 0x84) {
		size_t n_length = n - 0x80;

		if (!read_all(fd, head + 2, n_length, deadline))
			return false;
		n = 0;
		for (size_t i = 0; i < n_length; i++)
			n = n << 8 | head[2 + i];
	}
	return n <= sizeof rest && read_all(fd, rest, n, deadline);
}

/* Why a handshake failed. */
static void explain_handshake(SSL *ssl, int result, struct buf *out)
{
	int kind = SSL_get_error(ssl, result);
	unsigned long error = ERR_peek_error();
	int reason = ERR_GET_REASON(error);
	const char *words = ERR_reason_error_string(error);

	if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
		found(out, "no answer in the TLS handshake");
	else if (kind == SSL_ERROR_SYSCALL || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		found(out, "the server ends the connection in the TLS handshake: "
			   "perhaps there is no TLS on this port");
	else if (reason == SSL_R_WRONG_VERSION_NUMBER)
		found(out, "there is no TLS on this port");
	else if (reason == SSL_R_UNSUPPORTED_PROTOCOL ||
		 reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION)
		found(out, "the server has no TLS 1.2 or newer");
	else if (words)
		found(out, words);
}

static int shake_hands(SSL *ssl, int fd, uint64_t deadline)
{
	for (;;) {
		int result = SSL_connect(ssl);
		int kind = SSL_get_error(ssl, result);
		short events = kind == SSL_ERROR_WANT_READ ? POLLIN :
			       kind == SSL_ERROR_WANT_WRITE ? POLLOUT : 0;

		if (!events || !network_wait(fd, events, deadline))
			return result;
		ERR_clear_error();
	}
}

static void try(SSL *ssl, int fd, const struct tls_attempt *attempt, uint64_t deadline,
		struct buf *out)
{
	struct findings findings = { 0 };
	int result;

	SSL_set_app_data(ssl, &findings);
	SSL_set_verify(ssl, SSL_VERIFY_PEER, on_verified);
	SSL_set_fd(ssl, fd);
	if (!attempt->addresses->is_numeric && !attempt->host->is_unix)
		SSL_set_tlsext_host_name(ssl, attempt->host->name);
	ERR_clear_error();
	result = shake_hands(ssl, fd, deadline);
	if (result == 1 && attempt->is_verified) {
		check_name(ssl, attempt, &findings.words);
		buf_text(out, buf_view(&findings.words));
	} else if (result != 1) {
		explain_handshake(ssl, result, out);
	}
	buf_done(&findings.words);
}

bool tls_explain_files(const struct tls_attempt *attempt, struct buf *out)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	bool is_found = check_files(ctx, attempt, out);

	SSL_CTX_free(ctx);
	ERR_clear_error();
	return is_found;
}

bool tls_explain(const struct tls_attempt *attempt, uint64_t deadline, struct buf *out)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = NULL;
	struct buf words = { 0 }, why = { 0 };
	uint64_t now = clock_msec();
	bool has_words;
	int fd = -1;

	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	if (check_files(ctx, attempt, &words))
		goto end;
	fd = network_connect(attempt->host, attempt->addresses,
			     now < deadline ? deadline - now : 0, &why);
	ssl = SSL_new(ctx);
	if (fd >= 0 && (attempt->host->is_tls || ask_for_tls(fd, deadline)) &&
	    fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
		try(ssl, fd, attempt, deadline, &words);
end:
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	ERR_clear_error();
	if (fd >= 0)
		close(fd);
	buf_text(out, buf_view(&words));
	has_words = words.n > 0;
	buf_done(&words);
	buf_done(&why);
	return has_words;
}
