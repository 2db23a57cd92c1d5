/* facts.h - what a driver has told of its directory with driver_info(). */
#ifndef DRIVER_FACTS_H
#define DRIVER_FACTS_H

#include "base/buf.h"

/* Append a message for each that the server does not know yet. */
void facts_send(struct buf *out);

void facts_done(void);

#endif
