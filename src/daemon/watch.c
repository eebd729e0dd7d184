/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "watch.h"

#include <inttypes.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "answers_internal.h"
#include "policy_build.h"

enum {
	TAKE_MOST = 65536, /* at a time, so that nobody else has to wait */
	ADDR_SIZE = 64,
};

static void *claim(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static struct told *add_told(struct watch *watch)
{
	return &watch->told[watch->told_count++ % WATCH_TOLD];
}

static void tell_evidence(void *context, enum finding finding, const struct example *example, bool is_taken_back)
{
	struct watch *watch = context;

	*add_told(watch) = (struct told){
		.event = {.tick = watch->diagnosis->tick, .ends = example->ends, .tsval = example->tsval},
		.finding = (uint8_t)finding,
		.is_taken_back = is_taken_back,
		.other = example->other,
	};
}

bool watch_open(struct watch *watch, uint32_t workers, bool is_by_client)
{
	uint64_t secret;

	*watch = (struct watch){.ring_count = workers};
	watch->rings = claim(workers * sizeof(*watch->rings));
	watch->diagnosis = claim(sizeof(*watch->diagnosis));
	watch->told = claim(WATCH_TOLD * sizeof(*watch->told));
	if (!watch->rings || !watch->diagnosis || !watch->told || getrandom(&secret, sizeof(secret), 0) != sizeof(secret))
		return false;
	diagnosis_init(watch->diagnosis, secret);
	watch->diagnosis->is_by_client = is_by_client;
	watch->diagnosis->on_evidence = tell_evidence;
	watch->diagnosis->context = watch;
	return true;
}

void watch_close(struct watch *watch)
{
	if (watch->rings)
		munmap(watch->rings, watch->ring_count * sizeof(*watch->rings));
	if (watch->diagnosis)
		munmap(watch->diagnosis, sizeof(*watch->diagnosis));
	if (watch->told)
		munmap(watch->told, WATCH_TOLD * sizeof(*watch->told));
}

void watch_add_rings(struct watch *watch, struct event_ring *rings, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		atomic_store_release(&rings[i].tail, atomic_load_acquire(&rings[i].head));
	watch->other_rings = rings;
	watch->other_count = count;
}

static struct event_ring *ring_at(const struct watch *watch, uint32_t number)
{
	return number < watch->ring_count ? &watch->rings[number] : &watch->other_rings[number - watch->ring_count];
}

/* Of two events in rings of the kernel's programs; a worker's own go first in their millisecond. */
static bool is_older(const struct event *event, const struct event *other, bool is_among_programs)
{
	return event->tick < other->tick || (event->tick == other->tick && is_among_programs && event->serial < other->serial);
}

static struct event_ring *look_for_oldest(const struct watch *watch)
{
	const struct event *oldest = NULL, *next;
	struct event_ring *found = NULL;
	bool is_programs = false;

	for (uint32_t i = 0; i < watch->ring_count + watch->other_count; i++) {
		next = event_peek(ring_at(watch, i));
		if (!next || (oldest && !is_older(next, oldest, is_programs)))
			continue;
		oldest = next;
		is_programs = i >= watch->ring_count;
		found = ring_at(watch, i);
	}
	return found;
}

/*
 * The ring whose next event is the oldest; NULL where there is none. What is told of an answer is told behind what it answers, on
 * another processor perhaps: who has seen the one finds the other if he looks once more.
 */
static struct event_ring *find_oldest(const struct watch *watch)
{
	struct event_ring *found = look_for_oldest(watch), *again;

	while ((again = look_for_oldest(watch)) != found)
		found = again;
	return found;
}

void watch_take(struct watch *watch, uint64_t tick)
{
	struct event_ring *ring = find_oldest(watch);
	struct event event;

	for (uint32_t taken = 0; ring && taken < TAKE_MOST && event_take(ring, &event); taken++) {
		event.serial = ++watch->serial;
		*add_told(watch) = (struct told){.event = event, .finding = FINDING_COUNT};
		diagnosis_take(watch->diagnosis, &event);
		ring = find_oldest(watch);
	}
	diagnosis_advance(watch->diagnosis, tick);
}

uint64_t watch_lost(const struct watch *watch)
{
	uint64_t lost = 0;

	for (uint32_t i = 0; i < watch->ring_count + watch->other_count; i++)
		lost += atomic_load(&ring_at(watch, i)->lost);
	return lost;
}

void watch_count(const struct watch *watch, enum confidence least, uint64_t ret_counts[FINDING_COUNT])
{
	double chance;

	for (enum finding finding = 0; finding < FINDING_COUNT; finding++) {
		ret_counts[finding] = 0;
		for (uint32_t i = 0; i < DIAGNOSIS_SERVERS; i++) {
			const struct server_evidence *server = &watch->diagnosis->servers[i];

			ret_counts[finding] += server->last_tick && diagnosis_judge(server, finding, &chance) >= least;
		}
	}
}

/* ---- suspects ---- */

static void write_examples(const struct watch *watch, const struct server_evidence *server, enum finding finding, FILE *out)
{
	const uint64_t now = watch->diagnosis->tick;

	/* The oldest first. */
	for (uint32_t i = 0; i < DIAGNOSIS_EXAMPLES; i++) {
		const struct example *example =
			&server->examples[finding][(server->example_count[finding] + i) % DIAGNOSIS_EXAMPLES];

		if (!example->tick)
			continue;
		fprintf(out, "example finding=%s age_ms=%" PRIu64 " tsval=%u other=%u", finding_table[finding].name,
			now - example->tick, example->tsval, example->other);
		write_endpoint(out, "client", &example->ends.src, example->ends.src_port);
		write_endpoint(out, "server", &example->ends.dst, example->ends.dst_port);
		fputc('\n', out);
	}
}

/* The clients' bits as numbers, with dots between. */
static void write_clients(FILE *out, const struct client_set *clients)
{
	for (uint32_t i = 0; i < CLIENT_SET_WORDS; i++)
		fprintf(out, i ? ".%" PRIx64 : "%" PRIx64, clients->words[i]);
}

static void write_kind(FILE *out, const char *kind, const char *outcome, uint32_t count, const struct client_set *clients)
{
	if (!count)
		return;
	fprintf(out, " %s_%s=%u %s_%s_clients=", kind, outcome, count, kind, outcome);
	write_clients(out, clients);
}

static void write_server(const struct watch *watch, const struct server_evidence *server, FILE *out)
{
	const uint64_t now = watch->diagnosis->tick;
	char addr[ADDR_SIZE], client[ADDR_SIZE];

	addr_format(&server->addr, addr, sizeof(addr));
	fprintf(out, "server address=%s port=%u since_ms=%" PRIu64 " last_ms=%" PRIu64, addr, server->port, now - server->first_tick,
		now - server->last_tick);
	if (watch->diagnosis->is_by_client) {
		addr_format(&server->client, client, sizeof(client));
		fprintf(out, " client=%s", client);
	}
	for (int kind = 0; kind < SYN_KIND_COUNT; kind++) {
		write_kind(out, syn_kind_names[kind], "unanswered", server->syns[kind][0], &server->clients[kind][0]);
		write_kind(out, syn_kind_names[kind], "answered", server->syns[kind][1], &server->clients[kind][1]);
		if (server->syns[kind][0]) {
			fprintf(out, " %s_returned_clients=", syn_kind_names[kind]);
			write_clients(out, &server->returned[kind]);
		}
	}
	for (int sign = 0; sign < SIGN_COUNT; sign++)
		fprintf(out, " %s=%u", sign_table[sign].name, server->signs[sign]);
	fputc('\n', out);
	for (enum finding finding = 0; finding < FINDING_COUNT; finding++)
		write_examples(watch, server, finding, out);
}

static bool is_suspect(const struct server_evidence *server)
{
	double chance;

	for (enum finding finding = 0; server->last_tick && finding < FINDING_COUNT; finding++) {
		if (diagnosis_judge(server, finding, &chance) != CONFIDENCE_NONE)
			return true;
	}
	return false;
}

void watch_write_suspects(const struct watch *watch, FILE *out)
{
	const struct diagnosis *diagnosis = watch->diagnosis;
	char addr[ADDR_SIZE];

	fprintf(out, "watch events=%" PRIu64 " events_lost=%" PRIu64 " evicted=%" PRIu64 "\n", diagnosis->events, watch_lost(watch),
		diagnosis->evicted);
	for (uint32_t i = 0; i < DIAGNOSIS_SERVERS; i++) {
		if (is_suspect(&diagnosis->servers[i]))
			write_server(watch, &diagnosis->servers[i], out);
	}
	for (uint32_t i = 0; i < DIAGNOSIS_CLIENTS; i++) {
		const struct client_clock *client = &diagnosis->clients[i];

		if (!client->last_tick)
			continue;
		addr_format(&client->addr, addr, sizeof(addr));
		fprintf(out, "clock address=%s hz=%u connections=%u age_ms=%" PRIu64 "\n", addr, client->hz, client->connections,
			diagnosis->tick - client->last_tick);
	}
}

void watch_write_server(const struct watch *watch, const struct addr *server, FILE *out)
{
	for (uint32_t i = 0; i < DIAGNOSIS_SERVERS; i++) {
		const struct server_evidence *evidence = &watch->diagnosis->servers[i];

		if (evidence->last_tick && addr_equal(&evidence->addr, server))
			write_server(watch, evidence, out);
	}
}

void watch_forget_changed(struct watch *watch, const struct policy *before, const struct policy *after)
{
	static const struct addr nobody;

	for (uint32_t i = 0; i < DIAGNOSIS_SERVERS; i++) {
		struct server_evidence *server = &watch->diagnosis->servers[i];

		if (server->last_tick && policy_match(before, &server->addr, server->port, &nobody)->mode !=
						 policy_match(after, &server->addr, server->port, &nobody)->mode)
			diagnosis_forget(watch->diagnosis, server);
	}
}

void watch_forget_server(struct watch *watch, const struct addr *server, uint16_t port)
{
	for (uint32_t i = 0; i < DIAGNOSIS_SERVERS; i++) {
		struct server_evidence *evidence = &watch->diagnosis->servers[i];

		if (evidence->last_tick && addr_equal(&evidence->addr, server) && (!port || port == evidence->port))
			diagnosis_forget(watch->diagnosis, evidence);
	}
}
