/* Case folding: valid in, valid out, and folding twice changes nothing. */
#include "fuzz/fuzz.h"

#include "base/fold.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text in = fuzz_copy(fuzz_text(data, size));
	struct buf once = { 0 }, twice = { 0 };

	buf_str(&once, "x");
	bool is_valid = fold(in, &once);
	assert(is_valid == utf8_valid(in));
	assert(once.n >= 1 && once.p[0] == 'x' && (is_valid || once.n == 1));
	if (is_valid) {
		assert(utf8_valid(buf_view(&once)));
		assert(fold(buf_view(&once), &twice));
		assert(text_eq(buf_view(&once), buf_view(&twice)));
	}
	buf_done(&once);
	buf_done(&twice);
	fuzz_free(in);
	return 0;
}
