/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "plot.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packet.h"
#include "policy_build.h"

enum {
	CLIENTS_SHOWN = 16, /* with a colour of their own; the rest are one */
	PATH_MOST = 4096,
};

struct point {
	struct endpoints ends;
	uint64_t tick, serial;
	uint32_t tsval, isn;
	bool is_syn, is_marked;
};

struct plot {
	struct point *points;
	size_t count, size;
};

struct plot *plot_open(void)
{
	return calloc(1, sizeof(struct plot));
}

void plot_close(struct plot *plot)
{
	if (plot)
		free(plot->points);
	free(plot);
}

bool plot_add(struct plot *plot, const struct event *event)
{
	if (!(event->flags & EVENT_OUTBOUND) || !(event->flags & EVENT_LEFT_WITH) || !(event->tcp_flags & (TCP_SYN | TCP_FIN)))
		return true;
	if (plot->count == plot->size) {
		size_t size = plot->size ? plot->size * 2 : 256;
		struct point *points = realloc(plot->points, size * sizeof(*points));

		if (!points)
			return false;
		plot->points = points;
		plot->size = size;
	}
	plot->points[plot->count++] = (struct point){
		.ends = event->ends,
		.tick = event->tick,
		.serial = event->serial,
		.tsval = event->left,
		.is_syn = event->tcp_flags & TCP_SYN,
	};
	return true;
}

void plot_mark(struct plot *plot, uint64_t serial)
{
	for (size_t i = 0; i < plot->count; i++)
		plot->points[i].is_marked |= plot->points[i].serial == serial;
}

/* ---- drawing ---- */

struct clients {
	struct addr addr[CLIENTS_SHOWN];
	size_t count;
	bool has_more;
};

/* CLIENTS_SHOWN for those without a colour of their own. */
static size_t number_of(struct clients *clients, const struct addr *addr)
{
	for (size_t i = 0; i < clients->count; i++) {
		if (addr_equal(&clients->addr[i], addr))
			return i;
	}
	if (clients->count == CLIENTS_SHOWN) {
		clients->has_more = true;
		return CLIENTS_SHOWN;
	}
	clients->addr[clients->count] = *addr;
	return clients->count++;
}

static bool is_same_connection(const struct point *syn, const struct point *other)
{
	return syn->ends.src_port == other->ends.src_port && syn->ends.dst_port == other->ends.dst_port &&
	       addr_equal(&syn->ends.src, &other->ends.src) && addr_equal(&syn->ends.dst, &other->ends.dst);
}

/* The last point of the connection that begins with the SYN; the SYN itself if there is no other. */
static const struct point *end_of(const struct plot *plot, const struct point *syn)
{
	const struct point *end = syn;

	for (const struct point *at = syn + 1; at < plot->points + plot->count; at++) {
		if (!is_same_connection(syn, at))
			continue;
		if (at->is_syn)
			break;
		end = at;
	}
	return end;
}

static double seconds(uint64_t tick, uint64_t base_ms)
{
	return (double)(tick - base_ms) / 1000;
}

static void write_client(FILE *out, const struct plot *plot, struct clients *clients, size_t number, uint64_t base_ms)
{
	for (const struct point *syn = plot->points; syn < plot->points + plot->count; syn++) {
		const struct point *end;

		if (!syn->is_syn || number_of(clients, &syn->ends.src) != number)
			continue;
		end = end_of(plot, syn);
		fprintf(out, "%.3f %u\n%.3f %u\n\n", seconds(syn->tick, base_ms), syn->tsval, seconds(end->tick, base_ms),
			end->tsval);
	}
	fputs("e\n", out);
}

static void write_marks(FILE *out, const struct plot *plot, uint64_t base_ms)
{
	bool is_any = false;

	for (size_t i = 0; i < plot->count; i++) {
		if (plot->points[i].is_marked)
			fprintf(out, "%.3f %u\n", seconds(plot->points[i].tick, base_ms), plot->points[i].tsval);
		is_any |= plot->points[i].is_marked;
	}
	if (!is_any) /* a name for the legend needs a point */
		fputs("NaN NaN\n", out);
	fputs("e\n", out);
}

static void write_script(FILE *out, const struct plot *plot, const char *path, uint64_t base_ms)
{
	struct clients clients = {.count = 0};
	size_t len = strlen(path);
	bool is_svg = len >= 4 && strcmp(path + len - 4, ".svg") == 0;
	char addr[64];

	for (size_t i = 0; i < plot->count; i++)
		number_of(&clients, &plot->points[i].ends.src);
	fprintf(out, "set terminal %s size 1000,500\nset output '%s'\n", is_svg ? "svg" : "png", path);
	fputs("set xlabel 's'\nset ylabel 'TSval'\nset key outside right top\nset format y '%.0f'\nset yrange [0:4294967295]\n"
	      "set grid\nplot ", out);
	for (size_t i = 0; i < clients.count + clients.has_more; i++) {
		addr_format(&clients.addr[i < clients.count ? i : 0], addr, sizeof(addr));
		fprintf(out, "'-' with linespoints pointtype 7 pointsize 0.4 linewidth 2 title '%s', ",
			i < clients.count ? addr : "others");
	}
	fputs("'-' with points pointtype 2 pointsize 1.5 linewidth 2 linecolor rgb 'red' title 'SYN without answer'\n", out);
	for (size_t i = 0; i < clients.count + clients.has_more; i++)
		write_client(out, plot, &clients, i < clients.count ? i : CLIENTS_SHOWN, base_ms);
	write_marks(out, plot, base_ms);
}

bool plot_draw(struct plot *plot, const char *path, uint64_t base_ms, char *ret_error, size_t error_size)
{
	FILE *out;

	if (strchr(path, '\'') || strlen(path) >= PATH_MOST) {
		snprintf(ret_error, error_size, "--plot %s: gnuplot takes no name with a quote in it", path);
		return false;
	}
	signal(SIGPIPE, SIG_IGN); /* it may not be there */
	out = popen("gnuplot", "w");
	if (!out) {
		snprintf(ret_error, error_size, "gnuplot: %s", strerror(errno));
		return false;
	}
	write_script(out, plot, path, base_ms);
	if (pclose(out) == 0)
		return true;
	snprintf(ret_error, error_size, "gnuplot (package gnuplot-nox) has not drawn %s", path);
	return false;
}
