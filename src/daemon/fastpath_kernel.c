/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fastpath_kernel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fastpath_internal.h"
#include "fastpath_memory.h"
#include "log.h"
#include "wan.h"

struct fastpath_kernel {
	char pins[FASTPATH_PATH_SIZE];
	int lock; /* of the directory */
	struct fastpath_named named;
	struct fastpath_owner *owner;
	struct fastpath_shared *shared;
	int next_policy; /* a map, or -1 */
	uint32_t live;	 /* interfaces with programs, by their numbers in the configuration */
};

const char *fastpath_kernel_missing(void)
{
	return NULL;
}

/* ---- words ---- */

__attribute__((format(printf, 2, 3))) static void say_why_not(struct fastpath_outcome *outcome, const char *format, ...)
{
	va_list arguments;

	if (outcome->why_not[0])
		return;
	va_start(arguments, format);
	vsnprintf(outcome->why_not, sizeof(outcome->why_not), format, arguments);
	va_end(arguments);
}

/* ---- loading ---- */

/* Programs of this build that are there already are as good as new ones. */
static bool load(struct fastpath_kernel *kernel, const struct fastpath_sizes *sizes, bool is_there, struct fastpath_outcome *outcome)
{
	int error = 0;

	if (!is_there || !fastpath_named_open(kernel->pins, &kernel->named)) {
		error = fastpath_programs_make(kernel->pins, sizes);
		if (error == 0 && !fastpath_named_open(kernel->pins, &kernel->named))
			error = -ENOENT;
	}
	if (error == 0) {
		kernel->owner = fastpath_pins_map(kernel->named.maps[FASTPATH_MAP_OWNER], sizeof(*kernel->owner));
		kernel->shared = fastpath_pins_map(kernel->named.maps[FASTPATH_MAP_SHARED], sizeof(*kernel->shared));
		if (!kernel->owner || !kernel->shared)
			error = -errno;
	}
	if (error == -EPERM)
		say_why_not(outcome, "the kernel does not allow it: pawsd needs CAP_BPF and CAP_PERFMON, and the system call bpf");
	else if (error)
		say_why_not(outcome, "the kernel does not take the programs: %s%s%s", strerror(-error),
			    fastpath_programs_complaint()[0] ? ": " : "", fastpath_programs_complaint());
	return error == 0;
}

/* ---- the whole ---- */

static void look_for_hindrance(const struct config *config, struct fastpath_outcome *outcome)
{
	const struct fastpath_config *fastpath = &config->rules.fastpath;
	char words[FASTPATH_WORDS];

	if (config->rules.backend == RULES_NONE)
		say_why_not(outcome, "[rules] backend = none: it needs rules of pawsd's own; allowed: iptables, nft");
	if (config->rules.workers > 1)
		say_why_not(outcome, "[queue] workers = %u: it has one flow table; allowed: 1", config->rules.workers);
	/* One that is not there may come. */
	for (size_t i = 0; i < fastpath->interface_count; i++)
		if (if_nametoindex(fastpath->interfaces[i].name) &&
		    fastpath_is_hindered(fastpath->pins, fastpath->interfaces[i].name, words, sizeof(words)))
			say_why_not(outcome, "%s", words);
}

static struct fastpath_kernel *make(const struct config *config, int lock)
{
	const struct fastpath_config *fastpath = &config->rules.fastpath;
	struct fastpath_kernel *kernel = calloc(1, sizeof(*kernel));

	if (!kernel)
		return NULL;
	kernel->lock = lock;
	kernel->next_policy = -1;
	snprintf(kernel->pins, sizeof(kernel->pins), "%s", fastpath->pins);
	fastpath_named_init(&kernel->named);
	return kernel;
}

/* What rules let go to programs behind the NAT, nobody else sees. */
static void stop_programs(const struct config *config)
{
	rules_hold_back(&config->rules);
	fastpath_pins_stop(config->rules.fastpath.pins);
}

/* What an earlier process has left, stopped, for the flows in it. */
static void use_leftover(struct fastpath_kernel *kernel, struct fastpath_outcome *outcome)
{
	fastpath_named_open_maps(kernel->pins, &kernel->named);
	outcome->has_memory = outcome->is_old = outcome->is_to_go = true;
}

