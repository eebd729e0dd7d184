/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config_check.h"

#include <stdlib.h>
#include <string.h>

#include "policy_build.h"
#include "wan.h"

enum {
	CLAIM_ERRORS_MAX = 100, /* two destinations may share a file of 100 000 prefixes */
};

struct claim {
	const struct prefix *prefix;
	size_t destination;
};

struct check {
	const char *path;
	const struct destination *destinations;
	struct config_report *errors, *warnings;
};

static int compare_claims(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	int order = memcmp(&x->prefix->addr, &y->prefix->addr, sizeof(x->prefix->addr));

	if (order == 0)
		order = (int)x->prefix->family - (int)y->prefix->family;
	if (order == 0)
		order = (int)x->prefix->len - (int)y->prefix->len;
	if (order == 0)
		order = (x->destination > y->destination) - (x->destination < y->destination);
	return order;
}

static bool is_same_prefix(const struct claim *a, const struct claim *b)
{
	return a->prefix->family == b->prefix->family && a->prefix->len == b->prefix->len &&
	       addr_equal(&a->prefix->addr, &b->prefix->addr);
}

static bool do_ports_meet(const struct destination *a, const struct destination *b)
{
	/* One with ports goes before one without: no contradiction. */
	if (a->port_count == 0 || b->port_count == 0)
		return a->port_count == b->port_count;
	for (size_t i = 0; i < a->port_count; i++) {
		for (size_t j = 0; j < b->port_count; j++) {
			if (a->ports[i].first <= b->ports[j].last && b->ports[j].first <= a->ports[i].last)
				return true;
		}
	}
	return false;
}

static bool does_cover(const struct prefix *wide, const struct prefix *narrow)
{
	size_t skip = wide->family == FAMILY_IPV4 ? 96 : 0;
	size_t bits = skip + wide->len;

	if (wide->family != narrow->family || wide->len > narrow->len)
		return false;
	if (memcmp(wide->addr.byte, narrow->addr.byte, bits / 8) != 0)
		return false;
	return bits % 8 == 0 || ((wide->addr.byte[bits / 8] ^ narrow->addr.byte[bits / 8]) >> (8 - bits % 8)) == 0;
}

static bool do_sources_meet(const struct destination *a, const struct destination *b)
{
	if (a->source_count == 0)
		return true; /* the first covers all clients: the second is never reached */
	for (size_t i = 0; i < a->source_count; i++) {
		for (size_t j = 0; j < b->source_count; j++) {
			if (does_cover(&a->sources[i], &b->sources[j]) || does_cover(&b->sources[j], &a->sources[i]))
				return true;
		}
	}
	return false;
}

/* `a` stands before `b` in the file, and both claim the same prefix. */
static void check_pair(struct check *check, const struct claim *a, const struct claim *b)
{
	const struct destination *first = &check->destinations[a->destination];
	const struct destination *second = &check->destinations[b->destination];
	char prefix[64];

	if (first == second || (first->mode == second->mode && first->repair == second->repair))
		return;
	if (!do_ports_meet(first, second) || !do_sources_meet(first, second))
		return;
	prefix_format(a->prefix, prefix, sizeof(prefix));
	config_report_add(check->errors,
			  "%s: [destination %s] and [destination %s] both claim %s for the same ports and clients, with "
			  "different %s; allowed: one of them",
			  check->path, first->name, second->name, prefix,
			  first->mode != second->mode ? "mode" : "synack_tsecr");
}

/* Two destinations may name one prefix only if something tells their connections apart. */
static void check_claims(struct check *check, size_t count)
{
	size_t total = 0, used = 0;
	struct claim *claims;

	for (size_t i = 1; i < count; i++)
		total += check->destinations[i].enabled ? check->destinations[i].prefix_count : 0;
	claims = calloc(total + 1, sizeof(*claims));
	if (!claims)
		return;
	for (size_t i = 1; i < count; i++) {
		const struct destination *destination = &check->destinations[i];

		for (size_t j = 0; destination->enabled && !destination->is_trial && j < destination->prefix_count; j++)
			claims[used++] = (struct claim){&destination->prefixes[j], i};
	}
	qsort(claims, used, sizeof(*claims), compare_claims);
	for (size_t i = 0; i < used && check->errors->count < CLAIM_ERRORS_MAX; i++) {
		for (size_t j = i + 1; j < used && is_same_prefix(&claims[i], &claims[j]); j++)
			check_pair(check, &claims[i], &claims[j]);
	}
	free(claims);
}

