/*
 * The `domain` parameter. Line 1 is the list, line 2 a key, the rest a file: each '/' of
 * the list becomes the path of that file, so that nothing else is ever opened.
 */
#include "fuzz/fuzz.h"

#include "base/domain_list.h"
#include "base/fold.h"
#include "base/hash.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILE_FD 900
#define FILE_PATH "/proc/self/fd/900"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	hash_init();
	int fd = memfd_create("list", 0);
	assert(fd >= 0 && dup2(fd, FILE_FD) == FILE_FD && close(fd) == 0);
	return 0;
}

/* The file names no other file. */
static void write_file(struct text content)
{
	assert(ftruncate(FILE_FD, 0) == 0);
	for (size_t i = 0; i < content.n; i++) {
		char c = content.p[i] == '/' ? '_' : content.p[i];

		assert(pwrite(FILE_FD, &c, 1, (off_t)i) == 1);
	}
}

/* The list with paths in place of '/'; freed by the caller. */
static struct text list_of(struct text line)
{
	struct buf list = { 0 };

	for (size_t i = 0; i < line.n; i++)
		if (line.p[i] == '/')
			buf_str(&list, FILE_PATH);
		else
			buf_byte(&list, line.p[i]);

	struct text copy = fuzz_copy(buf_view(&list));
	buf_done(&list);
	return copy;
}

/* What a list without files says, the slow way: the first item that is the domain. */
static bool admits(struct text list, struct text domain)
{
	struct text item;

	while (text_next(&list, ", \t\r\n", &item) && item.p[0] != '#') {
		struct buf name = { 0 };
		bool is_admitted = true, is_same;

		for (; item.n && item.p[0] == '!'; item = text_skip(item, 1))
			is_admitted = !is_admitted;
		assert(fold(item, &name));
		is_same = text_eq(buf_view(&name), domain);
		buf_done(&name);
		if (is_same)
			return is_admitted;
	}
	return false;
}

static void check(const struct domain_list *l, struct text list, struct text key)
{
	const char *at = text_rchr(key, '@');
	bool is_admitted = domain_list_admits(l, key);

	if (!at || at == key.p) {
		assert(!is_admitted);
		return;
	}

	struct text domain = text_from(key, at + 1);
	struct buf other = { 0 };
	buf_str(&other, "x@y@");
	buf_text(&other, domain);
	assert(domain_list_admits(l, buf_view(&other)) == is_admitted);
	buf_done(&other);
	if (!text_chr(list, '/'))
		assert(is_admitted == admits(list, domain));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text in = fuzz_text(data, size);
	struct text list = list_of(fuzz_line(&in));
	struct text key = fuzz_copy(fuzz_line(&in));
	struct buf why = { 0 };

	write_file(in);
	struct domain_list *l = domain_list_new(list, &why);
	assert((l == NULL) == (why.n > 0));
	if (l)
		check(l, list, key);
	domain_list_free(l);
	buf_done(&why);
	fuzz_free(list);
	fuzz_free(key);
	return 0;
}
