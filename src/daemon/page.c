#include "daemon/page.h"

/* PAGE and the hashes come from the Makefile; all of it is in the program itself. */
__asm__(".pushsection .rodata\n"
	"page_begin: .incbin \"" PAGE "\"\n"
	"page_end:\n"
	".popsection\n");
extern const char page_begin[], page_end[];

/*
 * The one script and the one style sheet of the page, whatever it loads from this server, and its
 * icon; nothing else, even if somebody's data were taken for HTML. Source: CSP Level 3.
 */
static const char policy[] = "default-src 'none'; script-src 'sha256-" PAGE_SCRIPT "'; "
			     "style-src 'sha256-" PAGE_STYLE "'; connect-src 'self'; "
			     "img-src data:; base-uri 'none'; form-action 'none'; "
			     "frame-ancestors 'none'";

void page_reply(const struct http_request *request, struct http_reply *reply)
{
	(void)request;

	reply->type = HTTP_HTML;
	reply->policy = policy;
	buf_add(&reply->body, page_begin, (size_t)(page_end - page_begin));
}
