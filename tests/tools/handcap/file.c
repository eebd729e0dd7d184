/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets as a capture file: pcap in either byte order or with nanoseconds, pcapng; with the link's header in front of each.
 * Written byte by byte here, for libpcap makes neither pcapng nor files of another machine.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handcap.h"

enum {
	LINK_HEADER_MAX = 32,
	LINKTYPE_NULL = 0,
	LINKTYPE_ETHERNET = 1,
	LINKTYPE_RAW = 101,
	LINKTYPE_LINUX_SLL = 113,
	LINKTYPE_LINUX_SLL2 = 276,
	SECTION_BLOCK = 0x0a0d0d0a,
	INTERFACE_BLOCK = 1,
	PACKET_BLOCK = 6,
};

const char *const link_names[LINK_COUNT] = {
	[LINK_ETHERNET] = "ethernet", [LINK_VLAN] = "vlan", [LINK_QINQ] = "qinq",	  [LINK_SLL] = "sll",
	[LINK_SLL2] = "sll2",	      [LINK_RAW] = "raw",   [LINK_LOOPBACK] = "loopback",
};

const char *const format_names[FORMAT_COUNT] = {
	[FORMAT_PCAP] = "pcap",
	[FORMAT_PCAP_SWAPPED] = "pcap_swapped",
	[FORMAT_PCAP_NANOSECONDS] = "pcap_nanoseconds",
	[FORMAT_PCAPNG] = "pcapng",
};

static const uint32_t link_types[LINK_COUNT] = {
	[LINK_ETHERNET] = LINKTYPE_ETHERNET, [LINK_VLAN] = LINKTYPE_ETHERNET,	[LINK_QINQ] = LINKTYPE_ETHERNET,
	[LINK_SLL] = LINKTYPE_LINUX_SLL,     [LINK_SLL2] = LINKTYPE_LINUX_SLL2, [LINK_RAW] = LINKTYPE_RAW,
	[LINK_LOOPBACK] = LINKTYPE_NULL,
};

void file_add(struct file *file, uint64_t time_us, uint8_t *data, uint32_t len, bool is_frame)
{
	if (file->count == file->room) {
		file->room = file->room ? file->room * 2 : 1024;
		file->packets = realloc(file->packets, file->room * sizeof(*file->packets));
		if (!file->packets)
			abort();
	}
	file->packets[file->count] = (struct packet_bytes){time_us, file->count, len, is_frame, data};
	file->count++;
}

void file_add_segment(struct file *file, uint64_t time_us, const struct segment *segment, const struct endpoint *client,
		      const struct endpoint *server)
{
	struct built built;

	build_packet(segment, client, server, &built);
	file_add(file, time_us, built.data, built.len, false);
}

void file_free(struct file *file)
{
	for (uint32_t i = 0; i < file->count; i++)
		free(file->packets[i].data);
	free(file->packets);
}

/* ---- the link's header ---- */

static uint32_t put_ethernet(uint8_t *to, const uint8_t *tags, uint32_t tag_bytes, const uint8_t *ethertype)
{
	static const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};

	memcpy(to, macs, sizeof(macs));
	memcpy(to + sizeof(macs), tags, tag_bytes);
	memcpy(to + sizeof(macs) + tag_bytes, ethertype, 2);
	return (uint32_t)sizeof(macs) + tag_bytes + 2;
}

static uint32_t put_link(enum link link, bool is_ipv6, uint8_t *to)
{
	static const uint8_t tags[] = {0x88, 0xa8, 0, 100, 0x81, 0x00, 0, 7};
	static const uint8_t sll[] = {0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0};
	static const uint8_t sll2[] = {0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0};
	const uint8_t *ethertype = is_ipv6 ? (const uint8_t[]){0x86, 0xdd} : (const uint8_t[]){0x08, 0x00};
	const uint32_t family = is_ipv6 ? 10 : 2; /* in the order of this machine */

	switch (link) {
	case LINK_ETHERNET:
		return put_ethernet(to, tags, 0, ethertype);
	case LINK_VLAN:
		return put_ethernet(to, tags + 4, 4, ethertype);
	case LINK_QINQ:
		return put_ethernet(to, tags, 8, ethertype);
	case LINK_SLL:
		memcpy(to, sll, sizeof(sll));
		memcpy(to + sizeof(sll), ethertype, 2);
		return sizeof(sll) + 2;
	case LINK_SLL2:
		memcpy(to, ethertype, 2);
		memcpy(to + 2, sll2, sizeof(sll2));
		return 2 + sizeof(sll2);
	case LINK_LOOPBACK:
		memcpy(to, &family, sizeof(family));
		return sizeof(family);
	case LINK_RAW:
	case LINK_COUNT:
		break;
	}
	return 0;
}