/* Where it is not wanted, and an earlier process has left it. */
static struct fastpath_kernel *open_leftover(const struct config *config, int lock, struct fastpath_outcome *outcome)
{
	struct fastpath_kernel *kernel = make(config, lock);

	stop_programs(config);
	if (kernel && fastpath_pins_look(kernel->pins, &outcome->sizes) == LEFT_FITTING) {
		use_leftover(kernel, outcome);
		return kernel;
	}
	fastpath_pins_remove(config->rules.fastpath.pins, true);
	free(kernel);
	close(lock);
	return NULL;
}

/* The flows of another version, or of a table of another size, that is not larger. */
struct carried {
	struct fastpath_memory memory;
	bool is_there;
};

static void map_carried(struct carried *carried, const int fds[FASTPATH_MAPS])
{
	carried->is_there = true;
	for (enum fastpath_map map = 0; map < FASTPATH_MAPS; map++) {
		if (fds[map] < 0)
			continue;
		carried->memory.maps[map] = fastpath_pins_map(fds[map], fastpath_map_bytes(map, &carried->memory.sizes));
		carried->is_there = carried->is_there && carried->memory.maps[map];
		close(fds[map]);
	}
}

/* Takes away what cannot be used, but for its flows. */
static void clear_away(const struct config *config, const struct fastpath_sizes *sizes, struct carried *ret_carried)
{
	const char *pins = config->rules.fastpath.pins;
	int fds[FASTPATH_MAPS];

	stop_programs(config);
	if (fastpath_pins_open_flows(pins, fds, &ret_carried->memory.sizes))
		map_carried(ret_carried, fds);
	ret_carried->is_there = ret_carried->is_there && ret_carried->memory.sizes.capacity <= sizes->capacity;
	fastpath_pins_remove(pins, false);
	log_warning("%s: what is there is another version's, or for another [flows] max: its programs are stopped, and its flows %s", pins,
		    ret_carried->is_there ? "taken over" : "forgotten");
}

/* Whether they are in the new memory now. Forgets them. */
static bool carry_over(const struct fastpath_kernel *kernel, const struct fastpath_sizes *sizes, struct carried *carried)
{
	struct fastpath_memory to = {.sizes = *sizes};
	struct flow_table_memory old = fastpath_table_memory(&carried->memory), new;
	bool good = carried->is_there;

	for (enum fastpath_map map = 0; good && map < FASTPATH_MAPS; map++) {
		if (!carried->memory.maps[map])
			continue;
		to.maps[map] = fastpath_pins_map(kernel->named.maps[map], fastpath_map_bytes(map, sizes));
		good = to.maps[map] != NULL;
	}
	if (good) {
		new = fastpath_table_memory(&to);
		fastpath_copy_flows(&new, &old, carried->memory.sizes.capacity);
	}
	fastpath_memory_unmap(&to);
	fastpath_memory_unmap(&carried->memory);
	return good;
}

/* Where it is wanted: anew, or with what an earlier process has left. */
static struct fastpath_kernel *open_wanted(const struct config *config, int lock, struct fastpath_outcome *outcome)
{
	const char *pins = config->rules.fastpath.pins;
	const enum fastpath_leftover leftover = fastpath_pins_look(pins, &outcome->sizes);
	struct fastpath_kernel *kernel = make(config, lock);
	struct carried carried = {.is_there = false};

	if (!kernel) {
		say_why_not(outcome, "out of memory");
		close(lock);
		return NULL;
	}
	if (leftover == LEFT_OTHER)
		clear_away(config, &outcome->sizes, &carried);
	if (load(kernel, &outcome->sizes, leftover == LEFT_FITTING, outcome)) {
		outcome->has_memory = true;
		outcome->is_old = leftover == LEFT_FITTING;
		outcome->is_carried = carry_over(kernel, &outcome->sizes, &carried);
		return kernel;
	}
	fastpath_memory_unmap(&carried.memory);
	if (leftover == LEFT_FITTING) {
		stop_programs(config);
		use_leftover(kernel, outcome);
		return kernel;
	}
	fastpath_kernel_close(kernel, true);
	return NULL;
}

