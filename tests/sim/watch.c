/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A watcher at the gateway of the plain run, where nothing is rewritten: what `pawsctl analyze` makes of all packets, held
 * against what the servers are.
 */
#include "../../src/tools/analysis.h"
#include "gateway.h"

enum {
	ENOUGH = 10, /* of either kind of SYN, to be sure */
};

void watch_open(struct world *world)
{
	if (world->run != RUN_PLAIN)
		return;
	world->watch = analysis_open(NULL);
	if (!world->watch)
		abort();
	world->watch->diagnosis->is_by_client = world->scenario->postnat;
}

void watch_take(struct world *world, const struct segment *segment)
{
	const struct scenario *scenario = world->scenario;
	const struct server *server = server_of(world, segment->server);
	const struct client *client = client_of(world, segment->client);
	struct addr server_addr = wire_server_addr(server->family, server->address);
	struct addr host = scenario->postnat ? wire_public_addr(client->family, segment->public)
					     : wire_client_addr(client->family, segment->client);
	struct wire wire;

	if (!world->watch)
		return;
	wire_build(world, segment, &host, scenario->postnat ? segment->public_port : segment->client_port, &server_addr, &wire);
	analysis_take(world->watch, &(struct capture_packet){.number = world->crossings,
							     .time_ms = scenario->epoch_ms + world->now_us / 1000,
							     .ip = wire.data,
							     .len = wire.len,
							     .wire_len = wire.len});
}

/* What may be found of the servers at one port of an address. */
struct truth {
	bool has_check, has_new_check, has_bogus, is_all_by_pair;
	uint32_t servers;
};

static struct truth truth_of(const struct scenario *scenario, const struct addr *addr, uint16_t port)
{
	struct truth truth = {.is_all_by_pair = true};

	for (uint32_t i = 0; i < scenario->server_count; i++) {
		const struct server *server = &scenario->servers[i];
		struct addr own = wire_server_addr(server->family, server->address);

		if (server->port != port || !addr_equal(&own, addr))
			continue;
		truth.servers++;
		truth.has_check |= server->host_check != HOST_CHECK_NONE;
		truth.has_new_check |= server->host_check == HOST_CHECK_NEW;
		truth.has_bogus |= server->bogus_firewall;
		truth.is_all_by_pair &= server->host_check != HOST_CHECK_NONE && !server->by_peer;
	}
	return truth;
}

static bool is_true(const struct truth *truth, enum finding finding)
{
	switch (finding) {
	case FINDING_RECYCLE:
		return truth->has_check;
	case FINDING_RECYCLE_BARE:
		return truth->has_new_check;
	case FINDING_FOREIGN_TSECR:
		return truth->has_bogus;
	case FINDING_TIME_WAIT: /* any server has that */
	case FINDING_BUSY_TUPLE:
	case FINDING_COUNT:
		break;
	}
	return true;
}

static void judge(struct world *world, const struct server_evidence *evidence)
{
	const struct truth truth = truth_of(world->scenario, &evidence->addr, evidence->port);
	struct watch_tally *tally = &world->tally->watch;
	double chance;

	tally->servers++;
	for (enum finding finding = 0; finding < FINDING_COUNT; finding++) {
		enum confidence confidence = diagnosis_judge(evidence, finding, &chance);

		tally->found[finding] += confidence >= CONFIDENCE_LIKELY;
		tally->possible[finding] += confidence == CONFIDENCE_POSSIBLE;
		if (confidence == CONFIDENCE_NONE || is_true(&truth, finding))
			continue;
		tally->wrong[finding] += confidence >= CONFIDENCE_LIKELY;
		tally->wrong_possible[finding] += confidence == CONFIDENCE_POSSIBLE;
		printf("# world %llu, server address %02x%02x: %s %s (chance %g) is wrong: older %u of %u, newer %llu of %llu, bare %u of %u dropped\n",
		       (unsigned long long)world->scenario->seed, evidence->addr.byte[14], evidence->addr.byte[15],
		       finding_table[finding].name, confidence_names[confidence], chance, evidence->syns[SYN_OLDER][0],
		       evidence->syns[SYN_OLDER][0] + evidence->syns[SYN_OLDER][1], (unsigned long long)diagnosis_newer(evidence, 0),
		       (unsigned long long)(diagnosis_newer(evidence, 0) + diagnosis_newer(evidence, 1)), evidence->syns[SYN_BARE][0],
		       evidence->syns[SYN_BARE][0] + evidence->syns[SYN_BARE][1]);
	}
	if (!truth.is_all_by_pair || (!world->scenario->postnat && world->scenario->public_count > 1) || evidence->syns[SYN_OLDER][0] < ENOUGH ||
	    diagnosis_newer(evidence, 1) < ENOUGH)
		return;
	tally->to_be_found++;
	if (diagnosis_judge(evidence, FINDING_RECYCLE, &chance) >= CONFIDENCE_LIKELY)
		return;
	tally->missed++;
	printf("# world %llu, server address %02x%02x: missed: older %u of %u, newer %llu of %llu dropped\n",
	       (unsigned long long)world->scenario->seed, evidence->addr.byte[14], evidence->addr.byte[15], evidence->syns[SYN_OLDER][0],
	       evidence->syns[SYN_OLDER][0] + evidence->syns[SYN_OLDER][1], (unsigned long long)diagnosis_newer(evidence, 0),
	       (unsigned long long)(diagnosis_newer(evidence, 0) + diagnosis_newer(evidence, 1)));
}

void watch_close(struct world *world)
{
	struct diagnosis *diagnosis;

	if (!world->watch)
		return;
	diagnosis = world->watch->diagnosis;
	diagnosis_finish(diagnosis);
	for (size_t i = 0; i < DIAGNOSIS_SERVERS; i++) {
		if (diagnosis->servers[i].last_tick)
			judge(world, &diagnosis->servers[i]);
	}
	analysis_close(world->watch);
}
