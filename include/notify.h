/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_NOTIFY_H
#define PAWSD_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Tells the service manager what is going on, as sd_notify(3) describes the protocol; nothing
 * where there is none ($NOTIFY_SOCKET unset).
 */
void notify_send(const char *message);

/* The same with a duplicate of `fd`; -1: without one. False when it could not be sent. */
bool notify_send_fd(const char *message, int fd);

/* RELOADING=1 with the time that systemd wants beside it. */
void notify_reloading(void);

/* Half of $WATCHDOG_USEC in ms: how often WATCHDOG=1 is due. 0: no watchdog. */
uint32_t notify_watchdog_interval_ms(void);

#endif
