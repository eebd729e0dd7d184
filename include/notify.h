/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_NOTIFY_H
#define PAWSD_NOTIFY_H

#include <stdint.h>

/*
 * Tells the service manager what is going on, as sd_notify(3) describes the protocol; nothing
 * where there is none ($NOTIFY_SOCKET unset).
 */
void notify_send(const char *message);

/* RELOADING=1 with the time that systemd wants beside it. */
void notify_reloading(void);

/* Half of $WATCHDOG_USEC in ms: how often WATCHDOG=1 is due. 0: no watchdog. */
uint32_t notify_watchdog_interval_ms(void);

#endif
