#include "ctl/screen.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* xterm's private modes 1049 and 25: the other screen, the cursor; ECMA-48: home, clear. */
#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[?25h\033[?1049l"
#define HOME "\033[H"
#define CLEAR_LINE "\033[K"
#define CLEAR_BELOW "\033[J"

static struct termios before;
static bool is_entered;

/* Only there to end a poll(2). */
static void on_resize(int number)
{
	(void)number;
}

bool screen_enter(void)
{
	struct sigaction resize = { .sa_handler = on_resize };
	const char *term = getenv("TERM");
	struct termios raw;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || !term ||
	    strcmp(term, "dumb") == 0 || tcgetattr(STDIN_FILENO, &before) != 0)
		return false;
	raw = before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VSUSP] = _POSIX_VDISABLE;	/* stopped, it would leave this to the shell */
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0)
		return false;
	is_entered = true;
	atexit(screen_leave);
	sigaction(SIGWINCH, &resize, NULL);
	fputs(ENTER, stdout);
	fflush(stdout);
	return true;
}

void screen_leave(void)
{
	if (!is_entered)
		return;
	is_entered = false;
	fputs(LEAVE, stdout);
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

void screen_size(size_t *ret_columns, size_t *ret_rows)
{
	struct winsize w = { 0 };
	bool is_known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0;

	*ret_columns = is_known && w.ws_col ? w.ws_col : 80;
	*ret_rows = is_known && w.ws_row ? w.ws_row : 24;
}

void screen_draw(struct text lines)
{
	const char *end;
	size_t columns, rows;

	screen_size(&columns, &rows);
	fputs(HOME, stdout);
	for (size_t row = 0; lines.n && row < rows; row++) {
		struct text line = lines;

		if ((end = text_chr(lines, '\n')))
			line = text_before(lines, end);
		/* No newline behind the last one, which would scroll a full screen. */
		fprintf(stdout, "%s%.*s" CLEAR_LINE, row ? "\r\n" : "", (int)line.n, line.p);
		lines = text_skip(lines, line.n + (end ? 1 : 0));
	}
	fputs(CLEAR_BELOW, stdout);
	fflush(stdout);
}

int screen_key(uint64_t msec)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	char key;

	if (poll(&in, 1, (int)msec) <= 0)
		return 0;
	if (read(STDIN_FILENO, &key, 1) != 1)
		return -1;
	return (unsigned char)key;
}
