#include "daemon/metrics.h"
#include "daemon/metrics_lines.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static void one(struct buf *out, const char *name, const char *type, const char *help, double value)
{
	metrics_family(out, name, type, help);
	buf_printf(out, "%s %.16g\n", name, value);
}

/* What proc(5) says of us, in its order; 0 where it says nothing. */
struct proc_stat {
	unsigned long utime, stime, vsize;
	unsigned long long starttime;
	long rss;
};

static struct proc_stat read_stat(void)
{
	struct proc_stat s = { 0 };
	char line[1024] = "";
	FILE *f = fopen("/proc/self/stat", "re");

	if (f && !fgets(line, sizeof line, f))
		*line = '\0';
	if (f)
		fclose(f);

	/* The program's name may hold blanks and parentheses. */
	const char *rest = strrchr(line, ')');
	if (rest)
		sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d "
				 "%*d %*d %*d %llu %lu %ld",
		       &s.utime, &s.stime, &s.starttime, &s.vsize, &s.rss);
	return s;
}

/* Unix time of the boot, seconds. */
static double boot_time(void)
{
	double boot = 0;
	char line[256];
	FILE *f = fopen("/proc/stat", "re");

	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "btime %lf", &boot) == 1)
			break;
	if (f)
		fclose(f);
	return boot;
}

static double open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	double n = -1;		/* opendir()'s own */

	if (!d)
		return 0;
	for (struct dirent *e; (e = readdir(d));)
		n += *e->d_name != '.';
	closedir(d);
	return n;
}

void metrics_process(struct buf *out)
{
	struct proc_stat s = read_stat();
	double tick = (double)sysconf(_SC_CLK_TCK);
	struct rlimit files = { 0 };

	getrlimit(RLIMIT_NOFILE, &files);
	one(out, "process_cpu_seconds_total", "counter", "CPU time of the server, without drivers.",
	    (double)(s.utime + s.stime) / tick);
	one(out, "process_resident_memory_bytes", "gauge", "Resident memory of the server.",
	    (double)s.rss * (double)sysconf(_SC_PAGESIZE));
	one(out, "process_virtual_memory_bytes", "gauge", "Virtual memory of the server.",
	    (double)s.vsize);
	one(out, "process_open_fds", "gauge", "Open file descriptors.", open_files());
	one(out, "process_max_fds", "gauge", "File descriptors that may be open.",
	    (double)files.rlim_cur);
	one(out, "process_start_time_seconds", "gauge", "Start of the server, Unix time.",
	    boot_time() + (double)s.starttime / tick);
}
