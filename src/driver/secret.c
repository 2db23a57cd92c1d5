#include "driver/secret.h"

#include "base/cf.h"
#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_MAX 4096

/*
 * Whoever may read or write it may become us at the directory. The group may read what
 * root gives it: 0640, and systemd's credentials.
 */
static const char *exposed(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "not a regular file";
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return "not owned by root or by the user who reads it";
	if (st->st_mode & (S_IRWXO | S_IWGRP | S_IXGRP))
		return "open to others: chmod 0600";
	if (st->st_mode & S_IRGRP && st->st_uid != 0)
		return "open to its group: chmod 0600, or 0640 for a file of root's";
	return NULL;
}

static bool read_file(const char *path, struct buf *ret_secret, struct buf *ret_why)
{
	struct stat st;
	const char *wrong = stat(path, &st) < 0 ? strerror(errno) : exposed(&st);

	if (wrong) {
		buf_printf(ret_why, "%s: %s", path, wrong);
		return false;
	}
	if (!file_read(path, SECRET_MAX, ret_secret, ret_why))
		return false;
	if (ret_secret->n && ret_secret->p[ret_secret->n - 1] == '\n')
		ret_secret->n--;
	if (ret_secret->n && ret_secret->p[ret_secret->n - 1] == '\r')
		ret_secret->n--;
	if (ret_secret->n == 0 || text_chr(buf_view(ret_secret), '\0')) {
		buf_printf(ret_why, "%s: %s", path,
			   ret_secret->n ? "it holds a NUL byte" : "empty");
		return false;
	}
	return true;
}

static bool read_credential(const char *name, struct buf *ret_secret, struct buf *ret_why)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	struct buf path = { 0 };
	bool is_good;

	if (!directory || strchr(name, '/')) {
		buf_printf(ret_why, "credential %s: %s", name,
			   directory ? "not a name" : "systemd gave us none");
		return false;
	}
	buf_printf(&path, "%s/%s", directory, name);
	is_good = read_file(buf_cstr(&path), ret_secret, ret_why);
	buf_done(&path);
	return is_good;
}

static bool read_cf(const char *path, const char *name, struct buf *ret_secret,
		    struct buf *ret_why)
{
	struct cf cf;

	if (!cf_read(path, &cf, ret_why))
		return false;
	buf_str(ret_secret, cf_get(&cf, name) ? cf_get(&cf, name) : "");
	cf_done(&cf);
	return true;
}

static const char *get(const struct settings *source, const char *name,
		       const char *suffix)
{
	struct buf whole = { 0 };
	const char *value;

	buf_printf(&whole, "%s%s", name, suffix);
	value = setting_get(source, buf_cstr(&whole), NULL);
	buf_done(&whole);
	return value;
}

bool secret_read(const struct settings *source, const char *name, struct buf *ret_secret,
		 struct buf *ret_why)
{
	const char *value;

	buf_room(ret_secret, 3 * SECRET_MAX);	/* lest it move and leave itself behind */
	if ((value = get(source, name, "_file")))
		return read_file(value, ret_secret, ret_why);
	if ((value = get(source, name, "_credential")))
		return read_credential(value, ret_secret, ret_why);
	if ((value = get(source, name, "_cf")))
		return read_cf(value, name, ret_secret, ret_why);
	buf_str(ret_secret, setting_get(source, name, ""));
	return true;
}
