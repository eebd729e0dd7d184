/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "replay.h"

static const struct {
	char letter;
	uint16_t bit;
} flag_letters[] = {
	{'F', 0x001}, {'S', 0x002}, {'R', 0x004}, {'P', 0x008}, {'.', 0x010},
	{'U', 0x020}, {'E', 0x040}, {'W', 0x080}, {'A', 0x100}, {'-', 0},
};

static bool flags_parse(struct text *text, uint16_t *ret)
{
	const char *start;

	text_skip(text);
	start = text->at;
	for (; *text->at && *text->at != ' '; text->at++) {
		size_t i = 0;

		while (i < sizeof(flag_letters) / sizeof(flag_letters[0]) && flag_letters[i].letter != *text->at)
			i++;
		if (i == sizeof(flag_letters) / sizeof(flag_letters[0]))
			return text_problem(text, "'%c' is no TCP flag (SFRP.UEWA or -)", *text->at);
		*ret |= flag_letters[i].bit;
	}
	return text->at > start ? true : text_problem(text, "TCP flags were expected");
}

/* "1:11(10)": first sequence number, the one behind the data, bytes of data. */
static bool sequence_parse(struct text *text, struct segment *ret)
{
	uint32_t end;

	if (!text_u32(text, UINT32_MAX, &ret->seq) || !text_char(text, ':') ||
	    !text_u32(text, UINT32_MAX, &end) || !text_char(text, '(') ||
	    !text_u32(text, 65000, &ret->payload_bytes) || !text_char(text, ')'))
		return text_problem(text, "a sequence was expected, such as 1:11(10)");
	if (end != ret->seq + ret->payload_bytes)
		return text_problem(text, "%u:%u(%u) does not add up", ret->seq, end, ret->payload_bytes);
	return true;
}

static void option_put(struct text *text, struct segment *segment, const void *bytes, uint32_t len)
{
	if (segment->option_bytes + len > OPTIONS_MAX) {
		text_problem(text, "too many option bytes");
		return;
	}
	memcpy(segment->options + segment->option_bytes, bytes, len);
	segment->option_bytes += len;
}

static void option_put_u32(struct text *text, struct segment *segment, uint32_t value)
{
	const uint8_t bytes[] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};

	option_put(text, segment, bytes, sizeof(bytes));
}

static void option_ts_parse(struct text *text, struct segment *segment)
{
	static const uint8_t head[] = {8, 10};
	uint32_t tsval = 0, tsecr = 0;

	if (!text_word(text, "val") || !text_u32(text, UINT32_MAX, &tsval) || !text_word(text, "ecr") ||
	    !text_u32(text, UINT32_MAX, &tsecr))
		text_problem(text, "\"TS val N ecr N\" was expected");
	if (segment->ts_at == NOT_SET)
		segment->ts_at = (int)segment->option_bytes;
	option_put(text, segment, head, sizeof(head));
	option_put_u32(text, segment, tsval);
	option_put_u32(text, segment, tsecr);
}

static void option_sack_parse(struct text *text, struct segment *segment)
{
	uint8_t head[] = {5, 10};
	uint32_t left = 0, right = 0;

	if (text_u32(text, UINT32_MAX, &left) && text_char(text, ':'))
		text_u32(text, UINT32_MAX, &right);
	option_put(text, segment, head, sizeof(head));
	option_put_u32(text, segment, left);
	option_put_u32(text, segment, right);
}

/* Kind, length, and bytes that may be none: "FO" asks for a cookie, "FO 0102" brings one. */
static void option_hex_parse(struct text *text, struct segment *segment, uint8_t kind)
{
	uint8_t bytes[OPTIONS_MAX] = {kind, 2};
	uint32_t len = 0;

	text_skip(text);
	if (*text->at != ',' && *text->at != '>' && !text_hex(text, bytes + 2, sizeof(bytes) - 2, &len))
		return;
	bytes[1] = (uint8_t)(2 + len);
	option_put(text, segment, bytes, 2 + len);
}

