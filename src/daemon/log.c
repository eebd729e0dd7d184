/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static enum log_level max_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	__atomic_store_n(&max_level, level, __ATOMIC_RELAXED);
}

/* One write a line, so that threads do not mix theirs. */
static void write_line(enum log_level level, const char *format, va_list args)
{
	static const char *const journal_prefix[] = {"<3>", "<4>", "<6>", "<7>"};
	static const char *const plain_prefix[] = {"error: ", "warning: ", "", ""};
	char line[2048];

	if (level > __atomic_load_n(&max_level, __ATOMIC_RELAXED))
		return;
	vsnprintf(line, sizeof(line), format, args);
	if (getenv("JOURNAL_STREAM"))
		fprintf(stderr, "%s%s\n", journal_prefix[level], line);
	else
		fprintf(stderr, "pawsd: %s%s\n", plain_prefix[level], line);
}

#define DEFINE_LOG(name, level) \
	void name(const char *format, ...) \
	{ \
		va_list args; \
\
		va_start(args, format); \
		write_line(level, format, args); \
		va_end(args); \
	}

DEFINE_LOG(log_error, LOG_LEVEL_ERROR)
DEFINE_LOG(log_warning, LOG_LEVEL_WARNING)
DEFINE_LOG(log_info, LOG_LEVEL_INFO)
DEFINE_LOG(log_debug, LOG_LEVEL_DEBUG)