/* ---- the file ---- */

static uint32_t in_order(const struct file *file, uint32_t value)
{
	return file->format == FORMAT_PCAP_SWAPPED ? __builtin_bswap32(value) : value;
}

static void write_words(const struct file *file, FILE *out, const uint32_t *words, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t word = in_order(file, words[i]);

		fwrite(&word, sizeof(word), 1, out);
	}
}

static void write_version(const struct file *file, FILE *out, uint16_t major, uint16_t minor)
{
	const uint16_t words[2] = {file->format == FORMAT_PCAP_SWAPPED ? __builtin_bswap16(major) : major,
				   file->format == FORMAT_PCAP_SWAPPED ? __builtin_bswap16(minor) : minor};

	fwrite(words, sizeof(words), 1, out);
}

static void write_head(const struct file *file, FILE *out)
{
	const uint32_t magic = file->format == FORMAT_PCAP_NANOSECONDS ? 0xa1b23c4d : 0xa1b2c3d4;

	if (file->format == FORMAT_PCAPNG) {
		write_words(file, out, (const uint32_t[]){SECTION_BLOCK, 28, 0x1a2b3c4d}, 3);
		write_version(file, out, 1, 0);
		write_words(file, out, (const uint32_t[]){UINT32_MAX, UINT32_MAX, 28}, 3);
		/* With option 9: times in nanoseconds. */
		write_words(file, out, (const uint32_t[]){INTERFACE_BLOCK, 32, link_types[file->link], file->snap_bytes}, 4);
		write_words(file, out, (const uint32_t[]){1u << 16 | 9, 9, 0, 32}, 4);
		return;
	}
	write_words(file, out, &magic, 1);
	write_version(file, out, 2, 4);
	write_words(file, out, (const uint32_t[]){0, 0, file->snap_bytes, link_types[file->link]}, 4);
}

static void write_packet(const struct file *file, FILE *out, const struct packet_bytes *packet)
{
	static const uint8_t zeros[4];
	uint8_t link[LINK_HEADER_MAX];
	uint32_t link_bytes = packet->is_frame ? 0 : put_link(file->link, packet->data[0] >> 4 == 6, link);
	uint32_t len = link_bytes + packet->len, captured = len < file->snap_bytes ? len : file->snap_bytes;
	uint32_t padding = (4 - captured % 4) % 4;
	uint64_t time_us = file->begin_us + packet->time_us, time_ns = time_us * 1000 + packet->order % 1000;

	if (file->format == FORMAT_PCAPNG)
		write_words(file, out, (const uint32_t[]){PACKET_BLOCK, 32 + captured + padding, 0, (uint32_t)(time_ns >> 32),
							  (uint32_t)time_ns, captured, len}, 7);
	else
		write_words(file, out, (const uint32_t[]){(uint32_t)(time_us / 1000000),
							  (uint32_t)(file->format == FORMAT_PCAP_NANOSECONDS ? time_ns % 1000000000
													     : time_us % 1000000),
							  captured, len}, 4);
	fwrite(link, captured < link_bytes ? captured : link_bytes, 1, out);
	if (captured > link_bytes)
		fwrite(packet->data, captured - link_bytes, 1, out);
	if (file->format != FORMAT_PCAPNG)
		return;
	fwrite(zeros, padding, 1, out);
	write_words(file, out, (const uint32_t[]){32 + captured + padding}, 1);
}

static int compare_packets(const void *a, const void *b)
{
	const struct packet_bytes *left = a, *right = b;

	if (left->time_us != right->time_us)
		return left->time_us < right->time_us ? -1 : 1;
	return left->order < right->order ? -1 : 1;
}

bool file_write(struct file *file, const char *path)
{
	FILE *out = fopen(path, "w");
	bool is_written;

	if (!out) {
		perror(path);
		return false;
	}
	if (file->count)
		qsort(file->packets, file->count, sizeof(*file->packets), compare_packets);
	write_head(file, out);
	for (uint32_t i = 0; i < file->count; i++)
		write_packet(file, out, &file->packets[i]);
	is_written = !ferror(out);
	if (fclose(out) != 0 || !is_written) {
		perror(path);
		return false;
	}
	return true;
}
