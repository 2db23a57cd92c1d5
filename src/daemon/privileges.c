#include "daemon/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <unistd.h>

static bool fail(struct buf *ret_why, const char *what)
{
	buf_printf(ret_why, "%s: %s", what, strerror(errno));
	return false;
}

/* setuid(0) must fail now, or something is wrong with how we dropped. */
static bool is_final(uid_t uid, gid_t gid, struct buf *ret_why)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	if (getresuid(&r, &e, &s) != 0 || getresgid(&rg, &eg, &sg) != 0)
		return fail(ret_why, "getresuid");
	if (r != uid || e != uid || s != uid || rg != gid || eg != gid || sg != gid ||
	    getgroups(0, NULL) > 1 || (uid != 0 && setuid(0) == 0)) {
		buf_str(ret_why, "privileges could not be dropped for good");
		return false;
	}
	return true;
}

bool privileges_drop(const char *user, const char *group, struct buf *ret_why)
{
	const struct passwd *pw = user ? getpwnam(user) : NULL;
	const struct group *gr = group ? getgrnam(group) : NULL;

	if (user && !pw) {
		buf_printf(ret_why, "no such user \"%s\"", user);
		return false;
	}
	if (group && !gr) {
		buf_printf(ret_why, "no such group \"%s\"", group);
		return false;
	}
	if (!pw && !gr)
		return true;

	uid_t uid = pw ? pw->pw_uid : getuid();
	gid_t gid = gr ? gr->gr_gid : pw->pw_gid;
	if (geteuid() != 0) {
		if (uid == geteuid() && gid == getegid())
			return true;
		buf_str(ret_why, "only root can become another user or group");
		return false;
	}
	if (setgroups(1, &gid) != 0)
		return fail(ret_why, "setgroups");
	if (setresgid(gid, gid, gid) != 0)
		return fail(ret_why, "setresgid");
	if (setresuid(uid, uid, uid) != 0)
		return fail(ret_why, "setresuid");
	if (!is_final(uid, gid, ret_why))
		return false;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* A change of user makes it what fs.suid_dumpable says, prctl(2); systemd-coredump has 2. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return true;
}
