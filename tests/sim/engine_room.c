/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How an engine is set up: memory, policies, clock. Nothing else in the simulator knows. */
#include "gateway.h"
#include "policy_build.h"

enum {
	SLOT_FIRST = 2, /* 0 and 1 are "none" and [default] */
	CLOCK_BASE = 0x2b0f5a17,
};

const char *engine_room_programs;
enum front_side engine_room_side;

static void attach(struct engine_room *room)
{
	char error[200];

	if (!engine_room_programs)
		return;
	if (!room->front)
		room->front = front_open(engine_room_programs, engine_room_side, error, sizeof(error));
	if (!room->front) {
		fprintf(stderr, "%s\n", error);
		exit(2);
	}
	front_attach(room->front, &room->engine);
	room->is_attached = true;
}

static void detach(struct engine_room *room)
{
	if (room->is_attached)
		front_detach(room->front);
	room->is_attached = false;
}

enum reason engine_room_handle(struct engine_room *room, const struct packet_input *input, uint64_t tick)
{
	const char *problem = NULL;
	enum reason reason;

	if (!room->front)
		return engine_handle(&room->engine, input, tick);
	reason = front_handle(room->front, input, tick, &problem);
	if (problem)
		printf("# fast path: %s\n", problem);
	return reason;
}

bool engine_room_is_wan(const struct engine_room *room)
{
	return room->front && engine_room_side == FRONT_WAN;
}

bool engine_room_may_run_away(const struct engine_room *room)
{
	return room->engine.table.scaled_used == room->engine.table.scaled_capacity || engine_room_is_wan(room);
}

uint32_t engine_room_base(void)
{
	return CLOCK_BASE;
}

uint16_t engine_room_slot(uint32_t server)
{
	return (uint16_t)(SLOT_FIRST + server);
}

static void fill_destination(struct destination *d, const struct server *server, uint32_t number, uint32_t epoch)
{
	d->slot = engine_room_slot(number);
	d->enabled = true;
	d->mode = server->mode[epoch];
	d->repair = server->repair;
	snprintf(d->name, sizeof(d->name), "server%u", number);
	d->prefixes = sim_allocate(1, sizeof(*d->prefixes));
	d->prefix_count = 1;
	d->prefixes[0] = (struct prefix){.addr = wire_server_addr(server->family, server->address),
					 .family = server->family,
					 .len = server->family == FAMILY_IPV4 ? 32 : 128};
	d->ports = sim_allocate(1, sizeof(*d->ports));
	d->port_count = 1;
	d->ports[0] = (struct port_range){server->port, server->port};
}

static struct policy *make_policy(const struct scenario *scenario, uint32_t epoch)
{
	struct destination *all = sim_allocate(scenario->server_count + 1, sizeof(*all));
	struct policy *policy;

	all[0] = (struct destination){.name = "default", .slot = SLOT_DEFAULT, .enabled = true, .mode = MODE_OFF};
	for (uint32_t i = 0; i < scenario->server_count; i++)
		fill_destination(&all[i + 1], &scenario->servers[i], i, epoch);
	policy = policy_build(all, scenario->server_count + 1);
	if (!policy)
		abort();
	return policy;
}

static void init_table(struct engine_room *room)
{
	uint64_t secret[2] = {hash_mix(room->salt), hash_mix(room->salt + 1)};
	size_t bytes = flow_table_index_bytes(room->capacity);

	room->salt += 2;
	free(room->index);
	room->index = sim_allocate(1, bytes);
	memset(room->index, 0xa5, bytes); /* nothing of the old index may be trusted */
	flow_table_init(&room->engine.table, room->kept, room->index, room->capacity, secret);
}

static uint32_t slot_of_mark(const struct addr *addr, uint64_t secret)
{
	return (uint32_t)(hash_bytes16(addr->byte, secret) % CLOCK_SERVER_SLOTS);
}

/* Each of the servers' addresses by itself, and, where nothing tells that a packet comes in, none with a client's. */
static bool are_marks_apart(const struct scenario *scenario, uint64_t secret)
{
	static uint8_t used[CLOCK_SERVER_SLOTS];
	bool apart = true;

	memset(used, 0, sizeof(used));
	/* An address is of one family only, but which is not known here. */
	for (uint32_t i = 0; i < FAMILY_COUNT * scenario->address_count; i++) {
		struct addr addr = wire_server_addr((enum family)(i % FAMILY_COUNT), i / FAMILY_COUNT);

		apart &= !used[slot_of_mark(&addr, secret)];
		used[slot_of_mark(&addr, secret)] = 1;
	}
	for (uint32_t i = 0; apart && i < scenario->client_count && !scenario->directions_known; i++) {
		struct addr addr = wire_client_addr(scenario->clients[i].family, i);

		apart = !used[slot_of_mark(&addr, secret)];
	}
	return apart;
}

