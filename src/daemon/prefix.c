/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prefixes: their text, and how a range of addresses is cut into them. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy_build.h"
#include "policy_internal.h"
#include "range_key.h"

static const uint8_t family_bits[FAMILY_COUNT] = {[FAMILY_IPV4] = 32, [FAMILY_IPV6] = 128};
static const char *const family_names[FAMILY_COUNT] = {[FAMILY_IPV4] = "IPv4", [FAMILY_IPV6] = "IPv6"};

static uint64_t load_be64(const uint8_t *bytes)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | bytes[i];
	return value;
}

static void store_be64(uint8_t *bytes, uint64_t value)
{
	for (int i = 7; i >= 0; i--, value >>= 8)
		bytes[i] = (uint8_t)value;
}

/*
 * Unlike policy_key_of_addr() it does not guess the family by the address: a range of IPv6
 * addresses may begin or end at the border of ::ffff:0:0/96.
 */
struct range_key addr_to_key(const struct addr *addr, enum family family)
{
	if (family == FAMILY_IPV4)
		return policy_key_of_addr(addr);
	return (struct range_key){.hi = load_be64(addr->byte), .lo = load_be64(addr->byte + 8)};
}

struct addr addr_from_key(struct range_key key, enum family family)
{
	uint8_t bytes[16];

	store_be64(bytes, key.hi);
	store_be64(bytes + 8, key.lo);
	return family == FAMILY_IPV4 ? addr_from_ipv4(bytes) : addr_from_ipv6(bytes);
}

/* The shortest prefix that begins at `key` and reaches no further than `last`. */
static uint8_t fitting_len(struct range_key key, struct range_key last, uint8_t min_len)
{
	unsigned int zeros = 128;

	if (key.lo != 0)
		zeros = (unsigned int)__builtin_ctzll(key.lo);
	else if (key.hi != 0)
		zeros = 64 + (unsigned int)__builtin_ctzll(key.hi);
	unsigned int len = 128 - zeros;

	if (len < min_len)
		len = min_len;
	while (range_key_compare(range_key_last(key, len), last) > 0)
		len++;
	return (uint8_t)len;
}

void policy_each_prefix(enum family family, const struct addr *first, const struct addr *last, uint8_t min_len,
			prefix_fn each, void *context)
{
	struct range_key key = addr_to_key(first, family);
	const struct range_key end = range_key_last(addr_to_key(last, family), family_bits[family]);

	for (;;) {
		const struct prefix prefix = {
			.addr = addr_from_key(key, family),
			.family = family,
			.len = fitting_len(key, end, min_len),
		};

		each(context, &prefix);
		key = range_key_last(key, prefix.len);
		if (range_key_compare(key, end) >= 0 || !range_key_next(&key))
			return;
	}
}

void addr_format_family(const struct addr *addr, enum family family, char *ret_text, size_t size)
{
	if (family == FAMILY_IPV4)
		inet_ntop(AF_INET, addr->byte + 12, ret_text, (socklen_t)size);
	else
		inet_ntop(AF_INET6, addr->byte, ret_text, (socklen_t)size);
}

void addr_format(const struct addr *addr, char *ret_text, size_t size)
{
	addr_format_family(addr, addr_family(addr), ret_text, size);
}

/* A single host is written without a length. */
void prefix_format(const struct prefix *prefix, char *ret_text, size_t size)
{
	char text[INET6_ADDRSTRLEN];

	addr_format_family(&prefix->addr, prefix->family, text, sizeof(text));
	if (prefix->len == family_bits[prefix->family])
		snprintf(ret_text, size, "%s", text);
	else
		snprintf(ret_text, size, "%s/%u", text, prefix->len);
}

__attribute__((format(printf, 1, 2))) static const char *complain(const char *format, ...)
{
	static _Thread_local char words[200];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	return words;
}

/* A length in decimal, without sign, blank or leading zero; -1 if it is not one. */
static int parse_len(const char *text, int max)
{
	const size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 3 || text[digits] != '\0' || (text[0] == '0' && digits > 1))
		return -1;
	const int len = atoi(text);

	return len <= max ? len : -1;
}

/* "255.255.255.0" is 24; -1 if it is no netmask. */
static int parse_netmask(const char *text)
{
	struct in_addr mask;

	if (inet_pton(AF_INET, text, &mask) != 1)
		return -1;
	const uint32_t inverse = ~ntohl(mask.s_addr);

	return (inverse & (inverse + 1)) == 0 ? 32 - __builtin_popcount(inverse) : -1;
}

static const char *complain_of_len(const char *address, const char *len_text, enum family family)
{
	const int netmask_len = family == FAMILY_IPV4 ? parse_netmask(len_text) : -1;

	if (netmask_len >= 0)
		return complain("has a netmask in place of a prefix length; did you mean %s/%d", address, netmask_len);
	return complain("has no valid prefix length: for %s it is a number from 0 to %u", family_names[family],
			family_bits[family]);
}

static const char *parse_addr(const char *text, struct prefix *ret)
{
	struct in6_addr ipv6;
	struct in_addr ipv4;

	if (inet_pton(AF_INET, text, &ipv4) == 1) {
		ret->addr = addr_from_ipv4((const uint8_t *)&ipv4);
		ret->family = FAMILY_IPV4;
		return NULL;
	}
	if (inet_pton(AF_INET6, text, &ipv6) == 1) {
		ret->addr = addr_from_ipv6((const uint8_t *)&ipv6);
		ret->family = FAMILY_IPV6;
		return NULL;
	}
	if (strchr(text, ':') && strchr(text, '%'))
		return complain("has a scope (%%...), which is not possible here");
	return complain("is not an IPv4 or IPv6 address or prefix");
}

const char *prefix_parse(const char *text, struct prefix *ret)
{
	const char *slash = strchr(text, '/');
	const size_t address_len = slash ? (size_t)(slash - text) : strlen(text);
	char address[64], meant[64];

	if (address_len >= sizeof(address))
		return complain("is not an IPv4 or IPv6 address or prefix");
	memcpy(address, text, address_len);
	address[address_len] = '\0';

	const char *error = parse_addr(address, ret);

	if (error)
		return error;
	ret->len = family_bits[ret->family];
	if (slash) {
		const int len = parse_len(slash + 1, ret->len);

		if (len < 0)
			return complain_of_len(address, slash + 1, ret->family);
		ret->len = (uint8_t)len;
	}
	if (ret->family == FAMILY_IPV6 && ret->len >= 96 && addr_family(&ret->addr) == FAMILY_IPV4) {
		addr_format(&ret->addr, meant, sizeof(meant));
		return complain("is IPv4 written as IPv6; did you mean %s/%d", meant, ret->len - 96);
	}

	const struct range_key key = addr_to_key(&ret->addr, ret->family);
	const struct range_key first = range_key_first(key, ret->len);

	if (!range_key_equal(key, first)) {
		ret->addr = addr_from_key(first, ret->family);
		prefix_format(ret, meant, sizeof(meant));
		return complain("has host bits set; did you mean %s", meant);
	}
	return NULL;
}