static struct fastpath_sizes sizes_for(const struct config *config)
{
	const int cpus = libbpf_num_possible_cpus();

	return fastpath_sizes_for(config->flows_max, cpus > 0 ? (uint32_t)cpus : 1);
}

struct fastpath_kernel *fastpath_kernel_open(const struct config *config, const char *hindrance, struct fastpath_outcome *ret)
{
	const struct fastpath_config *fastpath = &config->rules.fastpath;
	bool is_wanted = fastpath_is_wanted(fastpath);
	char words[FASTPATH_WORDS] = "";
	int lock;

	*ret = (struct fastpath_outcome){.sizes = sizes_for(config)};
	if (is_wanted && *hindrance)
		say_why_not(ret, "%s", hindrance);
	if (is_wanted)
		look_for_hindrance(config, ret);
	is_wanted = is_wanted && !ret->why_not[0];
	if (!is_wanted && access(fastpath->pins, F_OK) < 0)
		return NULL;
	lock = fastpath_pins_lock(fastpath->pins, is_wanted, words, sizeof(words));
	if (lock >= 0)
		return is_wanted ? open_wanted(config, lock, ret) : open_leftover(config, lock, ret);
	if (is_wanted)
		say_why_not(ret, "%s", words);
	return NULL;
}

bool fastpath_kernel_names(const struct config *config, struct slot_names *ret)
{
	const struct fastpath_sizes sizes = sizes_for(config);
	char path[FASTPATH_PIN_PATH];
	struct fastpath_owner *owner;
	bool found;
	int fd;

	if (!fastpath_is_wanted(&config->rules.fastpath) || fastpath_pins_look(config->rules.fastpath.pins, &sizes) != LEFT_FITTING)
		return false;
	fastpath_pins_path(config->rules.fastpath.pins, FASTPATH_MAP_OWNER, path);
	fd = bpf_obj_get(path);
	owner = fastpath_pins_map(fd, sizeof(*owner));
	found = owner && owner->names.count > 0 && owner->names.count <= DESTINATION_SLOTS;
	if (found) {
		*ret = owner->names;
		for (uint32_t i = 0; i < DESTINATION_SLOTS; i++)
			ret->name[i][DESTINATION_NAME_MAX] = '\0';
	}
	if (owner)
		munmap(owner, sizeof(*owner));
	if (fd >= 0)
		close(fd);
	return found;
}

const int *fastpath_kernel_fds(const struct fastpath_kernel *kernel)
{
	return kernel->named.maps;
}

/* In what follows `interface` is a number in the configuration. */

static void note_gone(struct fastpath_kernel *kernel, const struct config *config, uint32_t which)
{
	if (config->rules.placement == PLACEMENT_POSTNAT && (kernel->live & which))
		rules_hold_back(&config->rules);
	kernel->live &= ~which;
}

static void detach(struct fastpath_kernel *kernel, const struct config *config, size_t interface)
{
	note_gone(kernel, config, UINT32_C(1) << interface);
	fastpath_pins_detach(kernel->pins, config->rules.fastpath.interfaces[interface].name);
}

static bool attach(struct fastpath_kernel *kernel, const struct config *config, size_t interface, uint32_t index, bool *ret_tcx,
		   char *ret_words, size_t size)
{
	const struct fastpath_interface *where = &config->rules.fastpath.interfaces[interface];
	struct fastpath_hook hook = {.pins = kernel->pins, .interface = where->name, .index = index, .was_there = kernel->live >> interface & 1};

	/* What is for the last program is let go by the rules once the first one has seen what comes the other way: that is the last to come. */
	for (int way = FASTPATH_WAYS - 1; way >= 0; way--) {
		int result;

		hook.way = (enum fastpath_way)way;
		result = fastpath_hook_attach(&hook, kernel->named.programs[where->is_wan][way], ret_words, size);

		if (result < 0) {
			detach(kernel, config, interface);
			return false;
		}
		*ret_tcx = result == 1;
	}
	kernel->live |= UINT32_C(1) << interface;
	return true;
}

static bool is_configured(const struct fastpath_config *config, const char *name)
{
	for (size_t i = 0; i < config->interface_count; i++)
		if (strcmp(config->interfaces[i].name, name) == 0)
			return true;
	return false;
}

