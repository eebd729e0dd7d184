/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "exporter.h"

#include <errno.h>
#include <getopt.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * pawsd-exporter: asks pawsd's control socket once for each scrape, and says the answer in the
 * Prometheus text format over HTTP, or in a file (exporter_textfile.c). It is a program of its own
 * so that nothing that speaks HTTP has pawsd's rights. It keeps nothing between two scrapes.
 *
 * One thread serves all connections in turn, so that a scrape can hold up the next by no more
 * than FETCH_TIMEOUT_MS; main() only waits for the signal to stop.
 */

enum {
	FETCH_TIMEOUT_MS = 2000,
	CONNECTIONS_MAX = 16, /* each may hold a whole answer, 5 MB with 1000 destinations */
	CONNECTION_TIMEOUT_S = 10,
	CONNECTION_MEMORY_BYTES = 16 << 10, /* for the request */
	LISTEN_BACKLOG = 64,
	LISTEN_TEXT_MAX = 128,
	INTERVAL_MAX_S = 86400,
};

static const char usage[] =
	"usage: pawsd-exporter [--socket PATH] [--listen ADDRESS:PORT]\n"
	"       pawsd-exporter [--socket PATH] --textfile FILE [--interval SECONDS]\n"
	"       pawsd-exporter --help | --version\n"
	"  --socket    pawsd's control socket (/run/pawsd/control.sock)\n"
	"  --listen    where /metrics is served (127.0.0.1:9473; IPv6 as [::1]:9473)\n"
	"  --textfile  write FILE instead, for the textfile collector of node_exporter\n"
	"  --interval  write it every so many seconds until stopped, rather than once\n";

static const char page[] =
	"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>pawsd-exporter</title></head>\n"
	"<body><h1>pawsd-exporter " PAWSD_VERSION "</h1><p><a href=\"/metrics\">Metrics</a> for Prometheus</p>"
	"</body></html>\n";

/* Says it once when pawsd stops answering and once when it answers again, not at every scrape. */
static void exporter_note(struct exporter *exporter, const char *error)
{
	if (error && exporter->last != PAWSD_DOWN)
		fprintf(stderr, "pawsd-exporter: %s\n", error);
	else if (!error && exporter->last == PAWSD_DOWN)
		fprintf(stderr, "pawsd-exporter: pawsd answers again\n");
	exporter->last = error ? PAWSD_DOWN : PAWSD_UP;
}

char *exporter_scrape(struct exporter *exporter, size_t *ret_len)
{
	struct snapshot snapshot;
	char error[1024], *text = NULL;
	int down = snapshot_fetch(exporter->socket_path, "stats", FETCH_TIMEOUT_MS, &snapshot, error, sizeof(error));
	FILE *out = open_memstream(&text, ret_len);
	bool failed = !out;

	exporter_note(exporter, down ? error : NULL);
	if (out) {
		exporter_print(out, down ? NULL : &snapshot);
		failed = ferror(out);
		failed |= fclose(out) != 0;
	}
	if (!down)
		snapshot_free(&snapshot);
	if (!failed)
		return text;
	free(text);
	return NULL;
}

static enum MHD_Result respond(struct MHD_Connection *connection, unsigned int status, const char *type,
			       struct MHD_Response *response)
{
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result respond_text(struct MHD_Connection *connection, unsigned int status, const char *type,
				    const char *text)
{
	/* The library's pointer lacks a const that it keeps to. */
	return respond(connection, status, type,
		       MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT));
}

static enum MHD_Result respond_metrics(struct MHD_Connection *connection, struct exporter *exporter)
{
	struct MHD_Response *response;
	size_t len;
	char *text = exporter_scrape(exporter, &len);

	if (!text)
		return respond_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain", "out of memory\n");
	response = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(text);
	return respond(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", response);
}

static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *url, const char *method,
			      const char *version, const char *upload, size_t *upload_len, void **state)
{
	static char headers_seen;

	(void)version;
	(void)upload;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return respond_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", "GET or HEAD only\n");
	/* The first call is for the headers alone; then a body, which nobody needs; then it is our turn. */
	if (!*state || *upload_len > 0) {
		*state = &headers_seen;
		*upload_len = 0;
		return MHD_YES;
	}
	if (strcmp(url, "/metrics") == 0)
		return respond_metrics(connection, context);
	if (strcmp(url, "/") == 0)
		return respond_text(connection, MHD_HTTP_OK, "text/html; charset=utf-8", page);
	return respond_text(connection, MHD_HTTP_NOT_FOUND, "text/plain", "not found; metrics are at /metrics\n");
}

/* Splits "192.0.2.1:9473" or "[2001:db8::1]:9473" in place. */
static int listen_split(char *text, char **ret_host, char **ret_port)
{
	char *colon = strrchr(text, ':');

	if (!colon || colon == text || colon[1] == '\0')
		return -1;
	*colon = '\0';
	*ret_host = text;
	*ret_port = colon + 1;
	if (text[0] == '[') {
		if (colon[-1] != ']')
			return -1;
		colon[-1] = '\0';
		*ret_host = text + 1;
	} else if (strchr(text, ':')) {
		return -1;
	}
	return strspn(*ret_port, "0123456789") == strlen(*ret_port) && strlen(*ret_port) <= 5 &&
			       strtoul(*ret_port, NULL, 10) <= UINT16_MAX
		       ? 0
		       : -1;
}

