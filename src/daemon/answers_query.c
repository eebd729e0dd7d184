/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KEY=VALUE in requests on the control socket: what `flows` and `events` are asked for. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "answers_internal.h"
#include "policy_build.h"

enum {
	PROBLEM_SIZE = 512,
};

static char problem[PROBLEM_SIZE];

const char *query_complain(const char *request, const char *key, const char *value, const char *allowed)
{
	snprintf(problem, sizeof(problem), "%s: %s=%s: allowed: %s", request, key, value, allowed);
	return problem;
}

/* True, and *ret, where one of the names is `word`. */
static bool find_name(const char *word, const char *const *names, int first, int count, int *ret)
{
	for (*ret = first; *ret < count; ++*ret) {
		if (strcasecmp(names[*ret], word) == 0)
			return true;
	}
	return false;
}

const char *query_names(const char *request, const char *key, char *value, const char *const *names, int first, int count,
			uint64_t *ret)
{
	char *save = NULL, allowed[PROBLEM_SIZE / 2];
	size_t used = 0;
	int number;

	*ret = 0;
	for (char *word = strtok_r(value, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		if (find_name(word, names, first, count, &number)) {
			*ret |= 1ull << number;
			continue;
		}
		for (int i = first; i < count && used < sizeof(allowed); i++)
			used += (size_t)snprintf(allowed + used, sizeof(allowed) - used, "%s%s", i > first ? ", " : "", names[i]);
		return query_complain(request, key, word, allowed);
	}
	return *ret ? NULL : query_complain(request, key, "", "one name, or several with commas between");
}

const char *query_number(const char *request, const char *key, const char *value, uint32_t most, uint32_t *ret)
{
	char *end, allowed[32];
	unsigned long number = strtoul(value, &end, 10);

	*ret = (uint32_t)number;
	if (*value >= '0' && *value <= '9' && !*end && number >= 1 && number <= most)
		return NULL;
	snprintf(allowed, sizeof(allowed), "1 to %u", most);
	return query_complain(request, key, value, allowed);
}

const char *query_prefix(const char *request, const char *key, const char *value, struct prefix *ret, bool *ret_has)
{
	*ret_has = true;
	return prefix_parse(value, ret) ? query_complain(request, key, value, "an address or a prefix") : NULL;
}

const char *query_destination(const char *request, const struct daemon *daemon, const char *value, uint16_t *ret)
{
	const struct slot_names *names = daemon->state.names;

	for (uint32_t slot = 0; slot < names->count; slot++) {
		if (strcmp(names->name[slot], value) == 0) {
			*ret = (uint16_t)slot;
			return NULL;
		}
	}
	return query_complain(request, "destination", value, "the name of a destination");
}

const char *query_read(const struct daemon *daemon, const struct words *words, query_key_fn read_key, void *context)
{
	static char nothing[1];
	char text[REQUEST_MOST], *save = NULL;
	const char *wrong = NULL;

	snprintf(text, sizeof(text), "%s", words->request);
	strtok_r(text, " ", &save);
	for (char *word = strtok_r(NULL, " ", &save); word && !wrong; word = strtok_r(NULL, " ", &save)) {
		char *equals = strchr(word, '=');

		if (equals)
			*equals = '\0';
		wrong = read_key(context, daemon, word, equals ? equals + 1 : nothing);
	}
	return wrong;
}