/* Where programs are to be from now on. */
static void note_interfaces(struct fastpath_kernel *kernel, const struct fastpath_config *config)
{
	struct fastpath_interface *noted = kernel->owner->interfaces;

	for (size_t i = 0; i < FASTPATH_INTERFACES_MAX; i++)
		if (noted[i].name[0] && !is_configured(config, noted[i].name))
			fastpath_pins_detach(kernel->pins, noted[i].name);
	memcpy(noted, config->interfaces, sizeof(config->interfaces));
}

/* Where none of those that are configured is there, there is none: no interface has the number 0. */
static void note_wans(struct fastpath_shared *shared, const struct rules_config *config)
{
	uint32_t wan[FASTPATH_WANS_MAX] = {0};
	const uint32_t count = wan_list(config, wan, FASTPATH_WANS_MAX);

	memcpy(shared->wan, wan, sizeof(wan));
	shared->wan_count = config->wan_count && !count ? 1 : count;
}

void fastpath_kernel_attach(struct fastpath_kernel *kernel, const struct config *config, const char *hindrance,
			    struct fastpath_attached *ret)
{
	const struct fastpath_config *fastpath = &config->rules.fastpath;
	char words[FASTPATH_WORDS] = "";

	*ret = (struct fastpath_attached){0};
	note_interfaces(kernel, fastpath);
	note_wans(kernel->shared, &config->rules);
	if (*hindrance) {
		note_gone(kernel, config, UINT32_MAX);
		fastpath_pins_stop(kernel->pins);
		snprintf(ret->missing, sizeof(ret->missing), "%s", hindrance);
		return;
	}
	for (size_t i = 0; i < fastpath->interface_count; i++) {
		const char *name = fastpath->interfaces[i].name;
		const uint32_t index = if_nametoindex(name);

		words[0] = '\0';
		if (!index) {
			snprintf(words, sizeof(words), "%s is not there", name);
			detach(kernel, config, i); /* it may be somewhere else, or have another name */
		} else if (fastpath_is_hindered(kernel->pins, name, words, sizeof(words))) {
			detach(kernel, config, i);
		} else if (attach(kernel, config, i, index, &ret->is_tcx, words, sizeof(words))) {
			ret->index[ret->count++] = index;
		}
		if (words[0] && !ret->missing[0])
			memcpy(ret->missing, words, sizeof(words));
	}
	ret->live = kernel->live;
}

uint32_t fastpath_kernel_live(const struct fastpath_kernel *kernel)
{
	return kernel ? kernel->live : 0;
}

void fastpath_kernel_stop(struct fastpath_kernel *kernel)
{
	kernel->live = 0;
	fastpath_pins_stop(kernel->pins);
}

int fastpath_kernel_make_policy(struct fastpath_kernel *kernel, const struct policy *policy, char *ret_error, size_t error_size)
{
	kernel->next_policy = fastpath_make_policy_map(policy);
	if (kernel->next_policy >= 0)
		return 0;
	snprintf(ret_error, error_size, "the fast path cannot be given the policy: %s", strerror(errno));
	return -1;
}

void fastpath_kernel_use_policy(struct fastpath_kernel *kernel, bool is_good)
{
	const uint32_t zero = 0;

	if (kernel->next_policy < 0)
		return;
	if (is_good && bpf_map_update_elem(kernel->named.policies, &zero, &kernel->next_policy, BPF_ANY) < 0)
		log_error("the fast path goes by the policy before: %s", strerror(errno));
	close(kernel->next_policy);
	kernel->next_policy = -1;
}

void fastpath_kernel_close(struct fastpath_kernel *kernel, bool is_end)
{
	if (!kernel)
		return;
	if (is_end) {
		fastpath_pins_stop(kernel->pins);
		fastpath_pins_remove(kernel->pins, true);
	}
	if (kernel->owner)
		munmap(kernel->owner, sizeof(*kernel->owner));
	if (kernel->shared)
		munmap(kernel->shared, sizeof(*kernel->shared));
	fastpath_named_close(&kernel->named);
	close(kernel->lock);
	free(kernel);
}
