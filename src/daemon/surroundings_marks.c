/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Others' rules that set or restore bits of packets' marks that the fast path uses: by such a one a packet that is for the
 * queue would look as if a program had done with it. Rules that leave these bits as they are do no harm, whatever else they do.
 */
#include <stdlib.h>
#include <string.h>

#include "fastpath.h"
#include "rules_internal.h"
#include "surroundings.h"

static uint32_t our_bits(const struct rules_config *config)
{
	return (uint32_t)(FASTPATH_MARK_FIRST | FASTPATH_MARK_DONE_LAST) << config->fastpath.mark_bit;
}

/* The number behind a word of the line; `otherwise`, where the word is not there. */
static uint32_t number_behind(const char *line, const char *end, const char *word, uint32_t otherwise)
{
	const char *at = memmem(line, (size_t)(end - line), word, strlen(word));

	return at ? (uint32_t)strtoul(at + strlen(word), NULL, 0) : otherwise;
}

/* As iptables-save has it: "-j MARK --set-xmark 0x1/0xffff", "-j CONNMARK --restore-mark --nfmask 0xffff --ctmask 0xffff". */
static uint32_t bits_of_saved(const char *line, const char *end)
{
	static const char sets[] = " --set-xmark ";
	const char *at;
	uint32_t value, mask = UINT32_MAX;
	char *slash;

	if (memmem(line, (size_t)(end - line), "-j CONNMARK --restore-mark", 26))
		return number_behind(line, end, " --nfmask ", UINT32_MAX);
	at = memmem(line, (size_t)(end - line), sets, strlen(sets));
	if (!at || !memmem(line, (size_t)(end - line), "-j MARK ", 8))
		return 0;
	value = (uint32_t)strtoul(at + strlen(sets), &slash, 0);
	if (*slash == '/')
		mask = (uint32_t)strtoul(slash + 1, NULL, 0);
	return value | mask;
}

static bool begins_with(const char *line, size_t len, const char *words)
{
	return len >= strlen(words) && strncmp(line, words, strlen(words)) == 0;
}

/* By " -o NAME", to an interface without programs. */
static bool is_for_others(const char *line, const char *end, const struct fastpath_config *fastpath)
{
	static const char out[] = " -o ";
	const char *name = memmem(line, (size_t)(end - line), out, strlen(out));
	size_t len;

	if (!name || (name > line && name[-1] == '!'))
		return false;
	name += strlen(out);
	len = strcspn(name, " \n");
	for (size_t i = 0; i < fastpath->interface_count; i++) {
		const char *ours = fastpath->interfaces[i].name;
		const size_t most = len > 0 && name[len - 1] == '+' ? len - 1 : strlen(ours) > len ? strlen(ours) : len;

		if (strncmp(name, ours, most) == 0)
			return false;
	}
	return true;
}

/* Before the NAT the queue's mark has to last until the program behind netfilter; behind the NAT it is set later than that. */
bool surroundings_is_mark_saved(const char *line, size_t len, const struct rules_config *config)
{
	if (begins_with(line, len, "-A INPUT ") || begins_with(line, len, "-A OUTPUT "))
		return false;
	if (begins_with(line, len, "-A POSTROUTING ") &&
	    (config->placement == PLACEMENT_POSTNAT || is_for_others(line, line + len, &config->fastpath)))
		return false;
	return bits_of_saved(line, line + len) & our_bits(config);
}

/* As nft lists it: "meta mark set 0x1", "meta mark set meta mark & 0xffffff00 | 0x1", in words or signs. */
static uint32_t bits_of_expression(const char *at, const char *end)
{
	static const char *const same[] = {"meta mark ", "mark "};
	uint32_t bits = 0;
	bool is_same = false;

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]) && !is_same; i++) {
		is_same = strncmp(at, same[i], strlen(same[i])) == 0;
		at += is_same ? strlen(same[i]) : 0;
	}
	if (!is_same)
		return UINT32_MAX;
	while (at < end) {
		const size_t word = strcspn(at, " \n");
		const uint32_t number = (uint32_t)strtoul(at + word, NULL, 0);

		if ((word == 1 && *at == '&') || (word == 3 && strncmp(at, "and", 3) == 0))
			bits |= ~number;
		else if ((word == 1 && (*at == '|' || *at == '^')) || strncmp(at, "or ", 3) == 0 || strncmp(at, "xor ", 4) == 0)
			bits |= number;
		at += word;
		at += strspn(at, " ");
		if (*at == '\n' || *at == '\0')
			break;
	}
	return bits;
}

bool surroundings_is_mark_listed(const char *line, size_t len, const struct rules_config *config)
{
	static const char sets[] = "meta mark set ";
	const char *at = memmem(line, len, sets, strlen(sets));

	return at && (bits_of_expression(at + strlen(sets), line + len) & our_bits(config));
}