static void option_parse(struct text *text, struct segment *segment)
{
	static const uint8_t md5[18] = {19, 18, 0xd1, 8, 10, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	static const uint8_t ao[16] = {29, 16, 1, 1, 0xa0, 8, 10, 3, 4, 5, 6, 7, 8, 9, 10, 11};
	uint8_t bytes[OPTIONS_MAX];
	uint32_t value = 0;

	if (text_word(text, "TS")) {
		option_ts_parse(text, segment);
	} else if (text_word(text, "mss")) {
		text_u32(text, 65535, &value);
		option_put(text, segment, (uint8_t[]){2, 4, (uint8_t)(value >> 8), (uint8_t)value}, 4);
	} else if (text_word(text, "sackOK")) {
		option_put(text, segment, (uint8_t[]){4, 2}, 2);
	} else if (text_word(text, "wscale")) {
		text_u32(text, 255, &value);
		option_put(text, segment, (uint8_t[]){3, 3, (uint8_t)value}, 3);
	} else if (text_word(text, "sack")) {
		option_sack_parse(text, segment);
	} else if (text_word(text, "nop")) {
		option_put(text, segment, (uint8_t[]){1}, 1);
	} else if (text_word(text, "eol")) {
		option_put(text, segment, (uint8_t[]){0}, 1);
	} else if (text_word(text, "md5")) {
		option_put(text, segment, md5, sizeof(md5));
	} else if (text_word(text, "ao")) {
		option_put(text, segment, ao, sizeof(ao));
	} else if (text_word(text, "FO")) {
		option_hex_parse(text, segment, 34);
	} else if (text_word(text, "mptcp")) {
		option_hex_parse(text, segment, 30);
	} else if (text_word(text, "raw")) {
		if (text_hex(text, bytes, sizeof(bytes), &value))
			option_put(text, segment, bytes, value);
	} else {
		text_problem(text, "unknown TCP option at \"%.20s\"", text->at);
	}
}

static bool options_parse(struct text *text, struct segment *segment)
{
	if (!text_char(text, '<'))
		return true;
	while (!text_char(text, '>')) {
		option_parse(text, segment);
		if (text->problem[0])
			return false;
		text_char(text, ',');
	}
	while (segment->option_bytes % 4) /* what is left of the header: end of options */
		option_put(text, segment, (uint8_t[]){0}, 1);
	return text->problem[0] == 0;
}

static void number_parse(struct text *text, uint32_t max, int *ret)
{
	uint32_t value;

	if (text_u32(text, max, &value))
		*ret = (int)value;
}

static void extension_parse(struct text *text, struct segment *segment)
{
	static const struct {
		const char *name;
		enum extension extension;
	} names[] = {
		{"hop", EXTENSION_HOP}, {"routing", EXTENSION_ROUTING}, {"fragment", EXTENSION_FRAGMENT},
		{"ah", EXTENSION_AH}, {"destination", EXTENSION_DESTINATION},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (text_word(text, names[i].name) && segment->extension_count < EXTENSIONS_MAX) {
			segment->extension[segment->extension_count++] = (uint8_t)names[i].extension;
			return;
		}
	text_problem(text, "unknown or too many extension headers");
}

static void wan_parse(struct text *text, struct segment *segment)
{
	segment->wan_given = true;
	if (text_word(text, "unknown"))
		segment->wan = DIRECTION_UNKNOWN;
	else if (text_word(text, "out"))
		segment->wan = DIRECTION_OUT;
	else if (text_word(text, "in"))
		segment->wan = DIRECTION_IN;
	else
		text_problem(text, "wan unknown, out or in");
}

static void poke_parse(struct text *text, struct segment *segment)
{
	uint32_t len = 0;

	if (segment->poke_count == POKES_MAX) {
		text_problem(text, "too many pokes");
		return;
	}
	if (text_u32(text, 65535, &segment->poke[segment->poke_count].at))
		text_hex(text, &segment->poke[segment->poke_count].byte, 1, &len);
	segment->poke_count++;
}

static void fragment_parse(struct text *text, struct segment *segment)
{
	segment->fragment = true;
	text_u32(text, 8191, &segment->fragment_offset);
	segment->more_fragments = text_word(text, "more");
}

static void modifier_parse(struct text *text, struct segment *segment)
{
	if (text_word(text, "csum bad"))
		segment->checksum_bad = true;
	else if (text_word(text, "csum not ready"))
		segment->checksum_not_ready = true;
	else if (text_word(text, "gso"))
		segment->gso = true;
	else if (text_word(text, "truncated"))
		segment->truncated = true;
	else if (text_word(text, "wan"))
		wan_parse(text, segment);
	else if (text_word(text, "doff"))
		number_parse(text, 15, &segment->data_offset);
	else if (text_word(text, "ihl"))
		number_parse(text, 15, &segment->header_length);
	else if (text_word(text, "iplen"))
		number_parse(text, 65535, &segment->ip_length);
	else if (text_word(text, "proto"))
		number_parse(text, 255, &segment->protocol);
	else if (text_word(text, "tos"))
		number_parse(text, 255, &segment->tos);
	else if (text_word(text, "cut"))
		number_parse(text, 65535, &segment->cut_to);
	else if (text_word(text, "trailing"))
		text_u32(text, 64, &segment->trailing_bytes);
	else if (text_word(text, "ipopt"))
		text_hex(text, segment->ip_options, IP_OPTIONS_MAX, &segment->ip_option_bytes);
	else if (text_word(text, "ext"))
		extension_parse(text, segment);
	else if (text_word(text, "frag"))
		fragment_parse(text, segment);
	else if (text_word(text, "poke"))
		poke_parse(text, segment);
	else
		text_problem(text, "unknown modifier at \"%.20s\"", text->at);
}

bool segment_parse(struct text *text, struct segment *ret)
{
	bool outbound = ret->outbound;
	uint32_t value;

	*ret = (struct segment){
		.outbound = outbound, .window = 1000, .ts_at = NOT_SET, .data_offset = NOT_SET,
		.header_length = NOT_SET, .ip_length = NOT_SET, .protocol = NOT_SET, .tos = NOT_SET, .cut_to = NOT_SET,
	};
	if (!flags_parse(text, &ret->flags) || !sequence_parse(text, ret))
		return false;
	if (text_word(text, "ack") && !text_u32(text, UINT32_MAX, &ret->ack))
		return false;
	if (text_word(text, "win") && text_u32(text, 65535, &value))
		ret->window = (uint16_t)value;
	if (text_word(text, "urg") && text_u32(text, 65535, &value))
		ret->urgent = (uint16_t)value;
	if (!options_parse(text, ret))
		return false;
	if (text_char(text, '{'))
		while (!text_char(text, '}') && !text->problem[0]) {
			modifier_parse(text, ret);
			text_char(text, ',');
		}
	return text->problem[0] == 0;
}

bool reason_parse(struct text *text, enum reason *ret)
{
	for (int i = 0; i < REASON_COUNT; i++)
		if (text_word(text, reason_table[i].name)) {
			*ret = (enum reason)i;
			return true;
		}
	return false;
}

bool total_parse(struct text *text, enum reason_total *ret)
{
	for (int i = 0; i < TOTAL_COUNT; i++)
		if (text_word(text, reason_total_names[i])) {
			*ret = (enum reason_total)i;
			return true;
		}
	return false;
}

bool state_parse(struct text *text, enum flow_state *ret)
{
	for (int i = FLOW_FREE + 1; i < FLOW_STATE_COUNT; i++)
		if (text_word(text, flow_state_names[i])) {
			*ret = (enum flow_state)i;
			return true;
		}
	return text_problem(text, "no flow state at \"%.20s\"", text->at);
}

bool expectation_parse(struct text *text, struct expectation *ret)
{
	*ret = (struct expectation){.reason = REASON_COUNT};
	if (text_word(text, "any"))
		ret->any = true;
	else if (reason_parse(text, &ret->reason))
		ret->total = reason_table[ret->reason].total;
	else if (!total_parse(text, &ret->total))
		return text_problem(text, "neither a reason nor a total at \"%.20s\"", text->at);
	if (text_word(text, "for") && !text_name(text, ret->destination, sizeof(ret->destination)))
		return false;
	if (!text_char(text, '<'))
		return true;
	if (text_word(text, "no TS")) {
		ret->no_ts = true;
	} else {
		ret->ts = true;
		if (!text_word(text, "TS") || !text_word(text, "val") || !text_range(text, &ret->tsval) ||
		    !text_word(text, "ecr") || !text_range(text, &ret->tsecr))
			return text_problem(text, "\"<TS val N ecr N>\" or \"<no TS>\" was expected");
	}
	return text_char(text, '>') ? true : text_problem(text, "> is missing");
}
