/* file.h - small files, read whole. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/buf.h"

/*
 * Append the regular file `path` to `out`. False, with `out` unchanged and "PATH: reason"
 * appended to `ret_why`, when it cannot be read or is longer than `max` bytes.
 */
bool file_read(const char *path, size_t max, struct buf *out, struct buf *ret_why);

#endif