static void check_destination(struct check *check, const struct config *config, const struct destination *destination)
{
	const char *name = destination->name;

	if (!destination->enabled)
		return;
	if (destination->mode == MODE_STRIP)
		config_report_add(check->warnings,
				  "%s: [destination %s] mode = strip cures no server of the RHEL 7 family (nor 3.17 to 4.11) "
				  "before every connection with timestamps from this public address has been gone for 60 s, "
				  "and never while clients outside this section use them; rewrite does",
				  check->path, name);
	if (destination->source_count && config->rules.placement == PLACEMENT_POSTNAT)
		config_report_add(check->warnings,
				  "%s: [destination %s] sources: with placement = postnat these are public addresses, those "
				  "that the NAT gives",
				  check->path, name);
}

static bool is_named_as_wan(const struct rules_config *rules, const char *name)
{
	for (size_t i = 0; i < rules->wan_count; i++)
		if (wan_is_match(rules->wan[i], name))
			return true;
	return false;
}

/* Both programs of an interface have to see the addresses that the queues see. */
static void check_fastpath(const char *path, const struct rules_config *rules, struct config_report *errors)
{
	const struct fastpath_config *fastpath = &rules->fastpath;
	const bool is_postnat = rules->placement == PLACEMENT_POSTNAT;

	for (size_t i = 0; i < fastpath->interface_count; i++) {
		const struct fastpath_interface *interface = &fastpath->interfaces[i];

		if (interface->is_wan != is_postnat)
			config_report_add(errors,
					  "%s: [fastpath] interfaces = %s:%s: with placement = %s packets are looked at with the %s "
					  "addresses of clients; allowed: NAME:%s", path, interface->name,
					  interface->is_wan ? "wan" : "lan", is_postnat ? "postnat" : "forward",
					  is_postnat ? "public" : "inner", is_postnat ? "wan" : "lan");
		else if (interface->is_wan != is_named_as_wan(rules, interface->name) && (interface->is_wan || rules->wan_count))
			config_report_add(errors, "%s: [fastpath] interfaces = %s:%s: %s of [gateway] wan; allowed: %s", path,
					  interface->name, interface->is_wan ? "wan" : "lan",
					  interface->is_wan ? "it is none" : "it is one",
					  interface->is_wan ? "those" : "interfaces to the clients");
		for (size_t j = 0; j < i; j++)
			if (strcmp(fastpath->interfaces[j].name, interface->name) == 0)
				config_report_add(errors, "%s: [fastpath] interfaces: %s is there twice; allowed: once", path,
						  interface->name);
	}
	if (fastpath->wish == FASTPATH_YES && fastpath->interface_count == 0)
		config_report_add(errors, "%s: [fastpath] enabled = yes needs [fastpath] interfaces = NAME:%s", path,
				  is_postnat ? "wan" : "lan");
	if (fastpath->wish == FASTPATH_YES && rules->backend == RULES_NONE)
		config_report_add(errors, "%s: [fastpath] enabled = yes needs rules of pawsd's own; allowed with [rules] backend = "
					  "iptables or nft", path);
	if (fastpath->wish == FASTPATH_YES && rules->workers > 1)
		config_report_add(errors, "%s: [queue] workers = %u: the fast path has one flow table; allowed with [fastpath] enabled = "
					  "yes: 1", path, rules->workers);
}

void config_check(const char *path, const struct config *config, const struct destination *destinations, size_t count,
		  struct config_report *errors, struct config_report *warnings)
{
	struct check check = {path, destinations, errors, warnings};
	const struct rules_config *rules = &config->rules;

	for (size_t i = 1; i < count; i++)
		check_destination(&check, config, &destinations[i]);
	check_claims(&check, count);

	if (rules->placement == PLACEMENT_POSTNAT && rules->backend == RULES_IPTABLES)
		config_report_add(errors,
				  "%s: [gateway] placement = postnat: iptables has no hook behind source NAT; allowed with "
				  "[rules] backend = nft or none",
				  path);
	if (rules->placement == PLACEMENT_POSTNAT && rules->wan_count == 0)
		config_report_add(errors, "%s: [gateway] placement = postnat needs [gateway] wan = INTERFACE", path);
	check_fastpath(path, rules, errors);
	if ((unsigned int)rules->queue_first + 2u * rules->workers > 65536)
		config_report_add(errors, "%s: [queue] first = %u: %u queues from there pass 65535; allowed: up to %u", path,
				  rules->queue_first, 2u * rules->workers, 65536 - 2u * rules->workers);
	if (destinations[0].mode == MODE_STRIP)
		config_report_add(warnings, "%s: [default] mode = strip cures no server of the RHEL 7 family (nor 3.17 to "
					    "4.11) before every connection with timestamps from this public address has been "
					    "gone for 60 s; rewrite does",
				  path);
	if (destinations[0].mode != MODE_OFF && rules->wan_count == 0)
		config_report_add(warnings, "%s: [default] mode is not off and [gateway] wan is empty: connections opened "
					    "from outside cannot be told from those opened inside",
				  path);
}
