/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The input is a netlink datagram, as recvmmsg() puts it into a buffer. What the parser hands out
 * must lie inside, with the room before it that a verdict is written into; and the verdict must
 * wrap the very bytes of the packet.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "queue_message.h"

enum {
	QUEUE_NUMBER = 9470,
};

/* Reads a native integer. */
static uint16_t native16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint32_t native32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/*
 * The same message read once more, in the plainest way: attributes follow one another in whole
 * words from byte 20 on, each with its length and type in front, and end at the first that does
 * not fit. False where there is nothing to be had.
 */
static bool read_naively(const uint8_t *at, size_t len, struct queue_packet *ret, size_t *ret_payload_at)
{
	size_t from = 20, attribute_len;
	bool has_id = false;

	*ret = (struct queue_packet){0};
	*ret_payload_at = 0;
	if (len < 20 || native16(at + 4) != 0x300)
		return false;
	if (native32(at) < len)
		len = native32(at);
	for (; from + 4 <= len; from += (attribute_len + 3) / 4 * 4) {
		const uint8_t *value = at + from + 4;
		uint16_t type = native16(at + from + 2) & 0x3fff;

		attribute_len = native16(at + from);
		if (attribute_len < 4 || from + attribute_len > len)
			break;
		if (type == 1 && attribute_len < 4 + 7)
			return false;
		if (type == 10 && from + 4 < 36)
			return false;
		if (type == 1) {
			ret->id = ntohl(native32(value));
			has_id = true;
		} else if (type == 5 || type == 6 || type == 14) {
			uint32_t *field = type == 5 ? &ret->indev : type == 6 ? &ret->outdev : &ret->skb_info;

			*field = attribute_len == 8 ? ntohl(native32(value)) : 0;
		} else if (type == 13) {
			ret->truncated = true;
		} else if (type == 10) {
			*ret_payload_at = from + 4;
			ret->len = (uint32_t)attribute_len - 4;
		}
	}
	return has_id;
}

/* What a verdict's bytes must say; `at` has QUEUE_VERDICT_BYTES. */
static void check_verdict(const uint8_t *at, uint16_t type, uint32_t id, uint32_t total_bytes)
{
	FUZZ_CHECK(native32(at) == total_bytes);
	FUZZ_CHECK(native16(at + 4) == (3 << 8 | type)); /* NFNL_SUBSYS_QUEUE */
	FUZZ_CHECK(native16(at + 6) == 1);		 /* NLM_F_REQUEST: no answer wanted */
	FUZZ_CHECK(at[18] == QUEUE_NUMBER >> 8 && at[19] == (QUEUE_NUMBER & 0xff));
	FUZZ_CHECK(native16(at + 20) == 12 && native16(at + 22) == 2); /* NFQA_VERDICT_HDR */
	FUZZ_CHECK(ntohl(native32(at + 24)) == 1);			 /* NF_ACCEPT */
	FUZZ_CHECK(ntohl(native32(at + 28)) == id && queue_message_verdict_id(at) == id);
}

/* The packet's bytes go back in the buffer they came in. `room`: the buffer's size, whole words. */
static void check_wrap(uint8_t *buffer, size_t room, const struct queue_packet *packet)
{
	struct fuzz_input bytes = {packet->data, packet->len};
	uint8_t *copy = fuzz_copy(bytes), *start;
	size_t len;

	FUZZ_CHECK(packet->data >= buffer + QUEUE_HEADROOM);
	start = queue_message_wrap(packet, QUEUE_NUMBER, &len);
	FUZZ_CHECK(start >= buffer && start + len <= buffer + room);
	FUZZ_CHECK(start + QUEUE_HEADROOM == packet->data);
	FUZZ_CHECK(len % 4 == 0 && len - QUEUE_HEADROOM - packet->len < 4);
	check_verdict(start, 1, packet->id, QUEUE_HEADROOM + packet->len);
	FUZZ_CHECK(native16(start + QUEUE_VERDICT_BYTES) == 4 + packet->len); /* NFQA_PAYLOAD */
	FUZZ_CHECK(native16(start + QUEUE_VERDICT_BYTES + 2) == 10);
	FUZZ_CHECK(memcmp(packet->data, copy, packet->len) == 0);
	free(copy);
}

static void check_packet(uint8_t *buffer, size_t len, size_t room)
{
	struct queue_packet packet, expected;
	size_t payload_at;
	uint16_t queue = 0;
	bool is_packet = read_naively(buffer, len, &expected, &payload_at);

	memset(&packet, 0xa5, sizeof(packet));
	FUZZ_CHECK(queue_message_parse(buffer, len, &packet, &queue) == is_packet);
	if (!is_packet)
		return;
	FUZZ_CHECK(queue == (buffer[18] << 8 | buffer[19]));
	FUZZ_CHECK(packet.id == expected.id && packet.len == expected.len && packet.truncated == expected.truncated);
	FUZZ_CHECK(packet.indev == expected.indev && packet.outdev == expected.outdev);
	FUZZ_CHECK(packet.skb_info == expected.skb_info);
	FUZZ_CHECK(packet.data == (payload_at ? buffer + payload_at : NULL));
	if (!packet.data)
		return;
	FUZZ_CHECK(packet.data >= buffer && packet.data + packet.len <= buffer + len);
	FUZZ_CHECK(packet.len <= 65531);
	check_wrap(buffer, room, &packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input whole = {data, size};
	uint8_t *exact = fuzz_copy(whole);
	size_t room = (size + 3) / 4 * 4;
	uint8_t *buffer = calloc(1, room + 4);
	struct queue_packet packet;
	uint16_t queue;
	int error = -1;

	/* First with not a byte to spare, to see what is read; then with a word's end to write into. */
	queue_message_parse(exact, size, &packet, &queue);
	if (queue_message_is_answer(exact, size, &error))
		FUZZ_CHECK(!queue_message_parse(exact, size, &packet, &queue));
	else
		FUZZ_CHECK(error != 0);
	free(exact);
	if (!buffer)
		fuzz_fail("out of memory");
	memcpy(buffer, data, size);
	check_packet(buffer, size, room);
	free(buffer);
	return 0;
}
