/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "helper_wire.h"

#include <stdlib.h>
#include <string.h>

#include "policy_build.h"

enum {
	LIST_MAX = 1 << 24, /* prefixes of a destination; more is a mistake */
	DESTINATION_SHAPE = 6,
};

bool wire_put(FILE *out, const void *bytes, size_t count)
{
	return count == 0 || fwrite(bytes, 1, count, out) == count;
}

bool wire_get(FILE *in, void *bytes, size_t count)
{
	return count == 0 || fread(bytes, 1, count, in) == count;
}

bool wire_put_text(FILE *out, const char *text)
{
	uint32_t len = (uint32_t)strnlen(text, HELPER_ERROR_SIZE - 1);

	return wire_put(out, &len, sizeof(len)) && wire_put(out, text, len);
}

bool wire_get_text(FILE *in, char *ret, size_t size)
{
	char text[HELPER_ERROR_SIZE];
	uint32_t len;

	if (!wire_get(in, &len, sizeof(len)) || len >= sizeof(text) || !wire_get(in, text, len))
		return false;
	text[len] = '\0';
	snprintf(ret, size, "%s", text);
	return true;
}

static bool put_prefixes(FILE *out, const struct prefix *prefixes, size_t count)
{
	bool good = wire_put(out, &count, sizeof(count));

	for (size_t i = 0; good && i < count; i++) {
		const uint8_t shape[2] = {(uint8_t)prefixes[i].family, prefixes[i].len};

		good = wire_put(out, &prefixes[i].addr, sizeof(prefixes[i].addr)) && wire_put(out, shape, sizeof(shape));
	}
	return good;
}

static bool get_prefixes(FILE *in, struct prefix **ret, size_t *ret_count)
{
	size_t count;
	uint8_t shape[2];

	if (!wire_get(in, &count, sizeof(count)) || count > LIST_MAX)
		return false;
	*ret = count ? calloc(count, sizeof(**ret)) : NULL;
	if (count && !*ret)
		return false;
	*ret_count = count;
	for (size_t i = 0; i < count; i++) {
		struct prefix *prefix = &(*ret)[i];

		if (!wire_get(in, &prefix->addr, sizeof(prefix->addr)) || !wire_get(in, shape, sizeof(shape)) ||
		    shape[0] >= FAMILY_COUNT || shape[1] > (shape[0] == FAMILY_IPV4 ? 32 : 128))
			return false;
		prefix->family = (enum family)shape[0];
		prefix->len = shape[1];
	}
	return true;
}

static bool put_destination(FILE *out, const struct destination *destination)
{
	const uint8_t shape[DESTINATION_SHAPE] = {destination->enabled, (uint8_t)destination->mode, (uint8_t)destination->repair,
						  destination->is_overridden, (uint8_t)destination->written, destination->is_trial};

	return wire_put(out, destination->name, sizeof(destination->name)) &&
	       wire_put(out, &destination->slot, sizeof(destination->slot)) && wire_put(out, shape, sizeof(shape)) &&
	       put_prefixes(out, destination->prefixes, destination->prefix_count) &&
	       put_prefixes(out, destination->sources, destination->source_count) &&
	       wire_put(out, &destination->port_count, sizeof(destination->port_count)) &&
	       wire_put(out, destination->ports, destination->port_count * sizeof(*destination->ports));
}

static bool get_destination(FILE *in, struct destination *ret)
{
	uint8_t shape[DESTINATION_SHAPE];

	if (!wire_get(in, ret->name, sizeof(ret->name)) || !wire_get(in, &ret->slot, sizeof(ret->slot)) ||
	    !wire_get(in, shape, sizeof(shape)) || shape[0] > 1 || shape[1] > MODE_MAX || shape[2] > REPAIR_MAX ||
	    shape[3] > 1 || shape[4] > MODE_MAX || shape[5] > 1 || ret->name[DESTINATION_NAME_MAX] || ret->slot >= DESTINATION_SLOTS)
		return false;
	ret->enabled = shape[0];
	ret->mode = (enum mode)shape[1];
	ret->repair = (enum repair)shape[2];
	ret->is_overridden = shape[3];
	ret->written = (enum mode)shape[4];
	ret->is_trial = shape[5];
	if (!get_prefixes(in, &ret->prefixes, &ret->prefix_count) ||
	    !get_prefixes(in, &ret->sources, &ret->source_count) ||
	    !wire_get(in, &ret->port_count, sizeof(ret->port_count)) || ret->port_count > UINT16_MAX)
		return false;
	ret->ports = ret->port_count ? calloc(ret->port_count, sizeof(*ret->ports)) : NULL;
	return !ret->port_count || (ret->ports && wire_get(in, ret->ports, ret->port_count * sizeof(*ret->ports)));
}

bool wire_put_config(FILE *out, const struct config *config)
{
	const struct policy *policy = config->policy;
	bool good = wire_put(out, config, sizeof(*config)) &&
		    wire_put(out, &policy->destination_count, sizeof(policy->destination_count));

	for (size_t i = 0; good && i < policy->destination_count; i++)
		good = put_destination(out, &policy->destinations[i]);
	return good;
}

struct config *wire_copy_config(const struct config *config)
{
	char *bytes = NULL;
	size_t count = 0;
	FILE *out = open_memstream(&bytes, &count), *in;
	struct config *copy = NULL;
	bool good = out && wire_put_config(out, config);

	if (out)
		good = fclose(out) == 0 && good;
	in = good ? fmemopen(bytes, count, "r") : NULL;
	if (in) {
		copy = wire_get_config(in);
		fclose(in);
	}
	free(bytes);
	return copy;
}

struct config *wire_get_config(FILE *in)
{
	struct config *config = calloc(1, sizeof(*config));
	struct destination *destinations = NULL;
	size_t count = 0;
	bool good = config && wire_get(in, config, sizeof(*config)) &&
		    config->rules.workers <= WORKERS_MAX && wire_get(in, &count, sizeof(count)) && count > 0 &&
		    count <= DESTINATION_SLOTS;

	if (good)
		destinations = calloc(count, sizeof(*destinations));
	good = destinations != NULL;
	for (size_t i = 0; good && i < count; i++)
		good = get_destination(in, &destinations[i]);
	if (good) {
		config->policy = policy_build(destinations, count);
		if (config->policy)
			return config;
	} else if (destinations) {
		policy_free_destinations(destinations, count);
	}
	free(config);
	return NULL;
}