/* Who shares a server's mark makes SYNs newer than need be, which is harmless but looks like a fault. */
static uint64_t choose_clock_secret(const struct scenario *scenario, uint64_t salt)
{
	uint64_t secret = hash_mix(salt + 1);

	while (!are_marks_apart(scenario, secret))
		secret = hash_mix(secret + 1);
	return secret;
}

void engine_room_open(struct engine_room *room, const struct scenario *scenario, uint64_t salt)
{
	static const uint32_t timeouts[FLOW_STATE_COUNT] = {
#define X(id, name, timeout_s, help) [FLOW_##id] = timeout_s,
		FLOW_STATE_TABLE(X)
#undef X
	};

	memset(room, 0, sizeof(*room));
	room->salt = salt;
	room->capacity = scenario->capacity;
	room->quota = scenario->quota;
	room->kept = sim_allocate(1, flow_table_kept_bytes(room->capacity));
	room->counters = sim_allocate(1, sizeof(*room->counters));
	room->engine.counters = room->counters;
	room->engine.client_most.flows = room->quota; /* too few for a share of the blocks to make sense */
	room->engine.clock.shared = sim_allocate(1, sizeof(*room->engine.clock.shared));
	room->engine.clock.shared->secret = choose_clock_secret(scenario, salt);
	room->engine.clock.max_lead_ms = MAX_LEAD_MS;
	room->engine.clock.base = CLOCK_BASE;
	room->saved_marks = sim_allocate(CLOCK_SERVER_SLOTS, sizeof(*room->saved_marks));
	memcpy(room->engine.timeout_s, timeouts, sizeof(timeouts));
	for (uint32_t epoch = 0; epoch < EPOCHS_MAX; epoch++)
		room->policies[epoch] = make_policy(scenario, epoch);
	room->engine.policy = room->policies[0];
	init_table(room);
	attach(room);
}

void engine_room_close(struct engine_room *room)
{
	for (uint32_t epoch = 0; epoch < EPOCHS_MAX; epoch++)
		policy_free(room->policies[epoch]);
	detach(room);
	if (room->front) {
		const struct front_counts *counts = front_counts(room->front);

		printf("# fast path: %llu done, %llu left to the engine, %llu not shown, %llu dropped\n",
		       (unsigned long long)counts->done, (unsigned long long)counts->left, (unsigned long long)counts->queued,
		       (unsigned long long)counts->dropped);
		front_close(room->front);
	}
	free(room->kept);
	free(room->index);
	free(room->counters);
	free(room->saved_marks);
	free(room->engine.clock.shared);
}

void engine_room_use_policy(struct engine_room *room, uint32_t epoch, bool rules_lag)
{
	room->engine.policy = room->policies[epoch];
	room->engine.rules_lag = rules_lag;
	room->engine.rules_policy = epoch ? room->policies[epoch - 1] : NULL;
}

void engine_room_restart(struct engine_room *room)
{
	static uint16_t slots[DESTINATION_SLOTS];
	size_t bytes = flow_table_kept_bytes(room->capacity);
	void *kept = sim_allocate(1, bytes);

	detach(room);
	memcpy(kept, room->kept, bytes);
	free(room->kept);
	room->kept = kept;
	memset(room->counters, 0, sizeof(*room->counters));
	init_table(room);
	for (uint32_t i = 0; i < DESTINATION_SLOTS; i++)
		slots[i] = (uint16_t)i;
	engine_adopt(&room->engine, slots);
	attach(room);
}

void engine_room_forget_flows(struct engine_room *room)
{
	detach(room);
	memset(room->kept, 0, flow_table_kept_bytes(room->capacity));
	engine_room_restart(room);
}

void engine_room_save_marks(struct engine_room *room, uint64_t tick)
{
	for (uint32_t slot = 0; slot < CLOCK_SERVER_SLOTS; slot++)
		room->saved_marks[slot] = clock_mark_ahead(&room->engine.clock, tick, slot);
}

void engine_room_reboot_marks(struct engine_room *room)
{
	struct clock_shared *shared = room->engine.clock.shared;
	uint64_t secret = shared->secret;

	memset(shared, 0, sizeof(*shared));
	shared->secret = secret;
	memcpy(shared->server, room->saved_marks, sizeof(shared->server));
}
