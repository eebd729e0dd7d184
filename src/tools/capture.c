/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture.h"

#include <errno.h>
#include <pcap/pcap.h>
#include <pcap/sll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_IPV6 = 0x86dd,
	ETHERTYPE_VLAN = 0x8100,
	ETHERTYPE_QINQ = 0x88a8,
	ETHERNET_LEN = 14,
	VLAN_LEN = 4,
	PACKET_MAX = 262144,
};

struct capture {
	pcap_t *pcap;
	pcap_dumper_t *dumper;
	const char *write_path;
	int link;
	uint64_t number;
	struct pcap_pkthdr header; /* of the packet in `bytes` */
	bool is_pending;
	uint8_t bytes[PACKET_MAX];
};

static uint16_t load16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* Bytes in front of the IP header behind an EtherType at `at`, or -1. */
static int skip_tags(const uint8_t *bytes, uint32_t len, uint32_t at)
{
	while (at + 2 <= len && (load16(bytes + at) == ETHERTYPE_VLAN || load16(bytes + at) == ETHERTYPE_QINQ))
		at += VLAN_LEN;
	if (at + 2 > len || (load16(bytes + at) != ETHERTYPE_IPV4 && load16(bytes + at) != ETHERTYPE_IPV6))
		return -1;
	return (int)at + 2;
}

/* Bytes in front of the IP header, or -1. */
static int link_len(int link, const uint8_t *bytes, uint32_t len)
{
	switch (link) {
	case DLT_EN10MB:
		return skip_tags(bytes, len, ETHERNET_LEN - 2);
	case DLT_LINUX_SLL:
		return skip_tags(bytes, len, SLL_HDR_LEN - 2);
	case DLT_LINUX_SLL2:
		return len >= SLL2_HDR_LEN && skip_tags(bytes, len, 0) >= 0 ? SLL2_HDR_LEN : -1;
	case DLT_RAW:
	case DLT_IPV4:
	case DLT_IPV6:
		return 0;
	case DLT_NULL:
	case DLT_LOOP:
		return 4;
	default:
		return -1;
	}
}

struct capture *capture_open(const char *path, char *ret_error, size_t error_size)
{
	struct capture *capture = calloc(1, sizeof(*capture));
	char error[PCAP_ERRBUF_SIZE];

	if (!capture) {
		snprintf(ret_error, error_size, "out of memory");
		return NULL;
	}
	capture->pcap = pcap_open_offline(path, error);
	if (!capture->pcap) {
		snprintf(ret_error, error_size, "%s: %s", path, error);
		free(capture);
		return NULL;
	}
	capture->link = pcap_datalink(capture->pcap);
	if (link_len(capture->link, (const uint8_t[64]){[12] = 0x08}, 64) < 0 && capture->link != DLT_LINUX_SLL &&
	    capture->link != DLT_LINUX_SLL2) {
		snprintf(ret_error, error_size, "%s: captured from a link of type %s; known: Ethernet, Linux \"any\", raw IP, loopback",
			 path, pcap_datalink_val_to_name(capture->link));
		capture_close(capture);
		return NULL;
	}
	return capture;
}

static void write_pending(struct capture *capture)
{
	if (capture->dumper && capture->is_pending)
		pcap_dump((u_char *)capture->dumper, &capture->header, capture->bytes);
	capture->is_pending = false;
}

void capture_close(struct capture *capture)
{
	if (!capture)
		return;
	write_pending(capture);
	if (capture->dumper)
		pcap_dump_close(capture->dumper);
	pcap_close(capture->pcap);
	free(capture);
}

int capture_next(struct capture *capture, struct capture_packet *ret, char *ret_error, size_t error_size)
{
	struct pcap_pkthdr *header;
	const u_char *bytes;
	int result, skip;

	write_pending(capture);
	result = pcap_next_ex(capture->pcap, &header, &bytes);
	if (result == PCAP_ERROR_BREAK)
		return 0;
	if (result != 1 || header->caplen > PACKET_MAX) {
		snprintf(ret_error, error_size, "packet %llu: %s", (unsigned long long)capture->number + 1,
			 result != 1 ? pcap_geterr(capture->pcap) : "too long");
		return -1;
	}
	capture->header = *header;
	memcpy(capture->bytes, bytes, header->caplen);
	capture->is_pending = true;
	skip = link_len(capture->link, capture->bytes, header->caplen);
	*ret = (struct capture_packet){
		.number = ++capture->number,
		.time_ms = (uint64_t)header->ts.tv_sec * 1000 + (uint64_t)header->ts.tv_usec / 1000,
	};
	if (skip < 0 || header->caplen <= (uint32_t)skip)
		return 1;
	ret->ip = capture->bytes + skip;
	ret->len = header->caplen - (uint32_t)skip;
	ret->wire_len = header->len - (uint32_t)skip;
	return 1;
}

static bool is_same_file(FILE *file, const char *path)
{
	struct stat one, other;

	return file && fstat(fileno(file), &one) == 0 && stat(path, &other) == 0 && one.st_dev == other.st_dev &&
	       one.st_ino == other.st_ino;
}

bool capture_write_to(struct capture *capture, const char *path, char *ret_error, size_t error_size)
{
	if (is_same_file(pcap_file(capture->pcap), path)) {
		snprintf(ret_error, error_size, "%s: this is the capture that is read", path);
		return false;
	}
	capture->write_path = path;
	capture->dumper = pcap_dump_open(capture->pcap, path);
	if (!capture->dumper)
		snprintf(ret_error, error_size, "%s", pcap_geterr(capture->pcap));
	return capture->dumper != NULL;
}

bool capture_end_writing(struct capture *capture, char *ret_error, size_t error_size)
{
	bool is_written;

	write_pending(capture);
	errno = 0;
	is_written = pcap_dump_flush(capture->dumper) == 0 && !ferror(pcap_dump_file(capture->dumper));
	if (!is_written)
		snprintf(ret_error, error_size, "%s: cannot be written: %s", capture->write_path,
			 errno ? strerror(errno) : "not all of it");
	pcap_dump_close(capture->dumper);
	capture->dumper = NULL;
	return is_written;
}
