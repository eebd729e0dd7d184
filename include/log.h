/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_LOG_H
#define PAWSD_LOG_H

/*
 * Lines to standard error, with the priority prefixes of sd-daemon(3) when that is the
 * journal. For the main thread and for workers that start or stop; never per packet.
 */

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

void log_set_level(enum log_level level);

__attribute__((format(printf, 1, 2))) void log_error(const char *format, ...);
__attribute__((format(printf, 1, 2))) void log_warning(const char *format, ...);
__attribute__((format(printf, 1, 2))) void log_info(const char *format, ...);
__attribute__((format(printf, 1, 2))) void log_debug(const char *format, ...);

#endif