static int listen_bind(const struct addrinfo *address)
{
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, saved;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* The listening socket, or the negative of an exit status once the error is told. */
static int listen_open(const char *where)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	char text[LISTEN_TEXT_MAX], *host, *port;
	struct addrinfo *address;
	int fd;

	if (strlen(where) >= sizeof(text) || listen_split(strcpy(text, where), &host, &port) ||
	    getaddrinfo(host, port, &hints, &address)) {
		fprintf(stderr, "pawsd-exporter: --listen %s: not ADDRESS:PORT, as in 127.0.0.1:9473 or [::1]:9473\n", where);
		return -EXIT_USAGE;
	}
	fd = listen_bind(address);
	if (fd < 0)
		fprintf(stderr, "pawsd-exporter: cannot listen on %s: %s%s\n", where, strerror(errno),
			errno == EADDRINUSE ? "; another program has it (ss -ltnp tells which): choose another with --listen"
					    : "");
	freeaddrinfo(address);
	return fd < 0 ? -EXIT_FAILURE : fd;
}

/* The port matters where port 0 let the kernel choose. */
static void listen_announce(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t len = sizeof(address);
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getsockname(fd, (struct sockaddr *)&address, &len) ||
	    getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return;
	fprintf(stderr, "pawsd-exporter: serving http://%s%s%s:%s/metrics\n",
		address.ss_family == AF_INET6 ? "[" : "", host, address.ss_family == AF_INET6 ? "]" : "", port);
}

sigset_t exporter_block_stop(void)
{
	sigset_t stop;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	pthread_sigmask(SIG_BLOCK, &stop, NULL);
	return stop;
}

static int exporter_run(struct exporter *exporter, int fd)
{
	struct MHD_Daemon *daemon;
	sigset_t stop = exporter_block_stop(); /* before there is another thread that could be given one of them */
	int number;

	signal(SIGPIPE, SIG_IGN);
	daemon = MHD_start_daemon(MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL,
				  answer, exporter, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
				  (unsigned int)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
				  (unsigned int)CONNECTION_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				  (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_END);
	if (!daemon) {
		fprintf(stderr, "pawsd-exporter: cannot start the HTTP server: %s\n", strerror(errno));
		close(fd);
		return EXIT_FAILURE;
	}
	listen_announce(fd);
	sigwait(&stop, &number);
	MHD_stop_daemon(daemon);
	return EXIT_SUCCESS;
}

/* What is to be done, by the command line. */
struct choice {
	const char *listen, *textfile;
	uint32_t interval_s; /* 0: once */
};

static int complain(const char *words)
{
	fprintf(stderr, "pawsd-exporter: %s\n", words);
	return EXIT_USAGE;
}

static int interval_parse(const char *text, uint32_t *ret_s)
{
	*ret_s = strspn(text, "0123456789") == strlen(text) && strlen(text) <= 5 ? (uint32_t)strtoul(text, NULL, 10) : 0;
	if (*ret_s >= 1 && *ret_s <= INTERVAL_MAX_S)
		return 0;
	fprintf(stderr, "pawsd-exporter: --interval %s: not a number of seconds from 1 to %d\n", text, INTERVAL_MAX_S);
	return EXIT_USAGE;
}

static int exporter_start(struct exporter *exporter, const struct choice *choice)
{
	int fd;

	if (choice->textfile && choice->listen)
		return complain("--textfile is instead of --listen: start another for that");
	if (choice->textfile)
		return textfile_run(exporter, choice->textfile, choice->interval_s);
	if (choice->interval_s)
		return complain("--interval is for --textfile: over HTTP pawsd is asked once for each scrape");
	fd = listen_open(choice->listen ? choice->listen : "127.0.0.1:9473");
	return fd < 0 ? -fd : exporter_run(exporter, fd);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},   {"listen", required_argument, NULL, 'l'},
		{"textfile", required_argument, NULL, 't'}, {"interval", required_argument, NULL, 'i'},
		{"help", no_argument, NULL, 'h'},	    {"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	struct exporter exporter = {.socket_path = "/run/pawsd/control.sock"};
	struct choice choice = {0};
	int option;

	while ((option = getopt_long(argc, argv, "s:l:t:i:hV", options, NULL)) != -1) {
		if (option == 's') {
			exporter.socket_path = optarg;
		} else if (option == 'l') {
			choice.listen = optarg;
		} else if (option == 't') {
			choice.textfile = optarg;
		} else if (option == 'i') {
			if (interval_parse(optarg, &choice.interval_s))
				return EXIT_USAGE;
		} else if (option == 'h') {
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		} else if (option == 'V') {
			puts("pawsd-exporter " PAWSD_VERSION);
			return EXIT_SUCCESS;
		} else {
			fputs(usage, stderr);
			return EXIT_USAGE;
		}
	}
	if (optind != argc) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	return exporter_start(&exporter, &choice);
}
