/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"

static bool map_to_ipv6;

void text_map_to_ipv6(bool map)
{
	map_to_ipv6 = map;
}

void text_init(struct text *text, const char *line)
{
	text->at = line;
	text->problem[0] = 0;
}

bool text_problem(struct text *text, const char *format, ...)
{
	va_list arguments;

	if (text->problem[0])
		return false;
	va_start(arguments, format);
	vsnprintf(text->problem, sizeof(text->problem), format, arguments);
	va_end(arguments);
	return false;
}

void text_skip(struct text *text)
{
	while (*text->at == ' ' || *text->at == '\t')
		text->at++;
}

bool text_end(struct text *text)
{
	text_skip(text);
	return *text->at == 0 || *text->at == '#';
}

bool text_char(struct text *text, char c)
{
	text_skip(text);
	if (*text->at != c)
		return false;
	text->at++;
	return true;
}

static bool is_name_char(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '-';
}

bool text_word(struct text *text, const char *word)
{
	size_t len = strlen(word);

	text_skip(text);
	if (strncmp(text->at, word, len) != 0 || (is_name_char(word[len - 1]) && is_name_char(text->at[len])))
		return false;
	text->at += len;
	return true;
}

bool text_name(struct text *text, char *ret_name, size_t size)
{
	size_t len = 0;

	text_skip(text);
	while (is_name_char(text->at[len]))
		len++;
	if (len == 0 || len >= size)
		return text_problem(text, "a name was expected at \"%.20s\"", text->at);
	memcpy(ret_name, text->at, len);
	ret_name[len] = 0;
	text->at += len;
	return true;
}

bool text_u64(struct text *text, uint64_t *ret)
{
	char *end;

	text_skip(text);
	if (!isdigit((unsigned char)*text->at))
		return text_problem(text, "a number was expected at \"%.20s\"", text->at);
	*ret = strtoull(text->at, &end, strncmp(text->at, "0x", 2) == 0 ? 16 : 10);
	text->at = end;
	return true;
}

bool text_u32(struct text *text, uint32_t max, uint32_t *ret)
{
	uint64_t value;

	if (!text_u64(text, &value))
		return false;
	if (value > max)
		return text_problem(text, "%llu is more than %u", (unsigned long long)value, max);
	*ret = (uint32_t)value;
	return true;
}

bool text_range(struct text *text, struct range *ret)
{
	if (!text_u32(text, UINT32_MAX, &ret->first))
		return false;
	ret->last = ret->first;
	if (strncmp(text->at, "..", 2) != 0)
		return true;
	text->at += 2;
	return text_u32(text, UINT32_MAX, &ret->last);
}

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *found = c ? strchr(digits, tolower((unsigned char)c)) : NULL;

	return found ? (int)(found - digits) : -1;
}

bool text_hex(struct text *text, uint8_t *ret_bytes, uint32_t max, uint32_t *ret_len)
{
	uint32_t len = 0;

	text_skip(text);
	while (hex_digit(text->at[0]) >= 0 && hex_digit(text->at[1]) >= 0) {
		if (len == max)
			return text_problem(text, "more than %u bytes", max);
		ret_bytes[len++] = (uint8_t)(hex_digit(text->at[0]) * 16 + hex_digit(text->at[1]));
		text->at += 2;
	}
	if (len == 0)
		return text_problem(text, "hex bytes were expected at \"%.20s\"", text->at);
	*ret_len = len;
	return true;
}

/* The documentation prefix, with the IPv4 address as its last four bytes. */
static struct addr addr_mapped(const uint8_t *ipv4)
{
	struct addr addr = {.byte = {0x20, 0x01, 0x0d, 0xb8}};

	memcpy(addr.byte + 12, ipv4, 4);
	return addr;
}

static bool addr_of_length(struct text *text, size_t len, struct addr *ret)
{
	char word[64];
	uint8_t bytes[16];

	if (len == 0 || len >= sizeof(word))
		return text_problem(text, "an address was expected at \"%.20s\"", text->at);
	memcpy(word, text->at, len);
	word[len] = 0;
	text->at += len;
	if (inet_pton(AF_INET, word, bytes) == 1)
		*ret = map_to_ipv6 ? addr_mapped(bytes) : addr_from_ipv4(bytes);
	else if (inet_pton(AF_INET6, word, bytes) == 1)
		*ret = addr_from_ipv6(bytes);
	else
		return text_problem(text, "\"%s\" is no address", word);
	return true;
}

bool text_addr(struct text *text, struct addr *ret)
{
	bool brackets = text_char(text, '[');
	const char *set = brackets ? "0123456789abcdefABCDEF:." : "0123456789.";

	text_skip(text);
	if (!addr_of_length(text, strspn(text->at, set), ret))
		return false;
	if (brackets && !text_char(text, ']'))
		return text_problem(text, "] is missing");
	return true;
}

bool text_endpoint(struct text *text, struct endpoint *ret)
{
	uint32_t port = 0;

	if (!text_addr(text, &ret->addr))
		return false;
	if (!text_char(text, ':') || !text_u32(text, 65535, &port))
		return text_problem(text, "a port was expected at \"%.20s\"", text->at);
	ret->port = (uint16_t)port;
	return true;
}

bool text_prefix(struct text *text, struct prefix *ret)
{
	bool was_ipv4;
	uint32_t len;

	text_skip(text);
	was_ipv4 = strcspn(text->at, ".") < strcspn(text->at, "/:");
	if (!addr_of_length(text, strspn(text->at, "0123456789abcdefABCDEF:."), &ret->addr))
		return false;
	ret->family = addr_family(&ret->addr);
	len = was_ipv4 ? 32 : 128;
	if (text_char(text, '/') && !text_u32(text, len, &len))
		return false;
	ret->len = (uint8_t)(was_ipv4 && ret->family == FAMILY_IPV6 ? len + 96 : len);
	return true;
}

bool text_ports(struct text *text, struct port_range *ret)
{
	uint32_t first = 0, last;

	if (!text_u32(text, 65535, &first))
		return false;
	last = first;
	if (text_char(text, '-') && !text_u32(text, 65535, &last))
		return false;
	ret->first = (uint16_t)first;
	ret->last = (uint16_t)last;
	return true;
}

bool text_time(struct text *text, int64_t *ret_ms, bool *ret_relative)
{
	int64_t ms = 0, unit = 1000;
	const char *start;

	text_skip(text);
	start = text->at;
	*ret_relative = *start == '+';
	if (*ret_relative)
		text->at++;
	if (!isdigit((unsigned char)*text->at) && *text->at != '.') {
		text->at = start;
		return false;
	}
	for (; isdigit((unsigned char)*text->at); text->at++)
		ms = ms * 10 + (*text->at - '0') * 1000;
	if (*text->at == '.')
		for (text->at++; isdigit((unsigned char)*text->at); text->at++) {
			unit /= 10;
			ms += (*text->at - '0') * unit;
			if (unit == 0)
				text_problem(text, "times go down to milliseconds");
		}
	*ret_ms = ms;
	return true;
}
