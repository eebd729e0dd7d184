/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How flows are hashed: the same everywhere, and not as a stranger would have it. */
#include "core_test.h"

#include "flow_key.h"

enum {
	PORTS = 60000,
	CHAIN_MOST = 16, /* of as many flows as heads; by chance hardly ever more than 9 */
};

/* The kernel's programs have no product of 128 bits, and must come to the same. */
static void test_products(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 100000; i++) {
		uint64_t a = test_random64() >> test_random(64), b = test_random64() >> test_random(64);

		assert_true(hash_multiply(a, b) == hash_multiply_in_parts(a, b));
	}
	assert_true(hash_multiply(UINT64_MAX, UINT64_MAX) == hash_multiply_in_parts(UINT64_MAX, UINT64_MAX));
}

static struct flow_key key_of(const struct addr *client, uint16_t client_port, const struct addr *server, uint16_t server_port)
{
	return flow_key_of(&(const struct endpoints){*client, *server, client_port, server_port});
}

static void test_both_ways(void **state)
{
	const uint64_t secret[2] = {test_random64(), test_random64()};

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		const struct addr a = test_addr(true, test_random(1000)), b = test_addr(true, test_random(1000));
		const uint16_t a_port = (uint16_t)test_random(65536), b_port = (uint16_t)test_random(65536);
		const struct flow_key out = key_of(&a, a_port, &b, b_port), in = key_of(&b, b_port, &a, a_port);

		assert_true(flow_key_hash(&out, secret) == flow_key_hash(&in, secret));
	}
}

/* Who may choose addresses as well as ports: so that what one adds the other takes away, at any place of the address. */
static uint32_t longest_chain(uint32_t at, bool of_server, bool is_sum)
{
	static uint8_t chains[65536];
	const uint64_t secret[2] = {test_random64(), test_random64()};
	uint32_t longest = 0;

	memset(chains, 0, sizeof(chains));
	for (uint32_t port = 0; port < PORTS; port++) {
		struct addr client = test_addr(true, 1), server = test_addr(true, 2);
		struct addr *chosen = of_server ? &server : &client;
		const uint16_t other = (uint16_t)(is_sum ? PORTS - port : 443);
		struct flow_key key;
		uint32_t chain;

		if (!is_sum) {
			chosen->byte[at] ^= (uint8_t)port;
			chosen->byte[at + 1] ^= (uint8_t)(port >> 8);
		}
		key = of_server ? key_of(&client, other, &server, (uint16_t)port) : key_of(&client, (uint16_t)port, &server, other);
		chain = ++chains[flow_key_hash(&key, secret) % 65536];
		longest = chain > longest ? chain : longest;
		if (chain == UINT8_MAX)
			break;
	}
	return longest;
}

static void test_nothing_cancels(void **state)
{
	(void)state;
	for (uint32_t at = 0; at < 15; at++) {
		assert_true(longest_chain(at, false, false) <= CHAIN_MOST);
		assert_true(longest_chain(at, true, false) <= CHAIN_MOST);
	}
	for (uint32_t i = 0; i < 8; i++)
		assert_true(longest_chain(0, false, true) <= CHAIN_MOST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_products),
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_nothing_cancels),
	};

	return cmocka_run_group_tests(tests, test_random_setup, NULL);
}
