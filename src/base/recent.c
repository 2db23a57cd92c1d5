#include "base/recent.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdio.h>

static struct recent list[RECENT_EVENTS];			/* the oldest first */
static size_t n_list;
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;	/* guards both */

bool recent_wants(enum log_level level, const char *event)
{
	static const char *const good_news[] = {
		"refreshed", "reloaded", "source_back", "started", "ready", "snapshot_restored",
	};

	if (level <= LOG_AT_WARN)
		return true;
	for (size_t i = 0; i < sizeof good_news / sizeof *good_news; i++)
		if (strcmp(event, good_news[i]) == 0)
			return true;
	return false;
}

static void drop(size_t i)
{
	memmove(&list[i], &list[i + 1], (n_list - i - 1) * sizeof *list);
	n_list--;
}

/* Is it the same good news about the same map? Their first fields tell. */
static bool is_repetition(const struct recent *before, const struct recent *now)
{
	size_t n = strcspn(now->text, " ");

	return now->level == LOG_AT_INFO && strcmp(before->event, now->event) == 0 &&
	       strncmp(before->text, now->text, n + 1) == 0;
}

void recent_add(enum log_level level, const char *event, struct text text)
{
	struct recent r = { .at = clock_wall_msec(), .level = level };

	snprintf(r.event, sizeof r.event, "%s", event);
	snprintf(r.text, sizeof r.text, "%.*s", (int)text.n, text.n ? text.p : "");
	pthread_mutex_lock(&list_lock);
	for (size_t i = n_list; i-- > 0;)
		if (is_repetition(&list[i], &r))
			drop(i);
	if (n_list == RECENT_EVENTS)
		drop(0);
	list[n_list++] = r;
	pthread_mutex_unlock(&list_lock);
}

size_t recent_get(struct recent ret[static RECENT_EVENTS])
{
	pthread_mutex_lock(&list_lock);
	size_t n = n_list;
	memcpy(ret, list, n * sizeof *list);
	pthread_mutex_unlock(&list_lock);
	return n;
}
