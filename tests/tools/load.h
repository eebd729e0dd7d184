/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_LOAD_H
#define PAWSD_TESTS_LOAD_H

/*
 * What tcpserve, tcpload and tcpbulk share: the little protocol they speak, the content they
 * send, and how addresses are written on their command lines.
 *
 * A client sends struct load_request, then `up` bytes of content; the server sends `down`
 * bytes of content and, once it has all of the client's, struct load_report: what it made of
 * them. Then the server closes, or waits for the next request or the client's FIN, as the
 * request said. Content is a pseudo-random stream that the seed decides, so either side knows
 * what must arrive. All runs on one machine: host byte order.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	LOAD_MAGIC = 0x70617773,
	LOAD_SERVER_CLOSES = 1,
	LOAD_CLIENT_CLOSES = 0,
	LOAD_CHUNK = 65536,
};

struct load_request {
	uint32_t magic;
	uint32_t closer;
	uint64_t down, up, seed;
};

struct load_report {
	uint64_t received, hash;
};

static const uint64_t LOAD_HASH_START = 0xcbf29ce484222325u; /* FNV-1a, 64 bits */

static inline uint64_t load_hash(uint64_t hash, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ data[i]) * 0x100000001b3u;
	return hash;
}

static inline uint64_t load_word(uint64_t seed, uint64_t index)
{
	uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Bytes offset .. offset + len - 1 of the stream that `seed` decides. */
static inline void load_fill(uint64_t seed, uint64_t offset, uint8_t *ret, size_t len)
{
	while (len > 0) {
		uint64_t word = load_word(seed, offset / 8);
		size_t skip = offset % 8, n = 8 - skip < len ? 8 - skip : len;

		memcpy(ret, (const uint8_t *)&word + skip, n);
		ret += n;
		offset += n;
		len -= n;
	}
}

static inline uint64_t load_stream_hash(uint64_t seed, uint64_t len)
{
	uint64_t hash = LOAD_HASH_START;
	uint8_t chunk[4096];

	for (uint64_t at = 0; at < len;) {
		size_t n = len - at < sizeof(chunk) ? (size_t)(len - at) : sizeof(chunk);

		load_fill(seed, at, chunk, n);
		hash = load_hash(hash, chunk, n);
		at += n;
	}
	return hash;
}

static inline double load_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static inline double load_time_of_day_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static inline void load_die(const char *what)
{
	perror(what);
	exit(2);
}

/* As many descriptors as the hard limit allows: thousands of connections at once. */
static inline void load_raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

struct load_addr {
	struct sockaddr_storage ss;
	socklen_t len;
};

struct load_addrs {
	struct load_addr *addr;
	size_t count;
};

static inline void load_set_port(struct load_addr *addr, uint16_t port)
{
	if (addr->ss.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&addr->ss)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)&addr->ss)->sin_port = htons(port);
}

static inline const char *load_format(const struct load_addr *addr, char *ret, size_t size)
{
	char text[INET6_ADDRSTRLEN];

	if (addr->ss.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr->ss;

		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		snprintf(ret, size, "[%s]:%u", text, ntohs(in6->sin6_port));
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&addr->ss;

		inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
		snprintf(ret, size, "%s:%u", text, ntohs(in->sin_port));
	}
	return ret;
}

static inline void load_append(struct load_addrs *list, const struct load_addr *addr)
{
	list->addr = realloc(list->addr, (list->count + 1) * sizeof(*list->addr));
	if (!list->addr)
		load_die("realloc");
	list->addr[list->count++] = *addr;
}

static inline bool load_parse_ip(const char *text, struct load_addr *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&ret->ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->ss;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		ret->len = sizeof(*in);
		return true;
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		ret->len = sizeof(*in6);
		return true;
	}
	return false;
}

/* "ADDR" or "ADDR+N": N addresses from ADDR on, counted in the last 16 bits. */
static inline void load_parse_hosts(const char *text, struct load_addrs *list)
{
	char copy[128], *plus;
	struct load_addr addr;
	unsigned long count = 1;

	snprintf(copy, sizeof(copy), "%s", text);
	plus = strchr(copy, '+');
	if (plus) {
		*plus = '\0';
		count = strtoul(plus + 1, NULL, 10);
	}
	if (!load_parse_ip(copy, &addr) || count == 0 || count > 60000) {
		fprintf(stderr, "not an address or ADDR+COUNT: %s\n", text);
		exit(2);
	}
	for (unsigned long i = 0; i < count; i++) {
		uint8_t *last = addr.ss.ss_family == AF_INET
					? (uint8_t *)&((struct sockaddr_in *)&addr.ss)->sin_addr + 2
					: (uint8_t *)&((struct sockaddr_in6 *)&addr.ss)->sin6_addr + 14;
		unsigned int next = (unsigned int)(last[0] << 8 | last[1]) + 1;

		load_append(list, &addr);
		last[0] = (uint8_t)(next >> 8);
		last[1] = (uint8_t)next;
	}
}

/* "ADDR:PORT" or "[ADDR]:PORT", PORT also FIRST-LAST. */
static inline void load_parse_endpoints(const char *text, struct load_addrs *list)
{
	char copy[128], *colon, *host = copy, *dash;
	struct load_addr addr;
	unsigned long first, last;

	snprintf(copy, sizeof(copy), "%s", text);
	colon = strrchr(copy, ':');
	if (!colon)
		goto bad;
	*colon = '\0';
	if (host[0] == '[' && colon > copy && colon[-1] == ']') {
		colon[-1] = '\0';
		host++;
	}
	first = last = strtoul(colon + 1, &dash, 10);
	if (*dash == '-')
		last = strtoul(dash + 1, NULL, 10);
	if (!load_parse_ip(host, &addr) || first == 0 || last > 65535 || first > last)
		goto bad;
	for (unsigned long port = first; port <= last; port++) {
		load_set_port(&addr, (uint16_t)port);
		load_append(list, &addr);
	}
	return;
bad:
	fprintf(stderr, "not ADDR:PORT, [ADDR]:PORT or with PORT-PORT: %s\n", text);
	exit(2);
}

/*
 * Goes on in a child and lets the parent exit with status 0, the child's pid on its standard
 * output: to be called when all is set up, so that who started the program need not wait for it.
 */
static inline void load_go_background(void)
{
	pid_t pid = fork();

	if (pid < 0)
		load_die("fork");
	if (pid > 0) {
		printf("%d\n", (int)pid);
		fflush(stdout);
		_exit(0);
	}
	setsid();
	if (!freopen("/dev/null", "r", stdin) || !freopen("/dev/null", "w", stdout))
		load_die("/dev/null");
}

#endif
