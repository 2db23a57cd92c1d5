#include "ctl/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t came;

static void note(int number)
{
	came = number;
}

void interrupt_watch(void)
{
	struct sigaction noted = { .sa_handler = note }, usual = { .sa_handler = SIG_DFL };
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &noted, NULL);
	/* Service managers and some programs start others with it ignored. */
	sigaction(SIGPIPE, &usual, NULL);
}

int interrupt_came(void)
{
	return came;
}
