/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_CAPTURE_H
#define PAWSD_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The IP packets of a capture file (libpcap: pcap, pcapng), whatever link they were taken from. */
struct capture;

struct capture_packet {
	uint64_t number; /* as Wireshark counts, from 1 */
	uint64_t time_ms;
	uint8_t *ip; /* may be changed; NULL: no IP packet, or of a link that is not known */
	uint32_t len;	     /* of ip, as captured */
	uint32_t wire_len; /* as it was */
};

/* NULL with one line in ret_error. "-": standard input. */
struct capture *capture_open(const char *path, char *ret_error, size_t error_size);
void capture_close(struct capture *capture);

/* 1: *ret is the next one, until the next call. 0: there are no more. -1: one line in ret_error. */
int capture_next(struct capture *capture, struct capture_packet *ret, char *ret_error, size_t error_size);

/*
 * Writes what is read to another file, with the changes made since capture_next(). False with one line in ret_error, also for the
 * file that is read. capture_end_writing(): all of it is there, or it is said what is in the way.
 */
bool capture_write_to(struct capture *capture, const char *path, char *ret_error, size_t error_size);
bool capture_end_writing(struct capture *capture, char *ret_error, size_t error_size);

#endif
